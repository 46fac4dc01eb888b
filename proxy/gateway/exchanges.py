"""The ordinary requests under way: limits count them, and revocation ends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proxy.errors import Ending
    from proxy.gateway.exchange import Exchange


class Exchanges:
    """All ordinary requests that have been let in and are not answered to their end.

    Args:
        wall: seconds since the epoch.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._live: set[Exchange] = set()

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Exchange]:
        """Those under way now; what ends meanwhile is still among them."""
        return iter(list(self._live))

    def add(self, exchange: Exchange) -> None:
        """One begins."""
        self._live.add(exchange)

    def discard(self, exchange: Exchange) -> None:
        """One is over."""
        self._live.discard(exchange)

    def left(self, until: float | None) -> float | None:
        """Seconds from now until a moment in seconds since the epoch; None is for ever."""
        return None if until is None else until - self._wall()

    def end(self, exchanges: Iterable[Exchange], ending: Ending) -> int:
        """Ends some at once; returns how many."""
        count = 0
        for exchange in exchanges:
            exchange.end(ending)
            count += 1
        return count

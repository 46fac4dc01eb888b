"""Ends what a key no longer carries, or new rules do not admit: sessions, ordinary requests."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from proxy.errors import OBJECTIONS, ROUTE_REMOVED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from proxy.errors import Ending
    from proxy.handshake.client import Address
    from proxy.keys.principal import Principal
    from proxy.sessions.live import LiveSession


class Judge(Protocol):
    """Who says whether a principal is still admitted."""

    def objection(
        self,
        principal: Principal,
        now: float,
        *,
        route: str,
        origin: bytes | None,
        same_origin: bool,
        address: Address,
    ) -> str | None:
        """`route_removed` or a code of the table of refusals; None while there is nothing."""


class Admitted(Protocol):
    """Whoever was let in, and may not be welcome any more: a session, an ordinary request."""

    principal: Principal
    route: str
    origin: bytes | None
    same_origin: bool
    address: Address


_T = TypeVar("_T", bound=Admitted)


class Live(Protocol[_T]):
    """All of one kind that have been let in."""

    def __iter__(self) -> Iterator[_T]:
        """Those there are now."""

    def end(self, those: Iterable[_T], ending: Ending, /) -> int:
        """Ends some; returns how many."""


class Revocation:
    """Judges who was let in again when their keys, or the rules, have changed.

    Args:
        registry: of live sessions.
        judge: knows keys and rules as they are now.
        wall: seconds since the epoch.
        exchanges: the ordinary requests under way.
    """

    def __init__(
        self,
        registry: Live[LiveSession],
        judge: Judge,
        wall: Callable[[], float],
        exchanges: Live[Any] | None = None,
    ) -> None:
        self._live: tuple[Live[Any], ...] = (registry,)
        if exchanges is not None:
            self._live += (exchanges,)
        self._judge = judge
        self._wall = wall

    def reconsider(self, key_ids: Collection[str]) -> int:
        """Ends those of these keys that would not be admitted now; returns how many."""
        return sum(
            self._judged(live, (each for each in live if each.principal.key_id in key_ids))
            for live in self._live
        )

    def reconsider_all(self) -> int:
        """Ends all that would not be admitted now; returns how many."""
        return sum(self._judged(live, live) for live in self._live)

    def _judged(self, live: Live[_T], admitted: Iterable[_T]) -> int:
        now = self._wall()
        ending: defaultdict[str, list[_T]] = defaultdict(list)
        for each in admitted:
            objection = self._judge.objection(
                each.principal,
                now,
                route=each.route,
                origin=each.origin,
                same_origin=each.same_origin,
                address=each.address,
            )
            if objection is not None:
                ending[objection].append(each)
        return sum(
            live.end(ended, OBJECTIONS.get(objection, ROUTE_REMOVED))
            for objection, ended in ending.items()
        )

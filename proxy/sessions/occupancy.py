"""How many sessions, and handshakes under way to become one, somebody has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable


class Occupancy:
    """Counts places by whatever holds them; one that nobody holds takes no memory."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """How many holders there are."""
        return len(self._held)

    def of(self, holder: Hashable) -> int:
        """The places of one holder."""
        return self._held.get(holder, 0)

    def take(self, holders: Iterable[Hashable]) -> None:
        """Takes one place for each holder."""
        held = self._held
        for holder in holders:
            held[holder] = held.get(holder, 0) + 1

    def release(self, holders: Iterable[Hashable]) -> None:
        """Gives back what `take` took."""
        held = self._held
        for holder in holders:
            left = held[holder] - 1
            if left:
                held[holder] = left
            else:
                del held[holder]

"""One timer for many equal deadlines: whoever came first is due first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls `overdue` for each member that is still here `seconds` after it was added.

    Args:
        seconds: the same for all, so that the order of coming is the order of being due.
        overdue: called with the member, which is no longer one.
    """

    def __init__(
        self, seconds: float, overdue: Callable[[T], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._seconds = seconds
        self._overdue = overdue
        self._loop = loop
        # When each is due; dicts keep their order.
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, member: T) -> float:
        """Begins a deadline; returns the time it began."""
        now = self._loop.time()
        self._due[member] = now + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._tick)
        return now

    def discard(self, member: T) -> None:
        """Ends a deadline, if it was one."""
        self._due.pop(member, None)

    def clear(self) -> list[T]:
        """Ends all deadlines; returns whose they were."""
        members = list(self._due)
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return members

    def _tick(self) -> None:
        now = self._loop.time()
        self._timer = None
        while self._due:
            member, due = next(iter(self._due.items()))
            if due > now:
                self._timer = self._loop.call_at(due, self._tick)
                return
            del self._due[member]
            self._overdue(member)

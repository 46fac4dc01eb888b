"""Deadlines without a timer each: of those that last equally long, the first begun is due first.

A timer of the event loop costs microseconds to start and to stop, and nearly all deadlines are
met. Here beginning and ending one is a dictionary's work; one timer a queue looks at the oldest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Overdue(Protocol):
    """What has a deadline."""

    def overdue(self) -> None:
        """Called once when it has passed; the deadline is over by then."""


class DeadlineQueue:
    """Deadlines that all last `seconds`."""

    __slots__ = ("_due", "_loop", "_now", "_timer", "seconds")

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds = seconds
        self._loop = loop
        self._now = loop.time
        # When each is due; dicts keep their order.
        self._due: dict[Overdue, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, member: Overdue) -> float:
        """Begins a member's deadline; returns the time on the loop's clock."""
        now = self._now()
        self._due[member] = now + self.seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self.seconds, self._tick)
        return now

    def discard(self, member: Overdue) -> None:
        """Ends a member's deadline, if it has one here."""
        self._due.pop(member, None)

    def clear(self) -> list[Overdue]:
        """Ends all deadlines; returns whose they were."""
        members = list(self._due)
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return members

    def _tick(self) -> None:
        now = self._now()
        try:
            while self._due:
                member, due = next(iter(self._due.items()))
                if due > now:
                    break
                del self._due[member]
                member.overdue()
        finally:  # Whatever one member does, the others are looked at.
            first = next(iter(self._due.values()), None)
            self._timer = None if first is None else self._loop.call_at(first, self._tick)


class _Queues(dict[float, DeadlineQueue]):
    """Queues by their seconds, made when they are asked for."""

    __slots__ = ("_loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def __missing__(self, seconds: float) -> DeadlineQueue:
        queue = self[seconds] = DeadlineQueue(seconds, self._loop)
        return queue


class Deadlines:
    """A queue for each length of time that is asked for; configurations know a handful."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._queues = _Queues(loop)
        # The queue of deadlines that last so many seconds.
        self.lasting: Callable[[float], DeadlineQueue] = self._queues.__getitem__

    def clear(self) -> None:
        """Ends them all."""
        for queue in self._queues.values():
            queue.clear()

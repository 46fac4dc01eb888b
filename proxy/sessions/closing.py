"""Ends many sessions without keeping the others waiting."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from proxy.errors import Ending
    from proxy.sessions.live import LiveSession

# Sessions ended in one turn of the loop: about five milliseconds, which nobody notices.
SLICE: Final = 32


class Closing:
    """Sessions that wait for their end, a slice of them in each turn of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[LiveSession, Ending]] = deque()
        self._under_way = False

    def end(self, sessions: Iterable[LiveSession], ending: Ending) -> int:
        """Ends sessions in good order, the first slice at once; returns how many."""
        before = len(self._waiting)
        self._waiting.extend((session, ending) for session in sessions)
        count = len(self._waiting) - before
        if not self._under_way:
            self._turn()
        return count

    def _turn(self) -> None:
        self._under_way = True
        try:
            for _ in range(min(SLICE, len(self._waiting))):
                session, ending = self._waiting.popleft()
                session.end(ending)
        finally:  # Whatever became of one, the others are waiting.
            self._under_way = bool(self._waiting)
            if self._under_way:
                self._loop.call_soon(self._turn)

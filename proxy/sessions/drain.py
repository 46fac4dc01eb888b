"""Ends every session, spread over time, so that their clients do not all come back at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.errors import DRAINING

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.logs import Logger
    from proxy.sessions.live import LiveSession
    from proxy.sessions.registry import Registry

# Seconds between two looks at who is due.
_TICK: Final = 0.05

# Seconds between two lines of progress.
_REPORT_EVERY: Final = 5.0


def due_by(elapsed: float, spread: float, count: int) -> int:
    """How many of `count` sessions are to have been told after `elapsed` seconds.

    Args:
        spread: seconds over which they are spread evenly; the first is due at once.
    """
    if elapsed >= spread:
        return count
    return min(count, int(elapsed / spread * count) + 1)


class Drain:
    """Tells live sessions 1001 `draining`, and waits until they are gone.

    Args:
        registry: of live sessions.
        opening: how many handshakes may still become one.
        spread: seconds over which the sessions are told.
        shuffle: puts them in an order that nobody can foresee.
    """

    def __init__(
        self,
        registry: Registry,
        opening: Callable[[], int],
        *,
        spread: float,
        shuffle: Callable[[list[LiveSession]], None],
        log: Logger,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._registry = registry
        self._opening = opening
        self._spread = spread
        self._shuffle = shuffle
        self._log = log
        self._loop = loop

    async def run(self, deadline: float) -> None:
        """Ends all sessions in good order.

        Args:
            deadline: on the loop's clock; whoever is left then is left alone.
        """
        began = reported = self._loop.time()
        sessions = list(self._registry)
        self._shuffle(sessions)
        told = 0
        while self._registry or self._opening():
            now = self._loop.time()
            if now >= deadline:
                return
            due = due_by(now - began, self._spread, len(sessions))
            self._registry.end(sessions[told:due], DRAINING)
            told = due
            if told == len(sessions):  # Whoever came meanwhile has no share of the time.
                self._registry.end(list(self._registry), DRAINING)
            if now - reported >= _REPORT_EVERY:
                reported = now
                self._log.info("draining", sessions=len(self._registry))
            await asyncio.sleep(_TICK)

"""One timer looks after all sessions; no session has one of its own while all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import CLIENT_STALLED, TOKEN_EXPIRED, UPSTREAM_STALLED
from proxy.relay.session import Side

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.sessions.leg import Leg
    from proxy.sessions.live import LiveSession
    from proxy.sessions.registry import Registry

# Seconds between two looks: the accuracy of the write deadline.
INTERVAL: Final = 1.0

_STALLED: Final = {Side.CLIENT: CLIENT_STALLED, Side.UPSTREAM: UPSTREAM_STALLED}


class Sweeper:
    """Ends sessions whose credential is past its end, or one of whose legs has stalled.

    Args:
        registry: of live sessions.
        wall: seconds since the epoch.
    """

    def __init__(
        self, registry: Registry, wall: Callable[[], float], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._registry = registry
        self._wall = wall
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        # Seconds by which the last look came late: how long the loop was busy.
        self.lag = 0.0
        self._due = 0.0

    def start(self) -> None:
        self._schedule()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._timer = self._loop.call_at(self._loop.time() + INTERVAL, self._tick)
        self._due = self._loop.time() + INTERVAL

    def _tick(self) -> None:
        now = self._loop.time()
        self.lag = max(0.0, now - self._due)
        self.sweep(now)
        self._schedule()

    def sweep(self, now: float) -> None:
        """Looks at every session once.

        Args:
            now: seconds on the loop's clock.
        """
        wall = self._wall()
        for session in self._registry:
            if session.until is not None and session.until <= wall:
                session.end(TOKEN_EXPIRED)
                continue
            if session.write_timeout is None:
                continue
            for leg in session.legs:
                if not leg.gone and _stalled_for(session, leg, now) >= session.write_timeout:
                    session.end(_STALLED[leg.side])
                    break


def _stalled_for(session: LiveSession, leg: Leg, now: float) -> float:
    """Seconds for which the leg has accepted no byte although some are pending."""
    pending = leg.transport.get_write_buffer_size()
    if not pending:
        leg.accepted = -1
        return 0.0
    # All that its peer sent was written to it; what is not pending has left.
    accepted = session.state.scanners[leg.side.other].bytes - pending
    if accepted != leg.accepted:
        leg.accepted = accepted
        leg.accepted_at = now
    return now - leg.accepted_at

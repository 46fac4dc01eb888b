"""One timer looks after all sessions; no session has one of its own while all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import (
    CLIENT_STALLED,
    CLIENT_TIMEOUT,
    IDLE_TIMEOUT,
    MAX_LIFETIME,
    TOKEN_EXPIRED,
    UPSTREAM_STALLED,
    UPSTREAM_TIMED_OUT,
)
from proxy.relay.commands import Side
from proxy.relay.liveness import PING_SIZE, Liveness, Verdict

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.errors import Ending
    from proxy.sessions.leg import Leg
    from proxy.sessions.live import LiveSession
    from proxy.sessions.registry import Registry

# Seconds between two looks: the accuracy of every deadline that is kept here.
INTERVAL: Final = 1.0

_STALLED: Final = {Side.CLIENT: CLIENT_STALLED, Side.UPSTREAM: UPSTREAM_STALLED}
_SILENT: Final = {Side.CLIENT: CLIENT_TIMEOUT, Side.UPSTREAM: UPSTREAM_TIMED_OUT}


class Sweeper:
    """Ends sessions that are past their end, idle, or have a leg that stalled or fell silent.

    Args:
        registry: of live sessions.
        wall: seconds since the epoch.
        noise: makes so many unpredictable bytes.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        wall: Callable[[], float],
        noise: Callable[[int], bytes],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._registry = registry
        self._wall = wall
        self._noise = noise
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        # Seconds by which the last look came late: how long the loop was busy.
        self.lag = 0.0
        self._due = 0.0
        self._sweeps = 0

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
        try:
            self.sweep(now)
        finally:
            self._schedule()  # A fault in one sweep is not to be the end of all deadlines.

    def sweep(self, now: float) -> None:
        """Looks at every session once.

        Args:
            now: seconds on the loop's clock.
        """
        wall = self._wall()
        self._sweeps += 1
        for session in self._registry:
            if session.until is not None and session.until <= wall:
                session.end(TOKEN_EXPIRED)
            elif session.ends_at is not None and session.ends_at <= now:
                session.end(MAX_LIFETIME)
            elif not self._sweeps % session.rules.look_every:
                ending = self._ending_of(session, now)
                if ending is not None:
                    session.end(ending)

    def _ending_of(self, session: LiveSession, now: float) -> Ending | None:
        """Why a session is to end now, as far as its legs tell."""
        state = session.state
        if (
            session.idle is not None
            and session.idle.look(now, state.scanners)
            and not any(leg.later for leg in session.legs)  # What waits is no silence.
        ):
            return IDLE_TIMEOUT
        write_timeout, keepalive = session.rules.write_timeout, session.rules.keepalive
        for leg, scanner in zip(session.legs, state.scanners, strict=False):  # None once it ended.
            if leg.gone:
                continue
            if leg.later or leg.paused_at is not None:
                leg.notice_end()
            pending = leg.transport.get_write_buffer_size()
            if not pending:
                leg.accepted = None
            elif write_timeout is not None and _stalled_for(session, leg, pending, now) >= (
                write_timeout
            ):
                return _STALLED[leg.side]
            liveness = leg.liveness
            if liveness is None and keepalive is not None:  # Its first look.
                liveness = leg.liveness = Liveness(keepalive, session.opened_at)
            if leg.paused_at is not None:  # So that metrics tell of it while it lasts.
                session.paused(leg, now)
            if (
                liveness is not None
                # While we do not read it, nothing can be heard of it.
                and leg.paused_at is None
                and not leg.later
                and liveness.look(now, scanner.bytes)
                and state.initiator is None
                and self._is_silent(session, leg, liveness, pending, now)
            ):
                return _SILENT[leg.side]
        return None

    def _is_silent(
        self, session: LiveSession, leg: Leg, liveness: Liveness, pending: int, now: float
    ) -> bool:
        """Pings a leg that is due for it; returns whether it has been silent for too long."""
        transport = leg.transport
        if transport.is_closing():
            return False
        scanners = session.state.scanners
        heard = scanners[leg.side]
        # A frame of the other side's may be under way to it.
        may_send, owes = not scanners[leg.side.other].left, heard.pongs_owed[leg.side]
        verdict = liveness.decide(now, pending=pending, may_send=may_send, owes=owes)
        if verdict is Verdict.PING:
            mask = self._noise(4) if leg.side is Side.UPSTREAM else None
            transport.write(liveness.ping(now, payload=self._noise(PING_SIZE), mask=mask))
            heard.our_ping = liveness.payload
            pending = transport.get_write_buffer_size()
            verdict = liveness.decide(now, pending=pending, may_send=may_send, owes=owes)
        return verdict is Verdict.DEAD


def _stalled_for(session: LiveSession, leg: Leg, pending: int, now: float) -> float:
    """Seconds for which the leg has accepted no byte although some are pending."""
    # All that its peer sent was written to it but for what is held; what is not pending has left.
    scanner = session.state.scanners[leg.side.other]
    accepted = scanner.bytes - len(scanner.held) - pending
    if leg.accepted is None or accepted > leg.accepted:
        leg.accepted = accepted
        leg.accepted_at = now
    return now - leg.accepted_at

"""The client's leg of a session whose client may send only so fast."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.errors import MESSAGE_RATE
from proxy.relay.metering import Metering
from proxy.sessions.leg import Leg

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.relay.commands import Side
    from proxy.relay.scanner import Cut, Scanner
    from proxy.sessions.live import LiveSession

# Seconds that reading is stopped for at the most, so that nobody who is gone is kept for longer.
_LONGEST_WAIT: Final = 60.0


class MeteredLeg(Leg):
    """A leg that is read no faster than its rates allow."""

    __slots__ = ("_exceeds", "_metering", "_waits_since")

    def __init__(self, session: LiveSession, side: Side, scanner: Scanner) -> None:
        super().__init__(session, side, scanner)
        rates = session.limits.rates
        self._metering = Metering(
            scanner,
            messages=[rate.bucket for rate in rates if rate.kind == "messages"],
            bytes=[rate.bucket for rate in rates if rate.kind == "bytes"],
            clock=_now,
        )
        self._feed = self._scan = self._metering.feed
        # Whether it was told that this client sends too fast.
        self._exceeds = False
        # When it last began to wait for its buckets; None while it does not.
        self._waits_since: float | None = None

    def feed_by(self, feed: Callable[[bytes], Cut | None]) -> None:
        self._metering.feed_by(feed)

    def divert(self) -> None:
        super().divert()
        self.hurry()

    def hurry(self) -> None:
        self._metering.lift()
        if self._waits_since is not None:
            asyncio.get_running_loop().call_soon(self._go_on)

    def let_go(self) -> None:
        super().let_go()
        self._metering.settle()  # The key's next session begins with what this one left.

    def _rest(self, later: bytes) -> None:
        now = self._metering.measured_at
        wait = min(self._metering.wait(now, later), _LONGEST_WAIT)
        if not wait or self.diverted:
            super()._rest(later)
            return
        self._note_excess(now)
        if self.session.limits.closes:
            self.session.end(MESSAGE_RATE)
            super()._rest(later)  # The rest of a frame under way still travels.
            return
        self._put_by(later)
        loop = asyncio.get_running_loop()
        self._waits_since = loop.time()
        loop.call_later(wait, self._go_on)

    def _go_on(self) -> None:
        since, self._waits_since = self._waits_since, None
        if since is not None and self.liveness is not None:
            self.liveness.stood_still(asyncio.get_running_loop().time() - since)
        super()._go_on()

    def _note_excess(self, now: float) -> None:
        """Tells once which limit this client exceeds: every wait after that is one of many."""
        if self._exceeds:
            return
        self._exceeds = True
        rates = self.session.limits.rates
        self.session.note_limit(max(rates, key=lambda rate: rate.bucket.wait(now)).limit)


def _now() -> float:
    return asyncio.get_running_loop().time()

"""Whether anybody is still there, and for how long anybody may be (docs/configuration.md).

One sweep looks at every session in turn. What it finds nearly always is that bytes arrived, or
that silence has not lasted long enough: `Liveness.look` answers with one comparison or two, and
only what is due is decided on by `Liveness.decide`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from proxy.relay.frames import FIN, MASKED, Opcode, unmask

if TYPE_CHECKING:
    from proxy.relay.scanner import Scanner

# Bytes of a ping's payload, which nobody but its receiver can know.
PING_SIZE: Final = 8

# By how much of its length a session's lifetime varies, up and down: sessions that begin
# together, after a restart, do not all come back together.
LIFETIME_JITTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Keepalive:
    """When a leg is pinged, and when it is given up.

    Args:
        interval: seconds without a byte after which it is pinged.
        timeout: seconds that it may then stay silent.
        strict: whether that also holds for a leg that has never answered a ping.
    """

    interval: float
    timeout: float
    strict: bool


class Verdict(Enum):
    """What to do about a leg."""

    PING = "ping"
    DEAD = "dead"


class _Stage(Enum):
    """Where a leg stands."""

    HEARD = "heard"
    # Our ping may still be in our own buffer.
    WRITTEN = "written"
    # It has left: the peer's time runs.
    ASKED = "asked"


# Found at once: an enum looks for its members each time.
_HEARD: Final = _Stage.HEARD


class Liveness:
    """The keepalive of one leg.

    Args:
        keepalive: the rules.
        now: seconds on the loop's clock.
    """

    __slots__ = (
        "_due",
        "_has_answered",
        "_keepalive",
        "_pinged_at",
        "_received",
        "_stage",
        "payload",
        "rtt",
    )

    def __init__(self, keepalive: Keepalive, now: float) -> None:
        self._keepalive = keepalive
        self._stage = _HEARD
        # When there is something to decide, if no byte arrives before.
        self._due = now + keepalive.interval
        self._received = 0
        # When the latest ping was made; None once it is answered.
        self._pinged_at: float | None = None
        self._has_answered = False
        # Of all our pings to this leg, so that late answers are known too; set by the first.
        self.payload: bytes | None = None
        # Of its latest answer, in seconds; None before there was one.
        self.rtt: float | None = None

    def look(self, now: float, received: int) -> bool:
        """Whether `decide` is to be asked.

        Not to be called while we have paused reading the leg: see `stood_still`.

        Args:
            now: seconds on the loop's clock.
            received: bytes that have arrived on the leg so far.
        """
        if received != self._received:
            self._received = received
            self._hear(now)
            return False
        return now >= self._due

    def decide(self, now: float, *, pending: int, may_send: bool, owes: bool) -> Verdict | None:
        """What to do about a leg that is silent.

        Args:
            now: seconds on the loop's clock.
            pending: bytes in our buffer that the leg has not accepted.
            may_send: whether a frame can be sent to it: no other is under way.
            owes: whether it has yet to answer the other side's latest ping.

        Returns:
            PING: send what `ping` makes, then ask again. DEAD: end the session. None: wait.
        """
        keepalive = self._keepalive
        if self._stage is _Stage.ASKED:
            if keepalive.strict or self._has_answered:
                return Verdict.DEAD
            self._stage = _Stage.HEARD  # It may be one that never reads: pinged, not given up.
        if pending:
            return None  # A leg that accepts nothing is the write deadline's business.
        if self._stage is _Stage.HEARD and not owes:
            return Verdict.PING if may_send else None
        # RFC 6455 section 5.5.3 lets a leg answer the latest ping alone. So where it owes a pong
        # the other side's ping has to do in place of ours.
        self._stage = _Stage.ASKED
        closes = keepalive.strict or self._has_answered
        self._due = now + (keepalive.timeout if closes else keepalive.interval)
        return None

    def ping(self, now: float, *, payload: bytes, mask: bytes | None) -> bytes:
        """The ping frame that `decide` wants sent.

        Args:
            now: seconds on the loop's clock.
            payload: `PING_SIZE` unpredictable bytes; the first ping's are kept for all of them.
            mask: four unpredictable bytes towards an upstream, None towards a client.
        """
        if self.payload is None:
            self.payload = payload
        self._stage = _Stage.WRITTEN
        self._pinged_at = now
        first = FIN | Opcode.PING
        if mask is None:
            return bytes((first, PING_SIZE)) + self.payload
        return bytes((first, PING_SIZE | MASKED)) + mask + unmask(self.payload, mask)

    def answered(self, now: float) -> float | None:
        """The leg has answered a ping of ours.

        Returns:
            Seconds since the latest ping; None when that was answered before, or reading was
            paused meanwhile.
        """
        self._has_answered = True
        self._hear(now)
        pinged_at, self._pinged_at = self._pinged_at, None
        if pinged_at is None:
            return None
        self.rtt = now - pinged_at
        return self.rtt

    def stood_still(self, seconds: float) -> None:
        """Reading the leg was paused for so long, and goes on: that was no silence of its own."""
        self._due += seconds
        self._pinged_at = None  # How long its answer was under way cannot be told.

    def _hear(self, now: float) -> None:
        self._stage = _Stage.HEARD
        self._due = now + self._keepalive.interval


class IdleClock:
    """For how long no data message has passed either way; pings and pongs do not count.

    Args:
        seconds: that a session may be idle.
        now: seconds on the loop's clock.
    """

    __slots__ = ("_due", "_messages", "_passed", "_seconds")

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._due = now + seconds
        self._messages = 0
        # Of messages either way; kept up to date only while one is under way.
        self._passed = 0

    def look(self, now: float, scanners: tuple[Scanner, Scanner]) -> bool:
        """Whether the session has been idle for too long."""
        one, other = scanners
        messages = one.messages + other.messages
        # A message that takes long to pass is no idleness, as long as it goes on.
        passed = one.passed + other.passed if one.in_message or other.in_message else self._passed
        if messages != self._messages or passed != self._passed:
            self._messages = messages
            self._passed = passed
            self._due = now + self._seconds
            return False
        return now >= self._due


def lifetime_of(seconds: float, chance: float) -> float:
    """For how long one session may live.

    Args:
        seconds: `max_lifetime`.
        chance: a random number, at least 0 and below 1.
    """
    return seconds * (1 - LIFETIME_JITTER + 2 * LIFETIME_JITTER * chance)

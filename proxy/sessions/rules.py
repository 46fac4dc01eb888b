"""What holds for a session: the rules of its route, and the limits of whoever opened it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.limits.buckets import TokenBucket
    from proxy.limits.limit import Limit
    from proxy.relay.liveness import Keepalive

# Of a deadline's length, by how much it may be late; and the most sweeps between two looks.
_ACCURACY: Final = 0.1
_RAREST_LOOK: Final = 10


@dataclass(frozen=True, slots=True)
class SessionRules:
    """What holds for every session of a route; times are seconds, None is no limit.

    Args:
        close_timeout: that a peer has to answer a Close, or to read what is pending.
        write_timeout: that a leg may accept nothing while data is pending.
        idle_timeout: that may pass without a data message.
        max_lifetime: that a session may last, give or take a tenth.
        keepalive: None pings nobody.
        close_codes: in place of the gateway's own, by close reason.
    """

    close_timeout: float
    write_timeout: float | None
    idle_timeout: float | None
    max_lifetime: float | None
    keepalive: Keepalive | None
    close_codes: Mapping[str, int]
    # How many sweeps there are to each look at the legs: deadlines are kept to a tenth of their
    # length, and to a sweep's at best.
    look_every: int = field(init=False)

    def __post_init__(self) -> None:
        pings = self.keepalive
        deadlines = [self.write_timeout, self.idle_timeout]
        if pings is not None:
            deadlines += [pings.interval, pings.timeout]
        shortest = min((seconds for seconds in deadlines if seconds is not None), default=0.0)
        look_every = min(max(int(shortest * _ACCURACY), 1), _RAREST_LOOK)
        object.__setattr__(self, "look_every", look_every)


class MeteredRate(NamedTuple):
    """How fast the client of a session may send.

    Args:
        kind: what is counted.
        bucket: its own, or one that it shares with the other sessions of its key.
    """

    kind: Literal["messages", "bytes"]
    limit: Limit
    bucket: TokenBucket


class SessionLimits(NamedTuple):
    """What one session may do.

    Args:
        message_sizes: of what the client and what the upstream sends.
        rates: of what the client sends.
        closes: whether a client that sends faster is closed; else it is read more slowly.
    """

    message_sizes: tuple[Limit | None, Limit | None] = (None, None)
    rates: tuple[MeteredRate, ...] = ()
    closes: bool = False


UNLIMITED: Final = SessionLimits()

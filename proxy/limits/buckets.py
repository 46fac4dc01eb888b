"""Token buckets: so much at a time, so much per second."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

# A bucket holds what comes in so many seconds, and at least one token.
BURST_SECONDS: Final = 2.0

# Whoever waits for an empty bucket waits for so many seconds' worth: no timer for every token.
_SIP: Final = 0.1

# Clients that are remembered at a time: about two megabytes.
MAX_CLIENTS: Final = 10_000

# Sums of binary fractions miss what they should be by less than this, in tokens and seconds.
_ROUNDING: Final = 1e-6


def burst_of(rate: float) -> float:
    """How much a bucket with that rate per second holds."""
    return max(1.0, BURST_SECONDS * rate)


class TokenBucket:
    """One bucket, full at the beginning.

    It is kept as the time at which it would be full again: nothing has to be added as time passes.

    Args:
        rate: tokens a second.
    """

    __slots__ = ("_full_at", "_rate", "burst")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.burst = burst_of(rate)
        self._full_at = float("-inf")

    def level(self, now: float) -> float:
        """Tokens in it; below zero while more was spent than it held."""
        return self.burst - max(0.0, self._full_at - now) * self._rate

    def whole(self, now: float) -> int:
        """Whole tokens in it."""
        return max(0, int(self.level(now) + _ROUNDING))

    def wait(self, now: float) -> float:
        """Seconds until it is worth while to go on; 0 while it holds a token."""
        level = self.level(now)
        if level >= 1 - _ROUNDING:
            return 0.0
        worth_while = min(self.burst, max(1.0, _SIP * self._rate))
        return (worth_while - level) / self._rate

    def spend(self, now: float, tokens: float) -> None:
        """Takes tokens out, also such as are not there yet."""
        self._full_at = max(self._full_at, now) + tokens / self._rate


class HandshakeRate:
    """How often each client may begin a handshake.

    A client that is refused uses nothing up. What is forgotten first are buckets that are full
    again, which loses nothing; no bucket stays for longer than it takes to fill.

    Args:
        rate: handshakes a second.
        max_clients: clients that are remembered.
    """

    def __init__(self, rate: float, *, max_clients: int = MAX_CLIENTS) -> None:
        self._max_clients = max_clients
        # Seconds that one handshake takes to be made good, and that a whole bucket does.
        self._cost = 1 / rate
        self._depth = burst_of(rate) / rate
        # When each client's bucket is full again, in the order of their latest handshakes.
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        """Clients that are remembered."""
        return len(self._full_at)

    def wait(self, client: Hashable, now: float) -> float | None:
        """Seconds until a client may begin another handshake; None when it may.

        Args:
            client: as `counted_as` says.
            now: seconds on any steady clock.
        """
        wait = self._with_one_more(client, now) - now - self._depth
        return wait if wait > _ROUNDING else None

    def take(self, client: Hashable, now: float) -> None:
        """Takes note of a handshake that may begin."""
        self._full_at[client] = self._with_one_more(client, now)
        self._full_at.move_to_end(client)
        self._forget(now)

    def _with_one_more(self, client: Hashable, now: float) -> float:
        return max(self._full_at.get(client, now), now) + self._cost

    def _forget(self, now: float) -> None:
        """Drops up to two that are full, so that the table shrinks; one that is not if need be."""
        table = self._full_at
        for _ in range(2):
            if table[next(iter(table))] > now and len(table) <= self._max_clients:
                return
            table.popitem(last=False)

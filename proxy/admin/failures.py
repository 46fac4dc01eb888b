"""Wrong admin tokens by client address: who guesses is not listened to for a while."""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING, Final

from proxy.limits.addresses import counted_as
from proxy.limits.failures import AuthFailures

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

# Different wrong tokens that an address may show within a minute.
MOST: Final = 10


class TokenFailures:
    """Wrong tokens of the last minute.

    Args:
        now: a clock in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._failures = AuthFailures(MOST)

    def note(self, address: str, digest: bytes) -> None:
        """Counts a wrong token.

        Args:
            address: of the client.
            digest: of the token.
        """
        self._failures.note(_client(address), digest, self._now())

    def wait(self, address: str) -> int | None:
        """Seconds until the address is listened to again; None when it is."""
        seconds = self._failures.exhausted(_client(address), self._now())
        return None if seconds is None else max(1, math.ceil(seconds))


def _client(address: str) -> Hashable:
    """What counts as one client; a Unix socket's have no address."""
    try:
        return counted_as(ipaddress.ip_address(address))
    except ValueError:
        return address

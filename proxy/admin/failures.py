"""Wrong admin tokens by client address: who guesses is not listened to for a while."""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING, Final

from proxy.config.values import plain

if TYPE_CHECKING:
    from collections.abc import Callable

# Different wrong tokens that an address may show within a window, in seconds.
MOST: Final = 10
WINDOW: Final = 60.0

# Addresses that are remembered; the one that failed first makes room.
_ADDRESSES: Final = 1024
# Of IPv6, whose hosts choose among so many addresses.
_IPV6_PREFIX: Final = 64


class TokenFailures:
    """Wrong tokens of the last minute.

    The same wrong token counts once a window: a script with an outdated token does not keep the
    operators of its machine out, a guesser needs a new one each time.

    Args:
        now: a clock in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        # By address: when each wrong token was last counted, oldest first.
        self._seen: dict[str, dict[bytes, float]] = {}

    def note(self, address: str, digest: bytes) -> None:
        """Counts a wrong token.

        Args:
            address: of the client.
            digest: of the token.
        """
        seen = self._recent(address)
        seen.setdefault(digest, self._now())
        self._seen[_place(address)] = seen
        if len(self._seen) > _ADDRESSES:
            del self._seen[next(iter(self._seen))]

    def wait(self, address: str) -> int | None:
        """Seconds until the address is listened to again; None when it is."""
        seen = self._recent(address)
        if len(seen) < MOST:
            return None
        return max(1, math.ceil(next(iter(seen.values())) + WINDOW - self._now()))

    def _recent(self, address: str) -> dict[bytes, float]:
        past = self._now() - WINDOW
        seen = self._seen.pop(_place(address), {})
        recent = {digest: at for digest, at in seen.items() if at > past}
        if recent:
            self._seen[_place(address)] = recent
        return recent


def _place(address: str) -> str:
    try:
        ip = plain(ipaddress.ip_address(address))
        if ip.version == 4:
            return str(ip)
        return str(ipaddress.ip_network((ip.packed, _IPV6_PREFIX), strict=False))
    except ValueError:
        return address

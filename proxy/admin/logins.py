"""Logins of the console: signed cookies, and the tokens against cross-site request forgery.

Nothing is kept of a login but its end. A cookie says whose token was shown and until when; its
signature also covers the token's digest, so that a login ends with the token it was made with.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.admin.access import AdminToken

_COOKIE: Final = "wskeeper_console"
CSRF_HEADER: Final = "X-CSRF-Token"

# Seconds that a login lasts: a working day, and no night after it.
LASTS: Final = 12 * 3600

# Logins that were ended before their time and are remembered; past it the oldest is forgotten.
_MOST_ENDED: Final = 10_000

_NONCE: Final = 16
_PARTS: Final = 4
# Longer than any cookie of ours.
_LONGEST: Final = 1024
_WITH_PORT: Final = re.compile(r".*:([0-9]{1,5})")


class Logins:
    """Signs cookies and reads them.

    Args:
        secret: of this process, random.
        now: the time of day, in seconds since the epoch.
        noise: so many random bytes.
    """

    def __init__(
        self, secret: bytes, now: Callable[[], float], noise: Callable[[int], bytes]
    ) -> None:
        self._secret = secret
        self._now = now
        self._noise = noise
        # Cookies that somebody signed out with, and when they would have ended; oldest first.
        self._ended: dict[str, int] = {}

    def begin(self, token: AdminToken) -> str:
        """A cookie for whoever has shown a token."""
        name = base64.urlsafe_b64encode(token.name.encode()).decode().rstrip("=")
        body = f"{name}.{int(self._now()) + LASTS}.{self._noise(_NONCE).hex()}"
        return f"{body}.{self._signature(body, token)}"

    def holder(self, cookie: str, tokens: Iterable[AdminToken]) -> AdminToken | None:
        """The token that a cookie was made for; None unless it still counts."""
        parts = cookie.split(".")
        if len(cookie) > _LONGEST or len(parts) != _PARTS or not cookie.isascii():
            return None
        body, _, signature = cookie.rpartition(".")
        name = _decoded(parts[0])
        for token in tokens:
            if token.name == name and hmac.compare_digest(self._signature(body, token), signature):
                # Signed, so it is a number.
                lives = int(parts[1]) > self._now() and cookie not in self._ended
                return token if lives else None
        return None

    def end(self, cookie: str) -> None:
        """Ends a login that counts."""
        now = self._now()
        for ended in [old for old, end in self._ended.items() if end <= now]:
            del self._ended[ended]
        if len(self._ended) >= _MOST_ENDED:
            del self._ended[next(iter(self._ended))]
        self._ended[cookie] = int(cookie.split(".")[1])

    def csrf(self, cookie: str) -> str:
        """What the forms of a login carry; an empty cookie where nobody has to log in."""
        return self._mac(f"csrf {cookie}")

    def is_csrf(self, cookie: str, shown: str) -> bool:
        """Whether a form was made for that login."""
        return hmac.compare_digest(self.csrf(cookie).encode(), shown.encode("utf-8", "replace"))

    def _signature(self, body: str, token: AdminToken) -> str:
        return self._mac(f"login {token.digest.hex()} {body}")

    def _mac(self, text: str) -> str:
        # A header may carry bytes that are no UTF-8.
        signed = text.encode("utf-8", "surrogateescape")
        return hmac.new(self._secret, signed, hashlib.sha256).hexdigest()


def cookie_name(host: str) -> str:
    """What the cookie of a login is called: by the port that the browser knows the console at.

    Cookies ask for no port (RFC 6265 section 8.5), so gateways on one host would take away each
    other's. The port that is listened on would not do: two tunnels may lead to the same.

    Args:
        host: the value of Host; empty without one.
    """
    port = _WITH_PORT.fullmatch(host)
    return _COOKIE if port is None else f"{_COOKIE}_{port[1]}"


def _decoded(text: str) -> str | None:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None

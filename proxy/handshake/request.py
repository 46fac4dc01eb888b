"""Is a request a WebSocket handshake? RFC 6455 section 4.2.1, and what goes wrong in practice."""

from __future__ import annotations

import binascii
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from proxy.errors import Refused
from proxy.handshake.head import USUAL_CONNECTION, USUAL_UPGRADE

if TYPE_CHECKING:
    from proxy.handshake.head import Headers, RequestHead

_HOST: Final = re.compile(
    rb"(\[[0-9A-Fa-f:.%A-Za-z]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+)(?::[0-9]{0,5})?"
)
# Bytes of a Host line: the longest name there is (RFC 1035 section 2.3.4), its dot, and a port.
MAX_HOST: Final = 260
_ONE_HOST: Final = "Send exactly one valid Host header."

KEY_ON_THE_UPGRADE: Final = (
    "Nothing is opened by an ordinary request: dial this URL as a WebSocket and send the key on "
    "that upgrade request itself. A separate GET, authenticated or not, proves nothing."
)
STRIPPED: Final = (
    "A proxy in front removed the Upgrade header or spoke HTTP/1.0. nginx needs "
    "'proxy_http_version 1.1;' and the two lines 'proxy_set_header Upgrade $http_upgrade;' "
    "and 'proxy_set_header Connection \"upgrade\";'."
)


def host_of(headers: Headers) -> str:
    """The request's host in lower case, without its port (RFC 9112 section 3.2).

    Raises:
        Refused: `bad_request`: there is not exactly one Host line, or it is no host.
    """
    value = headers.one(b"host")
    if value is None:
        raise Refused("bad_request", _ONE_HOST)
    return _host(value)


@lru_cache(maxsize=1024)
def _host(value: bytes) -> str:
    """The host of a Host line; only those that are one, and so are short, are remembered."""
    match = _HOST.fullmatch(value) if len(value) <= MAX_HOST else None
    if match is None:
        raise Refused("bad_request", _ONE_HOST)
    return match[1].decode("ascii").lower().removesuffix(".")


def check_handshake(head: RequestHead) -> None:
    """Checks that the request is a valid opening handshake (RFC 6455 section 4.2.1).

    Raises:
        Refused: `method_not_allowed`, `upgrade_required`, `upgrade_stripped`,
            `unsupported_version` or `bad_request`, with the mend for the client's author.
    """
    headers, by_name = head.headers, head.headers.by_name
    if head.method != b"GET":
        raise Refused("method_not_allowed", "Open a WebSocket with GET.", (("Allow", "GET"),))
    usual = (
        headers.one(b"upgrade") in USUAL_UPGRADE and headers.one(b"connection") in USUAL_CONNECTION
    )
    if not usual or head.minor == 0:
        _check_upgrade(head)
    if b"transfer-encoding" in by_name or b"content-length" in by_name:
        _check_no_body(headers)
    if headers.one(b"sec-websocket-version") != b"13":
        raise _other_version(headers)
    key = headers.one(b"sec-websocket-key")
    if key is None or not _is_nonce(key):
        raise Refused(
            "bad_request", "Send one Sec-WebSocket-Key header: 16 random bytes in base64."
        )


def _check_upgrade(head: RequestHead) -> None:
    """Checks what asks for the upgrade, in whatever form."""
    upgrade = head.headers.one(b"upgrade")
    if upgrade is None or upgrade.lower() != b"websocket":
        raise _no_upgrade(head)
    if head.minor == 0 or not head.headers.lists(b"connection", b"upgrade"):
        raise Refused("upgrade_stripped", STRIPPED, _UPGRADE_HEADER)


def _no_upgrade(head: RequestHead) -> Refused:
    """Why a request does not upgrade to a WebSocket alone: never meant to, or was kept from it."""
    headers = head.headers
    upgrade = [token.lower() for token in headers.tokens(b"upgrade")]
    asks = any(name.startswith(b"sec-websocket-") for _, name, _ in headers.lines)
    if asks and (head.minor == 0 or not upgrade or not headers.lists(b"connection", b"upgrade")):
        return Refused("upgrade_stripped", STRIPPED, _UPGRADE_HEADER)
    if b"websocket" not in upgrade:
        return Refused("upgrade_required", KEY_ON_THE_UPGRADE, _UPGRADE_HEADER)
    return Refused("bad_request", "Send one Upgrade header that names websocket alone.")


_UPGRADE_HEADER: Final = (("Upgrade", "websocket"),)


def _check_no_body(headers: Headers) -> None:
    length = b"content-length" in headers and headers.one(b"content-length") != b"0"
    if length or b"transfer-encoding" in headers:
        raise Refused("bad_request", "A WebSocket handshake has no body.")


def _other_version(headers: Headers) -> Refused:
    """Why a version is not the one there is (section 4.4)."""
    if len(headers.all(b"sec-websocket-version")) > 1:
        return Refused("bad_request", "Send one Sec-WebSocket-Version header.")
    return Refused(
        "unsupported_version",
        "Send 'Sec-WebSocket-Version: 13'.",
        (("Sec-WebSocket-Version", "13"), *_UPGRADE_HEADER),
    )


def _is_nonce(value: bytes) -> bool:
    try:
        return len(value) == 24 and len(binascii.a2b_base64(value, strict_mode=True)) == 16
    except binascii.Error:
        return False

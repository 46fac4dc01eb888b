"""Ordinary HTTP requests beside WebSockets: which they are, and which of them may travel on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import Refused
from proxy.handshake.http_body import body_of

if TYPE_CHECKING:
    from proxy.handshake.head import RequestHead

# CONNECT asks for a tunnel, and TRACE shows whoever asks what we tell the upstream.
_NOT_RELAYED: Final = frozenset({b"CONNECT", b"TRACE"})
_ALLOW: Final = (("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)


def is_ordinary(head: RequestHead) -> bool:
    """Whether a request asks for no WebSocket, and did not before somebody removed that."""
    headers = head.headers
    return not headers.lists(b"upgrade", b"websocket") and not any(
        name.startswith(b"sec-websocket-") for _, name, _ in headers.lines
    )


def is_preflight(head: RequestHead) -> bool:
    """Whether a browser asks whether a page may send what it wants to (Fetch, CORS-preflight).

    It cannot carry a key. Whatever has a body is none.
    """
    headers = head.headers
    return (
        head.method == b"OPTIONS"
        and b"origin" in headers
        and b"access-control-request-method" in headers
        and body_of(head).complete
    )


def expects_continue(head: RequestHead) -> bool:
    """Whether the client waits for a 100 before it sends the body (RFC 9110 section 10.1.1)."""
    return head.minor > 0 and head.headers.lists(b"expect", b"100-continue")


def check_ordinary(head: RequestHead) -> None:
    """Checks that a request can be relayed.

    Raises:
        Refused: `method_not_allowed`, or `bad_request` with the mend for the client's author.
    """
    if head.method in _NOT_RELAYED or not head.method.isupper():
        raise Refused("method_not_allowed", "Send one of the methods under Allow.", _ALLOW)
    body_of(head)
    for _, _, value in head.headers.lines:
        # aiohttp's client speaks text; refusing is better than changing what was sent.
        if not value.isascii() and not _is_utf8(value):
            raise Refused("bad_request", "Send header values in UTF-8.")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True

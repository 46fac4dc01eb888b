"""What the client is answered, as bytes: the 101, a refusal, the upstream's own refusal."""

from __future__ import annotations

import json
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.handshake.answer import accept_for, end_to_end
from proxy.handshake.forward import OUR_SUBPROTOCOL

if TYPE_CHECKING:
    from proxy.errors import Refused
    from proxy.handshake.head import AnswerHead, Headers

# Of the body of an upstream's own refusal.
MAX_REFUSAL_BODY: Final = 64 * 1024

_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
)

_SUBPROTOCOL: Final = b"sec-websocket-protocol"

# These we say ourselves when an answer is relayed.
_REFRAMED: Final = frozenset({b"content-length", b"x-request-id", b"x-wskeeper-code"})


def selected_by_us(offer: Headers, answer: AnswerHead) -> bytes | None:
    """What the client is told to be selected where the upstream selected none: ours, if offered."""
    if _SUBPROTOCOL in offer.by_name and _SUBPROTOCOL not in answer.headers.by_name:
        return OUR_SUBPROTOCOL if OUR_SUBPROTOCOL in offer.tokens(_SUBPROTOCOL) else None
    return None


def switching(answer: AnswerHead, *, request_id: str, subprotocol: bytes | None = None) -> bytes:
    """The 101 for the client, with all that the upstream said end to end.

    Args:
        answer: the upstream's checked 101.
        request_id: the session's id.
        subprotocol: what to say when the upstream selected none.
    """
    if answer.accept is None:
        lines = end_to_end(answer.headers, less=_REFRAMED)
    else:
        lines = [b"Sec-WebSocket-Accept: " + answer.accept, *_alike(answer.headers)]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol)
    lines.append(b"X-Request-Id: %b\r\n\r\n" % request_id.encode())
    return _SWITCHING + b"\r\n".join(lines)


@lru_cache(maxsize=64)
def _alike(headers: Headers) -> list[bytes]:
    """The header lines that every 101 of a service holds, and that travel on."""
    return end_to_end(headers, less=_REFRAMED)


def problem(refused: Refused) -> bytes:
    """A refusal as problem+json (RFC 9457)."""
    row = refused.row
    return json.dumps(
        {
            "type": f"urn:wskeeper:{row.code}",
            "title": row.title,
            "status": row.status,
            "code": row.code,
            "detail": refused.detail or row.title + ".",
        }
    ).encode()


def refusing(refused: Refused, *, request_id: str, with_body: bool = True) -> bytes:
    """A refusal of ours, whole; the connection ends behind it.

    Args:
        refused: why.
        request_id: of the request.
        with_body: False for the answer to a HEAD (RFC 9110 section 9.3.2).
    """
    row = refused.row
    body = problem(refused)
    lines = [
        f"HTTP/1.1 {row.status} {HTTPStatus(row.status).phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        f"X-Wskeeper-Code: {row.code}",
        f"X-Request-Id: {request_id}",
    ]
    connection = "close"
    for name, value in refused.headers:
        lines.append(f"{name}: {value}")
        if name == "Upgrade":
            connection = "Upgrade, close"  # RFC 9110 section 7.8
    if refused.retry_after is not None:
        lines.append(f"Retry-After: {refused.retry_after}")
    lines.append(f"Connection: {connection}\r\n\r\n")
    return "\r\n".join(lines).encode("ascii") + (body if with_body else b"")


def relaying(answer: AnswerHead, body: bytes, *, request_id: str) -> bytes:
    """The upstream's own refusal, for the client.

    Args:
        answer: its 4xx or 5xx.
        body: what came of its body, unframed, at most `MAX_REFUSAL_BODY` bytes.
        request_id: of the request.
    """
    status = answer.status
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Refused"
    lines = [f"HTTP/1.1 {status} {phrase}".encode()]
    lines += end_to_end(answer.headers, less=_REFRAMED)
    lines += (
        b"Content-Length: %d" % len(body),
        b"X-Wskeeper-Code: upstream_refused",
        b"X-Request-Id: " + request_id.encode(),
        b"Connection: close\r\n\r\n",
    )
    return b"\r\n".join(lines) + body


def accepting_to_refuse(headers: Headers, *, request_id: str) -> bytes:
    """The 101 of `refuse_with: close`, behind which a Close frame says what a 4xx would have.

    Selects `wskeeper` if offered, else the first subprotocol that can carry no secret; a browser
    that offered some and is answered none fails before it reads the Close.
    """
    offered = headers.tokens(b"sec-websocket-protocol")
    harmless = [name for name in offered if not name.lower().startswith(OUR_SUBPROTOCOL + b".")]
    selected = OUR_SUBPROTOCOL if OUR_SUBPROTOCOL in offered else next(iter(harmless), None)
    return accepting(headers, request_id=request_id, subprotocol=selected)


def accepting(headers: Headers, *, request_id: str, subprotocol: bytes | None) -> bytes:
    """A 101 of the gateway's own (RFC 6455 section 4.2.2), without extensions.

    Args:
        headers: of the handshake.
        request_id: of the request.
        subprotocol: what is selected; None for none.
    """
    key = headers.one(b"sec-websocket-key") or b""
    lines = [b"Sec-WebSocket-Accept: " + accept_for(key)]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol)
    lines.append(b"X-Request-Id: %b\r\n\r\n" % request_id.encode())
    return _SWITCHING + b"\r\n".join(lines)

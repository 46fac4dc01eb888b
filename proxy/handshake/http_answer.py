"""The upstream's answer to an ordinary request, as its head goes on to the client."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from proxy.errors import Refused
from proxy.handshake.answer import end_to_end

if TYPE_CHECKING:
    from proxy.handshake.head import AnswerHead

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

_DETAIL: Final = "The service behind this gateway did not answer in HTTP."
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_NOT_REASON: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# These we say ourselves.
_REFRAMED: Final = frozenset({b"content-length", b"x-request-id", b"x-wskeeper-code"})


class Framing(Enum):
    """How the end of an answer's body is told (RFC 9112 section 6.3)."""

    NOTHING = auto()  # There is no body.
    LENGTH = auto()
    CHUNKED = auto()
    END = auto()  # Of the connection: HTTP/1.0 knows no other way.


def framing_of(answer: AnswerHead, *, method: bytes, minor: int) -> Framing:
    """How the body of an answer is framed for the client.

    Args:
        method: of the request.
        minor: of the client's HTTP/1.x.

    Raises:
        Refused: `upstream_invalid`: the answer does not say where it ends, or it switches to
            something that nobody asked for.
    """
    headers, status = answer.headers, answer.status
    if status < 200:
        raise Refused("upstream_invalid", _DETAIL, cause=f"it answered {status}")
    lengths = headers.all(b"content-length")
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        raise Refused("upstream_invalid", _DETAIL, cause="its Content-Length is none")
    codings = [coding.lower() for coding in headers.tokens(b"transfer-encoding")]
    if codings not in ([], [b"chunked"]):
        raise Refused("upstream_invalid", _DETAIL, cause="its Transfer-Encoding was not asked for")
    if method == b"HEAD" or status in {204, 304}:
        return Framing.NOTHING
    if lengths and not codings:
        return Framing.LENGTH
    return Framing.CHUNKED if minor else Framing.END


def answer_head(
    answer: AnswerHead, reason: bytes, framing: Framing, *, request_id: str, keep: bool
) -> bytes:
    """The head of an answer, for the client.

    Args:
        answer: the upstream's.
        reason: what it said behind the status.
        framing: of the body.
        request_id: of the request.
        keep: whether the connection stays for the next request.
    """
    lines = [b"HTTP/1.1 %d %b" % (answer.status, _NOT_REASON.sub(b"", reason))]
    lines += end_to_end(answer.headers, less=_REFRAMED)
    length = answer.headers.one(b"content-length")
    if framing is Framing.CHUNKED:
        lines.append(b"Transfer-Encoding: chunked")
    elif framing is not Framing.END and length is not None and answer.status != 204:
        lines.append(b"Content-Length: " + length)
    lines.append(b"X-Request-Id: " + request_id.encode())
    lines.append(b"Connection: keep-alive\r\n\r\n" if keep else b"Connection: close\r\n\r\n")
    return b"\r\n".join(lines)


def chunk(data: bytes) -> bytes:
    """One chunk of a body (RFC 9112 section 7.1); `data` must not be empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)

"""The body of an upstream's own refusal, taken out of its framing (RFC 9112 sections 6-7)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.handshake.reply import MAX_REFUSAL_BODY

if TYPE_CHECKING:
    from proxy.handshake.head import Headers

_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[^\r\n]*)?\r\n")

# What is read of a body in its framing; chunks of one byte cost six.
MAX_FRAMED: Final = 2 * MAX_REFUSAL_BODY


def unframe(headers: Headers, data: bytes) -> tuple[bytes, bool]:
    """Takes a body out of its framing, as far as it has come.

    Args:
        headers: of the answer.
        data: all that followed its head so far.

    Returns:
        At most `MAX_REFUSAL_BODY` bytes of body, and whether nothing more is to be waited for.
    """
    if b"transfer-encoding" in headers:
        body, complete = _dechunk(data)
    else:
        length = headers.one(b"content-length")
        if length is not None and length.isdigit():
            body = data[: int(length[:18])]
            complete = len(body) == int(length[:18])
        else:
            body, complete = data, False
    full = len(body) >= MAX_REFUSAL_BODY or len(data) >= MAX_FRAMED
    return body[:MAX_REFUSAL_BODY], complete or full


def _dechunk(data: bytes) -> tuple[bytes, bool]:
    """Decodes the chunked coding; what is malformed ends it."""
    parts: list[bytes] = []
    position = 0
    while True:
        size_line = _CHUNK_SIZE.match(data, position)
        if size_line is None:
            malformed = b"\r\n" in data[position : position + 64] or len(data) - position > 64
            return b"".join(parts), malformed
        size = int(size_line[1], 16)
        if size == 0:
            return b"".join(parts), True
        begin = size_line.end()
        parts.append(data[begin : begin + size])
        position = begin + size + 2
        if position > len(data):
            return b"".join(parts), False

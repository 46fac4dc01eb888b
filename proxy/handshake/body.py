"""The body of an upstream's own refusal, taken out of its framing (RFC 9112 sections 6-7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.handshake.head import Malformed
from proxy.handshake.http_body import ChunkedBody, LengthBody
from proxy.handshake.reply import MAX_REFUSAL_BODY

if TYPE_CHECKING:
    from proxy.handshake.head import Headers

# What is read of a body in its framing; chunks of one byte cost six.
MAX_FRAMED: Final = 2 * MAX_REFUSAL_BODY

# Digits of a length that matter: more than anybody reads.
_DIGITS: Final = 18


class RefusalBody:
    """A refusal's body as it comes; what is malformed ends it, and what came before is kept.

    Args:
        headers: of the answer.
    """

    __slots__ = ("_body", "_framed", "_framing")

    def __init__(self, headers: Headers) -> None:
        self._framing = _framing_of(headers)
        self._body = bytearray()
        # Bytes read so far, framing included.
        self._framed = 0

    @property
    def taken(self) -> bytes:
        """What came of it, at most `MAX_REFUSAL_BODY` bytes."""
        return bytes(self._body[:MAX_REFUSAL_BODY])

    def feed(self, data: bytes) -> bool:
        """Takes the next bytes behind the head.

        Returns:
            Whether nothing more is to be waited for.
        """
        framing, body = self._framing, self._body
        self._framed += len(data)
        ended = False
        if framing is None:
            body += data
        elif isinstance(framing, LengthBody):
            body += framing.feed(data)[0]
            ended = framing.complete
        else:
            try:
                framing.feed_into(body, data)
                ended = framing.complete
            except Malformed:
                ended = True
        return ended or len(body) >= MAX_REFUSAL_BODY or self._framed >= MAX_FRAMED


def _framing_of(headers: Headers) -> LengthBody | ChunkedBody | None:
    """How an answer's body is framed; None where it ends with the connection (section 6.3)."""
    if any(coding.lower() != b"identity" for coding in headers.tokens(b"transfer-encoding")):
        return ChunkedBody()
    length = headers.one(b"content-length")
    if length is None or not length.isdigit():
        return None
    return LengthBody(int(length[:_DIGITS]))

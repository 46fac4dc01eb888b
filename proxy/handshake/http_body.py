"""The body of an ordinary request, followed to its very end (RFC 9112 sections 6 and 7).

Where a request ends decides what the next one is: two readers that differ on it let a client
smuggle requests past one of them. So a framing is beyond doubt or refused, and what travels on is
framed anew.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from proxy.errors import Refused
from proxy.handshake.head import Headers, Malformed

if TYPE_CHECKING:
    from proxy.handshake.head import RequestHead

# A size in hexadecimal; extensions (section 7.1.1) are dropped.
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")

# Bytes of the line with a chunk's size, and of all trailers.
MAX_SIZE_LINE: Final = 4096
MAX_TRAILERS: Final = 8192

_FRAMING: Final = "Send one Content-Length in digits, or Transfer-Encoding: chunked, not both."


class LengthBody:
    """A body of a known length.

    Args:
        length: in bytes.
    """

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def complete(self) -> bool:
        """Whether all of it has come."""
        return not self._left

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Takes the next bytes; returns what of them is body, and what lies behind its end."""
        body = data[: self._left]
        self._left -= len(body)
        return body, data[len(body) :]


class _Part(Enum):
    """What of a chunked body comes next."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()
    NOTHING = auto()


class ChunkedBody:
    """A body in chunks; its trailers are read and dropped (section 7.1)."""

    __slots__ = ("_held", "_left", "_part")

    def __init__(self) -> None:
        self._part = _Part.SIZE
        # Bytes of the chunk that are still to come.
        self._left = 0
        # The begin of a line that is not complete.
        self._held = b""

    @property
    def complete(self) -> bool:
        """Whether all of it has come, its trailers included."""
        return self._part is _Part.NOTHING

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Takes the next bytes; returns what of them is body, and what lies behind its end.

        Raises:
            Malformed: it is no chunked body.
        """
        body = bytearray()
        rest = self.feed_into(body, data)
        return bytes(body), rest

    def feed_into(self, body: bytearray, data: bytes) -> bytes:
        """As `feed`, with the body appended to `body`, also what comes before what is malformed."""
        if self._held:
            data, self._held = self._held + data, b""
        at = 0
        while at < len(data) and not self.complete:
            if self._part is _Part.DATA:
                piece = data[at : at + self._left]
                body += piece
                self._left -= len(piece)
                at += len(piece)
                if not self._left:
                    self._part = _Part.DATA_END
                continue
            end = self._line(data, at)
            if end is None:
                self._held, at = data[at:], len(data)
            else:
                at = end
        return data[at:]

    def _line(self, data: bytes, at: int) -> int | None:
        """Reads what is not data from `at` on; returns where it ends, None while it does not."""
        if self._part is _Part.SIZE:
            return self._size(data, at)
        if self._part is _Part.TRAILERS:
            return self._trailers(data, at)
        end = data[at : at + 2]
        if end == b"\r\n":
            self._part = _Part.SIZE
            return at + 2
        if end != b"\r":
            raise Malformed("a chunk is longer than it says")
        return None

    def _size(self, data: bytes, at: int) -> int | None:
        line = _SIZE.match(data, at, at + MAX_SIZE_LINE)
        if line is None:
            if len(data) - at >= MAX_SIZE_LINE or b"\n" in data[at:]:
                raise Malformed("not the size of a chunk")
            return None
        self._left = int(line[1], 16)
        self._part = _Part.DATA if self._left else _Part.TRAILERS
        return line.end()

    def _trailers(self, data: bytes, at: int) -> int | None:
        if data.startswith(b"\r\n", at):
            self._part = _Part.NOTHING
            return at + 2
        end = data.find(b"\r\n\r\n", at, at + MAX_TRAILERS)
        if end < 0:
            if len(data) - at >= MAX_TRAILERS:
                raise Malformed("too many trailers")
            return None
        Headers(data[at : end + 2])
        self._part = _Part.NOTHING
        return end + 4


def body_of(head: RequestHead) -> LengthBody | ChunkedBody:
    """How a request's body is framed (section 6.3); one without any has length 0.

    Raises:
        Refused: `bad_request`: two readers could differ on where it ends.
    """
    headers = head.headers
    lengths = headers.all(b"content-length")
    codings = headers.all(b"transfer-encoding")
    if codings:
        # Section 6.1: HTTP/1.0 knows none.
        if lengths or head.minor == 0 or [coding.lower() for coding in codings] != [b"chunked"]:
            raise Refused("bad_request", _FRAMING)
        return ChunkedBody()
    if not lengths:
        return LengthBody(0)
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Refused("bad_request", _FRAMING)
    return LengthBody(int(lengths[0]))

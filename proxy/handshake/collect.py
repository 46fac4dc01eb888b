"""A request head collected from the stream, bounded in size from its first byte on."""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import Refused

# RFC 9112 section 2.2: a server should ignore at least one in front of the request line.
MAX_EMPTY_LINES: Final = 2

_BARE_LF: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_METHOD_START: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]")

_TOO_LARGE: Final = "Send fewer or shorter headers."
_TOO_LONG: Final = "Send a shorter request target."
_NOT_HTTP: Final = "This port speaks HTTP/1.1; what arrived is something else."


def whole_head(data: bytes, limit: int) -> tuple[bytes, bytes] | None:
    """The head that a first read holds whole, as nearly all do, and what stands behind it.

    Args:
        limit: as `HeadCollector` has it.

    Returns:
        None where a collector has to look: the head is not complete, or not that plain.
    """
    end = data.find(b"\r\n\r\n") + 4
    # No line of it can be too long.
    if 4 < end <= limit // 2 and not data.startswith(b"\r\n"):
        return data[:end], data[end:]
    return None


class HeadCollector:
    """Collects bytes up to and with the blank line that ends a head (RFC 9112 section 2).

    Args:
        limit: bytes of the whole head; one line may take half of them.
    """

    __slots__ = ("_buffer", "_empty_lines", "_limit", "_line")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._empty_lines = 0
        # Where the last line begins that has not been measured whole.
        self._line = 0

    @property
    def begun(self) -> bool:
        """Whether anything of a head arrived."""
        return bool(self._buffer) or self._empty_lines > 0

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Takes the next bytes; each is looked at once, however small the pieces.

        Returns:
            The head, and what arrived behind it; None while it is incomplete.

        Raises:
            Refused: `bad_request`, `target_too_long` or `head_too_large`.
        """
        buffer = self._buffer
        searched = max(0, len(buffer) - 3)
        buffer += data
        while buffer.startswith(b"\r\n"):
            self._empty_lines += 1
            if self._empty_lines > MAX_EMPTY_LINES:
                raise Refused("bad_request", _NOT_HTTP)
            del buffer[:2]
            searched = 0
        end = buffer.find(b"\r\n\r\n", searched)
        if end < 0:
            self._check_grammar(searched)
            self._check_size(len(buffer), searched)
            return None
        size = end + 4
        if size > self._limit // 2:
            self._check_size(size, searched)
        head = bytes(buffer[:size])
        rest = bytes(buffer[size:])
        self._buffer = bytearray()
        self._line = 0
        return head, rest

    def _check_grammar(self, searched: int) -> None:
        """Refuses what can no longer become a head, as early as that is known."""
        buffer = self._buffer
        if buffer and buffer != b"\r" and not _METHOD_START.match(buffer):
            raise Refused("bad_request", _NOT_HTTP)
        if _BARE_LF.search(buffer, searched, self._limit + 1):
            raise Refused("bad_request", "End every header line with CR LF.")

    def _check_size(self, size: int, searched: int) -> None:
        """Refuses the first `size` bytes if they, or a line of theirs, are too long."""
        buffer, line_limit = self._buffer, self._limit // 2
        while True:
            end = buffer.find(b"\r\n", max(self._line, searched), size)
            length = (size - buffer.endswith(b"\r") if end < 0 else end) - self._line
            if length > line_limit:
                if self._line == 0:
                    raise Refused("target_too_long", _TOO_LONG)
                raise Refused("head_too_large", _TOO_LARGE)
            if end < 0:
                break
            self._line = end + 2
        if size > self._limit:
            raise Refused("head_too_large", _TOO_LARGE)

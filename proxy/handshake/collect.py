"""A request head collected from the stream, bounded in size from its first byte on."""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import Refused

_BARE_LF: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_METHOD_START: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]")

_TOO_LARGE: Final = "Send fewer or shorter headers."
_TOO_LONG: Final = "Send a shorter request target."
_NOT_HTTP: Final = "This port speaks HTTP/1.1; what arrived is something else."


class HeadCollector:
    """Collects bytes up to and with the blank line that ends a head (RFC 9112 section 2).

    Args:
        limit: bytes of the whole head; one line may take half of them.
    """

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    @property
    def begun(self) -> bool:
        """Whether anything of a head arrived."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Takes the next bytes.

        Returns:
            The head, and what arrived behind it; None while it is incomplete.

        Raises:
            Refused: `bad_request`, `target_too_long` or `head_too_large`.
        """
        buffer = self._buffer
        searched = max(0, len(buffer) - 3)
        buffer += data
        while buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2 allows empty lines in front.
            del buffer[:2]
            searched = 0
        end = buffer.find(b"\r\n\r\n", searched)
        if end < 0:
            self._check(bytes(buffer[: self._limit + 1]))
            return None
        head = bytes(buffer[: end + 4])
        rest = bytes(buffer[end + 4 :])
        if len(head) > self._limit // 2:
            self._check_size(head)
        self._buffer = bytearray()
        return head, rest

    def _check(self, incomplete: bytes) -> None:
        """Refuses what can no longer become a head, as early as that is known."""
        if incomplete and not _METHOD_START.match(incomplete):
            raise Refused("bad_request", _NOT_HTTP)
        if _BARE_LF.search(incomplete, max(0, len(incomplete) - self._limit)):
            raise Refused("bad_request", "End every header line with CR LF.")
        self._check_size(incomplete)

    def _check_size(self, head: bytes) -> None:
        line_limit = self._limit // 2
        if len(head) <= line_limit:
            return
        first, *others = head.split(b"\r\n")
        if len(first) > line_limit:
            raise Refused("target_too_long", _TOO_LONG)
        if len(head) > self._limit or any(len(line) > line_limit for line in others):
            raise Refused("head_too_large", _TOO_LARGE)

"""What a client sends before there is an upstream for it, kept in bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

# Bytes that wait; then the client is not read.
MAX_EARLY: Final = 64 * 1024


class EarlyData:
    """Bytes for the upstream, in order; reading pauses when there are too many.

    Args:
        transport: the client's.
    """

    __slots__ = ("_data", "_paused", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._data = b""
        self._paused = False

    def add(self, data: bytes) -> None:
        """Keeps what arrived."""
        self._data += data
        if len(self._data) > MAX_EARLY and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def taken(self) -> bytes:
        """All that was kept; it is the caller's now, who may pause reading for a reason of its own.

        Reading goes on, if it was paused here.
        """
        data, self._data = self._data, b""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

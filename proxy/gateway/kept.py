"""A client's connection between two ordinary requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.sessions.leg import WRITE_HIGH, WRITE_LOW

if TYPE_CHECKING:
    from proxy.deadlines import DeadlineQueue
    from proxy.gateway.house import House
    from proxy.handshake.client import Address

# Seconds an idle connection is kept for the next request.
KEEP_ALIVE: Final = 75.0


class KeptAlive(asyncio.Protocol):
    """Waits for the next request, which is a front door's: only that judges.

    Args:
        source: the client's address, where it is not the socket's peer; else None.
    """

    __slots__ = ("_house", "_source", "_transport")

    def __init__(self, house: House, transport: asyncio.Transport, source: Address | None) -> None:
        self._house = house
        self._transport = transport
        self._source = source

    def begin(self, early: bytes) -> None:
        """Takes the connection over; `early` is what of the next request has come."""
        self._transport.set_protocol(self)
        # Of the answer nothing may have been pending; a session may follow.
        self._transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        self._house.lingering.add(self._transport)
        self._idle.add(self)
        self._transport.resume_reading()
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        self._leave()
        self._house.plain.door(self._source).resume(transport, data)

    def eof_received(self) -> bool:
        return False  # The transport closes itself.

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._leave()
        del self._transport  # TLS keeps its last protocol; see Leg.let_go.

    def overdue(self) -> None:
        """No next request came."""
        self._transport.close()

    @property
    def _idle(self) -> DeadlineQueue:
        return self._house.deadlines.lasting(KEEP_ALIVE)

    def _leave(self) -> None:
        self._house.lingering.discard(self._transport)
        self._idle.discard(self)

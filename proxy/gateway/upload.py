"""A request's body on its way to the upstream, in bounds."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.deadlines import DeadlineQueue

# Bytes that may wait for a slow upstream before the client is not read, and when it is again.
_HIGH: Final = 64 * 1024
_LOW: Final = 16 * 1024


class Upload:
    """The pieces of a body, put in as they arrive and taken out as the upstream accepts them.

    Args:
        transport: the client's; not read while too much waits.
        patience: for the upstream to accept a piece; None is for ever.
        wanted: called when the upstream waits for what has not come.
        stalled: called when the upstream does not accept a piece in time.
    """

    __slots__ = (
        "_arrived",
        "_ended",
        "_patience",
        "_pieces",
        "_stalled",
        "_transport",
        "_waiting",
        "_wanted",
        "paused",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        patience: DeadlineQueue | None,
        wanted: Callable[[], None],
        stalled: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._patience = patience
        self._wanted = wanted
        self._stalled = stalled
        self._pieces: deque[bytes] = deque()
        # Bytes of them.
        self._waiting = 0
        self._ended = False
        # Set while the next piece is waited for.
        self._arrived: asyncio.Future[None] | None = None
        # Whether the client is not read.
        self.paused = False

    def put(self, piece: bytes) -> None:
        """Takes what arrived."""
        if not piece:
            return
        self._pieces.append(piece)
        self._waiting += len(piece)
        if self._waiting > _HIGH and not self.paused:
            self.paused = True
            self._transport.pause_reading()
        self._wake()

    def end(self) -> None:
        """There is no more of it."""
        self._ended = True
        self._wake()

    def close(self) -> None:
        """Nobody takes any more of it."""
        self._pieces.clear()
        self._accepted()

    def overdue(self) -> None:
        """The upstream has not accepted the last piece in time."""
        self._stalled()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next piece; being asked for it means that the one before was accepted."""
        self._accepted()
        while not self._pieces:
            if self._ended:
                raise StopAsyncIteration
            self._wanted()
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        piece = self._pieces.popleft()
        self._waiting -= len(piece)
        if self.paused and self._waiting <= _LOW:
            self.paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        if self._patience is not None:
            self._patience.add(self)
        return piece

    def _accepted(self) -> None:
        if self._patience is not None:
            self._patience.discard(self)

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

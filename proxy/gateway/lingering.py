"""The end of a connection that was refused: the answer must arrive before the socket goes.

Closing a socket with unread bytes makes the kernel send RST, which may destroy an answer that the
client has not read yet. So what still comes is read and dropped until the client hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.relay.scanner import Scanner

# Seconds a refused client has to read its answer and hang up.
LINGER: Final = 2.0


class Lingering(asyncio.Protocol):
    """Reads and drops until the client hangs up or time is over.

    Args:
        transport: with the answer written.
        seconds: how long; then the socket is dropped with whatever is pending.
        gone: called once when the socket is gone.
        scanner: of what the client sends, where its Close frame ends it; None waits for FIN.
    """

    __slots__ = ("_gone", "_later", "_scanner", "_timer", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        seconds: float,
        gone: Callable[[], None],
        scanner: Scanner | None = None,
    ) -> None:
        self._transport = transport
        # None once it was called.
        self._gone: Callable[[], None] | None = gone
        self._scanner = scanner
        # The part of a read that waits for its turn.
        self._later = b""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, transport.abort)
        transport.set_protocol(self)
        transport.resume_reading()
        if scanner is None:
            if transport.can_write_eof():
                # asyncio shuts the socket down at once, and the client may have reset it.
                with contextlib.suppress(OSError):
                    transport.write_eof()
            else:
                transport.close()
        elif scanner.close is not None:  # The client's Close came first: all is said.
            transport.close()

    def data_received(self, data: bytes) -> None:
        scanner = self._scanner
        if scanner is None:
            return
        if self._later:  # TLS delivers what it has decrypted.
            self._later += data
            return
        cut = scanner.feed(data)
        if scanner.close is not None:
            self._transport.close()
        elif cut is not None and cut.violation is not None:
            # What follows makes no sense; closing now, with bytes unread, would be an RST.
            self._scanner = None
        elif cut is not None and cut.later:  # Others have their turn before it is looked at.
            self._later = cut.later
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        later, self._later = self._later, b""
        if self._gone is None or self._transport.is_closing():
            return
        self.data_received(later)
        if not (self._later or self._transport.is_closing()):
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        return False  # The transport flushes and closes itself.

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._timer.cancel()
        gone, self._gone = self._gone, None
        assert gone is not None
        gone()
        del self._transport  # TLS keeps its last protocol; see Leg.let_go.

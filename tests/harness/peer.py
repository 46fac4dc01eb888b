"""A blocking socket with deadlines, as both ends of the gateway need it in tests."""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Self

from tests.harness import frames
from tests.harness.process import BUSY

if TYPE_CHECKING:
    import random

    from tests.harness.frames import Frame

READ_DEADLINE = 5.0
CHUNK = 256 * 1024


class PeerGoneError(AssertionError):
    """The other end closed where more was expected."""


class Peer:
    """One TCP (or TLS) connection; every read has a deadline.

    Attributes:
        received: how many bytes arrived so far.
        ended: "fin" or "rst" once the other end is gone, else None.
    """

    def __init__(self, sock: socket.socket, timeout: float = READ_DEADLINE) -> None:
        self.sock = sock
        self.timeout = timeout
        self.received = 0
        self.ended: str | None = None
        self._buffer = bytearray()
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # -- sending

    def send(self, data: bytes | memoryview) -> None:
        """All of it, or an error when the other end takes none for the deadline."""
        self.sock.settimeout(self.timeout)
        self.sock.sendall(data)

    def send_some(self, data: bytes | memoryview, *, patience: float) -> int:
        """As much as the other end takes until it accepts nothing for `patience` seconds."""
        view = memoryview(data)
        sent = 0
        self.sock.settimeout(patience)
        try:
            while sent < len(view):
                sent += self.sock.send(view[sent : sent + CHUNK])
        except TimeoutError:
            pass
        finally:
            self.sock.settimeout(self.timeout)
        return sent

    def send_text(self, text: str) -> None:
        """A client's text message in one frame."""
        self.send(frames.masked(frames.TEXT, text.encode()))

    # -- reading

    def _receive(self, timeout: float | None = None) -> bytes:
        """The next bytes; b"" when the other end is gone; TimeoutError past the deadline."""
        if self.ended is not None:
            return b""
        self.sock.settimeout(self.timeout if timeout is None else max(timeout, 0.001))
        try:
            data = self.sock.recv(CHUNK)
        except TimeoutError:
            raise
        except OSError:  # a reset, or TLS cut short
            self.ended = "rst"
            return b""
        if not data:
            self.ended = "fin"
        self.received += len(data)
        return data

    def _fill(self, deadline: float) -> None:
        data = self._receive(deadline - time.monotonic())
        if not data:
            raise PeerGoneError(f"gone ({self.ended}) after {bytes(self._buffer[:200])!r}")
        self._buffer += data

    def read_exactly(self, size: int) -> bytes:
        deadline = time.monotonic() + self.timeout
        while len(self._buffer) < size:
            self._fill(deadline)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def read_head(self) -> bytes:
        """Up to and with the blank line."""
        deadline = time.monotonic() + self.timeout
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._fill(deadline)
        return self.read_exactly(end + 4)

    def read_frame(self) -> Frame:
        deadline = time.monotonic() + self.timeout
        while (frame := frames.take(self._buffer)) is None:
            self._fill(deadline)
        return frame

    def read_some(self, timeout: float) -> bytes:
        """What has arrived, or arrives first within `timeout` seconds; b"" at the end."""
        if not self._buffer:
            return self._receive(timeout)
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def read_to_end(self, within: float | None = None) -> bytes:
        """Everything until the other end closes or resets, which must happen `within` seconds.

        Others may hold the machine up for a while besides.
        """
        deadline = time.monotonic() + (self.timeout if within is None else within + BUSY)
        while True:
            try:
                data = self._receive(deadline - time.monotonic())
            except TimeoutError:
                kept = bytes(self._buffer[:200])
                raise AssertionError(f"still open after {within} s; got {kept!r}") from None
            if not data:
                rest = bytes(self._buffer)
                self._buffer.clear()
                return rest
            self._buffer += data

    # -- asserts

    def expect_silence(self, seconds: float = 0.3) -> None:
        """Nothing arrives and nobody leaves for that long."""
        assert not self._buffer, f"already got {bytes(self._buffer[:200])!r}"
        with contextlib.suppress(TimeoutError):
            data = self._receive(seconds)
            raise AssertionError(f"expected silence, got {data[:200]!r} ({self.ended})")

    def expect_end(self, within: float = 1.0) -> None:
        """The other end closes or resets within that time, and says nothing more."""
        rest = self.read_to_end(within)
        assert rest == b"", f"bytes before the end: {rest[:200]!r}"

    def expect_close(self, code: int | None, reason: str | None = None) -> Frame:
        """The next frame is a Close with that code (None: no payload) and reason."""
        frame = self.read_frame()
        assert frame.opcode == frames.CLOSE, f"not a Close: {frame}"
        assert frame.fin, frame
        assert frame.rsv == 0, frame
        assert frame.close_code == code, f"{frame.close_code} {frame.payload[2:]!r}"
        if reason is not None:
            assert frame.close_reason == reason, frame
        return frame

    def is_readable(self, timeout: float = 0.0) -> bool:
        return bool(self._buffer) or bool(select.select([self.sock], [], [], timeout)[0])

    # -- leaving

    def finish_sending(self) -> None:
        """FIN: this end will say nothing more, and still listens."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST: gone at once, without goodbye."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


def pour(
    sender: Peer,
    receiver: Peer,
    data: bytes,
    *,
    timeout: float = 30.0,
    segments: random.Random | None = None,
) -> None:
    """Sends all of `data` while the other side reads it; it must arrive byte by byte the same.

    Args:
        sender: the end that sends.
        receiver: the end that reads.
        data: what travels.
        timeout: seconds for each read, and for all that is sent.
        segments: sends in segments of random sizes up to 256 KiB, else all at once.
    """
    problems: list[Exception] = []

    def send() -> None:
        view, at = memoryview(data), 0
        try:
            while at < len(view):
                size = int(2 ** segments.uniform(0, 18)) if segments else len(view)
                sender.send(view[at : at + size])
                at += size
        except OSError as error:
            problems.append(error)

    before, sender.timeout = sender.timeout, timeout
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    digest, left = hashlib.sha256(), len(data)
    while left:
        part = receiver.read_some(timeout)
        assert part, f"gone ({receiver.ended}) with {left} of {len(data)} bytes to come"
        digest.update(part)
        left -= len(part)
        assert left >= 0, f"{-left} bytes too many"
    thread.join(timeout)
    sender.timeout = before
    assert digest.digest() == hashlib.sha256(data).digest(), "the bytes differ"
    assert not problems, problems

"""The service behind every proxy: answers the handshake, then echoes frames of known size.

The last part of the path says what a session does: `64` takes client frames of 64 bytes and sends
back a frame made beforehand, `sink` reads and forgets, `echo` unmasks and returns what it really
got (for the check before the measurement). A Close frame is answered and the socket closed.
"""

from __future__ import annotations

import re
import socket

from benchmarks import wire
from benchmarks.loop import WRITABLE, Loop, Stream

BACKLOG = 4096
# Two bytes of header and the masking key.
SHORTEST_FRAME = 6
BUFFER = bytearray(1 << 20)
# From here on the payload is dropped in the kernel (MSG_TRUNC): copying it proves nothing.
DROP_FROM = 4096
_KEY = re.compile(rb"\r\nsec-websocket-key: *([^\r ]+)", re.IGNORECASE)
_PATH = re.compile(rb"GET [^ ]*/([a-z0-9]+) ")


def payload_of(size: int) -> bytes:
    """The bytes of every message of that size."""
    return (bytes(range(256)) * (size // 256 + 1))[:size]


class Echo:
    """The listening side; `port` is chosen by the system."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._listener.settimeout(0)
        self.port: int = self._listener.getsockname()[1]
        self.fd = self._listener.fileno()
        # Bytes that all `sink` sessions have read.
        self.sunk = 0
        self._replies: dict[int, bytes] = {}
        loop.add(self.fd, self._accept)

    def reply(self, size: int) -> bytes:
        """The frame that answers a client frame with `size` bytes of payload."""
        if size not in self._replies:
            self._replies[size] = wire.server_frame(payload_of(size))
        return self._replies[size]

    def _accept(self, _events: int) -> None:
        for _ in range(64):
            try:
                sock, _address = self._listener.accept()
            except BlockingIOError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Opening(self._loop, sock, self)

    def serve(self, sock: socket.socket, mode: str) -> None:
        """Takes over a socket whose handshake has been answered."""
        if mode == "sink":
            _Sink(self._loop, sock, self)
        elif mode == "echo":
            _TrueEcho(self._loop, sock)
        else:
            size = int(mode)
            _FixedEcho(self._loop, sock, size, self.reply(size))

    def close(self) -> None:
        self._loop.forget(self.fd)
        self._listener.close()


class _Session(Stream):
    __slots__ = ()

    def receive(self, flags: int = 0) -> int:
        """Bytes read into BUFFER; 0 when the peer is gone, -1 when nothing is there."""
        try:
            return self.receive_into(BUFFER, 0, flags)
        except BlockingIOError:
            return -1
        except OSError:
            return 0

    def answer_close(self) -> None:
        self.send(wire.SERVER_CLOSE)
        self.close()


class _Opening(_Session):
    __slots__ = ("_echo", "_head")

    def __init__(self, loop: Loop, sock: socket.socket, echo: Echo) -> None:
        self._echo = echo
        self._head = b""
        super().__init__(loop, sock)

    def ready(self, events: int) -> None:
        del events
        received = self.receive()
        if received <= 0:
            if not received:
                self.close()
            return
        self._head += bytes(BUFFER[:received])
        if not self._head.endswith(wire.END_OF_HEAD):
            return
        key, path = _KEY.search(self._head), _PATH.match(self._head)
        if key is None or path is None:
            self.close()
            return
        self.send(wire.upgrade_response(key[1]))
        self._loop.forget(self.fd)
        self._echo.serve(self.sock, path[1].decode())


class _FixedEcho(_Session):
    __slots__ = ("_flags", "_frame_size", "_got", "_reply")

    def __init__(self, loop: Loop, sock: socket.socket, size: int, reply: bytes) -> None:
        self._frame_size = len(wire.header(wire.BINARY, size, masked=True)) + 4 + size
        self._flags = socket.MSG_TRUNC if size >= DROP_FROM else 0
        self._reply = reply
        # Bytes of the current frame that have arrived.
        self._got = 0
        super().__init__(loop, sock)

    def ready(self, events: int) -> None:
        if events & WRITABLE:
            self.flush()
            if events == WRITABLE:
                return
        received = self.receive(self._flags if self._got else 0)
        if received <= 0:
            if not received:
                self.close()
        elif not self._got and BUFFER[0] & wire.OPCODE == wire.CLOSE_OPCODE:
            self.answer_close()
        else:
            replies, self._got = divmod(self._got + received, self._frame_size)
            if replies:
                self.send(self._reply * replies)


class _Sink(_Session):
    __slots__ = ("_echo",)

    def __init__(self, loop: Loop, sock: socket.socket, echo: Echo) -> None:
        self._echo = echo
        super().__init__(loop, sock)

    def ready(self, events: int) -> None:
        del events
        received = self.receive(socket.MSG_TRUNC)
        if not received:
            self.close()
        elif received > 0:
            self._echo.sunk += received


class _TrueEcho(_Session):
    __slots__ = ("_data",)

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self._data = b""
        super().__init__(loop, sock)

    def ready(self, events: int) -> None:
        if events & WRITABLE:
            self.flush()
            if events == WRITABLE:
                return
        received = self.receive()
        if not received:
            self.close()
        elif received > 0:
            self._data += bytes(BUFFER[:received])
            self._take_frame()

    def _take_frame(self) -> None:
        data = self._data
        if len(data) < SHORTEST_FRAME:
            return
        if data[0] & wire.OPCODE == wire.CLOSE_OPCODE:
            self.answer_close()
            return
        extra = {126: 2, 127: 8}.get(data[1] & 0x7F, 0)
        start = 6 + extra
        length = int.from_bytes(data[2 : 2 + extra], "big") if extra else data[1] & 0x7F
        if len(data) < start + length:
            return
        key, self._data = data[start - 4 : start], data[start + length :]
        payload = wire.mask(data[start : start + length], key)
        self.send(wire.server_frame(payload, data[0]))

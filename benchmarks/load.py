"""The clients: ping-pong, handshakes, idle sessions, one huge message, an open-loop sender."""

from __future__ import annotations

import collections
import socket
import time
from typing import TYPE_CHECKING

from benchmarks import wire
from benchmarks.echo import BUFFER, DROP_FROM, payload_of
from benchmarks.loop import WRITABLE, Loop, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CONNECT_TIMEOUT = 5.0
HEAD_LIMIT = 16384
# Sockets that may wait for their 101 at the same time while many sessions are opened.
OPENING_AT_ONCE = 32
STREAM_CHUNK = 256 * 1024


class LoadError(Exception):
    """The proxy did not do what every proxy must; the message says what."""


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=CONNECT_TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class _Client(Stream):
    __slots__ = ()

    def receive(self, flags: int = 0) -> int:
        """Bytes read into BUFFER, -1 when nothing is there; a lost connection is an error."""
        try:
            received = self.receive_into(BUFFER, 0, flags)
        except BlockingIOError:
            return -1
        except OSError as error:
            raise LoadError(f"connection lost: {error}") from error
        if not received:
            raise LoadError("the proxy ended a session")
        return received


class _Opening(_Client):
    __slots__ = ("_head", "_opened")

    def __init__(
        self, loop: Loop, port: int, request: bytes, opened: Callable[[socket.socket], None]
    ) -> None:
        self._head = b""
        self._opened = opened
        super().__init__(loop, connect(port))
        self.send(request)

    def ready(self, events: int) -> None:
        del events
        received = self.receive()
        if received < 0:
            return
        self._head += bytes(BUFFER[:received])
        if wire.END_OF_HEAD in self._head:
            if not self._head.startswith(b"HTTP/1.1 101"):
                raise LoadError(f"handshake refused: {self._head[:60]!r}")
            self._loop.forget(self.fd)
            self._opened(self.sock)
        elif len(self._head) > HEAD_LIMIT:
            raise LoadError("endless response head")


def open_sessions(
    loop: Loop, port: int, request: bytes, count: int, *, timeout: float = 60
) -> list[socket.socket]:
    """`count` sessions past their 101.

    Raises:
        LoadError: one was refused, or they were not all open within `timeout` seconds.
    """
    sockets: list[socket.socket] = []
    begun = 0

    def opened(sock: socket.socket) -> None:
        sockets.append(sock)
        begin()

    def begin() -> None:
        nonlocal begun
        if begun < count:
            begun += 1
            _Opening(loop, port, request, opened)

    for _ in range(min(count, OPENING_AT_ONCE)):
        begin()
    if not loop.run(timeout, lambda: len(sockets) == count):
        raise LoadError(f"{len(sockets)} of {count} sessions open after {timeout:.0f} s")
    return sockets


class _Exchange(_Client):
    __slots__ = ("data",)

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.data = b""
        super().__init__(loop, sock)

    def ready(self, events: int) -> None:
        if events & WRITABLE:
            self.flush()
            if events == WRITABLE:
                return
        received = self.receive()
        if received > 0:
            self.data += bytes(BUFFER[:received])


def exchange(loop: Loop, sock: socket.socket, data: bytes, size: int) -> bytes:
    """Sends `data`, returns the `size` bytes that come back (fewer after 10 s), closes."""
    client = _Exchange(loop, sock)
    try:
        client.send(data)
        loop.run(10, lambda: len(client.data) >= size)
        return client.data
    finally:
        client.close()


class PingPong(_Client):
    """Sends a frame, awaits its echo, sends again, until `running` is set to False."""

    __slots__ = ("_flags", "_frame", "_got", "_reply_size", "count", "idle", "running")

    def __init__(self, loop: Loop, sock: socket.socket, size: int) -> None:
        payload = payload_of(size)
        self._frame = wire.client_frame(payload)
        self._reply_size = len(wire.server_frame(payload))
        self._flags = socket.MSG_TRUNC if size >= DROP_FROM else 0
        self._got = 0
        # Round trips so far.
        self.count = 0
        self.running = True
        # Set once the last echo after the end of `running` is here.
        self.idle = False
        super().__init__(loop, sock)

    def start(self) -> None:
        self.send(self._frame)

    def ready(self, events: int) -> None:
        if events & WRITABLE:
            self.flush()
            if events == WRITABLE:
                return
        received = self.receive(self._flags)
        if received < 0:
            return
        self._got += received
        if self._got >= self._reply_size:
            self._got -= self._reply_size
            self.count += 1
            if self.running:
                self.send(self._frame)
            else:
                self.idle = True


class _Leaving(Stream):
    """Says Close and reads to the end, as a client should: no proxy is left waiting."""

    __slots__ = ("gone",)

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.gone = False
        super().__init__(loop, sock)
        self.send(wire.CLIENT_CLOSE)

    def ready(self, events: int) -> None:
        del events
        try:
            self.gone = not self.receive_into(BUFFER)
        except BlockingIOError:
            return
        except OSError:
            self.gone = True
        if self.gone:
            self.close()


def leave(loop: Loop, clients: Iterable[Stream]) -> None:
    """Ends idle sessions; one that does not end within 5 s is dropped."""
    leaving = []
    for client in clients:
        loop.forget(client.fd)
        leaving.append(_Leaving(loop, client.sock))
    loop.run(5, lambda: all(one.gone for one in leaving))
    for one in leaving:
        one.close()


class Handshakes(Stream):
    """One slot that opens a session, closes it with Close frames both ways, and begins anew."""

    __slots__ = ("_data", "_port", "_request", "_said_close", "count", "idle", "running")

    def __init__(self, loop: Loop, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        # Sessions opened and closed so far.
        self.count = 0
        self.running = True
        # Set once the last session after the end of `running` is closed.
        self.idle = False
        self._begin(loop)

    def _begin(self, loop: Loop) -> None:
        self._data = b""
        self._said_close = False
        super().__init__(loop, connect(self._port))
        self.send(self._request)

    def ready(self, events: int) -> None:
        del events
        try:
            received = self.receive_into(BUFFER)
        except BlockingIOError:
            return
        except OSError as error:
            raise LoadError(f"connection lost in a handshake: {error}") from error
        if received:
            self._take(bytes(BUFFER[:received]))
            return
        self.close()
        if not self._data.endswith(wire.SERVER_CLOSE):
            raise LoadError(f"no Close before the end: {self._data[:60]!r}")
        self.count += 1
        if self.running:
            self._begin(self._loop)
        else:
            self.idle = True

    def _take(self, data: bytes) -> None:
        self._data += data
        if not self._said_close and wire.END_OF_HEAD in self._data:
            if not self._data.startswith(b"HTTP/1.1 101"):
                raise LoadError(f"handshake refused: {self._data[:60]!r}")
            self._said_close = True
            self.send(wire.CLIENT_CLOSE)


class HugeMessage(_Client):
    """One binary message in one frame, its payload sent as the proxy takes it."""

    __slots__ = ("_chunk", "_left")

    def __init__(self, loop: Loop, sock: socket.socket, size: int) -> None:
        self._chunk = bytes(STREAM_CHUNK)
        self._left = size
        super().__init__(loop, sock)
        self.send(wire.header(wire.BINARY, size, masked=True) + wire.MASK)
        self._go_on()

    def ready(self, events: int) -> None:
        if events & WRITABLE:
            self.flush()
            if not self.blocked:
                self._go_on()
        else:
            self.receive()

    def _go_on(self) -> None:
        while self._left and not self.blocked:
            size = min(self._left, STREAM_CHUNK)
            self._left -= size
            self.send(self._chunk[:size])


class OpenLoop(_Client):
    """A session whose messages are sent on a timetable, whatever has come back."""

    __slots__ = ("_frame", "_got", "_latencies", "_reply_size", "_sent_at")

    def __init__(self, loop: Loop, sock: socket.socket, size: int, latencies: list[float]) -> None:
        payload = payload_of(size)
        self._frame = wire.client_frame(payload)
        self._reply_size = len(wire.server_frame(payload))
        self._got = 0
        # When each message that is still out was sent, oldest first.
        self._sent_at: collections.deque[float] = collections.deque()
        self._latencies = latencies
        super().__init__(loop, sock)

    @property
    def outstanding(self) -> int:
        return len(self._sent_at)

    def ping(self, now: float) -> None:
        self._sent_at.append(now)
        self.send(self._frame)

    def ready(self, events: int) -> None:
        if events & WRITABLE:
            self.flush()
            if events == WRITABLE:
                return
        received = self.receive()
        if received < 0:
            return
        now = time.perf_counter()
        replies, self._got = divmod(self._got + received, self._reply_size)
        for _ in range(replies):
            self._latencies.append(now - self._sent_at.popleft())


def send_on_schedule(loop: Loop, clients: list[OpenLoop], rate: float, seconds: float) -> None:
    """Sends `rate` messages a second in all, evenly spaced, one session after the other.

    The loop spins instead of sleeping: epoll's millisecond would be what is measured.

    Raises:
        LoadError: answers were still missing 5 s after the last message.
    """
    clock = time.perf_counter
    interval = 1 / rate
    now = due = clock()
    end = now + seconds
    turn = 0
    while now < end:
        while due <= now:
            clients[turn].ping(clock())
            turn = (turn + 1) % len(clients)
            due += interval
        loop.turn()
        now = clock()
    if not loop.run(5, lambda: not any(client.outstanding for client in clients)):
        raise LoadError("answers are missing: the proxy cannot keep up with this rate")

"""A bare epoll loop: the load and the echo service share one, so nothing but sockets costs time."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT
# Few events a turn, so that an open-loop sender never waits long for its turn.
EVENTS_PER_TURN = 64


class Loop:
    """Calls a handler for every ready file descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def add(self, fd: int, handler: Callable[[int], None]) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, READABLE)

    def watch(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Call before the descriptor is closed; a second call does nothing."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def forget_all_but(self, fd: int) -> None:
        """Lets go of every other stream: a socket that nothing refers to closes itself."""
        for other in [each for each in self._handlers if each != fd]:
            self.forget(other)

    def turn(self, timeout: float = 0) -> None:
        """One poll, and the handlers of what it found."""
        handlers = self._handlers
        for fd, events in self._epoll.poll(timeout, EVENTS_PER_TURN):
            # A handler may have closed the descriptor of a later event.
            handler = handlers.get(fd)
            if handler is not None:
                handler(events)

    def run(self, seconds: float, done: Callable[[], bool] | None = None) -> bool:
        """Runs until `done` says so (True) or the time is over (False).

        It never sleeps: who writes to a process that sleeps pays for waking it, on a virtual
        machine with a call of the hypervisor. Clients and services on other hosts cost no proxy
        anything like it.
        """
        now = time.monotonic
        deadline = now() + seconds
        while now() < deadline:
            if done is not None and done():
                return True
            self.turn()
        return done is not None and done()


class Stream:
    """A non-blocking socket on the loop, with whatever the kernel did not take yet."""

    __slots__ = ("_loop", "_pending", "_send", "fd", "receive_into", "sock")

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        sock.settimeout(0)
        self.sock = sock
        self.fd = sock.fileno()
        self.receive_into = sock.recv_into
        self._send = sock.send
        self._loop = loop
        self._pending = memoryview(b"")
        loop.add(self.fd, self.ready)

    def ready(self, events: int) -> None:
        raise NotImplementedError

    def send(self, data: bytes | memoryview) -> None:
        """Sends now what fits, the rest when the socket is writable."""
        if self._pending:
            self._pending = memoryview(bytes(self._pending) + bytes(data))
            return
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        if sent != len(data):
            self._pending = memoryview(data)[sent:]
            self._loop.watch(self.fd, READABLE | WRITABLE)

    def flush(self) -> None:
        """Goes on with a message that did not fit."""
        try:
            self._pending = self._pending[self._send(self._pending) :]
        except BlockingIOError:
            return
        if not self._pending:
            self._loop.watch(self.fd, READABLE)

    @property
    def blocked(self) -> bool:
        return bool(self._pending)

    def close(self) -> None:
        self._loop.forget(self.fd)
        self.sock.close()

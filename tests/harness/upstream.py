"""The service behind the gateway, played by a script on a raw socket."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self

from tests.harness import frames
from tests.harness.heads import Request, accept_for
from tests.harness.peer import Peer, PeerGoneError

if TYPE_CHECKING:
    import ssl

SETTLE = 0.3  # "nothing was dialled" means: not within this many seconds after the answer
SCRIPT_DEADLINE = 60.0


class UpstreamConnection(Peer):
    """One connection that the gateway dialled.

    Attributes:
        accepted_at: `time.monotonic()` of the accept.
        request: the head, once it was read.
        heard: what came after the head, for the scripts that keep it.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.accepted_at = time.monotonic()
        self.request: Request | None = None
        self.heard = bytearray()
        self.done = threading.Event()  # set when the script has ended

    def read_request(self) -> Request:
        self.request = Request.parse(self.read_head())
        return self.request

    def switching(self, *lines: str) -> bytes:
        """The right 101 for the request that was read, with further header lines."""
        assert self.request is not None, "read the request first"
        key = self.request.get("Sec-WebSocket-Key")
        assert key is not None
        head = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept_for(key)}",
            *lines,
        ]
        return "\r\n".join([*head, "", ""]).encode("latin-1")

    def accept(self, *lines: str) -> Request:
        """Reads the request and answers the right 101."""
        request = self.read_request()
        self.send(self.switching(*lines))
        return request

    def keep_listening(self) -> None:
        """Keeps every byte in `heard` until the other end is gone."""
        self.heard += self.read_to_end(SCRIPT_DEADLINE)


Script = Callable[[UpstreamConnection], None]


def echo(connection: UpstreamConnection) -> None:
    """Accepts and sends every frame back, unmasked; a Close ends it, as a server does."""
    connection.accept()
    while True:
        frame = connection.read_frame()
        connection.send(frames.frame(frame.opcode, frame.payload, fin=frame.fin, rsv=frame.rsv))
        if frame.opcode == frames.CLOSE:
            return


def silent(connection: UpstreamConnection) -> None:
    """Accepts, says nothing and keeps what it hears."""
    connection.accept()
    connection.keep_listening()


def answers(raw: bytes) -> Script:
    """Reads the request, answers these bytes and keeps what it hears afterwards."""

    def script(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.send(raw)
        connection.keep_listening()

    return script


class Upstream:
    """A listener whose connections play `script`, each in a thread of its own.

    With `by_hand()` the connections are left to the test, which takes them by `connection()`.
    A script that failed fails whoever leaves the context; those who were gone are no failure.

    Attributes:
        count: connections that were accepted.
        errors: how scripts failed.
    """

    def __init__(
        self,
        script: Script | None = echo,
        *,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.script = script
        self.errors: list[Exception] = []
        self.count = 0
        self._tls = tls
        self._changed = threading.Condition()
        self._waiting: queue.SimpleQueue[UpstreamConnection] = queue.SimpleQueue()
        self._live: dict[UpstreamConnection, threading.Thread | None] = {}
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(1024)
        self._listener.settimeout(0.1)
        self.port: int = self._listener.getsockname()[1]
        self._closing = False
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close()
        assert kind is not None or not self.errors, self.errors

    @property
    def url(self) -> str:
        return f"{'ws' if self._tls is None else 'wss'}://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def plays(self, script: Script | None) -> Iterator[None]:
        """Connections accepted meanwhile play this script."""
        before, self.script = self.script, script
        try:
            yield
        finally:
            self.script = before

    def by_hand(self) -> contextlib.AbstractContextManager[None]:
        return self.plays(None)

    def connection(self, timeout: float = 5.0) -> UpstreamConnection:
        """The oldest accepted connection that was not taken yet."""
        try:
            return self._waiting.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"the gateway dialled nothing within {timeout} s") from None

    @contextlib.contextmanager
    def untouched(self, settle: float = SETTLE) -> Iterator[None]:
        """No connection arrives meanwhile, nor within `settle` seconds afterwards."""
        before = self.count
        yield
        with self._changed:
            self._changed.wait_for(lambda: self.count != before, settle)
            assert self.count == before, f"{self.count - before} connections dialled"

    def forget(self) -> None:
        """Ends all connections, waits for their scripts and forgets them."""
        with self._changed:
            while not self._waiting.empty():
                self._waiting.get()
            live = dict(self._live)
        for connection, thread in live.items():
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
            if thread is not None:
                thread.join(timeout=5)
                assert not thread.is_alive(), "an upstream script does not end"
            connection.close()
        with self._changed:
            for connection in live:
                self._live.pop(connection, None)

    def close(self) -> None:
        self._closing = True
        self._acceptor.join()
        self._listener.close()
        self.forget()

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                if self._closing:
                    return
                continue  # reset while it waited in the backlog
            self._begin(sock, self.script)

    def _begin(self, sock: socket.socket, script: Script | None) -> None:
        connection = UpstreamConnection(sock)
        thread = None
        if script is not None or self._tls is not None:
            thread = threading.Thread(target=self._play, args=(connection, script), daemon=True)
        with self._changed:
            self.count += 1
            self._live[connection] = thread
            if self._tls is None or script is not None:
                self._waiting.put(connection)  # before it plays, or `forget` might come first
            if thread is not None:
                thread.start()
            self._changed.notify_all()

    def _play(self, connection: UpstreamConnection, script: Script | None) -> None:
        try:
            if self._tls is not None:
                connection.sock.settimeout(connection.timeout)
                connection.sock = self._tls.wrap_socket(connection.sock, server_side=True)
            if script is None:
                self._waiting.put(connection)
                return
            connection.timeout = SCRIPT_DEADLINE
            script(connection)
        except (OSError, PeerGoneError):
            pass  # clients and gateways may leave at any time
        except Exception as error:  # noqa: BLE001 - told at the end, see `errors`
            self.errors.append(error)
        finally:
            if script is not None:
                connection.close()
                with self._changed:
                    self._live.pop(connection, None)
            connection.done.set()

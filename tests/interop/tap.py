"""A tap on the wire: a TCP hop that counts what passes, and can add a header to a request."""

from __future__ import annotations

import socket
import socketserver
import threading
import urllib.parse
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 64 * 1024


class Tap:
    """A hop before `url`, for as long as its block lasts.

    Args:
        url: where connections are passed on to, `ws://host:port`.
        header: a header put into each request, for clients that cannot send one themselves.

    Attributes:
        to_target: bytes passed on to `url` so far; `to_client`: bytes passed back.
    """

    def __init__(self, url: str, *, header: tuple[str, str] | None = None) -> None:
        target = urllib.parse.urlsplit(url)
        self.target = (target.hostname, target.port)
        self.header = b"" if header is None else "{}: {}\r\n".format(*header).encode()
        self.to_target = 0
        self.to_client = 0
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.tap = self
        self._accepting = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._accepting.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        host, port = self._server.socket.getsockname()
        return f"ws://{host}:{port}"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    tap: Tap

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: when the target refuses, the client sees its connection closed."""


class _Connection(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        with socket.create_connection(self.server.tap.target) as target:
            back = threading.Thread(target=self._to_client, args=(target,), daemon=True)
            back.start()
            self._to_target(target)
            back.join()

    def _to_target(self, target: socket.socket) -> None:
        tap = self.server.tap
        with end_passed_on(self.request, target):
            if tap.header:
                target.sendall(self._head_with(tap.header))
            while chunk := self.request.recv(CHUNK):
                tap.to_target += len(chunk)
                target.sendall(chunk)

    def _to_client(self, target: socket.socket) -> None:
        tap = self.server.tap
        with end_passed_on(target, self.request):
            while chunk := target.recv(CHUNK):
                tap.to_client += len(chunk)
                self.request.sendall(chunk)

    def _head_with(self, header: bytes) -> bytes:
        head = b""
        while b"\r\n" not in head:
            chunk = self.request.recv(CHUNK)
            if not chunk:
                return head
            head += chunk
        request_line, _, rest = head.partition(b"\r\n")
        return request_line + b"\r\n" + header + rest


@contextmanager
def end_passed_on(source: socket.socket, sink: socket.socket) -> Iterator[None]:
    """Pass the end of `source` on to `sink`; an error ends both directions."""
    try:
        yield
    except OSError:
        with suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)
    finally:
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

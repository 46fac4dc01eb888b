"""An admin listener for the tests of commands that ask one."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


class Asked(NamedTuple):
    """One request."""

    line: str
    authorization: str | None
    content_type: str | None


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers requests with the listener's answers, the last one for good; keeps what was asked."""

    def do_GET(self) -> None:
        headers = self.headers
        self.server.asked.append(  # type: ignore[attr-defined]
            Asked(f"{self.command} {self.path}", headers["Authorization"], headers["Content-Type"])
        )
        answers = self.server.answers  # type: ignore[attr-defined]
        status, data = answers.pop(0) if len(answers) > 1 else answers[0]
        text = (
            data if isinstance(data, str) else None if isinstance(data, bytes) else json.dumps(data)
        )
        body = data if text is None else text.encode()
        kind = "application/json" if status < 400 else "application/problem+json"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(data, bytes) else kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Keeps the test's output clean."""

    def address_string(self) -> str:
        return "client"


class UnixServer(socketserver.UnixStreamServer):
    """An admin listener on a Unix socket."""


class TcpServer6(http.server.HTTPServer):
    """An admin listener on every IPv6 address."""

    address_family = socket.AF_INET6


@contextlib.contextmanager
def admin(
    address: object = ("127.0.0.1", 0),
    *answers: tuple[int, Any],
    kind: type[socketserver.BaseServer] = http.server.HTTPServer,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Any]:
    """Listens; each answer is a status and JSON, as data or as text, or bytes that are none."""
    with kind(address, Answering) as server:  # type: ignore[arg-type]
        server.answers, server.asked = list(answers or [(200, b"")]), []  # type: ignore[attr-defined]
        # Of clients that hang up amid a TLS handshake nothing need be told.
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def port(server: Any) -> int:
    return int(server.server_address[1])

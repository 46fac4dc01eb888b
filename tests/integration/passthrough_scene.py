"""A gateway with routes that take ordinary HTTP, and the two ends of a request."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.harness.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.client import Client, Door
    from tests.harness.peer import Peer
    from tests.harness.upstream import Upstream, UpstreamConnection

KEY = "CANARY-passthrough-5f1c9a7e3b2d48"
WITH_KEY = f"X-Api-Key: {KEY}"
PAGE = "https://pages.example"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PASSING = {"http": "passthrough"}


def dead_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(folder: Path, upstream: Upstream, loop: str) -> Iterator[Gateway]:
    """The gateway; at its end it has leaked no key and met no fault of its own."""

    def route(name: str, **fields: Any) -> dict[str, Any]:
        return {"name": name, "path": f"/{name}", "upstream": upstream.url, **fields}

    config = {
        "keys": [{"name": "fixed", "secret": KEY, "limits": {"connections": 1}}],
        "timeouts": {"close": "1s", "write": "1s", "upstream_connect": "2s"},
        "limits": {"auth_failures_per_minute": None},
        "store": "memory:",
        "routes": [
            route(
                "app",
                **PASSING,
                carriers=[
                    {"header": "X-Api-Key"},
                    "bearer",
                    {"query": "api_key"},
                    {"cookie": "api_key"},
                    "ticket",
                ],
            ),
            route("pages", **PASSING, origins=[PAGE]),
            route("open", **PASSING, auth="none"),
            route("watched", **PASSING, auth="report_only"),
            route("strict"),
            route("said", **PASSING, carriers=[{"header": "X-Api-Key"}, "first_message"]),
            route(
                "two",
                **PASSING,
                upstream={
                    "targets": [f"ws://127.0.0.1:{dead_port()}", f"{upstream.url}/base"],
                    "headers": {"X-From": "{key.name}"},
                    "preserve_host": False,
                },
            ),
            {**route("dead", **PASSING), "upstream": f"ws://127.0.0.1:{dead_port()}"},
        ],
    }
    with Gateway(folder, config, environment={"WSKEEPER_EVENT_LOOP": loop}) as gateway:
        yield gateway
        assert gateway.stop() == 0
        assert KEY not in "\n".join(gateway.log)
        for trouble in ("internal_error", "library", "unhandled"):
            assert not gateway.events(trouble)


def asked(
    door: Door, upstream: Upstream, request: bytes, answer: bytes = OK
) -> tuple[Client, UpstreamConnection]:
    """A client whose request the upstream has read the head of, and answered."""
    client = door.send(request)
    connection = upstream.connection()
    connection.read_request()
    connection.send(answer)
    return client, connection


def in_chunks(body: bytes, size: int, *, extension: bytes = b"") -> bytes:
    """A body in chunks of `size` bytes, without its end."""
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)


def read_chunked(peer: Peer) -> bytes:
    """A whole body in chunks, without trailers."""
    body = b""
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            line += peer.read_exactly(1)
        size = int(line, 16)
        body += peer.read_exactly(size)
        assert peer.read_exactly(2) == b"\r\n"
        if not size:
            return body

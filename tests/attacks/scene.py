"""The cast of every attack: keys, routes, and what a proper refusal looks like."""

from __future__ import annotations

import hashlib
import re
import socket
from typing import TYPE_CHECKING, Any

from tests.harness.heads import Response, upgrade

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.harness.client import Door
    from tests.harness.gateway import Gateway
    from tests.harness.upstream import Upstream

GOOD = "CANARY-good-7f3a9c51d2e84b60a1f5c3d7"
APP_ONLY = "CANARY-good-app-only-0b2d4f6a8c1e3a5c"
OTHER_ONLY = "CANARY-good-other-only-9e7c5a3b1d0f2e4c"
BAD = "CANARY-bad-1c9e7a5b3d8f6e4c2a0b9d7f"

ORIGIN = "https://good.example"
# Bytes of a message on the route `sized`, either way.
LONGEST = 1000

# What no peer may read in a refusal: versions, tracebacks, addresses of the inside.
TELLTALE = re.compile(
    rb"aiohttp|uvloop|asyncio|python|traceback|File \"|127\.0\.0\.1|\[::1\]|CANARY|0x[0-9a-f]{6}",
    re.IGNORECASE,
)


def digest(key: str) -> str:
    """A key as a configuration may hold it."""
    return hashlib.sha256(key.encode()).hexdigest()


def configuration(upstream: Upstream, other: Upstream, closed: int) -> dict[str, Any]:
    """Routes to two upstreams and to a port that refuses, short deadlines, three keys."""
    return {
        # Most cases show wrong keys, all from one address.
        "limits": {"auth_failures_per_minute": None},
        "timeouts": {
            "handshake": "2s",
            "upstream_connect": "2s",
            "upstream_handshake": "5s",
            "close": "800ms",
            "write": "2s",
        },
        "keys": [
            {"name": "good", "sha256": digest(GOOD), "metadata": {"plan": "gold"}},
            {"name": "app-only", "sha256": digest(APP_ONLY), "routes": ["app"]},
            {"name": "other-only", "sha256": digest(OTHER_ONLY), "routes": ["other"]},
        ],
        "routes": [
            {"name": "app", "path": "/app", "upstream": upstream.url},
            {"name": "other", "path": "/other", "upstream": other.url},
            {"name": "admin", "path": "/admin", "upstream": other.url},
            {
                "name": "bearer",
                "path": "/bearer",
                "upstream": upstream.url,
                "carriers": [{"header": "X-Api-Key"}, "bearer"],
            },
            {"name": "shop", "path": "/shop", "upstream": upstream.url, "origins": [ORIGIN]},
            {
                "name": "impatient",
                "path": "/impatient",
                "upstream": upstream.url,
                "timeouts": {"upstream_connect": "1s", "upstream_handshake": "1s"},
            },
            {"name": "closed", "path": "/closed", "upstream": f"ws://127.0.0.1:{closed}"},
            {
                "name": "sized",
                "path": "/sized",
                "upstream": upstream.url,
                "limits": {
                    "message_size": {
                        "client_to_upstream": LONGEST,
                        "upstream_to_client": LONGEST,
                    }
                },
            },
            {"name": "named", "path": "/named", "upstream": f"ws://localhost:{upstream.port}"},
        ],
    }


def refusing_port() -> socket.socket:
    """A bound socket that nobody listens on: connecting to its port is refused."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def good(target: str | bytes = "/app", **parts: Any) -> bytes:
    """An upgrade request with the good key; `parts` as for `heads.upgrade`."""
    return upgrade(target, **{"key": GOOD, **parts})


def assert_refused(
    response: Response, status: int | Iterable[int], code: str | Iterable[str] | None = None
) -> None:
    """A refusal of the contract: whole, closing, naming its code, telling nothing else."""
    statuses = {status} if isinstance(status, int) else set(status)
    seen = (response.first_line, response.headers, response.body[:500])
    assert response.status in statuses, seen
    if code is not None:
        codes = {code} if isinstance(code, str) else set(code)
        assert response.code in codes, seen
    assert response.get("X-Wskeeper-Code"), seen
    assert response.get("X-Request-Id"), seen
    assert_whole(response)
    if response.body:  # HEAD has none
        assert response.get("Content-Type") == "application/problem+json", seen
        assert len(response.body) <= 1000, seen
        assert {"type", "title", "status", "code", "detail"} <= response.problem.keys(), seen
        assert response.problem["status"] == response.status, seen
        assert response.problem["code"] == response.code, seen
    telltale = TELLTALE.search(response.raw + response.body)
    assert telltale is None, (telltale, seen)


def read_log(gateway: Gateway, door: Door) -> list[str]:
    """The log of everything so far: its lines come in order, and one more request has come."""
    last = door.ask(upgrade("/last-one-of-this-test"))
    gateway.wait_for_event("handshake_refused", request_id=last.get("X-Request-Id"))
    return [line for line in gateway.log if (last.get("X-Request-Id") or "") not in line]


def assert_whole(response: Response) -> None:
    """Complete by its Content-Length, nothing behind it, and the connection ended."""
    seen = (response.first_line, response.headers, response.body[:500])
    size = response.get("Content-Length")
    assert size is not None, seen
    assert len(response.body) == int(size) or not response.body, seen
    assert response.get("Transfer-Encoding") is None, seen
    tokens = (response.get("Connection") or "").lower().replace(" ", "").split(",")
    assert "close" in tokens, seen
    assert response.rest == b"", response.rest[:200]
    assert response.ended

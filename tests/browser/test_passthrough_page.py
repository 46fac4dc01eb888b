"""A page served through the gateway that opens a WebSocket of its own, in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness import frames
from tests.harness.gateway import Gateway
from tests.harness.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.harness.upstream import UpstreamConnection

KEY = "CANARY-of-a-page-5f1c9a7e3b2d4860"
FILES = {
    "/app/": (
        "text/html",
        b"<!doctype html><link rel=icon href=data:,><script src=page.js></script><p role=status>",
    ),
    "/app/page.js": (
        "text/javascript",
        b"""addEventListener("DOMContentLoaded", async () => {
            const status = document.querySelector("p");
            const posted = await fetch("post", { method: "POST", body: "a body" });
            const socket = new WebSocket(new URL("socket", location.href.replace(/^http/, "ws")));
            socket.onopen = async () => socket.send(await posted.text());
            socket.onmessage = ({ data }) => { status.textContent = data; };
            socket.onclose = ({ code }) => { status.textContent = `closed ${code}`; };
        });""",
    ),
}


def service(connection: UpstreamConnection) -> None:
    """Files, a place to post to, and a WebSocket that echoes."""
    request = connection.read_request()
    if request.get("Upgrade") is not None:
        connection.send(connection.switching())
        while (frame := connection.read_frame()).opcode != frames.CLOSE:
            connection.send(frames.frame(frame.opcode, b"echo: " + frame.payload))
        return
    if request.first_line.startswith("POST"):
        kind, body = "text/plain", connection.read_exactly(int(request.get("Content-Length")))
    else:
        kind, body = FILES[request.target]
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.send(head.encode() + body)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Upstream(service) as upstream:
        route = {
            "name": "app",
            "path": "/app",
            "upstream": upstream.url,
            "http": "passthrough",
            "carriers": [{"cookie": "key"}],
        }
        config = {"keys": [{"name": "page", "secret": KEY}], "routes": [route]}
        with Gateway(tmp_path, config) as gateway:
            yield gateway
        assert not upstream.errors
    assert KEY not in "\n".join(gateway.log)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_page_and_its_socket_come_the_same_way(gateway: Gateway, page: Page) -> None:
    base = gateway.url.replace("ws:", "http:")
    page.context.add_cookies([{"name": "key", "value": KEY, "url": base}])
    answer = page.goto(f"{base}/app/")
    assert answer is not None
    assert answer.status == 200
    page.get_by_role("status").get_by_text("echo: a body").wait_for(timeout=5_000)
    metrics = gateway.metrics()
    assert metrics['wskeeper_http_requests_total{outcome="answered",route="app"}'] == 3
    assert metrics['wskeeper_handshakes_total{outcome="accepted",route="app"}'] == 1


def test_page_without_a_key_is_refused(gateway: Gateway, page: Page) -> None:
    answer = page.goto(gateway.url.replace("ws:", "http:") + "/app/")
    assert answer is not None
    assert (answer.status, answer.headers["x-wskeeper-code"]) == (401, "key_missing")

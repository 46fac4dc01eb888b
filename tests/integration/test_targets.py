"""Several targets for a route, on real sockets: who serves, who is left alone, what is told."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import frames
from tests.harness.process import BUSY, wait_until
from tests.harness.upstream import Upstream, UpstreamConnection, echo
from tests.integration.conftest import KEY, Start, asking

if TYPE_CHECKING:
    from tests.harness.client import Client, Door
    from tests.harness.gateway import Gateway

Connect = Callable[..., "Door"]


@contextmanager
def unused_port() -> Iterator[int]:
    """A port that refuses."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that answers to nothing: its queue of connections is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for one in waiting:
            one.close()


def url(port: int) -> str:
    return f"ws://127.0.0.1:{port}"


def opened(door: Door) -> Client:
    client = door.connect()
    client.send(asking())
    assert client.read_response().status == 101
    return client


def refused(door: Door) -> Any:
    with door.connect() as client:
        client.send(asking())
        return client.read_response()


def up(gateway: Gateway, target: str) -> float:
    return gateway.metrics()[f'wskeeper_upstream_up{{route="app",target="{target}"}}']


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    assert wait_until(condition, seconds), "it did not come about in time"


def test_first_target_refuses_and_the_second_serves(
    start: Start, connect: Connect, upstream: Upstream
) -> None:
    with unused_port() as port:
        gateway = start({"upstream": {"targets": [url(port), upstream.url]}})
        door = connect(gateway)
        for _ in range(4):
            opened(door)
        assert upstream.count == 4
        opens = gateway.wait_for_events(4, "connection_opened")
        assert {event["upstream"] for event in opens} == {upstream.url}
        [down] = gateway.events("upstream_down")
        assert down["upstream"] == url(port)
        assert (up(gateway, url(port)), up(gateway, upstream.url)) == (0, 1)


def test_all_targets_refuse(start: Start, connect: Connect) -> None:
    with unused_port() as one, unused_port() as other:
        gateway = start({"upstream": {"targets": [url(one), url(other)]}})
        door = connect(gateway)
        for _ in range(2):
            response = refused(door)
            assert (response.status, response.code) == (502, "upstream_unreachable")
        event = gateway.wait_for_event("handshake_refused")
        assert all(f"{url(port)}: " in event["cause"] for port in (one, other))


def test_silent_target_leaves_time_for_the_next(
    start: Start, connect: Connect, upstream: Upstream
) -> None:
    with silent_port() as port:
        targets = [url(port), upstream.url]
        gateway = start({"upstream": {"targets": targets}, "timeouts": {"upstream_connect": "2s"}})
        door = connect(gateway)
        began = time.monotonic()
        opened(door)
        assert 0.8 < time.monotonic() - began < 2.0 + BUSY
        began = time.monotonic()
        for _ in range(4):
            opened(door)
        # Each would be a second late.
        assert time.monotonic() - began < 0.8 + BUSY, "it is left alone for a moment"


def test_targets_that_are_all_silent_time_out_together(start: Start, connect: Connect) -> None:
    with silent_port() as one, silent_port() as other:
        gateway = start(
            {
                "upstream": {"targets": [url(one), url(other)]},
                "timeouts": {"upstream_connect": "1s"},
            }
        )
        began = time.monotonic()
        response = refused(connect(gateway))
        assert (response.status, response.code) == (504, "upstream_timeout")
        assert 0.9 < time.monotonic() - began < 1.8 + BUSY


class Healthy:
    """A service whose `/healthz` says what the test wants, and that echoes otherwise."""

    def __init__(self) -> None:
        self.status = 200
        self.checks = 0

    def __call__(self, connection: UpstreamConnection) -> None:
        request = connection.read_request()
        self.checks += request.target == "/healthz"
        if request.target != "/healthz":
            connection.send(connection.switching())
            connection.keep_listening()
            return
        head = f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        connection.send(head.encode())


CHECKS = {
    "path": "/healthz",
    "interval": "150ms",
    "timeout": "150ms",
    "unhealthy_after": 2,
    "healthy_after": 2,
}


def test_checks_turn_a_target_off_and_on_once_each(start: Start, connect: Connect) -> None:
    service = Healthy()
    with Upstream(service) as target:
        gateway = start({"upstream": {"targets": [target.url], "health": CHECKS}})
        door = connect(gateway)
        opened(door)
        assert up(gateway, target.url) == 1
        service.status = 503
        gateway.wait_for_event("upstream_down", cause="it answered 503")
        assert up(gateway, target.url) == 0
        response = refused(door)
        assert (response.status, response.code) == (503, "upstream_unhealthy")
        assert int(response.get("Retry-After") or "0") > 0
        service.status = 200
        gateway.wait_for_event("upstream_up")
        assert up(gateway, target.url) == 1
        opened(door)
        seen = service.checks
        until(lambda: service.checks >= seen + 3)
        assert len(gateway.events("upstream_down")) == len(gateway.events("upstream_up")) == 1


def test_websocket_checks_leave_no_session_behind(start: Start, connect: Connect) -> None:
    closes: list[bytes] = []

    def service(connection: UpstreamConnection) -> None:
        connection.accept()
        frame = connection.read_frame()
        closes.append(frame.payload)
        connection.send(frames.frame(frames.CLOSE, frame.payload))

    with Upstream(service) as target:
        health = {"interval": "150ms", "timeout": "150ms"}
        gateway = start({"upstream": {"targets": [target.url], "health": health}})
        until(lambda: len(closes) >= 3)
        assert set(closes) == {(1000).to_bytes(2, "big")}
        assert gateway.metrics()['wskeeper_connections{route="app"}'] == 0
        until(lambda: up(gateway, target.url) == 1)


def test_restart_of_one_target_ends_only_its_sessions(start: Start, connect: Connect) -> None:
    with Upstream(echo) as staying:
        leaving = Upstream(echo)
        gateway = start({"upstream": {"targets": [staying.url, leaving.url]}})
        door = connect(gateway)
        clients = [opened(door) for _ in range(4)]
        assert (staying.count, leaving.count) == (2, 2)
        leaving.close()
        closes = gateway.wait_for_events(2, "connection_closed")
        assert [event["upstream"] for event in closes] == [leaving.url] * 2
        new = [opened(door) for _ in range(4)]
        assert staying.count == 6
        mask = b"abcd"
        alive = 0
        for client in clients + new:
            try:
                client.send(frames.frame(frames.TEXT, b"hi", mask=mask))
                alive += client.read_frame().opcode == frames.TEXT
            except OSError:
                continue
        assert alive == 6
        until(lambda: gateway.metrics()['wskeeper_connections{route="app"}'] == 6)


@pytest.mark.parametrize("balance", ["key_hash", "address_hash"])
def test_clients_that_are_alike_meet_at_one_target(
    start: Start, connect: Connect, upstream: Upstream, balance: str
) -> None:
    with Upstream(echo) as other:
        gateway = start({"upstream": {"targets": [upstream.url, other.url], "balance": balance}})
        door = connect(gateway)
        for _ in range(6):
            opened(door)
        assert sorted((upstream.count, other.count)) == [0, 6]


def test_new_sessions_go_where_the_fewest_are(
    start: Start, connect: Connect, upstream: Upstream
) -> None:
    with Upstream(echo) as other:
        balance = {"targets": [upstream.url, other.url], "balance": "least_connections"}
        gateway = start({"upstream": balance})
        door = connect(gateway)
        clients = [opened(door) for _ in range(4)]
        assert (upstream.count, other.count) == (2, 2)
        opens = gateway.wait_for_events(4, "connection_opened")
        for client, event in zip(clients, opens, strict=True):
            if event["upstream"] == other.url:
                client.reset()
        gateway.wait_for_events(2, "connection_closed")
        for _ in range(2):
            opened(door)
        assert (upstream.count, other.count) == (2, 4)


def test_upstream_hears_the_headers_that_are_set(
    start: Start, connect: Connect, upstream: Upstream
) -> None:
    gateway = start(
        {
            "upstream": {
                "targets": [f"{upstream.url}/ws"],
                "headers": {
                    "Authorization": "Bearer {meta.token}",
                    "X-Who": "{key.name} from {client} at {route}",
                    "X-Subject": "{subject}",
                    "User-Agent": None,
                    "X-Wskeeper-Meta-Token": None,
                },
                "preserve_host": False,
            }
        },
        keys=[{"name": "test", "secret": KEY, "metadata": {"token": "K\u00f6ln-1"}}],
    )
    with upstream.by_hand(), connect(gateway).connect() as client:
        client.send(
            asking(lines=("Authorization: Bearer mine", "X_Subject: evil", "User-Agent: browser/1"))
        )
        connection = upstream.connection()
        head = connection.accept()
        assert client.read_response().status == 101
    assert head.target == "/ws"
    assert head.all("Authorization") == ["Bearer K%C3%B6ln-1"]
    assert head.get("X-Who") == "test from 127.0.0.1 at app"
    assert head.get("Host") == f"127.0.0.1:{upstream.port}"
    names = {name.lower().replace("_", "-") for name, _ in head.headers}
    assert not names & {"x-subject", "user-agent", "x-wskeeper-meta-token"}
    assert head.get("X-Wskeeper-Key-Name") == "test"
    assert not any("K%C3" in line or "mine" in line for line in gateway.log)

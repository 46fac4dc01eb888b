"""Plain HTTP beside the door: aiohttp's part, and the way back from it."""

from __future__ import annotations

import signal

import pytest

from tests.harness.heads import plain
from tests.integration.conftest import asking

HEALTH = "/.wskeeper/ready"


@pytest.fixture(params=["uvloop", "asyncio"])
def gateway(request, start):
    return start(health_path=HEALTH, environment={"WSKEEPER_EVENT_LOOP": request.param})


def test_balancer_asks_health_without_a_key(gateway, connect):
    response = connect(gateway).ask(plain(HEALTH))
    assert response.status == 200
    assert response.get("Server") == "wskeeper"


def test_balancer_asks_health_over_http_1_0_without_host(gateway, connect):
    client = connect(gateway).send(f"GET {HEALTH} HTTP/1.0\r\n\r\n".encode())
    assert client.read_to_end().startswith(b"HTTP/1.0 200 OK\r\n")


def test_health_is_served_to_get_and_head_alone(gateway, connect):
    response = connect(gateway).ask(plain(HEALTH, "Content-Length: 0", method="POST"))
    assert (response.status, response.code) == (405, "method_not_allowed")


def test_client_upgrades_on_a_kept_alive_connection(gateway, connect, upstream):
    client = connect(gateway).connect()
    for _ in range(3):
        client.send(plain(HEALTH))
        assert client.read_response().status == 200
    client.send(asking())
    assert client.read_response().status == 101
    client.send_text("after the health checks")
    assert client.read_frame().payload == b"after the health checks"
    assert upstream.count == 1


def test_upgrade_without_a_key_on_a_kept_alive_connection_is_refused(gateway, connect, upstream):
    with upstream.untouched():
        client = connect(gateway).connect()
        client.send(plain(HEALTH))
        assert client.read_response().status == 200
        client.send(asking(key=None))
        assert client.read_response().code == "key_missing"
        client.expect_end()


def test_plain_get_on_a_kept_alive_connection_is_taught(gateway, connect):
    client = connect(gateway).connect()
    client.send(plain(HEALTH))
    assert client.read_response().status == 200
    client.send(plain("/app"))
    response = client.read_response()
    assert (response.status, response.code) == (426, "upgrade_required")
    assert "on that upgrade request itself" in response.problem["detail"]


def test_upgrade_pipelined_behind_a_plain_request_is_judged_like_any_other(gateway, connect):
    client = connect(gateway).connect()
    client.send(plain(HEALTH) + plain(HEALTH) + asking())
    assert [client.read_response().status for _ in range(3)] == [200, 200, 101]
    client.send(plain("/nonsense"))  # no frame at all
    client.expect_close(1002, "protocol_error")


def test_keyless_upgrade_pipelined_behind_a_plain_request_is_refused(gateway, connect, upstream):
    with upstream.untouched():
        client = connect(gateway).connect()
        client.send(plain(HEALTH) + asking(key=None))
        assert client.read_response().status == 200
        assert client.read_response().code == "key_missing"


def test_request_with_a_body_ends_its_connection(gateway, connect):
    client = connect(gateway).connect()
    client.send(plain(HEALTH, "Content-Length: 5") + b"hello")
    response = client.read_response()
    assert (response.status, response.ended) == (200, True)


def test_flood_behind_a_health_check_is_bounded(gateway, connect):
    client = connect(gateway).connect()
    client.send(plain(HEALTH) + b"GET " + b"x" * 200_000)
    assert client.read_response().status == 200
    assert client.read_response().status in {400, 414}


def test_kept_alive_connection_that_came_back_leaves_nothing_behind(gateway, connect):
    client = connect(gateway).connect()
    client.send(plain(HEALTH))
    client.read_response()
    client.send(asking())
    client.read_response()
    client.reset()
    gateway.wait_for_event("connection_closed")
    assert gateway.metrics()['wskeeper_connections{route="app"}'] == 0
    assert not gateway.events("library")
    assert not gateway.events("unhandled")


def test_health_says_503_while_draining(gateway, connect):
    door = connect(gateway)
    client = door.connect()
    client.send(plain(HEALTH))
    assert client.read_response().status == 200
    session = door.open(asking())
    gateway.signal(signal.SIGTERM)
    gateway.wait_for_event("draining")
    client.send(plain(HEALTH))
    assert client.read_response().status == 503
    session.expect_close(1001, "draining")

"""Refusals that browsers can read, limits of the whole gateway, and the admin listener's token."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tests.harness import frames
from tests.harness.frames import close_payload, masked
from tests.harness.heads import plain
from tests.harness.upstream import answers
from tests.integration.conftest import asking

ORIGIN = "https://app.example"


def refused(client, code, reason):
    """The refusal as a Close frame, answered as a browser does."""
    client.expect_close(code, reason)
    client.send(masked(frames.CLOSE, close_payload(code)))
    client.expect_end()


def test_browser_hears_a_missing_key_as_a_close_frame(start, connect, upstream):
    gateway = start(route={"refuse_with": "close"})
    with upstream.untouched():
        client = connect(gateway).open(asking(key=None))
        refused(client, 3000, "key_missing")
    event = gateway.wait_for_event("handshake_refused")
    assert (event["status"], event["code"]) == (401, "key_missing")
    name = 'wskeeper_handshakes_total{outcome="key_missing",route="app"}'
    assert gateway.metrics()[name] == 1


def test_refusal_selects_ours_or_the_first_offer_without_a_secret(start, connect):
    door = connect(start(route={"refuse_with": "close"}))
    for offer, chosen in (
        ("chat, wskeeper, other", "wskeeper"),
        ("wskeeper.key.abc, chat.v2, other", "chat.v2"),
        ("wskeeper.key.abc", None),
        (None, None),
    ):
        lines = () if offer is None else (f"Sec-WebSocket-Protocol: {offer}",)
        client = door.send(asking(key=None, lines=lines))
        response = client.read_response()
        assert response.status == 101
        assert response.get("Sec-WebSocket-Protocol") == chosen
        assert response.get("Sec-WebSocket-Extensions") is None
        refused(client, 3000, "key_missing")


def test_auto_tells_browsers_by_close_and_others_by_http(start, connect):
    door = connect(start(route={"refuse_with": "auto"}))
    assert door.ask(asking(key=None)).status == 401
    refused(door.open(asking(key=None, lines=(f"Origin: {ORIGIN}",))), 3000, "key_missing")


def test_foreign_origin_and_key_are_forbidden_by_close(start, connect, upstream):
    app = {"name": "app", "path": "/app", "refuse_with": "close", "origins": [ORIGIN]}
    gateway = start(
        keys=[{"name": "other", "secret": "another-key-3c5e7f9a1b2d4f60", "routes": ["other"]}],
        routes=[
            {**app, "upstream": upstream.url},
            {"name": "other", "path": "/other", "upstream": upstream.url},
        ],
    )
    door = connect(gateway)
    foreign = asking(lines=("Origin: https://evil.example",))
    refused(door.open(foreign), 3003, "origin_forbidden")
    refused(door.open(asking(key="another-key-3c5e7f9a1b2d4f60")), 3003, "route_forbidden")


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 4404, "upstream_refused"),
        (b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n", 1008, "upstream_refused"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 1013, "upstream_refused"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1013, "upstream_invalid"),
    ],
)
def test_trouble_with_the_upstream_is_a_close_too(start, connect, upstream, answer, code, reason):
    door = connect(start(route={"refuse_with": "close"}))
    with upstream.plays(answers(answer)):
        refused(door.open(asking()), code, reason)


def test_what_is_no_handshake_is_answered_by_http_all_the_same(start, connect):
    door = connect(start(route={"refuse_with": "close"}))
    assert door.ask(plain("/app")).status == 426
    assert door.ask(asking("/nowhere", key=None)).status == 404
    assert door.ask(asking(key=None, changed={"Sec-WebSocket-Version": "12"})).status == 426


def test_client_that_does_not_answer_the_close_is_dropped(start, connect):
    client = connect(start(route={"refuse_with": "close"})).open(asking(key=None))
    client.expect_close(3000, "key_missing")
    client.expect_end(within=3)


def test_sockets_that_hear_a_close_are_limited_and_give_their_place_back(start, connect):
    gateway = start(
        route={"refuse_with": "close"},
        limits={"unauthenticated": 2},
        timeouts={"close": "10s"},
    )
    door = connect(gateway)
    held = [door.open(asking(key=None)) for _ in range(2)]
    assert door.ask(asking(key=None)).status == 401
    limited = gateway.wait_for_event("limited")
    assert (limited["limit"], limited["value"]) == ("unauthenticated", 2)
    assert limited["set_in"] == "limits.unauthenticated"
    refused(held[0], 3000, "key_missing")
    refused(door.open(asking(key=None)), 3000, "key_missing")


def test_full_gateway_says_so_and_a_place_becomes_free(start, connect, upstream):
    gateway = start(limits={"total_connections": 2})
    door = connect(gateway)
    first, _second = door.open(asking()), door.open(asking())
    with upstream.untouched():
        response = door.ask(asking())
    assert (response.status, response.code) == (503, "gateway_connections")
    assert response.get("Retry-After")
    series = 'wskeeper_limited_total{limit="total_connections",route="app"}'
    assert gateway.metrics()[series] == 1
    first.send(masked(frames.CLOSE, close_payload(1000)))
    first.expect_close(1000)
    gateway.wait_for_event("connection_closed")
    assert door.open(asking())


def ask_admin(gateway, path, token=None):
    request = urllib.request.Request(gateway.admin_url + path)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_metrics_can_ask_for_the_admin_token(start):
    token = "admin-token-0123456789abcdef"
    gateway = start(admin={"listen": "127.0.0.1:0", "token": token, "public_metrics": False})
    assert ask_admin(gateway, "/metrics")[0] == 401
    assert ask_admin(gateway, "/metrics", token + "x")[0] == 401
    status, body = ask_admin(gateway, "/metrics", token)
    assert status == 200
    assert b"wskeeper_build_info" in body
    assert ask_admin(gateway, "/livez")[0] == 200
    assert ask_admin(gateway, "/readyz")[0] == 200


def test_metrics_come_as_openmetrics_when_asked_for(start):
    gateway = start()
    request = urllib.request.Request(
        gateway.admin_url + "/metrics", headers={"Accept": "application/openmetrics-text"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.read().endswith(b"# EOF\n")


def test_trusted_proxy_names_client_scheme_and_request(start, connect, upstream):
    gateway = start(trusted_proxies=["127.0.0.0/8"])
    lines = (
        "X-Forwarded-For: 6.6.6.6, 203.0.113.7",
        "X-Forwarded-Proto: https",
        "X-Request-Id: balancer-42",
    )
    response = connect(gateway).send(asking(lines=lines)).read_response()
    assert response.get("X-Request-Id") == "balancer-42"
    request = upstream.connection().request
    assert request.get("X-Forwarded-For") == "6.6.6.6, 203.0.113.7, 127.0.0.1"
    assert request.get("X-Forwarded-Proto") == "https"
    assert request.get("X-Real-IP") == "203.0.113.7"
    assert gateway.wait_for_event("connection_opened")["client"] == "203.0.113.7"

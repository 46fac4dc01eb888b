"""A. Authentication, in every carrier: unknown keys, canaries, pages, what is left behind.

P1-P3, P5, P63, P67, P68 and P89 of the catalogue hold wherever a credential may travel.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.attacks.scene import (
    APP_ONLY,
    BAD,
    GOOD,
    ORIGIN,
    assert_refused,
    configuration,
    read_log,
    refusing_port,
)
from tests.harness import frames
from tests.harness.accounts import log_faults
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.process import wait_until
from tests.harness.upstream import UpstreamConnection, answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.client import Client, Door
    from tests.harness.upstream import Upstream

# Looks like a key that was made, so that every carrier takes it for ours.
UNKNOWN = "wsk_CANARYbad000_" + "0" * 40


class Way(NamedTuple):
    """How a request carries a credential; the route has its name."""

    name: str
    config: Any
    query: Callable[[str], str] = lambda _: ""
    line: Callable[[str], str] = lambda _: ""

    def request(self, key: str, *lines: str, prefix: str = "") -> bytes:
        own = self.line(key)
        every = (own, *lines) if own else lines
        return upgrade(f"/{prefix}{self.name}{self.query(key)}", lines=every)


def _offer(name: str) -> str:
    return f"Sec-WebSocket-Protocol: wskeeper, {name}"


def _b64(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()


WAYS = (
    Way("in-header", {"header": "X-Api-Key"}, line=lambda key: f"X-Api-Key: {key}"),
    Way("in-bearer", "bearer", line=lambda key: f"Authorization: Bearer {key}"),
    Way("in-query", {"query": "api_key"}, query=lambda key: f"?a=%7E&api_key={key}&b"),
    Way("in-cookie", {"cookie": "key"}, line=lambda key: f"Cookie: a=1; key={key}; b=2"),
    Way("in-name", "subprotocol", line=lambda key: _offer(f"wskeeper.key.{key}")),
    Way("in-b64", "subprotocol", line=lambda key: _offer(f"wskeeper.key.b64.{_b64(key)}")),
)
EVERY_WAY = pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, upstream: Upstream, other: Upstream
) -> Iterator[Gateway]:
    """The gateway of all attacks, with a route for every carrier."""
    with refusing_port() as closed:
        config = configuration(upstream, other, closed.getsockname()[1])
        for way in WAYS:
            any_page = "same" if "cookie" in way.config else None
            config["routes"] += [
                {
                    "name": name,
                    "path": f"/{name}",
                    "upstream": upstream.url,
                    "carriers": [way.config],
                    "origins": origins,
                }
                for name, origins in ((way.name, any_page), (f"shop-{way.name}", [ORIGIN]))
            ]
        message = {"name": "in-message", "path": "/in-message", "carriers": ["first_message"]}
        config["routes"].append({**message, "upstream": upstream.url})
        config["timeouts"]["first_message"] = "1s"
        with Gateway(tmp_path_factory.mktemp("gateway"), config) as gateway:
            yield gateway
        faults = log_faults(gateway.log)
    assert not faults, "\n".join(faults[:20])


def echoes(connection: UpstreamConnection) -> None:
    """Accepts and echoes; `heard` has every frame."""
    connection.accept()
    while True:
        frame = connection.read_frame()
        connection.heard += frame.raw
        connection.send(frames.frame(frame.opcode, frame.payload))


@EVERY_WAY
def test_key_reaches_neither_upstream_nor_log(
    gateway: Gateway, door: Door, upstream: Upstream, way: Way
) -> None:
    with upstream.plays(echoes):
        client = door.open(way.request(GOOD))
        client.send_text("hello")
        assert client.read_frame().payload == b"hello"
        connection = upstream.connection()
    assert connection.request is not None
    raw = connection.request.raw + bytes(connection.heard)
    assert b"CANARY" not in raw
    assert _b64(GOOD).encode() not in raw
    assert connection.request.get("X-Wskeeper-Key-Name") == "good"
    # The rest of what it travelled in is whole.
    if way.name == "in-query":
        assert connection.request.target == "/in-query?a=%7E&b"
    if way.name == "in-cookie":
        assert connection.request.get("Cookie") == "a=1; b=2"
    client.reset()
    for line in read_log(gateway, door):
        assert "CANARY" not in line
        assert _b64(GOOD) not in line


@EVERY_WAY
def test_unknown_keys_are_answered_alike(door: Door, upstream: Upstream, way: Way) -> None:
    unknown = [UNKNOWN, UNKNOWN[:-1], UNKNOWN + "0", "wsk_", "wsk_" + "A" * 8000, "wsk_~.!*"]
    with upstream.untouched():
        found = [door.ask(way.request(key)) for key in unknown]
    for response in found:
        assert_refused(response, 401, "key_unknown")
        assert response.body == found[0].body
        assert [line for line in response.headers if line[0] != "X-Request-Id"] == [
            line for line in found[0].headers if line[0] != "X-Request-Id"
        ]


@EVERY_WAY
def test_no_key_and_almost_the_key_are_refused(door: Door, upstream: Upstream, way: Way) -> None:
    with upstream.untouched():
        assert_refused(door.ask(upgrade(f"/{way.name}")), 401, "key_missing")
        for key in (GOOD[:-1], GOOD + "0", GOOD.lower(), GOOD.swapcase(), BAD + GOOD, ""):
            assert_refused(door.ask(way.request(key)), 401, {"key_missing", "key_unknown"})


@EVERY_WAY
def test_key_of_another_route_is_refused(door: Door, upstream: Upstream, way: Way) -> None:
    with upstream.untouched():
        assert_refused(door.ask(way.request(APP_ONLY)), 403, "route_forbidden")


@EVERY_WAY
def test_key_in_another_place_is_none(door: Door, upstream: Upstream, way: Way) -> None:
    with upstream.untouched():
        for another in WAYS:
            if another.config == way.config:
                continue
            request = another.request(GOOD).replace(
                f"/{another.name}".encode(), f"/{way.name}".encode(), 1
            )
            assert_refused(door.ask(request), 401, "key_missing")


@EVERY_WAY
def test_only_listed_pages_are_served(door: Door, upstream: Upstream, way: Way) -> None:
    strange = (
        "null",
        "https://good.example.evil",
        "https://evilgood.example",
        "http://good.example",
        "https://good.example:8443",
        "https://good.example@evil",
    )
    with upstream.untouched():
        for origin in strange:
            response = door.ask(way.request(GOOD, f"Origin: {origin}", prefix="shop-"))
            assert_refused(response, 403, "origin_forbidden")
        twice = (f"Origin: {ORIGIN}", f"Origin: {ORIGIN}")
        assert_refused(door.ask(way.request(GOOD, *twice, prefix="shop-")), {400, 403})
    door.open(way.request(GOOD, f"Origin: {ORIGIN}", prefix="shop-"))
    door.open(way.request(GOOD, prefix="shop-"))


@EVERY_WAY
def test_key_is_in_no_answer_whatever_goes_wrong(
    gateway: Gateway, door: Door, upstream: Upstream, way: Way
) -> None:
    requests = [
        # Not a handshake, in many ways.
        way.request(GOOD).replace(b"Upgrade: websocket\r\n", b""),
        way.request(GOOD).replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 12"),
        way.request(GOOD).replace(b"GET ", b"POST ", 1),
        way.request(GOOD).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        way.request(GOOD).replace(b"Host: ", b"Host : ", 1),
        way.request(GOOD).replace(f"/{way.name}".encode(), b"/../x", 1),
        way.request(GOOD).replace(f"/{way.name}".encode(), b"/nowhere", 1),
        way.request(GOOD, "Bad\x00Header: x"),
        way.request(GOOD, "X: " + "x" * 70_000),
    ]
    with upstream.untouched():
        for request in requests:
            response = door.ask(request)
            assert response.status >= 400
            assert b"CANARY" not in response.raw + response.body
    for answer in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n"
        ),
        b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
    ):
        with upstream.plays(answers(answer)):
            response = door.ask(way.request(GOOD))
            assert response.status in {403, 502}
            assert b"CANARY" not in response.raw + response.body
        upstream.forget()
    assert not any("CANARY" in series for series in gateway.metrics())


# First messages ------------------------------------------------------------------------------


def awaited(door: Door) -> Client:
    """A client that was let in to say who it is: no outcome yet, so none for the books."""
    client = door.send(upgrade("/in-message"))
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    return client


def says(door: Door, token: str) -> Client:
    client = awaited(door)
    client.send_text(json.dumps({"type": "auth", "token": token}))
    return client


def test_message_with_the_key_reaches_neither_upstream_nor_log(
    gateway: Gateway, door: Door, upstream: Upstream
) -> None:
    with upstream.plays(echoes):
        client = says(door, GOOD)
        assert client.read_frame().payload == b'{"type": "auth_ok"}'
        client.send_text("hello")
        assert client.read_frame().payload == b"hello"
        connection = upstream.connection()
    assert connection.request is not None
    assert b"CANARY" not in connection.request.raw
    assert bytes(connection.heard) == frames.masked(frames.TEXT, b"hello")
    client.reset()
    assert not any("CANARY" in line for line in read_log(gateway, door))


@pytest.mark.parametrize("token", [BAD, UNKNOWN, GOOD[:-1], GOOD.lower(), GOOD + "0"])
def test_message_with_another_key_is_refused(door: Door, upstream: Upstream, token: str) -> None:
    with upstream.untouched():
        says(door, token).expect_close(1008, "key_unknown")


def test_many_who_say_nothing_leave_nothing_behind(
    gateway: Gateway, door: Door, upstream: Upstream
) -> None:
    waiting = [awaited(door) for _ in range(100)]
    assert_refused(door.ask(upgrade("/in-message")), 503, "gateway_connections")
    for number, client in enumerate(waiting):
        if number % 3 == 0:
            client.reset()
        elif number % 3 == 1:
            client.send(frames.masked(frames.TEXT, b"{")[:3])
    with upstream.untouched():
        for number, client in enumerate(waiting):
            if number % 3:
                client.expect_close(1008, "first_message_timeout")
                client.close()

    def free() -> bool:
        client = door.send(upgrade("/in-message"))
        welcome = client.read_head().startswith(b"HTTP/1.1 101 ")
        client.close()
        return welcome

    assert wait_until(free)

"""Ordinary HTTP on routes with `http: passthrough`: bodies, connections, who may."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.client import Door
from tests.harness.heads import Response, plain, upgrade
from tests.harness.peer import CHUNK
from tests.harness.process import wait_until
from tests.harness.upstream import Upstream, echo
from tests.integration.passthrough_scene import (
    KEY,
    OK,
    PAGE,
    WITH_KEY,
    asked,
    in_chunks,
    read_chunked,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.gateway import Gateway
    from tests.harness.peer import Peer


BIG = 100 * 1024 * 1024
# What a hundred megabytes may add to a gateway, in KiB.
GROWTH = 10 * 1024
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(None) as upstream:
        yield upstream


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def gateway(request, tmp_path_factory, upstream) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("gateway"), upstream, request.param) as gateway:
        yield gateway


@pytest.fixture
def door(gateway: Gateway, upstream: Upstream) -> Iterator[Door]:
    with Door(gateway.public) as door:
        yield door
    upstream.forget()


# Bodies ----------------------------------------------------------------------------------------


def test_body_of_a_known_length_reaches_the_upstream(door, upstream):
    body = bytes(range(256)) * 300
    lines = (f"Content-Length: {len(body)}", "Content-Type: a/b")
    client = door.send(plain("/app", WITH_KEY, *lines, method="POST") + body)
    connection = upstream.connection()
    request = connection.read_request()
    assert (request.get("Content-Type"), request.get("Content-Length")) == ("a/b", str(len(body)))
    assert request.get("Transfer-Encoding") is None
    assert connection.read_exactly(len(body)) == body
    connection.send(OK)
    assert client.read_response().body == b"ok"


def test_body_in_chunks_reaches_the_upstream_in_chunks(door, upstream):
    body = bytes(range(256)) * 300
    sent = in_chunks(body, 1000, extension=b";a=b") + b"0\r\nX-Trailer: 1\r\n\r\n"
    client = door.send(plain("/app", WITH_KEY, CHUNKED, method="PUT") + sent)
    connection = upstream.connection()
    request = connection.read_request()
    assert (request.get("Transfer-Encoding"), request.get("Content-Length")) == ("chunked", None)
    assert read_chunked(connection) == body
    connection.send(OK)
    assert client.read_response().body == b"ok"


def test_pieces_of_a_body_travel_at_once(door, upstream):
    client = door.send(plain("/app", WITH_KEY, CHUNKED, method="POST"))
    connection = upstream.connection()
    connection.read_request()
    for _ in range(3):
        client.send(b"4\r\nping\r\n")
        assert connection.read_exactly(9) == b"4\r\nping\r\n"
    client.send(b"0\r\n\r\n")
    connection.send(OK)
    assert client.read_response().status == 200


def test_client_that_waits_is_told_to_go_on_once_the_upstream_is_there(door, upstream):
    lines = ("Content-Length: 5", "Expect: 100-continue")
    client = door.send(plain("/app", WITH_KEY, *lines, method="POST"))
    assert client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection = upstream.connection()
    assert connection.read_request().get("Expect") is None
    client.send(b"hello")
    assert connection.read_exactly(5) == b"hello"
    connection.send(OK)
    assert client.read_response().status == 200


def test_client_that_waits_hears_a_refusal_in_place_of_it(door, upstream):
    lines = ("Content-Length: 5", "Expect: 100-continue")
    with upstream.untouched():
        assert door.ask(plain("/app", *lines, method="POST")).code == "key_missing"
    assert door.ask(plain("/dead", WITH_KEY, *lines, method="POST")).status == 502


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 4", CHUNKED),
        ("Content-Length: 4", "Content-Length: 4"),
        ("Content-Length: +4",),
        ("Content-Length: 4, 4",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: x",),
    ],
)
def test_doubtful_framing_is_refused(door, upstream, lines):
    with upstream.untouched(0.05):
        response = door.ask(plain("/app", WITH_KEY, *lines, method="POST") + b"0\r\n\r\n")
    assert (response.status, response.code) == (400, "bad_request")


def test_chunks_that_are_none_end_the_request(door, upstream):
    client = door.send(plain("/app", WITH_KEY, CHUNKED, method="POST") + b"4\r\nping\r\n")
    connection = upstream.connection()
    connection.read_request()
    connection.read_exactly(9)
    client.send(b"4\nping")
    assert client.read_response().code == "bad_request"
    assert not connection.read_to_end(2.0).endswith(b"0\r\n\r\n")


def growth(gateway: Gateway, before: int = 0) -> int:
    """KiB of memory that a gateway has, or has taken since."""
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(resident.split()[1]) - before


def pour(sender: Peer, head: bytes) -> threading.Thread:
    """Sends a head and `BIG` bytes behind it, from a thread of its own."""

    def run() -> None:
        with contextlib.suppress(OSError):  # whoever does not take it is left
            sender.send(head)
            for _ in range(BIG // CHUNK):
                sender.send(PIECE)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


PIECE = bytes(range(256)) * (CHUNK // 256)
DIGEST = hashlib.md5(PIECE * (BIG // CHUNK)).digest()


def drink(receiver: Peer) -> bytes:
    """The digest of the next `BIG` bytes."""
    digest, left = hashlib.md5(), BIG
    while left:
        data = receiver.read_some(5.0)
        digest.update(data)
        left -= len(data)
    return digest.digest()


def test_hundred_megabytes_pass_both_ways_in_bounded_memory(gateway, door, upstream):
    before = growth(gateway)
    client = door.connect()
    pouring = pour(client, plain("/app", WITH_KEY, f"Content-Length: {BIG}", method="POST"))
    connection = upstream.connection()
    connection.read_request()
    assert drink(connection) == DIGEST
    pouring.join()
    pouring = pour(connection, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
    client.read_head()
    assert drink(client) == DIGEST
    pouring.join()
    assert growth(gateway, before) < GROWTH


def test_client_that_reads_nothing_holds_back_the_upstream_and_is_dropped(gateway, door, upstream):
    before = growth(gateway)
    client = door.connect(receive_buffer=8192)
    client.send(plain("/app", WITH_KEY))
    connection = upstream.connection()
    connection.read_request()
    pour(connection, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
    gateway.wait_for_event("http_request", outcome="client_stalled")
    assert growth(gateway, before) < GROWTH
    assert connection.read_to_end(2.0) == b""


def test_upstream_that_reads_nothing_holds_back_the_client_and_is_given_up(gateway, door, upstream):
    before = growth(gateway)
    client = door.connect(send_buffer=8192)
    pour(client, plain("/app", WITH_KEY, f"Content-Length: {BIG}", method="POST"))
    response = Response.parse(client.read_head())
    assert (response.status, response.code) == (504, "upstream_timeout")
    assert growth(gateway, before) < GROWTH


# Connections -----------------------------------------------------------------------------------


def test_requests_and_an_upgrade_share_a_connection(gateway, door, upstream):
    client = door.connect()
    for number in range(3):
        client.send(plain(f"/app/{number}", WITH_KEY, "Content-Length: 2", method="POST") + b"hi")
        connection = upstream.connection()
        assert connection.read_request().target == f"/app/{number}"
        assert connection.read_exactly(2) == b"hi"
        connection.send(OK)
        assert client.read_response().body == b"ok"
    with upstream.plays(echo):
        client.send(upgrade("/app", key=KEY))
        assert client.read_response().status == 101
        client.send_text("after the requests")
        assert client.read_frame().payload == b"after the requests"


def test_pipelined_requests_are_answered_in_their_order(door, upstream):
    requests = [
        plain("/app/one", WITH_KEY, "Content-Length: 3", method="POST") + b"abc",
        plain("/app/two", WITH_KEY),
        plain("/strict"),
    ]
    client = door.send(b"".join(requests))
    for name in (b"one", b"two"):
        connection = upstream.connection()
        assert connection.read_request().target == f"/app/{name.decode()}"
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + name)
        assert client.read_response().body == name
    assert client.read_response().code == "upgrade_required"


def test_each_request_has_a_connection_of_its_own_to_the_upstream(door, upstream):
    before = upstream.count
    client = door.connect()
    for _ in range(2):
        client.send(plain("/app", WITH_KEY))
        connection = upstream.connection()
        connection.read_request()
        connection.send(OK)
        client.read_response()
        connection.expect_end()
    assert upstream.count == before + 2


def test_connection_ends_when_the_client_wants_it(door, upstream):
    client, _ = asked(door, upstream, plain("/app", WITH_KEY, "Connection: close"))
    response = client.read_response()
    assert (response.get("Connection"), response.ended) == ("close", True)


def test_answer_before_the_end_of_the_body_ends_the_connection(door, upstream):
    client = door.send(plain("/app", WITH_KEY, "Content-Length: 100", method="POST") + b"some")
    connection = upstream.connection()
    connection.read_request()
    connection.send(b"HTTP/1.1 413 Too much\r\nContent-Length: 0\r\n\r\n")
    response = client.read_response()
    assert (response.status, response.ended) == (413, True)


@pytest.mark.parametrize("begun", [False, True])
def test_upstream_hears_that_the_client_left(gateway, door, upstream, begun):
    client = door.send(plain(f"/app/left/{begun}", WITH_KEY))
    connection = upstream.connection()
    connection.read_request()
    if begun:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
        client.read_exactly(4)
    client.close()
    connection.expect_end(2.0)
    gateway.wait_for_event("http_request", path=f"/app/left/{begun}", outcome="client_gone")


# Who may ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_head", "status", "code"),
    [
        (plain("/app"), 401, "key_missing"),
        (plain("/app", "X-Api-Key: nobody's"), 401, "key_unknown"),
        (plain("/app", WITH_KEY, WITH_KEY), 400, "key_ambiguous"),
        (plain("/app?wskeeper_ticket=wst_x"), 401, "ticket_invalid"),
        (plain("/app", WITH_KEY, "Origin: https://evil.example"), 403, "origin_forbidden"),
        (plain("/app/../x", WITH_KEY), 400, "bad_path"),
        (plain("/nowhere", WITH_KEY), 404, "no_route"),
        (plain("/app", WITH_KEY, method="TRACE"), 405, "method_not_allowed"),
        (plain("/app", WITH_KEY, method="CONNECT"), 405, "method_not_allowed"),
        (plain("/app", WITH_KEY, method="get"), 405, "method_not_allowed"),
        (plain("/app", WITH_KEY, "X-Latin: \xe9"), 400, "bad_request"),
        (plain("/app", WITH_KEY, "Sec-WebSocket-Key: x"), 426, "upgrade_stripped"),
        (plain("/app", WITH_KEY, "Upgrade: websocket"), 426, "upgrade_stripped"),
        (plain("/said"), 401, "key_missing"),
        (plain("/strict", WITH_KEY), 426, "upgrade_required"),
        (plain("/strict", WITH_KEY, method="POST"), 405, "method_not_allowed"),
    ],
)
def test_refused_request_never_reaches_the_upstream(door, upstream, request_head, status, code):
    with upstream.untouched(0.05):
        response = door.ask(request_head)
    assert (response.status, response.code) == (status, code)
    assert response.get("Content-Type") == "application/problem+json"
    assert response.problem["code"] == code
    assert response.ended


def test_refusal_says_to_send_the_key_with_every_request(door):
    response = door.ask(plain("/app"))
    assert "with every request" in response.problem["detail"]
    [challenge] = response.all("WWW-Authenticate")
    assert 'cookie="api_key"' in challenge
    assert "Ticket" not in challenge


def test_head_is_refused_without_a_body(door):
    response = door.ask(plain("/app", method="HEAD"))
    assert (response.status, response.body) == (401, b"")


def test_preflight_passes_without_a_key_from_a_page_of_the_route(door, upstream):
    preflight = ("Access-Control-Request-Method: PUT", f"Origin: {PAGE}")
    client, connection = asked(door, upstream, plain("/pages", *preflight, method="OPTIONS"))
    assert connection.request.get("X-Wskeeper-Auth") == "none"
    assert client.read_response().status == 200


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (
            ("Access-Control-Request-Method: PUT", "Origin: https://evil.example"),
            "origin_forbidden",
        ),
        (("Access-Control-Request-Method: PUT",), "key_missing"),
        ((f"Origin: {PAGE}",), "key_missing"),
        (
            ("Access-Control-Request-Method: PUT", f"Origin: {PAGE}", "Content-Length: 1"),
            "key_missing",
        ),
    ],
)
def test_what_is_no_preflight_of_such_a_page_needs_a_key(door, upstream, lines, code):
    with upstream.untouched(0.05):
        assert door.ask(plain("/pages", *lines, method="OPTIONS") + b"x").code == code


def test_open_route_asks_for_no_key(door, upstream):
    client, connection = asked(door, upstream, plain("/open"))
    assert connection.request.get("X-Wskeeper-Auth") == "none"
    assert client.read_response().status == 200


def test_reporting_route_lets_in_and_tells(gateway, door, upstream):
    asked(door, upstream, plain("/watched"))
    gateway.wait_for_event("would_refuse", route="watched", code="key_missing")


def test_requests_take_none_of_the_key_s_connections(door, upstream):
    # The key may have one connection.
    for _ in range(3):
        door.send(plain("/app", WITH_KEY))
        upstream.connection().read_request()
    with upstream.plays(echo):
        door.open(upgrade("/app", key=KEY))


def test_requests_are_counted_apart_from_handshakes(gateway, door, upstream):
    def counted(kind: str, outcome: str) -> float:
        series = f'wskeeper_{kind}_total{{outcome="{outcome}",route="app"}}'
        return gateway.metrics().get(series, 0.0)

    before = [counted("http_requests", "answered"), counted("http_requests", "key_missing")]
    handshakes = [counted("handshakes", "accepted"), counted("handshakes", "key_missing")]
    client, _ = asked(door, upstream, plain("/app", WITH_KEY))
    client.read_response()
    door.ask(plain("/app"))
    assert wait_until(
        lambda: (
            [counted("http_requests", "answered"), counted("http_requests", "key_missing")]
            == [count + 1 for count in before]
        )
    )
    assert handshakes == [counted("handshakes", "accepted"), counted("handshakes", "key_missing")]


def test_log_tells_of_a_request_without_its_query(gateway, door, upstream):
    client, _ = asked(door, upstream, plain(f"/app/told?api_key={KEY}&secret=1"))
    client.read_response()
    told = gateway.wait_for_event("http_request", path="/app/told")
    assert told["level"] == "debug"
    assert (told["method"], told["status"], told["outcome"]) == ("GET", 200, "answered")
    assert (told["bytes_from_client"], told["bytes_from_upstream"]) == (0, 2)
    assert "secret" not in str(told)

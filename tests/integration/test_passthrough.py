"""Ordinary HTTP on routes with `http: passthrough`: what travels up, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.client import Door
from tests.harness.heads import DEFAULT_HOST, Response, plain
from tests.harness.upstream import Upstream
from tests.integration.passthrough_scene import KEY, OK, WITH_KEY, asked, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.gateway import Gateway


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


# What travels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_any_method_reaches_the_upstream(door, upstream, method):
    client, connection = asked(door, upstream, plain("/app/a?b=%20c", WITH_KEY, method=method))
    assert connection.request.first_line == f"{method} /app/a?b=%20c HTTP/1.1"
    response = client.read_response()
    assert (response.first_line, response.body) == ("HTTP/1.1 200 OK", b"ok")
    assert response.get("X-Request-Id") == connection.request.get("X-Request-Id")


@pytest.mark.parametrize(
    "target", ["/app", "/app?", "/app/%7e~!$&'()*+,;=:@|\"<>", "/app?a=%zz&b=[x]"]
)
def test_the_bytes_of_the_target_are_those_that_were_sent(door, upstream, target):
    _, connection = asked(door, upstream, plain(target, WITH_KEY))
    assert connection.request.first_line == f"GET {target} HTTP/1.1"


def test_headers_travel_as_they_were_sent_and_nothing_is_added(door, upstream):
    lines = (
        "Accept-Language: de",
        "X-Twice: 1",
        "x-twice: 2",
        "Cookie: a=b; c",
        "X-Umlaut: \xc3\xa4",
    )
    _, connection = asked(door, upstream, plain("/app", WITH_KEY, *lines))
    sent = connection.request.headers
    assert sent[0] == ("Host", DEFAULT_HOST)
    assert [": ".join(header).lower() for header in sent[1:6]] == [line.lower() for line in lines]
    ours = {name.lower() for name, _ in sent[6:]}
    assert ours == {
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-real-ip",
        "x-request-id",
        "x-wskeeper-route",
        "x-wskeeper-auth",
        "x-wskeeper-key-id",
        "x-wskeeper-key-name",
        "connection",
    }
    assert connection.request.get("X-Wskeeper-Key-Name") == "fixed"


def test_hop_by_hop_and_forged_headers_do_not_travel(door, upstream):
    forged = ("X-Wskeeper-Key-Name: root", "X-Forwarded-For: 1.2.3.4", "X_Wskeeper_Auth: none")
    hops = ("Connection: X-Hop, keep-alive, Upgrade", "X-Hop: 1", "TE: trailers", "Upgrade: h2c")
    _, connection = asked(door, upstream, plain("/app", WITH_KEY, *forged, *hops))
    request = connection.request
    assert request.get("X-Wskeeper-Key-Name") == "fixed"
    assert request.get("X-Forwarded-For") == "127.0.0.1"
    for gone in ("X_Wskeeper_Auth", "X-Hop", "TE", "Upgrade"):
        assert request.get(gone) is None
    assert request.get("Connection") == "close"


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        ("/app?a=1", (WITH_KEY,)),
        ("/app?a=1", (f"Authorization: Bearer {KEY}",)),
        (f"/app?a=1&api_key={KEY}", ()),
        ("/app?a=1", (f"Cookie: api_key={KEY}; other=1", f"Origin: http://{DEFAULT_HOST}")),
    ],
)
def test_the_key_opens_and_does_not_travel(door, upstream, target, lines):
    _, connection = asked(door, upstream, plain(target, *lines))
    assert KEY not in connection.request.raw.decode()
    assert connection.request.target == "/app?a=1"
    assert connection.request.get("X-Wskeeper-Auth") == "api_key"


def test_credentials_of_the_application_travel(door, upstream):
    lines = (WITH_KEY, "Authorization: Basic dTpw", "Cookie: session=1")
    _, connection = asked(door, upstream, plain("/app?token=x", *lines))
    assert connection.request.get("Authorization") == "Basic dTpw"
    assert connection.request.get("Cookie") == "session=1"
    assert connection.request.target == "/app?token=x"


def test_the_next_target_is_asked_where_one_cannot_be_reached(door, upstream):
    for _ in range(2):  # Whoever's turn it is.
        client, connection = asked(door, upstream, plain("/two/x", WITH_KEY))
        assert client.read_response().status == 200
        assert connection.request.target == "/base/x"
        assert connection.request.get("X-From") == "fixed"
        assert connection.request.get("Host") == f"127.0.0.1:{upstream.port}"


# Answers ---------------------------------------------------------------------------------------


def test_answer_keeps_status_reason_and_headers(door, upstream):
    answer = (
        b"HTTP/1.1 418 I am a teapot\r\nSet-Cookie: a=1\r\nset-cookie: b=2; HttpOnly\r\n"
        b"X-Latin: caf\xe9\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Request-Id: theirs\r\n"
        b"X-Wskeeper-Code: forged\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    )
    client, connection = asked(door, upstream, plain("/app", WITH_KEY), answer)
    response = client.read_response()
    assert response.first_line == "HTTP/1.1 418 I am a teapot"
    assert response.headers == [
        ("Set-Cookie", "a=1"),
        ("set-cookie", "b=2; HttpOnly"),
        ("X-Latin", "caf\xe9"),
        ("Content-Encoding", "gzip"),
        ("Content-Length", "3"),
        ("X-Request-Id", connection.request.get("X-Request-Id")),
        ("Connection", "keep-alive"),
    ]
    assert response.body == b"abc"


def test_redirect_is_relayed_and_no_cookie_is_kept(door, upstream):
    answer = (
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: secret=1\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    client, _ = asked(door, upstream, plain("/app", WITH_KEY), answer)
    response = client.read_response()
    assert (response.status, response.get("Location")) == (302, "/elsewhere")
    _, connection = asked(door, upstream, plain("/app", WITH_KEY))
    assert connection.request.get("Cookie") is None


@pytest.mark.parametrize(
    ("method", "answer", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", "1234"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: x\r\n\r\n", "77"),
    ],
)
def test_answer_without_a_body_keeps_the_connection(door, upstream, method, answer, length):
    client, _ = asked(door, upstream, plain("/app", WITH_KEY, method=method), answer)
    response = Response.parse(client.read_head())
    assert (response.get("Content-Length"), response.get("Transfer-Encoding")) == (length, None)
    client.send(plain("/strict"))
    assert client.read_response().status == 426


def test_interim_answers_are_skipped(door, upstream):
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    client, _ = asked(door, upstream, plain("/app", WITH_KEY), early + OK)
    assert client.read_response().status == 200


def test_answer_without_a_length_is_sent_in_chunks(door, upstream):
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"5;ext=1\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    client, _ = asked(door, upstream, plain("/app", WITH_KEY), answer)
    response = Response.parse(client.read_head())
    assert response.get("Transfer-Encoding") == "chunked"
    assert response.get("Trailer") is None
    assert client.read_exactly(15) == b"5\r\nhello\r\n0\r\n\r\n"


def test_http_1_0_hears_the_end_of_the_body_as_the_end_of_the_connection(door, upstream):
    request = f"GET /app HTTP/1.0\r\nHost: {DEFAULT_HOST}\r\n{WITH_KEY}\r\n\r\n".encode()
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    client, _ = asked(door, upstream, request, answer)
    head, _, body = client.read_to_end().partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert (b"Connection: close" in head, body) == (True, b"hello")


def test_events_flow_at_once(door, upstream):
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    client, connection = asked(door, upstream, plain("/app", WITH_KEY), head)
    client.read_head()
    for number in range(3):
        event = b"data: %d\n\n" % number
        connection.send(b"%x\r\n%b\r\n" % (len(event), event))
        assert client.read_exactly(len(event) + 5) == b"9\r\n%b\r\n" % event


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_answer_cut_short_never_looks_complete(gateway, door, upstream, answer):
    client, connection = asked(door, upstream, plain("/app", WITH_KEY), answer)
    client.read_head()
    connection.close()
    rest = client.read_to_end(2.0)
    assert b"half" in rest or rest == b""
    assert not rest.endswith(b"0\r\n\r\n")
    gateway.wait_for_event("http_request", outcome="upstream_lost")


def test_answer_cut_short_is_no_whole_one_for_http_1_0_either(door, upstream):
    # There the end of the connection is that of the answer, unless the connection breaks.
    request = f"GET /app HTTP/1.0\r\nHost: {DEFAULT_HOST}\r\n{WITH_KEY}\r\n\r\n".encode()
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
    client, connection = asked(door, upstream, request, answer)
    client.read_head()
    connection.close()
    client.read_to_end(2.0)
    assert client.ended == "rst"


def test_key_in_the_address_of_the_page_does_not_travel(door, upstream):
    page = f"Referer: http://{DEFAULT_HOST}/app/page?a=1&api_key={KEY}"
    # Nor to a service whose own route takes no key from there.
    for target in ("/app/style.css", "/pages/style.css"):
        _, connection = asked(door, upstream, plain(target, WITH_KEY, page))
        assert connection.request.get("Referer") == f"http://{DEFAULT_HOST}/app/page?a=1"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "upstream_unreachable"),
        (b"HTTP/1.1 200", "upstream_invalid"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "upstream_invalid"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "upstream_invalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", "upstream_invalid"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "upstream_invalid",
        ),
        (b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n", "upstream_invalid"),
    ],
)
def test_answer_that_is_none_is_502(door, upstream, raw, code):
    client, connection = asked(door, upstream, plain("/app", WITH_KEY), raw)
    if not raw.endswith(b"\n\r\n"):
        connection.finish_sending()
    response = client.read_response()
    assert (response.status, response.code) == (502, code)


def test_upstream_that_cannot_be_reached_is_502(door):
    response = door.ask(plain("/dead", WITH_KEY))
    assert (response.status, response.code) == (502, "upstream_unreachable")

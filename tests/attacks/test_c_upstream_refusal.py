"""C again: refusals of the upstream are relayed, redirects are not, neither opens anything."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import assert_refused, assert_whole, good
from tests.attacks.test_c_upstream_answer import answer, dialled, refused_without_a_leak
from tests.harness.process import MB, Watch

if TYPE_CHECKING:
    from tests.harness.client import Door
    from tests.harness.gateway import Gateway
    from tests.harness.upstream import Upstream

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    "status",
    [
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "426 Upgrade Required",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ],
)
def test_p26_a_refusal_of_the_upstream_is_relayed_and_ends_it(
    door: Door, upstream: Upstream, status: str
) -> None:
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good())
        answer(
            connection,
            "Content-Length: 11",
            "Content-Type: text/plain",
            "Connection: keep-alive, X-Hop",
            "Keep-Alive: timeout=60",
            "X-Hop: 1",
            "X-Reason: because",
            "Set-Cookie: a=1",
            status=status,
            body=b"not for you",
        )
        response = refused_without_a_leak(client, connection)
    assert response.first_line == f"HTTP/1.1 {status}"
    assert_whole(response)
    assert response.body == b"not for you"
    assert response.code == "upstream_refused"
    assert response.get("X-Request-Id")
    assert response.get("X-Reason") == "because"
    assert response.get("Set-Cookie") == "a=1"
    assert response.get("Content-Type") == "text/plain"
    assert response.get("Keep-Alive") is None
    assert response.get("X-Hop") is None
    assert response.get("Connection") == "close"


def test_p26_a_chunked_refusal_arrives_in_one_clear_frame(door: Door, upstream: Upstream) -> None:
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good())
        body = b"3\r\nnot\r\n8\r\n for you\r\n0\r\n\r\n"
        answer(connection, "Transfer-Encoding: chunked", status="403 Forbidden", body=body)
        response = refused_without_a_leak(client, connection)
    assert_whole(response)
    assert (response.status, response.body) == (403, b"not for you")


def test_p26_a_refusal_without_a_length_ends_with_the_connection(
    door: Door, upstream: Upstream
) -> None:
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good())
        answer(connection, status="403 Forbidden", body=b"not for you")
        connection.finish_sending()
        response = refused_without_a_leak(client, connection)
    assert_whole(response)
    assert (response.status, response.body) == (403, b"not for you")


def test_p26_a_huge_refusal_is_cut(door: Door, upstream: Upstream, gateway: Gateway) -> None:
    with upstream.by_hand(), Watch(gateway.pid) as watch:
        client, connection = dialled(door, upstream, good())
        size = 20 * MB
        answer(connection, f"Content-Length: {size}", status="503 Service Unavailable")
        with contextlib.suppress(ConnectionError):  # it may have had enough
            connection.send_some(bytes(size), patience=0.3)
        response = client.read_response()
        connection.read_to_end(1)
    assert_whole(response)
    assert response.status == 503
    assert len(response.body) <= 64 * 1024
    assert watch.growth < 2 * MB


def test_p26_a_refusal_with_a_promised_body_that_never_comes(
    door: Door, upstream: Upstream
) -> None:
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good("/impatient"))
        answer(connection, "Content-Length: 100", status="403 Forbidden", body=b"half")
        response = client.read_response(within=4)
        connection.read_to_end(1)
    assert response.status in {403, 502, 504}, response.first_line
    assert_whole(response)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 P"])
def test_p29_redirects_are_neither_followed_nor_relayed(
    door: Door, upstream: Upstream, other: Upstream, status: str
) -> None:
    for location in (f"http://127.0.0.1:{other.port}/", f"{other.url}/x", "/elsewhere"):
        with other.untouched(0.1), upstream.by_hand():
            client, connection = dialled(door, upstream, good())
            with upstream.untouched(0):
                answer(connection, f"Location: {location}", "Content-Length: 0", status=status)
                response = refused_without_a_leak(client, connection)
        assert_refused(response, 502, "upstream_invalid")
        assert response.get("Location") is None

"""C. The upstream's answer: a tunnel opens on a flawless 101 and on nothing else."""

from __future__ import annotations

import base64
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import assert_refused, good
from tests.harness import frames
from tests.harness.heads import Response, accept_for
from tests.harness.process import BUSY, MB, Watch

if TYPE_CHECKING:
    from tests.harness.client import Client, Door
    from tests.harness.gateway import Gateway
    from tests.harness.upstream import Upstream, UpstreamConnection

pytestmark = pytest.mark.timeout(60)

SMUGGLED = b"GET /internal HTTP/1.1\r\nHost: inside\r\n\r\n"


def answer(upstream: UpstreamConnection, *lines: str, status: str, body: bytes = b"") -> None:
    """Sends a whole response; `{accept}` in a line is replaced by the right value."""
    assert upstream.request is not None
    accept = accept_for(upstream.request.get("Sec-WebSocket-Key") or "")
    head = [f"HTTP/1.1 {status}", *(line.replace("{accept}", accept) for line in lines), "", ""]
    upstream.send("\r\n".join(head).encode("latin-1") + body)


SWITCHING = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}")


def dialled(door: Door, upstream: Upstream, request: bytes) -> tuple[Client, UpstreamConnection]:
    """A client that waits for its answer, and the connection that was dialled for it."""
    client = door.send(request)
    connection = upstream.connection()
    connection.read_request()
    return client, connection


def refused_without_a_leak(client: Client, connection: UpstreamConnection) -> Response:
    """The client's answer; what it says afterwards does not reach the upstream, both end."""
    began = time.monotonic()
    response = client.read_response()
    with contextlib.suppress(OSError):  # it may be closed already
        client.send(SMUGGLED)
    connection.expect_end(1.0)
    assert time.monotonic() - began < 1 + BUSY
    return response


@pytest.mark.parametrize(
    "status", ["200 OK", "204 No Content", "101 OK", "206 Partial Content", "299 Odd"]
)
def test_p25_success_without_a_switch_opens_no_tunnel(
    door: Door, upstream: Upstream, status: str
) -> None:
    lines = list(SWITCHING)
    if status.startswith("101"):
        lines[2] = "Sec-WebSocket-Accept: no"
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good())
        answer(connection, *lines, "Content-Length: 0", status=status)
        response = refused_without_a_leak(client, connection)
    assert_refused(response, 502, "upstream_invalid")


BROKEN_101 = {
    "p27 without Accept": SWITCHING[:2],
    "p27 wrong Accept": (*SWITCHING[:2], "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    "p27 Accept of another key": (
        *SWITCHING[:2],
        f"Sec-WebSocket-Accept: {accept_for('dGhlIHNhbXBsZSBub25jZQ==')}",
    ),
    "p27 empty Accept": (*SWITCHING[:2], "Sec-WebSocket-Accept:"),
    "p27 two Accepts, the first right": (*SWITCHING, "Sec-WebSocket-Accept: AAAA"),
    "p27 two Accepts, the second right": (
        *SWITCHING[:2],
        "Sec-WebSocket-Accept: AAAA",
        SWITCHING[2],
    ),
    "p28 without Upgrade": SWITCHING[1:],
    "p28 without Connection": (SWITCHING[0], SWITCHING[2]),
    "p28 Upgrade: foo": ("Upgrade: foo", *SWITCHING[1:]),
    "p28 Upgrade: h2c": ("Upgrade: h2c", *SWITCHING[1:]),
    "p28 Upgrade: websocket, h2c": ("Upgrade: websocket, h2c", *SWITCHING[1:]),
    "p28 Connection: close": (SWITCHING[0], "Connection: close", SWITCHING[2]),
}


@pytest.mark.parametrize("case", BROKEN_101)
def test_p27_p28_an_incomplete_101_opens_no_tunnel(
    door: Door, upstream: Upstream, case: str
) -> None:
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good())
        answer(connection, *BROKEN_101[case], status="101 Switching Protocols")
        response = refused_without_a_leak(client, connection)
    assert_refused(response, 502, "upstream_invalid")


_101 = b"HTTP/1.1 101 Switching Protocols\r\n"
_REST = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
_ACCEPT = b"Sec-WebSocket-Accept: %s\r\n\r\n"

UNCLEAN = {
    "bare line feeds": (_101 + _REST + _ACCEPT).replace(b"\r\n", b"\n"),
    "one bare line feed": _101 + _REST.replace(b"websocket\r\n", b"websocket\n") + _ACCEPT,
    "HTTP/1.0": _101.replace(b"1.1", b"1.0") + _REST + _ACCEPT,
    "HTTP/2.0": _101.replace(b"1.1", b"2.0") + _REST + _ACCEPT,
    "a folded line": _101 + _REST + _ACCEPT.replace(b": ", b":\r\n "),
    "NUL in a value": _101 + b"X: a\x00b\r\n" + _REST + _ACCEPT,
    "space before a colon": _101 + _REST + _ACCEPT.replace(b": ", b" : "),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n\r\n%s",
    "only line ends": b"\r\n\r\n\r\n%s",
    "status 9999": b"HTTP/1.1 9999 Odd\r\n\r\n%s",
    "status -01": b"HTTP/1.1 -01 Odd\r\n\r\n%s",
    "no status": b"HTTP/1.1\r\n\r\n%s",
}


@pytest.mark.parametrize("case", UNCLEAN)
def test_p28_an_answer_that_is_no_clean_http_opens_no_tunnel(
    door: Door, upstream: Upstream, case: str
) -> None:
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good("/impatient"))
        assert connection.request is not None
        key = connection.request.get("Sec-WebSocket-Key") or ""
        connection.send(UNCLEAN[case] % accept_for(key).encode())
        response = client.read_response()
        assert response.status != 101
        connection.expect_end()
    # A head whose end is never recognised may also run into the deadline.
    assert_refused(response, {502, 504}, {"upstream_invalid", "upstream_timeout"})


@pytest.mark.parametrize("line", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_p28_a_body_announced_by_a_101_does_not_reach_the_client(
    door: Door, upstream: Upstream, line: str
) -> None:
    """Whoever stands before us might wait for it (RFC 9110 section 8.6, 9112 section 6.1)."""
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good())
        connection.send(connection.switching(line))
        response = client.read_response()
    if response.status == 101:
        assert response.get(line.partition(":")[0]) is None
    else:
        assert_refused(response, 502, "upstream_invalid")


def test_p30_a_silent_upstream_is_given_up_at_its_deadline(door: Door, upstream: Upstream) -> None:
    with upstream.by_hand():
        began = time.monotonic()
        client, connection = dialled(door, upstream, good("/impatient"))
        response = client.read_response()
        took = time.monotonic() - began
        connection.expect_end()
    assert_refused(response, 504, "upstream_timeout")
    assert 0.9 <= took <= 2 + BUSY


def test_p30_dribbling_does_not_extend_the_deadline(door: Door, upstream: Upstream) -> None:
    with upstream.by_hand():
        began = time.monotonic()
        client, connection = dialled(door, upstream, good("/impatient"))
        for byte in b"HTTP/1.1 101 Switching Protocols\r\nX-Slow: yes" * 2:
            if client.is_readable(0.1):
                break
            connection.send(bytes([byte]))
        response = client.read_response()
        took = time.monotonic() - began
    assert_refused(response, 504, "upstream_timeout")
    # Every byte in its turn would have taken nine seconds.
    assert took <= 2 + BUSY


def test_p31_a_refused_connection_is_a_502_at_once(door: Door) -> None:
    began = time.monotonic()
    response = door.ask(good("/closed"))
    assert time.monotonic() - began < 1 + BUSY
    assert_refused(response, 502, "upstream_unreachable")


def test_p32_an_endless_answer_is_cut_at_a_bound(
    door: Door, upstream: Upstream, gateway: Gateway
) -> None:
    with upstream.by_hand(), Watch(gateway.pid) as watch:
        client, connection = dialled(door, upstream, good())
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\n")
        line = b"X-Endless: " + b"x" * 9_987 + b"\r\n"
        sent = 0
        try:
            while sent < 20 * MB and not client.is_readable(0.01):  # 1 MB/s
                connection.send(line)
                sent += len(line)
        except OSError:
            pass  # it had enough
        response = client.read_response()
    assert_refused(response, 502, "upstream_invalid")
    assert sent < 1 * MB
    assert watch.growth < 1 * MB


def test_p33_a_first_frame_in_the_segment_of_the_101_arrives_once(
    door: Door, upstream: Upstream
) -> None:
    def greeting(connection: UpstreamConnection) -> None:
        connection.read_request()
        first = frames.frame(frames.TEXT, b"greeting")
        connection.send(connection.switching() + first)
        connection.keep_listening()

    with upstream.plays(greeting):
        for _ in range(200):
            with door.open(good()) as client:
                assert client.read_frame().payload == b"greeting"
                client.send(frames.masked(frames.CLOSE, frames.close_payload(1000)))
                assert not client.is_readable(0)
        with door.open(good()) as client:
            assert client.read_frame().payload == b"greeting"
            client.expect_silence(0.2)


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        ((), "Sec-WebSocket-Protocol: chat"),
        (("Sec-WebSocket-Protocol: chat, talk",), "Sec-WebSocket-Protocol: speak"),
        (("Sec-WebSocket-Protocol: chat, talk",), "Sec-WebSocket-Protocol: Chat"),
        (("Sec-WebSocket-Protocol: chat, talk",), "Sec-WebSocket-Protocol: chat, talk"),
        ((), "Sec-WebSocket-Extensions: permessage-deflate"),
        (("Sec-WebSocket-Extensions: x-other",), "Sec-WebSocket-Extensions: permessage-deflate"),
        (
            ("Sec-WebSocket-Extensions: permessage-deflate",),
            "Sec-WebSocket-Extensions: permessage-deflate, x-other",
        ),
    ],
)
def test_p34_what_was_not_offered_cannot_be_selected(
    door: Door, upstream: Upstream, offered: tuple[str, ...], selected: str
) -> None:
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good(lines=offered))
        connection.send(connection.switching(selected))
        response = refused_without_a_leak(client, connection)
    assert_refused(response, 502, "upstream_invalid")


def test_p34_what_was_offered_can_be_selected(door: Door, upstream: Upstream) -> None:
    offered = (
        "Sec-WebSocket-Protocol: chat, talk",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    )
    chosen = ("Sec-WebSocket-Protocol: talk", "Sec-WebSocket-Extensions: permessage-deflate")
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good(lines=offered))
        connection.send(connection.switching(*chosen))
        response = client.read_response()
    assert response.status == 101
    assert response.get("Sec-WebSocket-Protocol") == "talk"
    assert response.get("Sec-WebSocket-Extensions") == "permessage-deflate"


def test_p35_interim_answers_are_skipped(door: Door, upstream: Upstream) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    for together in (True, False):
        with upstream.by_hand():
            client, connection = dialled(door, upstream, good())
            if together:
                connection.send(interim + connection.switching())
            else:
                connection.send(interim)
                client.expect_silence(0.1)
                connection.send(connection.switching())
            response = client.read_response()
            assert response.status == 101
            assert response.get("Link") is None
            connection.send(frames.frame(frames.TEXT, b"first"))
            assert client.read_frame().payload == b"first"


def test_p35_interim_answers_without_end_are_cut(door: Door, upstream: Upstream) -> None:
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good("/impatient"))
        sent = 0
        try:
            while sent < 100_000 and not client.is_readable(0):
                connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
                sent += 100
        except OSError:
            pass
        response = client.read_response()
    assert_refused(response, {502, 504}, {"upstream_invalid", "upstream_timeout"})


def test_p36_hop_by_hop_headers_of_the_101_stay_behind(door: Door, upstream: Upstream) -> None:
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good())
        answer(
            connection,
            "Upgrade: websocket",
            "Connection: Upgrade, X-Secret",
            "Sec-WebSocket-Accept: {accept}",
            "X-Secret: inside",
            "Keep-Alive: timeout=60",
            "Proxy-Authenticate: Basic",
            "Proxy-Connection: keep-alive",
            "Set-Cookie: a=1",
            "Set-Cookie: b=2",
            "X-Public: yes",
            status="101 Switching Protocols",
        )
        response = client.read_response()
    assert response.status == 101
    for name in ("X-Secret", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection"):
        assert response.get(name) is None, name
    assert response.get("Connection") == "Upgrade"
    assert (response.get("Upgrade") or "").lower() == "websocket"
    assert response.all("Set-Cookie") == ["a=1", "b=2"]
    assert response.get("X-Public") == "yes"
    assert response.get("X-Request-Id")


def test_p37_cookies_of_one_client_do_not_reach_the_next(door: Door, upstream: Upstream) -> None:
    with upstream.by_hand():
        for _ in range(3):
            client = door.send(good("/named"))
            connection = upstream.connection()
            request = connection.accept("Set-Cookie: session=first; Path=/")
            assert request.get("Cookie") is None
            assert client.read_response().get("Set-Cookie") == "session=first; Path=/"
            client.close()
            connection.read_to_end(2)


@pytest.mark.parametrize("answered", [b"", b"HTTP/1.1 10", b"HTTP/1.1 101 Switching Protocols\r\n"])
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_p38_an_upstream_that_leaves_early_is_a_502(
    door: Door, upstream: Upstream, answered: bytes, how: str
) -> None:
    with upstream.by_hand():
        client, connection = dialled(door, upstream, good())
        connection.send(answered)
        if how == "rst":
            connection.reset()
        else:
            connection.close()
        response = client.read_response(within=1)
    assert_refused(response, 502, {"upstream_unreachable", "upstream_invalid"})


def test_a_connection_is_used_for_one_client_only(door: Door, upstream: Upstream) -> None:
    before = upstream.count
    for _ in range(3):
        door.ask(good("/closed"))
        door.open(good()).close()
    assert upstream.count - before == 3


def test_the_answer_to_the_client_is_its_own(door: Door, upstream: Upstream) -> None:
    """The key that the upstream answers is the client's: Accept passes end to end."""
    key = base64.b64encode(b"0123456789abcdef").decode()
    with door.send(good(changed={"Sec-WebSocket-Key": key})) as client:
        assert client.read_response().get("Sec-WebSocket-Accept") == accept_for(key)
    assert upstream.count

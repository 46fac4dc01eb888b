"""E. HTTP parsing: what can be read in two ways is refused, in bounded time and memory."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import GOOD, assert_refused, good, read_log
from tests.harness.heads import upgrade
from tests.harness.peer import PeerGoneError
from tests.harness.process import MB, Watch

if TYPE_CHECKING:
    from tests.harness.client import Door
    from tests.harness.gateway import Gateway
    from tests.harness.upstream import Upstream

pytestmark = pytest.mark.timeout(60)


def test_p45_ambiguous_line_forms_are_refused(door: Door, upstream: Upstream) -> None:
    requests = {
        "bare LF after a header": good().replace(
            b"Upgrade: websocket\r\n", b"Upgrade: websocket\n"
        ),
        "bare LF after the request line": good().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
        "bare CR after a header": good().replace(
            b"Upgrade: websocket\r\n", b"Upgrade: websocket\r"
        ),
        "folded line": good(lines=("X-Folded: a", " b")),
        "folded with a tab": good(lines=("X-Folded: a", "\tb")),
        "folded key": upgrade("/app", lines=("X-Api-Key:", f" {GOOD}")),
        "space before the colon of the key": upgrade("/app", lines=(f"X-Api-Key : {GOOD}",)),
        "tab before the colon": good(lines=("X-Odd\t: a",)),
        "empty name": good(lines=(": a",)),
        "no colon": good(lines=("X-Odd",)),
        "space in the name": good(lines=("X Odd: a",)),
        "leading space before the first header": good().replace(b"\r\nHost", b"\r\n Host"),
        "8-bit name": good(lines=(b"X-\xe9: a",)),
        "control character in a value": good(lines=(b"X-Odd: a\x01b",)),
        "two spaces in the request line": good(" /app"),
        "tab in the request line": good("/app\tx"),
        "no target": good(""),
        "no version": good().replace(b" HTTP/1.1", b""),
        "words behind the version": good(version="HTTP/1.1 x"),
    }
    with upstream.untouched():
        for case, request in requests.items():
            response = door.ask(request)
            assert response.status == 400, (case, response.first_line)
            assert_refused(response, 400, {"bad_request", "bad_path"})


def test_p45_a_head_in_bare_line_feeds_does_not_wait_beyond_the_deadline(
    door: Door, upstream: Upstream
) -> None:
    with upstream.untouched():
        client = door.send(good().replace(b"\r\n", b"\n"))
        try:
            response = client.read_response(within=3.5)
        except PeerGoneError:
            return
    assert_refused(response, {400, 408}, {"bad_request", "head_timeout"})


def test_p46_exactly_one_host_is_needed(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for request in [
            good(changed={"Host": None}),
            good(lines=("Host: gateway.test",)),
            good(lines=("hOST: other.test",)),
        ]:
            assert_refused(door.ask(request), 400, "bad_request")


@pytest.mark.parametrize("host", ["", "a b", "a/b", "user@a", "a, b", "a\x7fb", "a:port", "[::1"])
def test_p46_a_host_that_is_none_is_refused_or_sent_on_as_it_is(
    door: Door, upstream: Upstream, host: str
) -> None:
    with door.send(good(changed={"Host": host})) as client:
        response = client.read_response()
    if response.status == 101:
        request = upstream.connection().request
        assert request is not None
        assert request.all("Host") == [host]
    else:
        assert_refused(response, {400, 404})


def test_p47_unclear_body_lengths_are_refused(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for lines in [
            ("Content-Length: 5", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", "Content-Length: 0"),
            ("Content-Length: 0", "Content-Length: 5"),
            ("Content-Length: 5", "Content-Length: 5"),
            ("Content-Length: 0, 5",),
            ("Content-Length: +5",),
            ("Content-Length: +0",),
            ("Content-Length: -1",),
            ("Content-Length: 0x0",),
            ("Content-Length: 0 0",),
            ("Content-Length:",),
            ("Content-Length: 99999999999999999999999999",),
            ("Transfer-Encoding: xchunked",),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
            ("Transfer-Encoding:",),
        ]:
            response = door.ask(good(lines=lines) + b"0\r\n\r\n")
            assert response.status == 400, (lines, response.first_line)
            assert_refused(response, 400, "bad_request")


OVERSIZED = {
    "one header of 64 KB": (good(lines=("X-Long: " + "x" * 64 * 1024,)), {431}),
    "one header of half the head": (good(lines=("X-Long: " + "x" * 40_000,)), {431}),
    "5000 headers": (good(lines=tuple(f"X-{n:05}: abcdef" for n in range(5000))), {431}),
    "a target of 100 KB": (good("/app/" + "x" * 100_000), {414, 431}),
    "a query of 100 KB": (good("/app?" + "x" * 100_000), {414, 431}),
    "a method of 100 KB": (good(method="G" * 100_000), {400, 414, 431}),
    "a header name of 100 KB": (good(lines=("X" * 100_000 + ": a",)), {431}),
    "a line without end": (b"G" * 200_000, {400, 414, 431}),
}


@pytest.mark.parametrize("pieces", [None, 100], ids=["whole", "in-pieces"])
@pytest.mark.parametrize("case", OVERSIZED)
def test_p48_oversized_heads_are_cut(
    door: Door, gateway: Gateway, upstream: Upstream, case: str, pieces: int | None
) -> None:
    request, statuses = OVERSIZED[case]
    with upstream.untouched(0), Watch(gateway.pid) as watch:
        response = door.ask(request, pieces=pieces)
    codes = {"head_too_large", "target_too_long", "bad_request"}
    assert_refused(response, statuses, codes)
    assert watch.growth < 1 * MB


def test_p48_empty_lines_before_the_head_have_an_end(
    door: Door, gateway: Gateway, upstream: Upstream
) -> None:
    """RFC 9112 section 2.2 lets a server skip them; they are bytes of the head all the same."""
    client = door.connect()
    door.books.maybe_unheard()  # whether empty lines begin a head is left open
    sent, step = 0, b"\r\n" * 500
    with upstream.untouched(0), Watch(gateway.pid) as watch:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while sent < 2 * MB and not client.is_readable():
                client.send(step)
                sent += len(step)
        with contextlib.suppress(PeerGoneError):
            assert_refused(client.read_response(), {400, 431})
    assert sent < 0.5 * MB, f"{sent / MB:.1f} MB in {time.monotonic() - began:.1f} s"
    assert watch.growth < 1 * MB


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_an_empty_line_before_the_head_may_be_cut(door: Door, upstream: Upstream, cut: int) -> None:
    request = b"\r\n" + good()
    client = door.send(request[:cut])
    client.expect_silence(0.05)
    client.send(request[cut:])
    assert client.read_response().status == 101
    assert upstream.count


@pytest.mark.parametrize("odd", ["\x00", "\r", "\x01", "\x7f", "\n", "\x08", "\x1b"])
def test_p49_control_characters_in_the_key_are_a_bad_request(
    door: Door, upstream: Upstream, gateway: Gateway, odd: str
) -> None:
    with upstream.untouched(0.1):
        for key in (GOOD[:9] + odd + GOOD[9:], GOOD + odd, odd + GOOD):
            response = door.ask(upgrade("/app", key=key))
            assert_refused(response, 400, "bad_request")
            assert GOOD[9:].encode() not in response.raw + response.body
    assert not any(GOOD[9:] in line or GOOD[:9] in line for line in read_log(gateway, door))


NOISE = {
    "TLS ClientHello": bytes.fromhex("16030100f8010000f40303") + bytes(range(256)),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"),
    "random bytes": random.Random(50).randbytes(64 * 1024),
    "random bytes with a blank line": random.Random(51).randbytes(1000) + b"\r\n\r\n",
    "zeros": bytes(64 * 1024),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "SOCKS": bytes.fromhex("050100"),
    "PROXY v1": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + good(),
    "PROXY v2": b"\r\n\r\n\x00\r\nQUIT\n" + bytes.fromhex("20110000") + good(),
}


@pytest.mark.parametrize("case", NOISE)
def test_p50_other_protocols_are_turned_away_with_one_log_line(
    door: Door, upstream: Upstream, gateway: Gateway, case: str
) -> None:
    before = len(read_log(gateway, door)) + 1
    with upstream.untouched():
        client = door.connect()
        try:
            client.send(NOISE[case])
            response = client.read_response(within=3.5)
        except (PeerGoneError, ConnectionError):
            pass  # closed without an answer is fine too
        else:
            assert_refused(response, {400, 405, 408, 414, 431, 505})
    lines = read_log(gateway, door)[before:]
    assert len(lines) <= 1, lines
    assert all(len(line) <= 2000 for line in lines)


def test_p51_targets_that_are_no_path_are_refused(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for method, target in [
            ("CONNECT", "h:80"),
            ("CONNECT", "127.0.0.1:22"),
            ("OPTIONS", "*"),
            ("GET", "*"),
            ("GET", "app"),
            ("GET", "h:80"),
            ("GET", "?x"),
            ("GET", "http://gateway.test/app"),
            ("GET", "ws://gateway.test/app"),
            ("GET", "//gateway.test/app"),
            ("GET", "ftp:/app"),
        ]:
            response = door.ask(good(target, method=method))
            assert_refused(response, {400, 405}, {"bad_path", "bad_request", "method_not_allowed"})

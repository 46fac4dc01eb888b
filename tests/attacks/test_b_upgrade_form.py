"""B. Upgrade form: only RFC 6455's own handshake is taken for one."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import GOOD, assert_refused, good
from tests.harness.heads import upgrade

if TYPE_CHECKING:
    from tests.harness.client import Door
    from tests.harness.upstream import Upstream

pytestmark = pytest.mark.timeout(60)


def test_p15_other_versions_are_told_which_one_is_spoken(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for version in ("12", "14", "7", "8", "0", "130", "1 3"):
            response = door.ask(good(changed={"Sec-WebSocket-Version": version}))
            assert_refused(response, 426, "unsupported_version")
            assert response.get("Sec-WebSocket-Version") == "13"


def test_p15_a_missing_or_odd_version_is_refused(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for version in (None, "", "013", "+13", "13.0", "13, 8", "0xd", "13;q=1"):
            response = door.ask(good(changed={"Sec-WebSocket-Version": version}))
            assert_refused(response, {400, 426}, {"bad_request", "unsupported_version"})


def _key(size: int) -> str:
    return base64.b64encode(bytes(range(200, 200 + size))).decode()


def test_p16_a_malformed_websocket_key_is_refused(door: Door, upstream: Upstream) -> None:
    right = _key(16)
    keys = [
        None,
        "",
        _key(15),
        _key(17),
        _key(1),
        _key(32),
        "not base64 at all!!!!!==",
        right[:-2],
        right[:-1],
        right + "=",
        right + right,
        right[:8] + " " + right[8:],
        base64.urlsafe_b64encode(b"\xff\xfe\xfb" * 5 + b"\xff").decode(),
        "é" * 22 + "==",
    ]
    with upstream.untouched():
        for key in keys:
            response = door.ask(good(changed={"Sec-WebSocket-Key": key}))
            assert_refused(response, 400, "bad_request")


def test_p17_a_stripped_upgrade_is_named_as_that(door: Door, upstream: Upstream) -> None:
    stripped = [
        {"Upgrade": None},
        {"Connection": None},
        {"Upgrade": None, "Connection": None},
        {"Upgrade": None, "Connection": "keep-alive"},
        {"Connection": "close"},
    ]
    with upstream.untouched():
        for changed in stripped:
            response = door.ask(good(changed=changed))
            assert_refused(response, 426, "upgrade_stripped")
            assert "proxy_set_header" in response.problem["detail"]


def test_p17_half_an_upgrade_is_refused(door: Door, upstream: Upstream) -> None:
    halves: list[dict[str, str | bytes | None]] = [
        {"Connection": "notupgrade"},
        {"Connection": "upgraded"},
        {"Connection": ""},
        {"Connection": "keep-alive; upgrade"},
        {"Upgrade": "websocket/13"},
        {"Upgrade": "websockets"},
        {"Upgrade": "web socket"},
        {"Upgrade": ""},
    ]
    with upstream.untouched():
        for changed in halves:
            response = door.ask(good(changed=changed))
            codes = {"bad_request", "upgrade_required", "upgrade_stripped"}
            assert_refused(response, {400, 426}, codes)


def test_p18_upgrades_to_something_else_are_refused(door: Door, upstream: Upstream) -> None:
    requests = [
        good(
            changed={"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"},
            lines=("HTTP2-Settings: AAMAAABkAAQAAP__",),
        ),
        good(changed={"Upgrade": "foo"}),
        good(changed={"Upgrade": "websocket, h2c"}),
        good(changed={"Upgrade": "h2c, websocket"}),
        good(changed={"Upgrade": "TLS/1.0"}),
        good(lines=("Upgrade: h2c",)),
    ]
    with upstream.untouched():
        for request in requests:
            codes = {"bad_request", "upgrade_required", "upgrade_stripped"}
            assert_refused(door.ask(request), {400, 426}, codes)


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "HEAD", "OPTIONS", "TRACE", "DELETE", "PATCH", "get", "GETX"]
)
def test_p19_other_methods_do_not_upgrade(door: Door, upstream: Upstream, method: str) -> None:
    with upstream.untouched(0.1):
        response = door.ask(good(method=method))
    expected = {405, 400} if method in {"get", "GETX"} else {405}
    assert_refused(response, expected, {"method_not_allowed", "bad_request"})
    if response.status == 405:
        assert response.get("Allow") == "GET"
    if method == "HEAD":
        assert response.body == b""


def test_p20_an_upgrade_with_a_body_is_refused(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for lines, body in [
            (("Content-Length: 5",), b"hello"),
            (("Content-Length: 5",), b""),
            (("Transfer-Encoding: chunked",), b"5\r\nhello\r\n0\r\n\r\n"),
            (("Transfer-Encoding: chunked",), b"0\r\n\r\n"),
            (("Transfer-Encoding: identity",), b""),
            (("Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n"),
        ]:
            response = door.ask(good(lines=lines) + body)
            assert_refused(response, 400, "bad_request")


def test_p20_an_empty_body_passes(door: Door) -> None:
    with door.open(good(lines=("Content-Length: 0",))) as client:
        client.send_text("no part of the head")
        assert client.read_frame().payload == b"no part of the head"


def test_p21_http_1_0_does_not_upgrade(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for version in ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "http/1.1", "HTTP/11"):
            assert_refused(door.ask(good(version=version)), {400, 426, 505})
        stripped = {"Upgrade": None, "Connection": "close"}
        response = door.ask(good(version="HTTP/1.0", changed=stripped))
        assert_refused(response, 426, "upgrade_stripped")


def test_p22_doubled_handshake_lines_are_refused(door: Door, upstream: Upstream) -> None:
    key = _key(16)
    with upstream.untouched():
        for changed, line in [
            ({"Sec-WebSocket-Key": key}, f"Sec-WebSocket-Key: {key}"),
            ({"Sec-WebSocket-Key": key}, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
            ({}, "Sec-WebSocket-Version: 8"),
            ({"Sec-WebSocket-Version": "8"}, "Sec-WebSocket-Version: 13"),
            ({}, "Upgrade: foo"),
        ]:
            response = door.ask(good(changed=changed, lines=(line,)))
            assert_refused(response, {400, 426}, {"bad_request", "unsupported_version"})


@pytest.mark.parametrize("line", ["Upgrade: websocket", "Sec-WebSocket-Version: 13"])
def test_p22_identical_doubles_are_refused_or_sent_on_once(
    door: Door, upstream: Upstream, line: str
) -> None:
    before = upstream.count
    with door.send(good(lines=(line,))) as client:
        response = client.read_response()
    if response.status == 101:
        request = upstream.connection().request
        assert request is not None
        assert len(request.all(line.partition(":")[0])) == 1
    else:
        assert_refused(response, 400, "bad_request")
        assert upstream.count == before


def test_p23_the_unusual_spellings_of_real_clients_pass(door: Door) -> None:
    requests = [
        good(changed={"Connection": "Keep-Alive, UPGRADE"}),
        good(changed={"Connection": "keep-alive,upgrade"}),
        good(changed={"Connection": ", ,upgrade ,,"}),
        good(changed={"Connection": "keep-alive"}, lines=("Connection: Upgrade",)),
        good(changed={"Upgrade": "WebSocket"}),
        good(changed={"Upgrade": "WEBSOCKET"}),
        good(
            changed={"Upgrade": None, "Connection": None},
            lines=(
                "uPGRADE:websocket",
                "CONNECTION:upgrade",
            ),
        ),
        good(changed={"Sec-WebSocket-Version": None}, lines=("SEC-WEBSOCKET-VERSION:   13  ",)),
        upgrade("/app", lines=(f"x-aPI-kEY: {GOOD}",)),
        good(lines=("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",)),
        good("/app?"),
        good("/app/"),
    ]
    for request in requests:
        with door.open(request) as client:
            client.send_text("hello")
            assert client.read_frame().payload == b"hello"


def test_p24_expect_without_a_key_is_refused_without_continue(
    door: Door, upstream: Upstream
) -> None:
    with upstream.untouched():
        response = door.ask(upgrade("/app", lines=("Expect: 100-continue",)))
    assert_refused(response, {401, 417, 400})


def test_p24_expect_with_a_key_never_hangs(door: Door) -> None:
    with door.send(good(lines=("Expect: 100-continue",))) as client:
        response = client.read_response(within=2)
    assert response.status in {101, 417, 400}, response.first_line

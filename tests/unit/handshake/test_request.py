"""Is it an opening handshake? RFC 6455 section 4.2.1, and what proxies in front do to one."""

from __future__ import annotations

import base64
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.handshake.request import check_handshake, host_of
from tests.harness import heads
from tests.unit.build import headers, request

UPGRADE_LINE = ("Upgrade", "websocket")


def refusal(raw: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        check_handshake(request(raw))
    return caught.value


def code(raw: bytes) -> str | None:
    try:
        check_handshake(request(raw))
    except Refused as refused:
        return refused.code
    return None


# What passes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"Upgrade": "WebSocket"},
        {"Upgrade": "WEBSOCKET"},
        {"Connection": "upgrade"},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "Keep-Alive,UPGRADE"},
        {"Content-Length": "0"},
        {"Expect": "100-continue"},
    ],
)
def test_valid_handshake_passes(changed: dict[str, str | bytes | None]) -> None:
    assert code(heads.upgrade(changed=changed)) is None


def test_connection_may_stand_on_two_lines() -> None:
    assert (
        code(heads.upgrade(changed={"Connection": "keep-alive"}, lines=("connection: Upgrade",)))
        is None
    )


def test_odd_case_of_names_passes() -> None:
    assert code(heads.upgrade().replace(b"Sec-WebSocket-Key", b"SEC-websocket-KEY")) is None


# What does not -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "X"]
)
def test_other_methods_open_nothing(method: str) -> None:
    refused = refusal(heads.upgrade(method=method))
    assert refused.code == "method_not_allowed"
    assert refused.headers == (("Allow", "GET"),)


def test_plain_get_is_told_to_send_the_key_on_the_upgrade() -> None:
    refused = refusal(heads.plain("/app", "X-Api-Key: k"))
    assert refused.code == "upgrade_required"
    assert UPGRADE_LINE in refused.headers
    assert "upgrade request itself" in refused.detail


@pytest.mark.parametrize("upgrade", ["h2c", "foo", "TLS/1.0", "websocket/13", "web socket", "x"])
def test_upgrade_to_something_else_is_none(upgrade: str) -> None:
    changed = {"Upgrade": upgrade}
    assert code(heads.upgrade(changed=changed)) in {"upgrade_required", "bad_request"}
    plain = heads.plain("/app", f"Upgrade: {upgrade}", "Connection: Upgrade, HTTP2-Settings")
    assert code(plain) == "upgrade_required"


@pytest.mark.parametrize(
    "raw",
    [
        heads.upgrade(changed={"Upgrade": "websocket, h2c"}),
        heads.upgrade(changed={"Upgrade": "h2c, websocket"}),
        heads.upgrade(changed={"Upgrade": "websocket, websocket"}),
        heads.upgrade(lines=("Upgrade: websocket",)),
        heads.upgrade(lines=("Upgrade: h2c",)),
        heads.upgrade(lines=("Upgrade:",)),
    ],
)
def test_upgrade_names_websocket_alone_and_once(raw: bytes) -> None:
    assert code(raw) == "bad_request"


@pytest.mark.parametrize(
    "raw",
    [
        heads.upgrade(changed={"Upgrade": None}),
        heads.upgrade(changed={"Upgrade": ""}),
        heads.upgrade(changed={"Connection": None}),
        heads.upgrade(changed={"Connection": ""}),
        heads.upgrade(changed={"Connection": "close"}),
        heads.upgrade(changed={"Connection": "notupgrade"}),
        heads.upgrade(changed={"Connection": "upgrade-insecure"}),
        heads.upgrade(changed={"Upgrade": None, "Connection": None}),
        heads.upgrade(changed={"Upgrade": None, "Connection": "close"}, version="HTTP/1.0"),
        heads.upgrade(version="HTTP/1.0"),
        heads.plain("/app", "Upgrade: websocket"),
        heads.plain("/app", "Upgrade: websocket", "Connection: close"),
        heads.plain("/app", "Upgrade: websocket", "Connection: Upgrade").replace(b"/1.1", b"/1.0"),
    ],
)
def test_what_a_proxy_took_away_is_named(raw: bytes) -> None:
    refused = refusal(raw)
    assert refused.code == "upgrade_stripped"
    assert UPGRADE_LINE in refused.headers
    assert "proxy_set_header Upgrade $http_upgrade;" in refused.detail
    assert "proxy_set_header Connection" in refused.detail


@pytest.mark.parametrize("version", ["12", "14", "8", "7", "0", "", "13.0", "013", "13, 8", None])
def test_other_versions_are_told_ours(version: str | None) -> None:
    refused = refusal(heads.upgrade(changed={"Sec-WebSocket-Version": version}))
    assert refused.code == "unsupported_version"
    assert ("Sec-WebSocket-Version", "13") in refused.headers


@pytest.mark.parametrize("second", ["13", "8", ""])
def test_two_version_lines_are_refused(second: str) -> None:
    assert code(heads.upgrade(lines=(f"Sec-WebSocket-Version: {second}",))) == "bad_request"


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        base64.b64encode(bytes(15)).decode(),
        base64.b64encode(bytes(17)).decode(),
        base64.b64encode(bytes(18)).decode(),
        base64.b64encode(bytes(16)).decode().rstrip("="),
        base64.b64encode(bytes(16)).decode() + "=",
        base64.b64encode(bytes(16)).decode().replace("=", "") + "\xe9=",
        "AAAAAAAAAAAAAAAAAAAAAA==AA",
        "AAAAAAAAAA AAAAAAAAAAA==",
        "????????????????????????",
        "AAAAAAAAAAAAAAAAAAAAAA=A",
        "____________________-A==",
        "not base64",
    ],
)
def test_key_is_sixteen_bytes_in_base64(key: str | None) -> None:
    assert code(heads.upgrade(changed={"Sec-WebSocket-Key": key})) == "bad_request"


def test_two_key_lines_are_refused() -> None:
    again = f"Sec-WebSocket-Key: {heads.websocket_key()}"
    assert code(heads.upgrade(lines=(again,))) == "bad_request"


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5",),
        ("Content-Length: 0", "Content-Length: 0"),
        ("Content-Length: 0", "Content-Length: 5"),
        ("Content-Length: +0",),
        ("Content-Length: 00",),
        ("Content-Length: 0, 0",),
        ("Content-Length: -1",),
        ("Content-Length:",),
        ("Transfer-Encoding: chunked",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding:",),
        ("Transfer-Encoding: identity", "Content-Length: 0"),
    ],
)
def test_handshake_has_no_body(lines: tuple[str, ...]) -> None:
    assert code(heads.upgrade(lines=lines)) == "bad_request"


@given(st.binary(max_size=40))
def test_any_key_is_judged(key: bytes) -> None:
    line = bytes(byte for byte in key if byte >= 0x20 and byte != 0x7F)
    verdict = code(heads.upgrade(changed={"Sec-WebSocket-Key": line}))
    try:
        good = len(base64.b64decode(line.strip(b" "), validate=True)) == 16
    except ValueError:
        good = False
    assert (verdict is None) == (good and len(line.strip(b" ")) == 24)


# Host ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("a.test", "a.test"),
        ("A.Test:8080", "a.test"),
        ("a.test.", "a.test"),
        ("a.test.:80", "a.test"),
        ("a.test:", "a.test"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[FE80::1]:443", "[fe80::1]"),
        ("my_service", "my_service"),
        ("a" * 254 + ":65535", "a" * 254),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_host_is_lower_case_without_port(line: str, host: str) -> None:
    assert host_of(headers(f"Host: {line}")) == host


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Host: a.test", "Host: a.test"),
        ("Host: a.test", "host: b.test"),
        ("Host:",),
        ("Host: a.test, b.test",),
        ("Host: a b",),
        ("Host: a.test/",),
        ("Host: http://a.test",),
        ("Host: u@a.test",),
        ("Host: a.test:80a",),
        ("Host: a.test:123456",),
        ("Host: a.test:80:80",),
        ("Host: [::1",),
        ("Host: ::1",),
        ("Host: [::1]x",),
        (b"Host: \xe9.test",),
        ("Host: a\\b",),
        ("Host: a?b",),
        ("Host: a#b",),
        ("Host: :80",),
        ("Host: " + "a" * 261,),
    ],
)
def test_host_stands_there_once_and_is_one(lines: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as caught:
        host_of(headers(*lines))
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("letter", ["a", "/"])
def test_what_is_no_host_is_not_remembered(letter: str) -> None:
    tracemalloc.start()
    try:
        for number in range(64):
            with pytest.raises(Refused):
                host_of(headers(f"Host: {number}{letter * 16384}"))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 256 * 1024

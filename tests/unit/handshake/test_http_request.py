"""Which requests are ordinary, and which of them may travel on."""

from __future__ import annotations

import pytest

from proxy.errors import Refused
from proxy.handshake.http_request import (
    check_ordinary,
    expects_continue,
    is_ordinary,
    is_preflight,
)
from tests.unit.build import head, request

PREFLIGHT = ("Origin: https://page.example", "Access-Control-Request-Method: PUT")


def asked(*lines: str | bytes, method: str = "GET", version: str = "HTTP/1.1"):
    return request(head(f"{method} /x {version}", "Host: h", *lines))


@pytest.mark.parametrize(
    ("lines", "ordinary"),
    [
        ((), True),
        (("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"), True),
        (("Connection: Upgrade",), True),
        (("Upgrade: websocket",), False),
        (("Upgrade: h2c, WebSocket",), False),
        (("Sec-WebSocket-Key: x",), False),
        (("sec-websocket-protocol: chat",), False),
    ],
)
def test_request_that_never_meant_to_upgrade_is_ordinary(
    lines: tuple[str, ...], *, ordinary: bool
) -> None:
    assert is_ordinary(asked(*lines)) is ordinary


@pytest.mark.parametrize(
    ("method", "lines", "preflight"),
    [
        ("OPTIONS", PREFLIGHT, True),
        ("OPTIONS", (*PREFLIGHT, "Content-Length: 0"), True),
        ("GET", PREFLIGHT, False),
        ("OPTIONS", PREFLIGHT[:1], False),
        ("OPTIONS", PREFLIGHT[1:], False),
        ("OPTIONS", (*PREFLIGHT, "Content-Length: 1"), False),
        ("OPTIONS", (*PREFLIGHT, "Transfer-Encoding: chunked"), False),
    ],
)
def test_preflight_is_what_a_browser_asks_for_a_page(
    method: str, lines: tuple[str, ...], *, preflight: bool
) -> None:
    assert is_preflight(asked(*lines, method=method)) is preflight


def test_client_may_wait_to_be_told_to_go_on() -> None:
    assert expects_continue(asked("Expect: 100-Continue"))
    assert not expects_continue(asked("Expect: 100-continue", version="HTTP/1.0"))
    assert not expects_continue(asked("Expect: more"))
    assert not expects_continue(asked())


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "M-SEARCH"])
def test_any_method_may_travel(method: str) -> None:
    check_ordinary(asked("X: caf\u00e9".encode(), method=method))


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "get", "Get"])
def test_methods_that_do_not_travel_are_refused(method: str) -> None:
    with pytest.raises(Refused) as refused:
        check_ordinary(asked(method=method))
    assert refused.value.code == "method_not_allowed"
    assert dict(refused.value.headers)["Allow"].startswith("GET, ")


@pytest.mark.parametrize("line", [b"X: caf\xe9", b"Content-Length: x"])
def test_what_could_not_travel_as_it_is_is_refused(line: bytes) -> None:
    with pytest.raises(Refused) as refused:
        check_ordinary(asked(line))
    assert refused.value.code == "bad_request"

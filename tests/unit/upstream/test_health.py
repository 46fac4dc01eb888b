"""Checks: what is asked, what passes, and how many results in a row mean something."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.targets import target
from proxy.handshake.answer import accept_for
from proxy.upstream.health import Thresholds, check_request, objection, pause, probe_request
from tests.harness.heads import Request
from tests.unit.build import answer

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def verdicts(results: str, *, unhealthy_after: int = 3, healthy_after: int = 2) -> str:
    """The verdict after each result: `+` passed or healthy, `-` not."""
    thresholds = Thresholds(unhealthy_after=unhealthy_after, healthy_after=healthy_after)
    said = ""
    for result in results:
        before = thresholds.healthy
        changed = thresholds.note(passed=result == "+")
        assert changed is (thresholds.healthy is not before)
        said += "+" if thresholds.healthy else "-"
    return said


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ("+++", "+++"),
        ("--+--+", "++++++"),
        ("---", "++-"),
        ("---+", "++--"),
        ("---++", "++--+"),
        ("---+-++", "++----+"),
        ("---++--+---", "++--+++++" + "+-"),
    ],
)
def test_only_results_in_a_row_change_the_verdict(results: str, said: str) -> None:
    assert verdicts(results) == said


def test_thresholds_of_one_follow_every_result() -> None:
    assert verdicts("-+--+", unhealthy_after=1, healthy_after=1) == "-+--+"


@given(results=st.text("+-", max_size=60), unhealthy=st.integers(1, 5), healthy=st.integers(1, 5))
def test_verdict_is_what_the_last_long_enough_row_says(
    results: str, unhealthy: int, healthy: int
) -> None:
    said = verdicts(results, unhealthy_after=unhealthy, healthy_after=healthy)
    for at in range(len(said)):
        down = results.rfind("-" * unhealthy, 0, at + 1)
        up = results.rfind("+" * healthy, 0, at + 1)
        ended_down = down + unhealthy if down >= 0 else -1
        ended_up = up + healthy if up >= 0 else 0
        assert said[at] == ("-" if ended_down > ended_up else "+")


@pytest.mark.parametrize(
    ("spent", "noise", "seconds"),
    [(0.0, 0.0, 9.0), (0.0, 0.5, 10.0), (0.0, 1.0, 11.0), (2.0, 0.5, 8.0), (20.0, 0.5, 0.0)],
)
def test_checks_begin_an_interval_apart(spent: float, noise: float, seconds: float) -> None:
    assert pause(10.0, spent, noise) == pytest.approx(seconds)


def test_check_by_http_is_one_request() -> None:
    raw = check_request(target("ws://up:9000/ws"), "/healthz", [b"Authorization: Bearer x"])
    assert raw.endswith(b"\r\n\r\n")
    asked = Request.parse(raw)
    assert asked.first_line == "GET /healthz HTTP/1.1"
    assert asked.headers == [
        ("Host", "up:9000"),
        ("User-Agent", "wskeeper-health"),
        ("Authorization", "Bearer x"),
        ("Connection", "close"),
    ]


def test_check_by_websocket_is_a_handshake() -> None:
    raw = probe_request(target("wss://up"), b"/ws", KEY, [b"Authorization: Bearer x"])
    assert raw.endswith(b"\r\n\r\n")
    asked = Request.parse(raw)
    assert asked.first_line == "GET /ws HTTP/1.1"
    assert asked.headers == [
        ("Host", "up"),
        ("User-Agent", "wskeeper-health"),
        ("Authorization", "Bearer x"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY.decode()),
    ]


@pytest.mark.parametrize(
    ("status", "passes"),
    [(200, True), (204, True), (299, True), (300, False), (302, False), (404, False), (503, False)],
)
def test_check_by_http_wants_2xx(status: int, *, passes: bool) -> None:
    said = objection(answer(f"HTTP/1.1 {status} X"), None)
    assert said == (None if passes else f"it answered {status}")


def test_check_by_websocket_wants_a_right_101() -> None:
    right = (
        "HTTP/1.1 101 X",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_for(KEY).decode()}",
    )
    assert objection(answer(*right), KEY) is None
    assert objection(answer(*right), b"another") == "its Sec-WebSocket-Accept is wrong"
    assert objection(answer(*right, "Sec-WebSocket-Protocol: x"), KEY) is not None
    assert objection(answer("HTTP/1.1 401 X"), KEY) == "it answered 401"
    assert objection(answer("HTTP/1.1 200 X"), KEY) == "it answered 200 in place of 101"

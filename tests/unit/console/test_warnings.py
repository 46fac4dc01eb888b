"""What the overview tells operators to see to."""

from __future__ import annotations

import pytest

from proxy.console.warnings import Standing, warnings

WELL = Standing(
    draining=False,
    store="sqlite:/keys.db",
    store_up=True,
    store_grace=60.0,
    sessions=5,
    limit=100,
    usable=2,
    expiring=0,
    needs_keys=True,
    open_routes=[],
    targets=[("chat", "ws://a", True), ("chat", "ws://b", True)],
    rejected=False,
)


def said(**changes: object) -> list[tuple[str, str]]:
    return [(one.weight, one.what) for one in warnings(WELL._replace(**changes))]


def test_healthy_gateway_has_no_warning():
    assert said() == []
    assert said(limit=None, sessions=10**6) == []
    assert said(needs_keys=False, usable=0) == []


@pytest.mark.parametrize(
    ("changes", "weight", "words"),
    [
        ({"draining": True}, "bad", "5 sessions are left"),
        ({"draining": True, "sessions": 1}, "bad", "1 session is left"),
        ({"store_up": False}, "bad", "sqlite:/keys.db does not answer. Keys in memory serve"),
        ({"sessions": 90}, "warn", "90 of 100 places are taken. Raise `limits.total_connections`"),
        ({"sessions": 100}, "bad", "100 of 100 places are taken, so new clients are refused"),
        ({"sessions": 0, "limit": 0}, "bad", "0 of 0 places"),
        ({"usable": 0}, "bad", "No key lets anybody in"),
        ({"expiring": 1}, "warn", "1 key ends within a week"),
        ({"expiring": 2}, "warn", "2 keys end within a week"),
        ({"rejected": True}, "warn", "`wskeeper check` says what to mend"),
        ({"open_routes": ["clock"]}, "warn", "clock lets everybody in"),
        ({"open_routes": list("abcde")}, "warn", "a, b, c and 2 more let everybody in"),
        (
            {"targets": [("chat", "ws://a", True), ("chat", "ws://b", False)]},
            "warn",
            "1 of 2 targets does not answer: ws://b.",
        ),
        (
            {"targets": [("chat", "ws://a", False), ("echo", "ws://b", True)]},
            "bad",
            "1 of 2 targets does not answer, so chat refuses everybody: ws://a.",
        ),
        (
            {"targets": [("chat", "ws://a", False), ("echo", "ws://b", False)]},
            "bad",
            "2 of 2 targets do not answer, so chat, echo refuse everybody",
        ),
    ],
)
def test_warning_says_what_is_and_what_to_do(changes: dict[str, object], weight: str, words: str):
    ((found, what),) = said(**changes)
    assert found == weight
    assert words in what


def test_session_below_the_share_is_no_warning():
    assert said(sessions=89) == []


def test_worst_comes_first():
    assert [weight for weight, _ in said(expiring=1, store_up=False)] == ["bad", "warn"]

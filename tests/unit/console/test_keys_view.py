"""The table of keys, and the chart of what one was used for."""

from __future__ import annotations

import pytest

from proxy.console.keys_view import (
    CHART_HOURS,
    Query,
    Standing,
    days_of,
    found,
    limits_told,
    read_query,
    usage_chart,
)
from proxy.keys.key import Key, KeyLimits, Secret
from proxy.stores.store import Usage

NOW = 1_800_000_000.0
HOUR = 3600


def key(name: str, **fields: float) -> Key:
    return Key(f"{name}-id", name, (Secret(name.encode() * 8),), **fields)


KEYS = [
    key("carol", created_at=3.0, expires_at=NOW + 5),
    key("Alice", created_at=1.0, suspended_at=5.0),
    key("bob", created_at=2.0, expires_at=NOW - 5),
    key("dave", revoked_at=4.0),
]


def standing() -> Standing:
    sessions = {"bob-id": 7, "carol-id": 2}
    return Standing(
        NOW, lambda key_id: sessions.get(key_id, 0), {"carol-id": 50.0, "Alice-id": 60.0}
    )


def names(**asked: str) -> list[str]:
    return [key.name for key in found(KEYS, read_query(asked), standing()).rows]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["Alice", "bob", "carol", "dave"]),
        ({"name": "A"}, ["Alice", "carol", "dave"]),
        ({"name": "bob-id"}, ["bob"]),
        ({"name": "-id"}, []),
        ({"state": "active"}, ["carol"]),
        ({"state": "suspended"}, ["Alice"]),
        ({"state": "expired"}, ["bob"]),
        ({"state": "revoked"}, ["dave"]),
        ({"state": "lost"}, ["Alice", "bob", "carol", "dave"]),
        ({"sort": "-name"}, ["dave", "carol", "bob", "Alice"]),
        ({"sort": "-sessions"}, ["bob", "carol", "dave", "Alice"]),
        ({"sort": "created"}, ["dave", "Alice", "bob", "carol"]),
        ({"sort": "-used"}, ["Alice", "carol", "dave", "bob"]),
        ({"sort": "expires"}, ["bob", "carol", "Alice", "dave"]),
    ],
)
def test_keys_are_chosen_and_sorted(asked: dict[str, str], expected: list[str]) -> None:
    assert names(**asked) == expected


def test_query_is_read_as_far_as_it_makes_sense() -> None:
    query = read_query({"name": " bob ", "state": "lost", "page": "2"})
    assert query == Query("bob", None, query.sort, 2)
    assert query.given == {"name": "bob"}
    assert read_query({"state": "active"}).given == {"state": "active"}


def test_chart_has_every_hour_and_adds_up() -> None:
    last = int(NOW // HOUR) * HOUR
    chart = usage_chart(
        [
            Usage("k", last, 2, 60.0, (3, 4), (50, 60)),
            Usage("k", last, 1, 60.0, (0, 1), (0, 7)),
            Usage("k", last - HOUR * (CHART_HOURS - 1), 5, 0.0, (0, 0), (0, 0)),
            Usage("k", last - HOUR * CHART_HOURS, 9, 0.0, (9, 9), (9, 9)),
        ],
        NOW,
    )
    assert chart.hours == list(range(last - HOUR * (CHART_HOURS - 1), last + 1, HOUR))
    assert (chart.connections[0], chart.connections[-1]) == (5, 3)
    assert (chart.messages[-1], chart.bytes[-1]) == (8, 117)
    assert sum(chart.connections) == 8
    assert not chart.empty


def test_chart_of_a_key_that_was_never_used_is_empty() -> None:
    assert usage_chart([], NOW).empty


def test_days_add_up_the_hours_latest_first() -> None:
    last = int(NOW // HOUR) * HOUR
    chart = usage_chart(
        [
            Usage("k", last, 2, 0.0, (3, 4), (50, 60)),
            Usage("k", last - HOUR, 1, 0.0, (1, 1), (5, 5)),
            Usage("k", last - 24 * HOUR, 7, 0.0, (0, 0), (0, 1)),
        ],
        NOW,
    )
    days = days_of(chart)
    assert days[:2] == [("2027-01-15", 3, 9, 120), ("2027-01-14", 7, 0, 1)]
    assert len(days) == 8


def test_limits_are_told_in_words() -> None:
    limits = KeyLimits(
        connections=5,
        bytes_per_second=65536.0,
        messages_per_second=0.5,
        message_size=(1 << 20, None),
        on_exceed="close",
    )
    assert limits_told(limits) == [
        ("Connections", "5"),
        ("Messages a second", "0.5"),
        ("Bytes a second", "64.0 KiB"),
        ("Message from clients", "1.0 MiB"),
        ("Who sends faster", "is closed"),
    ]
    assert limits_told(KeyLimits()) == []

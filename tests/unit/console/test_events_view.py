"""The page of events: which, in what words, and where the next page begins."""

from __future__ import annotations

import pytest

from proxy.console.events_view import EVENTS, Query, latest, read_query, row_of, wanted
from proxy.events import Event, EventRing

NOW = 1_800_000_000.0


@pytest.fixture
def ring() -> EventRing:
    ring = EventRing(lambda: NOW)
    ring.note("info", "connection_opened", {"request_id": "r1", "route": "chat", "key_id": "k1"})
    ring.note("warning", "handshake_refused", {"request_id": "r2", "route": "echo"})
    ring.note("info", "key_created", {"key_id": "k2", "key_name": "bob", "by": "admin:ann"})
    ring.note("error", "internal_error", {})
    return ring


def page_of(
    ring: EventRing, query: Query, keys: tuple[str, ...] = ()
) -> tuple[list[Event], int | None]:
    return latest(
        lambda most: ring.recent(most, before=query.before, wanted=wanted(query, keys)), query
    )


def names(ring: EventRing, keys: tuple[str, ...] = (), **asked: str) -> list[str]:
    events, _ = page_of(ring, read_query(asked), keys)
    return [event.name.split("_")[0] for event in events]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["internal", "key", "handshake", "connection"]),
        ({"event": "key_created"}, ["key"]),
        ({"event": "key"}, []),
        ({"level": "warning"}, ["internal", "handshake"]),
        ({"level": "error"}, ["internal"]),
        ({"level": "loud"}, ["internal", "key", "handshake", "connection"]),
        ({"route": "chat"}, ["connection"]),
        ({"session": "r2"}, ["handshake"]),
        ({"key": "k1"}, ["connection"]),
        ({"key": "x"}, []),
    ],
)
def test_events_are_chosen(ring: EventRing, asked: dict[str, str], expected: list[str]) -> None:
    assert names(ring, **asked) == expected


def test_key_may_be_named(ring: EventRing) -> None:
    assert names(ring, key="alice", keys=("k1",)) == ["connection"]


@pytest.mark.parametrize("level", ["", "info", "warning"])
def test_events_come_in_pages(ring: EventRing, level: str) -> None:
    for n in range(2 * EVENTS):
        ring.note("warning", "many", {"n": n})
    query = read_query({"event": "many", "level": level})
    assert query.live
    seen = []
    for expected_rows in (EVENTS, EVENTS):
        events, before = page_of(ring, query)
        assert len(events) == expected_rows
        seen += [event.fields["n"] for event in events]
        query = read_query({"event": "many", "level": level, "before": str(before)})
    assert seen == list(range(2 * EVENTS))[::-1]
    assert before is None
    assert not read_query({"before": "17"}).live


def test_query_is_read_as_far_as_it_makes_sense() -> None:
    query = read_query({"event": " x ", "level": "loud", "before": "9" * 99, "page": "2"})
    assert query == Query(event="x")
    assert query.given == {"event": "x"}


def test_row_tells_what_has_a_column_apart(ring: EventRing) -> None:
    opened = ring.recent(10)[-1]
    row = row_of(opened, key_name={"k1": "alice"}.get, is_live={"r1"}.__contains__)
    assert (row.route, row.key_id, row.key_name, row.session) == ("chat", "k1", "alice", "r1")
    assert row.live
    assert row.details == []


def test_row_tells_every_other_field() -> None:
    ring = EventRing(lambda: NOW)
    ring.note(
        "info",
        "closed",
        {"key_id": "gone", "code": 0, "strict": True, "names": ["a", "b"], "why": None, "x": ""},
    )
    row = row_of(ring.recent(1)[0], key_name=lambda _id: None, is_live=lambda _id: False)
    assert row.details == [("code", "0"), ("strict", "yes"), ("names", "a, b")]
    assert (row.key_name, row.session, row.live) == ("gone", "", False)

"""The table of connections: who is on it, in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy.config.faults import Wrong
from proxy.console.connections_view import Filter, Query, chosen, found, read_query
from proxy.console.paging import ROWS
from proxy.keys.key import Key, Secret
from proxy.keys.principal import NOBODY, holder_of
from tests.unit.sessions.scene import CLIENT, HELLO, House, Scene

if TYPE_CHECKING:
    from proxy.sessions.live import LiveSession

KEYS = {
    name: holder_of(Key(f"{name}-id", name, (Secret(name.encode() * 8),)), b"")
    for name in ("alice", "Bob")
}


@pytest.fixture
def house() -> House:
    house = House()

    def open_(id: str, messages: int, **how: Any) -> None:
        scene = Scene(house, id=id, **how)
        for _ in range(messages):
            scene.receives(CLIENT, HELLO)
        house.loop.advance(1)

    open_("a", 3, principal=KEYS["alice"], address="10.0.0.1")
    open_("b", 1, principal=KEYS["Bob"]._replace(subject="Ann"), address="10.0.0.20")
    open_("c", 2, principal=KEYS["Bob"], route="echo", address="2001:db8::1")
    open_("d", 0, principal=NOBODY._replace(subject="joann"), route="echo", address="10.9.0.3")
    return house


def ids(sessions: list[LiveSession]) -> str:
    return "".join(session.id for session in sessions)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "abcd"),
        ({"key": "alice"}, "a"),
        ({"key": "BO"}, "bc"),
        ({"key": "Bob-id"}, "bc"),
        ({"key": "ob-id"}, ""),
        ({"route": "echo"}, "cd"),
        ({"route": "ech"}, ""),
        ({"subject": "ann"}, "bd"),
        ({"address": "10.0.0.1"}, "a"),
        ({"address": "10.0.0.0/16"}, "ab"),
        ({"address": "2001:db8::/32"}, "c"),
        ({"address": "10.0.0.0/8", "route": "echo"}, "d"),
        ({"key": "bob", "route": "chat", "subject": "ANN"}, "b"),
    ],
)
def test_filter_chooses(house: House, wanted: dict[str, str], expected: str) -> None:
    assert ids(chosen(house.registry, Filter(**wanted))) == expected


@pytest.mark.parametrize("address", ["10.0.0", "10.0.0.1/8", "example.com", "<b>", "10.0.0.1/99"])
def test_address_that_is_none_is_refused(house: House, address: str) -> None:
    with pytest.raises(Wrong):
        chosen(house.registry, Filter(address=address))


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", "dcba"),
        ("age", "dcba"),
        ("-age", "abcd"),
        ("route", "abcd"),
        ("-route", "dcba"),
        ("key", "dbca"),
        ("subject", "acbd"),
        ("client", "abdc"),
        ("-messages", "acbd"),
        ("bytes", "dbca"),
        ("nothing", "dcba"),
    ],
)
def test_table_is_sorted(house: House, sort: str, expected: str) -> None:
    shown = found(house.registry, read_query({"sort": sort}))
    assert ids(list(shown.rows)) == expected
    assert shown.total == 4


def test_query_is_read_as_far_as_it_makes_sense() -> None:
    query = read_query({"key": " a ", "page": "x", "sort": "-bytes", "other": "y"})
    assert query == Query(Filter(key="a"), query.sort, 1)
    assert query.filter.given == {"key": "a"}
    assert str(query.sort) == "-bytes"


def test_many_sessions_come_in_pages() -> None:
    house = House()
    for n in range(ROWS * 2 + 1):
        Scene(house, id=f"{n:05}")
    last = found(house.registry, read_query({"page": "99", "sort": "route"}))
    assert (ids(list(last.rows)), last.page, last.pages) == (f"{ROWS * 2:05}", 3, 3)

"""The ledger: what sessions counted, neither lost nor twice, however often they are settled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.keys.key import Key, Secret
from proxy.keys.principal import NOBODY, Principal, holder_of
from proxy.stores.store import Usage
from tests.unit.sessions.scene import CLIENT, HELLO, REPLY, UPSTREAM, WALL, House, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable

HOUR = int(WALL // 3600) * 3600
KEYS = ("one", "two")


def principal(id: str) -> Principal:
    return holder_of(Key(id, f"name of {id}", (Secret(b"d"),)), b"d")


def total(rows: Iterable[Usage], key_id: str) -> tuple[int, float, tuple[int, ...]]:
    """(connections, seconds, messages and bytes) of one key in all hours."""
    mine = [row for row in rows if row.key_id == key_id]
    counts = zip(*((*row.messages, *row.bytes) for row in mine), strict=True)
    return (
        sum(row.connections for row in mine),
        sum(row.seconds for row in mine),
        tuple(map(sum, counts)) or (0, 0, 0, 0),
    )


def test_session_that_ended_is_in_the_ledger_whole(scene: Scene) -> None:
    scene.receives(CLIENT, HELLO + HELLO)
    scene.receives(UPSTREAM, REPLY)
    scene.loop.advance(10)
    scene.gone()
    assert scene.house.ledger.take() == [
        Usage("legacy-id", HOUR, 1, 10.0, (2, 1), (2 * len(HELLO), len(REPLY)), WALL)
    ]
    assert len(scene.house.ledger) == 0
    assert scene.house.ledger.take() == []


def test_live_session_is_settled_bit_by_bit(scene: Scene) -> None:
    ledger = scene.house.ledger
    scene.receives(CLIENT, HELLO)
    scene.loop.advance(4)
    ledger.settle(scene.session)
    assert ledger.take() == [Usage("legacy-id", HOUR, 1, 4.0, (1, 0), (len(HELLO), 0), WALL)]
    ledger.settle(scene.session)
    assert ledger.take() == [Usage("legacy-id", HOUR, 0, 0.0, (0, 0), (0, 0), None)]
    scene.loop.advance(3)
    scene.receives(UPSTREAM, REPLY)
    scene.gone()
    assert ledger.take() == [Usage("legacy-id", HOUR, 0, 3.0, (0, 1), (0, len(REPLY)), None)]


def test_use_is_written_down_in_the_hour_in_which_it_is_settled(scene: Scene) -> None:
    ledger = scene.house.ledger
    until_hour = HOUR + 3600 - WALL
    scene.loop.advance(until_hour - 1)
    ledger.settle(scene.session)
    scene.loop.advance(1)
    ledger.settle(scene.session)
    scene.loop.advance(3600)
    scene.gone()
    assert [(row.hour, row.connections, row.seconds) for row in ledger.take()] == [
        (HOUR, 1, until_hour - 1),
        (HOUR + 3600, 0, 1.0),
        (HOUR + 7200, 0, 3600.0),
    ]


def test_sessions_of_one_key_share_a_row_and_other_keys_have_their_own() -> None:
    house = House()
    first = Scene(house, id="1", principal=principal("one"))
    house.loop.advance(5)
    second = Scene(house, id="2", principal=principal("one"))
    other = Scene(house, id="3", principal=principal("two"))
    house.loop.advance(5)
    # The one that began last ends first.
    for scene in (second, other, first):
        scene.gone()
    rows = {row.key_id: row for row in house.ledger.take()}
    assert rows["one"][2:4] == (2, 15.0)
    assert rows["one"].last_used_at == WALL + 5
    assert rows["two"][2:4] == (1, 5.0)


def test_session_of_nobody_is_not_written_down() -> None:
    house = House()
    scene = Scene(house, principal=NOBODY)
    house.ledger.settle(scene.session)
    assert scene.session.settled is None
    scene.gone()
    assert len(house.ledger) == 0


@pytest.mark.parametrize("ats", [(5.0, 7.0), (7.0, 5.0), (None, 7.0), (7.0, None)])
def test_rows_that_came_back_are_added_to_those_that_came_meanwhile(
    ats: tuple[float | None, ...],
) -> None:
    ledger = House().ledger
    for at in ats:
        ledger.put_back([Usage("one", HOUR, 1, 2.5, (1, 2), (3, 4), at)])
    ledger.put_back([Usage("two", HOUR, 0, 0.0, (0, 0), (0, 0))])
    assert len(ledger) == 2
    assert ledger.take() == [
        Usage("one", HOUR, 2, 5.0, (2, 4), (6, 8), 7.0),
        Usage("two", HOUR, 0, 0.0, (0, 0), (0, 0), None),
    ]


STEPS = st.sampled_from(("open", "client", "upstream", "settle", "end", "take", "fail", "hour"))


@given(st.lists(st.tuples(STEPS, st.integers(0, 20)), max_size=60))
def test_sums_are_what_sessions_counted_however_often_they_are_settled(
    steps: list[tuple[str, int]],
) -> None:
    house = House()
    live: list[Scene] = []
    every: list[Scene] = []
    stored: list[Usage] = []
    seconds = dict.fromkeys(KEYS, 0.0)
    for step, pick in steps:
        scene = live[pick % len(live)] if live else None
        if step == "open":
            key = KEYS[pick % 2]
            every.append(Scene(house, id=str(len(every)), principal=principal(key)))
            live.append(every[-1])
        elif step == "take":
            stored += house.ledger.take()
        elif step == "fail":
            house.ledger.put_back(house.ledger.take())
        elif step == "hour":
            house.loop.advance(float(pick * 300))
            for each in live:
                seconds[each.session.principal.key_id or ""] += pick * 300
        elif scene is None:
            continue
        elif step == "client":
            scene.receives(CLIENT, HELLO)
        elif step == "upstream":
            scene.receives(UPSTREAM, REPLY)
        elif step == "settle":
            house.ledger.settle(scene.session)
        else:
            live.remove(scene)
            scene.gone()
    for scene in live:
        scene.gone()
    stored += house.ledger.take()
    for key in KEYS:
        mine = [
            each.session.state.scanners for each in every if each.session.principal.key_id == key
        ]
        counted = tuple(
            sum(getattr(pair[side], what) for pair in mine)
            for what in ("messages", "bytes")
            for side in (0, 1)
        )
        assert total(stored, key) == (len(mine), pytest.approx(seconds[key]), counted)
    assert all(row.hour % 3600 == 0 for row in stored)

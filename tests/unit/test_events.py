"""The latest events: bounded, and told to whoever follows and keeps up."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.events import MOST_BEHIND, EventRing, Wanted

WALL = 1_800_000_000.25
BORN = 1_800_000_000_250_000


def ring(size: int = 2000, wall: float = WALL) -> EventRing:
    return EventRing(lambda: wall, size)


def noted(count: int, *, size: int = 2000) -> EventRing:
    """A ring that heard of so many events; `n` counts them from 1."""
    made = ring(size)
    for n in range(1, count + 1):
        made.note("info", "one", {"n": n})
    return made


def numbers(events):
    return [event.fields["n"] for event in events]


def nobody():
    """Is told nothing."""


# Looking back ----------------------------------------------------------------------------------


def test_an_event_is_kept_as_it_was_told():
    made = ring()
    made.note("warning", "limited", {"route": "chat", "value": 5})
    (event,) = made.recent(10)
    assert (event.level, event.name, event.at) == ("warning", "limited", WALL)
    assert event.fields == {"route": "chat", "value": 5}


def test_the_newest_come_first_and_pages_go_back():
    made = noted(5)
    page = made.recent(2)
    assert numbers(page) == [5, 4]
    assert numbers(made.recent(2, before=page[-1].id)) == [3, 2]
    assert numbers(made.recent(9, before=page[-1].id)) == [3, 2, 1]
    assert made.recent(9, before=0) == []
    assert made.recent(0) == []


def test_no_more_are_kept_than_there_is_room_for():
    made = noted(50, size=10)
    assert numbers(made.recent(100)) == list(range(50, 40, -1))


def test_what_somebody_changed_stays_behind_what_clients_did():
    made = ring(10)
    made.note("info", "key_revoked", {"n": -1, "by": "admin:oncall"})
    for n in range(1000):
        made.note("info", "connection_opened", {"n": n})
    assert numbers(made.recent(11)) == [*range(999, 989, -1), -1]
    ids = [event.id for event in made.recent(11)]
    assert ids == sorted(ids, reverse=True)


def test_changes_too_are_bounded():
    made = ring(10)
    for n in range(2000):
        made.note("info", "key_created", {"n": n, "by": "cli:root"})
    assert numbers(made.recent(5000)) == list(range(1999, 1999 - 510, -1))


def test_ids_rise_across_restarts():
    before = noted(1000)
    after = ring(wall=WALL + 0.5)
    after.note("info", "one", {})
    assert after.recent(1)[0].id > before.recent(1)[0].id
    assert after.recent(1)[0].id < 2**53


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), [4, 3, 2, 1]),
        (Wanted(names=frozenset({"a", "b"})), [3, 2, 1]),
        (Wanted(route="chat"), [3, 1]),
        (Wanted(keys=frozenset({"k1", "k3"})), [2]),
        (Wanted(request_id="r"), [3]),
        (Wanted(names=frozenset({"a"}), route="chat"), [1]),
        (Wanted(names=frozenset()), []),
    ],
)
def test_events_are_chosen(wanted, found):
    made = ring()
    made.note("info", "a", {"n": 1, "route": "chat"})
    made.note("info", "a", {"n": 2, "key_id": "k1", "route": "echo"})
    made.note("info", "b", {"n": 3, "request_id": "r", "route": "chat"})
    made.note("info", "c", {"n": 4})
    assert numbers(made.recent(9, wanted=wanted)) == found


# Coming back -----------------------------------------------------------------------------------


@given(size=st.integers(1, 30), count=st.integers(0, 60), seen=st.integers(-5, 65))
def test_who_comes_back_is_told_the_rest_or_how_much_is_gone(size, count, seen):
    made = noted(count, size=size)
    events, missed = made.since(BORN + seen)
    if not 0 <= seen <= count:
        assert (events, missed) == ([], None)
    else:
        assert missed is not None
        assert numbers(events) == list(range(seen + missed + 1, count + 1))
        assert missed == max(0, count - size - seen)


def test_an_id_from_before_a_restart_is_none_of_ours():
    assert ring(wall=WALL + 1).since(BORN + 7) == ([], None)


# Following -------------------------------------------------------------------------------------


async def test_a_follower_is_told_what_happens_in_order():
    made = noted(3)
    subscription = made.subscribe(nobody)
    made.note("info", "one", {"n": 4})
    made.note("info", "one", {"n": 5})
    assert numbers(await subscription.batch()) == [4, 5]
    waiting = asyncio.create_task(subscription.batch(), name="batch")
    await asyncio.sleep(0)
    assert not waiting.done()
    made.note("info", "one", {"n": 6})
    assert numbers(await waiting) == [6]


async def test_a_follower_that_is_too_slow_is_dropped_and_the_others_are_not():
    made = ring()
    told: list[str] = []
    slow = made.subscribe(lambda: told.append("slow"))
    quick = made.subscribe(lambda: told.append("quick"))
    for n in range(MOST_BEHIND):
        made.note("info", "one", {"n": n})
    assert numbers(await quick.batch()) == list(range(MOST_BEHIND))
    assert (told, made.followers) == ([], 2)
    made.note("info", "one", {"n": MOST_BEHIND})
    assert (told, made.followers) == (["slow"], 1)
    assert (slow.lost, slow.over, quick.over) == (True, True, False)
    assert await slow.batch() == []
    assert numbers(await quick.batch()) == [MOST_BEHIND]


async def test_whoever_waits_hears_of_the_end():
    made = ring()
    told: list[str] = []
    subscription = made.subscribe(lambda: told.append("over"))
    waiting = asyncio.create_task(subscription.batch(), name="batch")
    await asyncio.sleep(0)
    made.hang_up()
    assert await waiting == []
    assert (told, made.followers, subscription.lost) == (["over"], 0, False)
    made.note("info", "one", {})
    made.unsubscribe(subscription)


async def test_who_has_left_is_not_told():
    made = ring()
    subscription = made.subscribe(nobody)
    made.unsubscribe(subscription)
    made.unsubscribe(subscription)
    made.note("info", "one", {})
    assert (subscription.behind, made.followers) == (0, 0)


async def test_what_came_before_the_stop_is_still_told() -> None:
    made = ring()
    waiting = [("info", "draining", {"n": 1})]

    def catch_up() -> None:
        while waiting:
            made.note(*waiting.pop())

    made.catch_up = catch_up
    following = made.subscribe(lambda: None)
    waiting.append(("info", "stopped", {"n": 2}))
    made.hang_up()
    assert [event.name for event in await following.batch()] == ["stopped"]
    assert await following.batch() == []
    assert [event.name for event in made.recent(9)] == ["stopped", "draining"]

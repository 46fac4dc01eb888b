"""The keeper: the ring as the store has it, the store's silences noticed, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxy.keys.lifecycle import NotPossible, resumed, revoked, rotated, suspended
from proxy.stores.keeper import ANSWER_WITHIN, POLL_EVERY, SILENT_FOR
from proxy.stores.store import NoSuchKey, StoreUnavailable, Usage
from tests.unit.sessions.scene import WALL
from tests.unit.stores.keeper_rig import AWAY, GRACE, ONE, PLACE, TWO, Rig, a_while, key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.keys.key import Key

# Beginning and end ---------------------------------------------------------------------------


def test_keys_are_known_when_the_keeper_has_started() -> None:
    rig = Rig(ONE, TWO)

    async def story() -> None:
        assert {each.id for each in rig.ring} == {"one", "two"}
        assert rig.ring.find(b"one") == ONE
        assert (rig.keeper.up, rig.keeper.fresh, rig.keeper.place) == (True, True, PLACE)
        # Keys that were there before are no news.
        assert rig.events == ["store_up"]
        assert rig.log.events("store_up") == [{"store": PLACE}]

    rig.tells(story)


def test_no_call_of_a_store_blocks_the_loop() -> None:
    rig = Rig()

    async def story() -> None:
        await rig.keeper.add([ONE], by="cli:ops")
        await rig.keeper.delete("one", by="cli:ops")

    rig.tells(story)
    assert rig.store.threads == {"store"}


@pytest.mark.parametrize("started", [True, False])
def test_nothing_is_left_of_a_closed_keeper(*, started: bool) -> None:
    rig = Rig(ONE)

    async def story() -> None:
        assert rig.keeper.up is started

    rig.tells(story, started=started)
    assert rig.store.closed == int(started)
    for thread in threading.enumerate():
        if thread.name == "store":
            thread.join(5)
            assert not thread.is_alive()


def test_store_that_cannot_be_opened_stops_the_start() -> None:
    rig = Rig()
    rig.cannot_open(AWAY)

    async def story() -> None:
        with pytest.raises(StoreUnavailable, match=PLACE):
            await rig.keeper.start()
        assert not rig.keeper.up
        assert not rig.keeper.fresh

    rig.tells(story, started=False)
    assert rig.store.closed == 0
    assert rig.events == []


def test_store_that_was_opened_and_cannot_be_read_is_closed() -> None:
    rig = Rig()
    rig.store.failure = AWAY

    async def story() -> None:
        with pytest.raises(StoreUnavailable):
            await rig.keeper.start()

    rig.tells(story, started=False)
    assert rig.store.closed == 1


def test_keeper_of_a_store_that_hangs_can_be_closed() -> None:
    rig = Rig(ONE)

    async def story() -> None:
        rig.hang()
        await a_while()
        before = asyncio.get_running_loop().time()
        await rig.keeper.close()
        rig.closed = True
        assert asyncio.get_running_loop().time() - before <= SILENT_FOR + 0.01

    rig.tells(story)


# Changes -------------------------------------------------------------------------------------


def test_change_of_another_process_is_known_after_one_look() -> None:
    rig = Rig(ONE, TWO)

    async def story() -> None:
        after = revoked(ONE, WALL)
        rig.store.put("one", after, "cli:ada")
        rig.store.put("three", key("three"), "admin:root")
        await a_while()
        assert rig.ring.get("one") == after
        assert rig.ring.find(b"three") == key("three")
        assert rig.heard() == [{"one", "three"}]
        assert rig.log.lines[1:] == [
            ("info", "key_revoked", {"key_id": "one", "key_name": "name of one", "by": "cli:ada"}),
            (
                "info",
                "key_created",
                {"key_id": "three", "key_name": "name of three", "by": "admin:root"},
            ),
        ]
        await a_while()
        assert rig.heard() == []
        assert len(rig.log.lines) == 3

    rig.tells(story)


@pytest.mark.parametrize(
    ("edit", "event"),
    [
        (lambda before: revoked(before, WALL), "key_revoked"),
        (lambda before: suspended(before, WALL), "key_suspended"),
        (lambda before: rotated(before, b"new", WALL, 60), "key_rotated"),
        (lambda before: replace(before, name="other"), "key_updated"),
    ],
)
def test_own_change_is_known_at_once(edit: Callable[[Key], Key], event: str) -> None:
    rig = Rig(ONE)

    async def story() -> None:
        began = asyncio.get_running_loop().time()
        after = await rig.keeper.change("one", edit, by="admin:ada")
        assert after == edit(ONE) == rig.ring.get("one")
        assert asyncio.get_running_loop().time() == began
        assert rig.heard() == [{"one"}]
        assert rig.events == ["store_up", event]
        (line,) = rig.log.events(event)
        assert (line["key_id"], line["by"]) == ("one", "admin:ada")
        await a_while()
        assert rig.events == ["store_up", event]

    rig.tells(story)


def test_keys_are_added_and_deleted_at_once() -> None:
    rig = Rig()

    async def story() -> None:
        await rig.keeper.add([ONE, TWO], by="admin:ada")
        assert rig.ring.find(b"two") == TWO
        assert rig.heard() == [{"one", "two"}]
        assert await rig.keeper.delete("one", by="admin:bob") == ONE
        assert rig.ring.find(b"one") is None
        assert rig.heard() == [{"one"}]
        assert rig.events == ["store_up", "key_created", "key_created", "key_deleted"]
        assert rig.log.events("key_deleted")[0]["by"] == "admin:bob"

    rig.tells(story)


def test_change_that_is_not_possible_changes_nothing() -> None:
    rig = Rig(revoked(ONE, WALL))

    async def story() -> None:
        with pytest.raises(NotPossible):
            await rig.keeper.change("one", resumed, by="admin:ada")
        with pytest.raises(NoSuchKey):
            await rig.keeper.change("none", resumed, by="admin:ada")
        assert rig.heard() == []
        assert rig.events == ["store_up"]
        assert rig.keeper.up

    rig.tells(story)


def test_change_that_changes_nothing_is_no_news() -> None:
    rig = Rig(ONE)

    async def story() -> None:
        await rig.keeper.change("one", resumed, by="admin:ada")
        assert rig.heard() == []
        assert rig.events == ["store_up"]

    rig.tells(story)


def test_store_that_was_replaced_is_taken_whole() -> None:
    rig = Rig(ONE, TWO, fixed=[key("fixed")])

    async def story() -> None:
        rig.store.kept = {"two": revoked(TWO, WALL), "three": key("three")}
        rig.store.complete_next = True
        await a_while()
        assert {each.id for each in rig.ring} == {"fixed", "two", "three"}
        assert rig.heard() == [{"one", "two", "three"}]
        assert sorted(rig.events[1:]) == ["key_created", "key_deleted", "key_revoked"]
        # Who deleted it, such an answer cannot say.
        assert rig.log.events("key_deleted")[0]["by"] == "unknown"

    rig.tells(story)


def test_usage_is_kept_and_told() -> None:
    rig = Rig(ONE)
    rows = [
        Usage("one", 3600, 1, 2.0, (3, 4), (5, 6), 7.0),
        Usage("two", 7200, 1, 2.0, (3, 4), (5, 6)),
    ]

    async def story() -> None:
        await rig.keeper.record(rows)
        assert await rig.keeper.usage(since=0) == rows
        assert await rig.keeper.usage(since=0, key_id="two") == rows[1:]
        assert await rig.keeper.usage(since=7200) == rows[1:]
        assert await rig.keeper.last_used() == {"one": 7.0}

    rig.tells(story)


# Ends that time brings -----------------------------------------------------------------------


def test_key_that_ends_by_itself_is_told_of_in_time() -> None:
    rig = Rig(key("one", expires_at=WALL + 10), TWO, fixed=[key("f", expires_at=WALL + 20)])
    rig.ring.schedule(WALL)

    async def story() -> None:
        await asyncio.sleep(9.9)
        assert rig.heard() == []
        await asyncio.sleep(POLL_EVERY + 0.1)
        assert rig.heard() == [{"one"}]
        await asyncio.sleep(10)
        assert rig.heard() == [{"f"}]
        await asyncio.sleep(100)
        assert rig.heard() == []
        # No change was made, so none is logged.
        assert rig.events == ["store_up"]

    rig.tells(story)


def test_overlap_of_a_rotation_ends_by_itself() -> None:
    rig = Rig(ONE)

    async def story() -> None:
        await rig.keeper.change("one", lambda k: rotated(k, b"new", WALL, 5), by="x")
        assert rig.heard() == [{"one"}]
        await asyncio.sleep(4.9)
        assert rig.heard() == []
        await asyncio.sleep(0.1 + POLL_EVERY)
        assert rig.heard() == [{"one"}]

    rig.tells(story)


def test_keys_end_by_themselves_while_the_store_is_away() -> None:
    rig = Rig(key("one", expires_at=WALL + 10))

    async def story() -> None:
        rig.store.failure = AWAY
        await asyncio.sleep(10 + POLL_EVERY)
        assert rig.heard() == [{"one"}]

    rig.tells(story)


@pytest.mark.parametrize("complete", [True, False])
def test_end_between_two_looks_is_not_lost_when_keys_are_read_anew(*, complete: bool) -> None:
    rig = Rig(key("one", expires_at=WALL + 0.35), TWO)

    async def story() -> None:
        await asyncio.sleep(0.4)
        assert rig.heard() == []
        rig.store.complete_next = complete
        await rig.keeper.change("two", lambda k: revoked(k, WALL), by="x")
        await asyncio.sleep(2 * POLL_EVERY)
        assert set().union(*rig.heard()) == {"one", "two"}

    rig.tells(story)


# A store that is away ------------------------------------------------------------------------


def test_store_that_went_away_and_came_back_is_logged_once_each() -> None:
    rig = Rig(ONE)

    async def story() -> None:
        rig.store.failure = AWAY
        await asyncio.sleep(5)
        assert not rig.keeper.up
        assert rig.ring.get("one") == ONE
        rig.store.put("two", TWO)
        rig.store.failure = None
        await asyncio.sleep(5)
        assert rig.keeper.up
        assert rig.ring.get("two") == TWO
        assert rig.events == ["store_up", "store_down", "store_up", "key_created"]
        level, _, fields = rig.log.lines[1]
        assert (level, fields) == (
            "error",
            {"store": PLACE, "cause": f"{AWAY.cause}; {AWAY.mend}", "grace_s": GRACE},
        )

    rig.tells(story)


def test_change_is_refused_while_the_store_is_away() -> None:
    rig = Rig(ONE)

    async def story() -> None:
        rig.store.failure = AWAY
        questions: list[Awaitable[Any]] = [
            rig.keeper.add([TWO], by="x"),
            rig.keeper.change("one", resumed, by="x"),
            rig.keeper.delete("one", by="x"),
            rig.keeper.record([]),
            rig.keeper.usage(since=0),
            rig.keeper.last_used(),
        ]
        for question in questions:
            with pytest.raises(StoreUnavailable, match="is locked"):
                await question
        assert rig.events == ["store_up", "store_down"]

    rig.tells(story)


def test_change_that_was_made_is_told_although_the_store_went_right_behind_it() -> None:
    rig = Rig(ONE)

    def edit(before: Key) -> Key:
        rig.store.failure = AWAY
        return revoked(before, WALL)

    async def story() -> None:
        assert await rig.keeper.change("one", edit, by="admin:ada") == revoked(ONE, WALL)
        assert not rig.keeper.up
        assert rig.ring.get("one") == ONE
        rig.store.failure = None
        await a_while()
        assert rig.ring.get("one") == revoked(ONE, WALL)
        assert rig.heard() == [{"one"}]

    rig.tells(story)


def test_keys_are_good_for_the_grace_and_no_longer() -> None:
    rig = Rig(ONE)

    async def story() -> None:
        rig.store.failure = AWAY
        await asyncio.sleep(GRACE - 1)
        assert (rig.keeper.up, rig.keeper.fresh) == (False, True)
        await asyncio.sleep(1 + 2 * POLL_EVERY)
        assert (rig.keeper.up, rig.keeper.fresh) == (False, False)
        rig.store.failure = None
        await a_while()
        assert (rig.keeper.up, rig.keeper.fresh) == (True, True)

    rig.tells(story)


def test_without_grace_keys_are_good_while_the_store_answers() -> None:
    rig = Rig(ONE, grace=0)

    async def story() -> None:
        await asyncio.sleep(10)
        assert rig.keeper.fresh
        rig.store.failure = AWAY
        await asyncio.sleep(2 * POLL_EVERY + 0.1)
        assert not rig.keeper.fresh

    rig.tells(story)


def test_unforeseen_failure_is_logged_and_looked_past() -> None:
    rig = Rig(ONE)

    async def story() -> None:
        rig.store.failure = RuntimeError("a fault of ours")
        await a_while()
        rig.store.failure = None
        rig.store.put("two", TWO)
        await a_while()
        assert rig.ring.get("two") == TWO
        (line,) = rig.log.events("internal_error")
        assert isinstance(line["failure"], RuntimeError)

    rig.tells(story)


def test_silent_store_is_away_after_a_while_and_back_when_it_answers() -> None:
    rig = Rig(ONE)

    async def story() -> None:
        rig.hang()
        await asyncio.sleep(SILENT_FOR - 0.01)
        assert rig.keeper.up
        await asyncio.sleep(2 * POLL_EVERY)
        assert (rig.keeper.up, rig.keeper.fresh) == (False, True)
        (line,) = rig.log.events("store_down")
        assert line["cause"] == (
            "does not answer: it is locked by another process, or its disk hangs; end what keeps"
            " it locked, such as an open transaction of an SQLite shell, or look after its disk"
        )
        await asyncio.sleep(GRACE)
        assert not rig.keeper.fresh
        rig.goes_on()
        await a_while()
        assert (rig.keeper.up, rig.keeper.fresh) == (True, True)
        assert rig.events == ["store_up", "store_down", "store_up"]

    rig.tells(story)


def test_nobody_waits_long_for_a_store_that_hangs() -> None:
    rig = Rig(ONE)

    async def story() -> None:
        rig.hang()
        loop = asyncio.get_running_loop()
        # A change that has begun is waited for once more: it may be done yet.
        for question, patience in (
            (rig.keeper.change("one", lambda k: revoked(k, WALL), by="x"), 2 * ANSWER_WITHIN),
            (rig.keeper.last_used(), ANSWER_WITHIN),
        ):
            began = loop.time()
            with pytest.raises(StoreUnavailable, match=f"{PLACE} does not answer: it is locked"):
                await question
            assert loop.time() - began == pytest.approx(patience)
        # What has begun happens when the store goes on, and is heard of.
        rig.goes_on()
        await asyncio.sleep(1)
        assert rig.heard() == [{"one"}]
        assert rig.log.events("key_revoked")

    rig.tells(story)


@pytest.mark.parametrize(
    "change",
    [
        lambda keeper: keeper.add([TWO], by="x"),
        lambda keeper: keeper.change("one", lambda k: rotated(k, b"new", WALL, 0), by="x"),
        lambda keeper: keeper.delete("one", by="x"),
    ],
)
def test_change_whose_turn_does_not_come_is_never_made(change: Callable[[Any], Any]) -> None:
    rig = Rig(ONE)

    async def story() -> None:
        rig.hang()
        in_front = asyncio.ensure_future(rig.keeper.record([]))
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable):
            await change(rig.keeper)
        rig.goes_on()
        await in_front
        await asyncio.sleep(1)
        assert list(rig.ring) == [ONE]
        assert rig.heard() == []
        assert not rig.store.journal

    rig.tells(story)


def test_change_that_is_slow_to_be_made_is_told_of() -> None:
    rig = Rig(ONE)

    async def story() -> None:
        rig.hang()
        change = asyncio.ensure_future(rig.keeper.delete("one", by="x"))
        await asyncio.sleep(1.5 * ANSWER_WITHIN)
        rig.goes_on()
        assert await change == ONE

    rig.tells(story)


def test_who_leaves_takes_the_question_along() -> None:
    rig = Rig(ONE)

    async def story() -> None:
        rig.hang()
        in_front = asyncio.ensure_future(rig.keeper.record([]))
        asking = asyncio.ensure_future(rig.keeper.delete("one", by="x"))
        await asyncio.sleep(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        rig.goes_on()
        await in_front
        await asyncio.sleep(1)
        assert not rig.store.journal

    rig.tells(story)


@pytest.mark.parametrize("turns", range(8))
def test_who_leaves_has_left_though_the_answer_has_come(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(ONE)

    async def answered(_question: Any) -> dict[str, float]:
        raise AWAY

    async def story() -> None:
        faults: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        monkeypatch.setattr(rig.keeper, "_call", answered)
        asking = asyncio.ensure_future(rig.keeper.last_used())
        for _ in range(turns):
            await asyncio.sleep(0)
        had_it = not asking.cancel()
        with pytest.raises(StoreUnavailable if had_it else asyncio.CancelledError):
            await asking
        gc.collect()
        await asyncio.sleep(0)
        assert not faults  # An exception that nobody has heard of is one.

    rig.tells(story)


@pytest.mark.parametrize("warning", [None, "can be read by others"])
def test_store_that_others_may_read_is_told_at_the_start(warning: str | None) -> None:
    rig = Rig()
    rig.store.warning = warning

    async def story() -> None:
        told = rig.log.events("store_exposed")
        assert told == ([] if warning is None else [{"store": PLACE, "cause": warning}])

    rig.tells(story)

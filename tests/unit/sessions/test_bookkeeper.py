"""The bookkeeper: batches on time, none lost while the store is away, none stored twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from proxy.sessions.bookkeeper import BATCH_EVERY, LIVE_EVERY, Bookkeeper
from proxy.stores.store import StoreUnavailable, Usage
from tests.unit.loop import in_virtual_time
from tests.unit.sessions.scene import CLIENT, HELLO, Scene

if TYPE_CHECKING:
    from collections.abc import Sequence

ROW = Usage("one", 3600, 1, 2.0, (3, 4), (5, 6), 7.0)
AWAY = StoreUnavailable("sqlite:/x", "is away", "wait")


class Shelf:
    """Keeps batches, or refuses them."""

    def __init__(self) -> None:
        self.batches: list[list[Usage]] = []
        self.failure: BaseException | None = None
        # Seconds that a batch takes.
        self.slow = 0.0

    async def record(self, rows: Sequence[Usage]) -> None:
        kept = list(rows)
        if self.slow:
            # What has begun in the store's thread goes on, whoever stops waiting for it.
            await asyncio.shield(asyncio.create_task(self._keep(kept)))
            return
        if self.failure is not None:
            raise self.failure
        self.batches.append(kept)

    async def _keep(self, rows: list[Usage]) -> None:
        await asyncio.sleep(self.slow)
        self.batches.append(rows)


class Desk:
    """A bookkeeper and all it works with."""

    def __init__(self) -> None:
        self.scene = Scene()
        house = self.scene.house
        self.ledger, self.log, self.shelf = house.ledger, house.log, Shelf()
        self.keeper = Bookkeeper(house.registry, self.ledger, self.shelf, self.log)

    def stored(self) -> list[Usage]:
        return [row for batch in self.shelf.batches for row in batch]


def test_batch_is_written_every_few_seconds() -> None:
    async def story() -> None:
        desk = Desk()
        desk.keeper.start()
        desk.ledger.put_back([ROW])
        await asyncio.sleep(BATCH_EVERY - 0.1)
        assert desk.stored() == []
        await asyncio.sleep(0.2)
        assert desk.shelf.batches == [[ROW]]
        await asyncio.sleep(2 * BATCH_EVERY)
        assert desk.shelf.batches == [[ROW]]  # Nothing is not written.
        await desk.keeper.close()

    in_virtual_time(story())


def test_live_sessions_are_settled_now_and_then() -> None:
    async def story() -> None:
        desk = Desk()
        desk.keeper.start()
        desk.scene.receives(CLIENT, HELLO)
        await asyncio.sleep(BATCH_EVERY * LIVE_EVERY - 0.1)
        assert desk.stored() == []
        await asyncio.sleep(0.2)
        (row,) = desk.stored()
        assert (row.key_id, row.connections, row.messages) == ("legacy-id", 1, (1, 0))
        await desk.keeper.close()

    in_virtual_time(story())


def test_last_batch_is_written_at_the_end() -> None:
    async def story() -> None:
        desk = Desk()
        desk.keeper.start()
        desk.scene.gone()
        await desk.keeper.close()
        (row,) = desk.stored()
        assert row.key_id == "legacy-id"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    in_virtual_time(story())


def test_bookkeeper_that_never_began_closes_in_silence() -> None:
    async def story() -> None:
        desk = Desk()
        desk.ledger.put_back([ROW])
        await desk.keeper.close()
        assert desk.stored() == []

    in_virtual_time(story())


def test_batch_waits_while_the_store_is_away_and_nothing_is_logged_of_it() -> None:
    async def story() -> None:
        desk = Desk()
        desk.shelf.failure = AWAY
        desk.keeper.start()
        desk.ledger.put_back([ROW])
        await asyncio.sleep(3 * BATCH_EVERY)
        desk.ledger.put_back([ROW])
        desk.shelf.failure = None
        await asyncio.sleep(BATCH_EVERY)
        assert desk.shelf.batches == [[Usage("one", 3600, 2, 4.0, (6, 8), (10, 12), 7.0)]]
        assert not desk.log.events("internal_error")
        await desk.keeper.close()

    in_virtual_time(story())


def test_unforeseen_failure_is_logged_and_the_next_batch_is_written() -> None:
    async def story() -> None:
        desk = Desk()
        desk.shelf.failure = RuntimeError("a fault of ours")
        desk.keeper.start()
        desk.ledger.put_back([ROW])
        await asyncio.sleep(BATCH_EVERY + 0.1)
        desk.shelf.failure = None
        await asyncio.sleep(BATCH_EVERY)
        assert desk.shelf.batches == [[ROW]]
        (line,) = desk.log.events("internal_error")
        assert isinstance(line["failure"], RuntimeError)
        await desk.keeper.close()

    in_virtual_time(story())


def test_batch_that_is_under_way_at_the_end_is_stored_once() -> None:
    async def story() -> None:
        desk = Desk()
        desk.shelf.slow = 2.0
        desk.keeper.start()
        desk.ledger.put_back([ROW])
        await asyncio.sleep(BATCH_EVERY + 1)
        await desk.keeper.close()
        await asyncio.sleep(10)
        assert desk.stored() == [ROW]

    in_virtual_time(story())


@pytest.mark.parametrize("failure", [asyncio.CancelledError(), KeyError("x")])
def test_rows_that_were_not_stored_stay(failure: BaseException) -> None:
    async def story() -> None:
        desk = Desk()
        desk.shelf.failure = failure
        desk.ledger.put_back([ROW])
        with pytest.raises(type(failure)):
            await desk.keeper.write()
        assert desk.ledger.take() == [ROW]

    in_virtual_time(story())


def test_session_that_ends_during_settlement_is_settled_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.sessions.bookkeeper._SLICE", 1)

    async def story() -> None:
        desk = Desk()
        other: Any = Scene(desk.scene.house, id="other")
        asyncio.get_running_loop().call_soon(other.gone)
        await desk.keeper.settle_live()
        (row,) = desk.ledger.take()
        assert row.connections == 2
        assert len(desk.ledger) == 0

    in_virtual_time(story())

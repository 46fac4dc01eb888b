"""A keeper beside a store that is away or silent when told so."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from proxy.keys.key import Key, Secret
from proxy.keys.ring import KeyRing
from proxy.stores import keeper as keeper_module
from proxy.stores.keeper import POLL_EVERY, StoreKeeper
from proxy.stores.store import Change, Changes, NoSuchKey, StoreUnavailable, Usage
from proxy.stores.worker import Worker
from tests.unit.loop import in_virtual_time
from tests.unit.sessions.scene import WALL, Log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

PLACE = "sqlite:/here.db"
GRACE = 30.0
AWAY = StoreUnavailable(PLACE, "is locked by another process", "end what keeps it locked")


def key(id: str, **fields: Any) -> Key:
    return Key(id, f"name of {id}", (Secret(id.encode()),), **fields)


ONE, TWO = key("one"), key("two")


class Store:
    """Keys in a list, changed by whoever likes, away or silent when told so."""

    warning: str | None = None

    def __init__(self, *keys: Key) -> None:
        self.kept = {key.id: key for key in keys}
        self.journal: list[Change] = []
        self.complete_next = False
        self.failure: BaseException | None = None
        self.usages: list[Usage] = []
        self.closed = 0
        # Set unless the store hangs.
        self.goes_on = threading.Event()
        self.goes_on.set()
        # Whether a call waits for that.
        self.hangs = False
        self.threads: set[str] = set()

    def _answers(self) -> None:
        self.threads.add(threading.current_thread().name)
        if not self.goes_on.is_set():
            self.hangs = True
            self.goes_on.wait()
            self.hangs = False
        if self.failure is not None:
            raise self.failure

    def put(self, id: str, after: Key | None, by: str = "cli:ops") -> None:
        """Changes a key, as another process does."""
        if after is None:
            del self.kept[id]
        else:
            self.kept[id] = after
        self.journal.append(Change(id, after, by))

    def changes(self, since: int | None) -> Changes | None:
        self._answers()
        revision = len(self.journal)
        if since is None or self.complete_next:
            self.complete_next = False
            return Changes(revision, [Change(k.id, k, "?") for k in self.kept.values()], True)
        if since == revision:
            return None
        return Changes(revision, self.journal[since:], False)

    def add(self, keys: Sequence[Key], *, by: str) -> None:
        self._answers()
        for each in keys:
            self.put(each.id, each, by)

    def change(self, id: str, edit: Callable[[Key], Key], *, by: str) -> Key:
        self._answers()
        if id not in self.kept:
            raise NoSuchKey
        after = edit(self.kept[id])
        self.put(id, after, by)
        return after

    def delete(self, id: str, *, by: str) -> Key:
        self._answers()
        before = self.kept[id]
        self.put(id, None, by)
        return before

    def record(self, rows: Iterable[Usage]) -> None:
        self._answers()
        self.usages.extend(rows)

    def usage(self, *, since: float, key_id: str | None = None) -> list[Usage]:
        self._answers()
        return [row for row in self.usages if row.hour >= since and key_id in {None, row.key_id}]

    def last_used(self) -> dict[str, float]:
        self._answers()
        return {row.key_id: row.last_used_at for row in self.usages if row.last_used_at}

    def close(self) -> None:
        self._answers()
        self.closed += 1


class Rig:
    """A keeper beside its store, on a clock that waits for nothing but the store's thread."""

    def __init__(self, *keys: Key, fixed: Sequence[Key] = (), grace: float = GRACE) -> None:
        self.store = Store(*keys)
        self.log = Log()
        self.ring = KeyRing(fixed)
        self.changed: list[set[str]] = []
        self.keeper: StoreKeeper
        # Whether the story has closed it.
        self.closed = False
        self.began = 0.0
        # Calls that the thread has not answered.
        self.calls = 0
        self._grace = grace
        self._opening: BaseException | None = None

    def cannot_open(self, failure: BaseException) -> None:
        self._opening = failure

    def _opened(self) -> Store:
        if self._opening is not None:
            raise self._opening
        return self.store

    def wall(self) -> float:
        return WALL + asyncio.get_running_loop().time() - self.began

    def tells(self, story: Callable[[], Awaitable[None]], *, started: bool = True) -> None:
        """Runs a story with the keeper in it, and sees that nothing is left of it."""
        rig = self

        class CountedWorker(Worker):
            def call(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
                rig.calls += 1
                future = super().call(function)
                future.add_done_callback(rig._answered)
                return future

        async def whole() -> None:
            loop = asyncio.get_running_loop()
            self.began = loop.time()
            self.keeper = StoreKeeper(
                PLACE,
                self._opened,
                self.ring,
                grace=self._grace,
                on_change=lambda ids: self.changed.append(set(ids)),
                wall=self.wall,
                log=self.log,
                loop=loop,
            )
            try:
                if started:
                    await self.keeper.start()
                    self.changed.clear()
                await story()
            finally:
                self.store.failure = None
                self.goes_on()
                if not self.closed:
                    await self.keeper.close()
                assert asyncio.all_tasks() == {asyncio.current_task()}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keeper_module, "Worker", CountedWorker)
            in_virtual_time(whole(), lambda: self.calls > 0 and not self.store.hangs)

    def _answered(self, _future: asyncio.Future[Any]) -> None:
        self.calls -= 1

    def hang(self) -> None:
        """The store's next call does not come back, until `goes_on`."""
        self.store.goes_on.clear()

    def goes_on(self) -> None:
        self.store.hangs = False
        self.store.goes_on.set()

    @property
    def events(self) -> list[str]:
        return [event for _, event, _ in self.log.lines]

    def heard(self) -> list[set[str]]:
        """What `on_change` was given since it was last asked."""
        heard, self.changed = [ids for ids in self.changed if ids], []
        return heard


async def a_while() -> None:
    """Time for one look at the store."""
    await asyncio.sleep(POLL_EVERY * 1.5)

"""The gateway's side of a store: keys kept fresh in memory, writes in a thread of their own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Final, TypeVar, cast

from proxy.keys.lifecycle import event_of
from proxy.stores.store import StoreUnavailable
from proxy.stores.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from proxy.keys.key import Key
    from proxy.keys.ring import Difference, KeyRing
    from proxy.logs import Logger
    from proxy.stores.store import Changes, KeyStore, Usage

_T = TypeVar("_T")

# Seconds between two looks for what others have changed; a change is to be heard of within 1 s.
POLL_EVERY: Final = 0.3

# Seconds without an answer after which a store that hangs counts as away.
SILENT_FOR: Final = 2.0

# Seconds for which somebody waits for a store's answer; longer than a lock on it is waited for.
ANSWER_WITHIN: Final = 5.0

# A store that waits for a lock is as silent as one whose disk hangs.
_SILENT: Final = "does not answer: it is locked by another process, or its disk hangs"
_SILENT_MEND: Final = (
    "end what keeps it locked, such as an open transaction of an SQLite shell, or look after its"
    " disk"
)


class StoreKeeper:
    """Keeps the ring as the store has it, and changes the store for the gateway.

    Args:
        place: of the store, in words for people.
        opened: opens the store; may block, raises `StoreUnavailable`.
        ring: what handshakes look keys up in.
        grace: seconds for which the ring is good while the store is away.
        on_change: is given the ids of the keys of which something changed, or ended by itself.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        place: str,
        opened: Callable[[], KeyStore],
        ring: KeyRing,
        *,
        grace: float,
        on_change: Callable[[Collection[str]], object],
        wall: Callable[[], float],
        log: Logger,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.place = place
        self.ring = ring
        self.grace = grace
        # Whether the store answers, and whether it did not too long ago.
        self.up = False
        self.fresh = False
        self._opened = opened
        self._on_change = on_change
        self._wall = wall
        self._log = log
        self._loop = loop
        self._worker = Worker("store", loop)
        self._revision: int | None = None
        self._answered_at = 0.0
        # Set by start.
        self._store: KeyStore | None = None
        self._poller: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Opens the store, loads all keys and begins to look for changes.

        Raises:
            StoreUnavailable: the store cannot be used.
        """
        self._store = await self._worker.call(self._opened)
        if self._store.warning is not None:
            self._log.warning("store_exposed", store=self.place, cause=self._store.warning)
        changes = await self._call(lambda store: store.changes(None))
        if changes is not None:
            self._apply(changes, log=False)
        self._answered()
        self._poller = self._loop.create_task(self._poll(), name="watch the store")
        self._look()

    async def close(self) -> None:
        """Lets go of the store; what was begun is finished."""
        if self._timer is not None:
            self._timer.cancel()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        if self._store is not None:
            with contextlib.suppress(TimeoutError):  # It hangs; what is unsaid stays unsaid.
                await asyncio.wait_for(self._worker.call(self._store.close), SILENT_FOR)
        self._worker.stop()

    def _look(self) -> None:
        """Notices how long the store has been silent, and which keys have ended by themselves."""
        self._timer = self._loop.call_later(POLL_EVERY, self._look)
        silent = self._loop.time() - self._answered_at
        if self.up and silent >= SILENT_FOR:
            self._away(f"{_SILENT}; {_SILENT_MEND}")
        self.fresh = self.up or silent < self.grace
        ended = self.ring.due(self._wall())
        if ended:
            self._on_change({key.id for key in ended})

    # Changes -----------------------------------------------------------------------------------

    async def add(self, keys: Sequence[Key], *, by: str) -> None:
        """Keeps new keys, all or none; see `KeyStore.add`."""
        await self._asked(lambda store: store.add(keys, by=by), until_told=True)
        await self._take_over()

    async def change(self, id: str, edit: Callable[[Key], Key], *, by: str) -> Key:
        """Replaces a key by what `edit` makes of it; see `KeyStore.change`."""
        after = await self._asked(lambda store: store.change(id, edit, by=by), until_told=True)
        await self._take_over()
        return after

    async def delete(self, id: str, *, by: str) -> Key:
        """Forgets a key; see `KeyStore.delete`."""
        before = await self._asked(lambda store: store.delete(id, by=by), until_told=True)
        await self._take_over()
        return before

    # Usage -------------------------------------------------------------------------------------

    async def record(self, rows: Sequence[Usage]) -> None:
        """Adds usage to what is kept, all or nothing; waits for it, however long that takes."""
        await self._call(lambda store: store.record(rows))

    async def usage(self, *, since: float, key_id: str | None = None) -> list[Usage]:
        """Usage by key and hour; see `KeyStore.usage`."""
        return await self._asked(lambda store: store.usage(since=since, key_id=key_id))

    async def last_used(self) -> Mapping[str, float]:
        """When each key was last used, by id."""
        return await self._asked(lambda store: store.last_used())

    # Tickets -----------------------------------------------------------------------------------

    async def keep_ticket(
        self, digest: bytes, text: str, *, holder: str, until: float, quota: int
    ) -> bool:
        """Keeps a ticket; see `KeyStore.keep_ticket`."""
        now = self._wall()
        return await self._asked(
            lambda store: store.keep_ticket(
                digest, text, holder=holder, until=until, quota=quota, now=now
            )
        )

    async def take_ticket(self, digest: bytes) -> str | None:
        """Removes a ticket and returns its text; see `KeyStore.take_ticket`."""
        now = self._wall()
        return await self._asked(lambda store: store.take_ticket(digest, now=now))

    # The store's thread ------------------------------------------------------------------------

    async def _asked(self, question: Callable[[KeyStore], _T], *, until_told: bool = False) -> _T:
        """The store's answer, if it comes while somebody may still wait for it.

        What waits for its turn too long never has it: nobody is to find out later that a key was
        rotated, who was told that it was not.

        Args:
            until_told: whether what has begun is waited for once more, since it may be done yet;
                only a disk that hangs leaves that open.
        """
        turn = threading.Lock()  # Taken by whichever comes first: the call, or its end.

        def in_turn(store: KeyStore) -> _T | None:
            return question(store) if turn.acquire(blocking=False) else None

        call = self._loop.create_task(self._call(in_turn))
        try:
            await asyncio.wait([call], timeout=ANSWER_WITHIN)
            if until_told and not call.done() and not turn.acquire(blocking=False):
                await asyncio.wait([call], timeout=ANSWER_WITHIN)
            if not call.done():
                raise StoreUnavailable(self.place, _SILENT, _SILENT_MEND)
            return cast("_T", call.result())
        finally:
            turn.acquire(blocking=False)
            if not call.cancel() and not call.cancelled():
                call.exception()  # Whoever asked may be gone.

    async def _call(self, question: Callable[[KeyStore], _T]) -> _T:
        store = self._store
        assert store is not None
        try:
            return await self._worker.call(lambda: question(store))
        except StoreUnavailable as failure:
            self._away(f"{failure.cause}; {failure.mend}")
            raise

    async def _take_over(self) -> None:
        """Takes over what was just written; should the store be gone by now, the poller will."""
        with contextlib.suppress(StoreUnavailable):
            await self._catch_up()

    async def _catch_up(self) -> None:
        changes = await self._call(lambda store: store.changes(self._revision))
        self._answered()
        if changes is not None:
            self._apply(changes, log=True)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_EVERY)
            try:
                await self._catch_up()
            except StoreUnavailable:
                continue  # It was logged when it went away.
            except Exception as failure:  # noqa: BLE001 - whatever it is, the next look may be good
                self._log.error("internal_error", failure=failure)

    def _apply(self, changes: Changes, *, log: bool) -> None:
        """Takes over what the store says has changed."""
        now = self._wall()
        by = {change.id: change.by for change in changes.changes}
        ended = self.ring.due(now)
        if changes.complete:
            stored = [change.key for change in changes.changes if change.key is not None]
            differences = self.ring.replace_stored(stored)
            self.ring.schedule(now)
        else:
            differences = []
            for change in changes.changes:
                difference = self.ring.put(change.id, change.key)
                if difference is not None:
                    differences.append(difference)
                if change.key is not None:
                    self.ring.watch(change.key, now)
        self._revision = changes.revision
        if log:
            for difference in differences:
                self._note(difference, by)
        changed = {_subject(difference).id for difference in differences}
        self._on_change(changed | {key.id for key in ended})

    def _note(self, difference: Difference, by: Mapping[str, str]) -> None:
        key = _subject(difference)
        self._log.info(
            event_of(*difference), key_id=key.id, key_name=key.name, by=by.get(key.id, "unknown")
        )

    def _answered(self) -> None:
        self._answered_at = self._loop.time()
        self.fresh = True
        if not self.up:
            self.up = True
            self._log.info("store_up", store=self.place)

    def _away(self, cause: str) -> None:
        if self.up:
            self.up = False
            self._log.error("store_down", store=self.place, cause=cause, grace_s=self.grace)


def _subject(difference: Difference) -> Key:
    key = difference.after or difference.before
    assert key is not None
    return key

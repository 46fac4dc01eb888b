"""Carries what the ledger holds to the store, in batches."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Protocol

from proxy.stores.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.logs import Logger
    from proxy.sessions.ledger import Ledger
    from proxy.sessions.registry import Registry
    from proxy.stores.store import Usage

# Seconds between two batches: what a killed gateway loses.
BATCH_EVERY: Final = 5.0

# Batches between two settlings of sessions that are still live.
LIVE_EVERY: Final = 6

# Sessions settled in one turn of the event loop.
_SLICE: Final = 500


class Shelf(Protocol):
    """Where usage is kept."""

    async def record(self, rows: Sequence[Usage]) -> None:
        """Keeps rows, all or none; raises `StoreUnavailable`."""


class Bookkeeper:
    """Writes usage down every `BATCH_EVERY` seconds, and once more at the end."""

    def __init__(self, registry: Registry, ledger: Ledger, shelf: Shelf, log: Logger) -> None:
        self._registry = registry
        self._ledger = ledger
        self._shelf = shelf
        self._log = log
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.get_running_loop().create_task(self._keep(), name="write usage")

    async def close(self) -> None:
        """Writes the last batch."""
        if self._task is not None:
            # Not cancelled: a batch under way would be stored, and once more with the last one.
            self._stopping.set()
            await self._task
            await self.write()

    async def settle_live(self) -> None:
        """Takes down what live sessions have used so far."""
        for count, session in enumerate(self._registry, start=1):
            if session.id in self._registry:
                self._ledger.settle(session)
            if count % _SLICE == 0:
                await asyncio.sleep(0)

    async def write(self) -> None:
        """Writes what the ledger holds; what cannot be written waits in it."""
        rows = self._ledger.take()
        if not rows:
            return
        try:
            await self._shelf.record(rows)
        except BaseException as failure:
            self._ledger.put_back(rows)
            if not isinstance(failure, StoreUnavailable):  # That was logged when it went away.
                raise

    async def _keep(self) -> None:
        batches = 0
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), BATCH_EVERY)
                return
            batches += 1
            try:
                if batches % LIVE_EVERY == 0:
                    await self.settle_live()
                await self.write()
            except Exception as failure:  # noqa: BLE001 - the next batch may be good
                self._log.error("internal_error", failure=failure)

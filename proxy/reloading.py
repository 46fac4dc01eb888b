"""Reading the configuration again, on SIGHUP or when an operator asks: one reload at a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from proxy.admin.reload import NotNow, Reloaded
from proxy.adoption import Adoption
from proxy.auth.jwk import UnusableKeys
from proxy.config.difference import change, told
from proxy.config.faults import ConfigInvalid, Fault
from proxy.gateway.rules import ReloadRecord
from proxy.identity.plugins import CannotLoad
from proxy.notify import notify, notify_reloading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.adoption import Parts
    from proxy.config.load import Loaded

# By whom a reload is asked for that no operator asked for by name.
SIGNAL: Final = "signal"

# Faults and warnings of one configuration in the log; `wskeeper check` prints all.
_MOST_TOLD: Final = 20

_NO_FILE: Final = Fault(
    "command line",
    None,
    "",
    "the gateway was started without a configuration file, so there is none to read again",
    "write a `wskeeper.yaml` and start with `wskeeper serve -c wskeeper.yaml`",
)


class Reloading:
    """Replaces the configuration of a gateway that serves.

    Args:
        parts: of the gateway.
        read: reads the configuration again as it was read at the start, and looks at its files;
            may block, raises `ConfigInvalid`. None where there is no file.
    """

    def __init__(self, parts: Parts, read: Callable[[], Loaded] | None) -> None:
        self._parts = parts
        self._read = read
        self.record = ReloadRecord(time.time())
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[Reloaded]] = set()
        # That of a signal whose turn has not come: it will see what later ones are sent for.
        self._signalled: asyncio.Task[Reloaded] | None = None

    def on_signal(self) -> None:
        """Begins a reload, unless one that was asked for by signal has yet to begin."""
        if self._signalled is None:
            self._signalled = self._begin(SIGNAL)
            self._signalled.add_done_callback(self._note_failure)

    async def reload(self, by: str) -> Reloaded:
        """Reads the configuration and puts it in force; whoever stops waiting does not stop it.

        Args:
            by: who asks, for the log.

        Raises:
            ConfigInvalid: it cannot be used, and nothing has changed.
            NotNow: the gateway is going away.
        """
        return await asyncio.shield(self._begin(by))

    async def close(self) -> None:
        """Gives up what is under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin(self, by: str) -> asyncio.Task[Reloaded]:
        task = self._parts.loop.create_task(self._in_turn(by), name="reload")
        self._under_way.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Reloaded]) -> None:
        self._under_way.discard(task)
        if self._signalled is task:
            self._signalled = None
        if not task.cancelled():
            task.exception()  # Whoever asked may be gone.

    def _note_failure(self, task: asyncio.Task[Reloaded]) -> None:
        """Logs a fault of ours of which nobody else will hear."""
        failure = None if task.cancelled() else task.exception()
        if failure is not None and not isinstance(failure, ConfigInvalid | NotNow):
            self._parts.log.error("internal_error", failure=failure)

    async def _in_turn(self, by: str) -> Reloaded:
        async with self._turn:
            if by == SIGNAL:
                self._signalled = None
            if self._parts.leaving:
                raise NotNow
            notify_reloading()
            try:
                return await self._reload(by)
            except ConfigInvalid as invalid:
                self._reject(by, invalid.faults)
                raise
            finally:
                if not self._parts.leaving:
                    notify("READY=1")

    async def _reload(self, by: str) -> Reloaded:
        parts = self._parts
        if self._read is None:
            raise ConfigInvalid([_NO_FILE])
        # In a thread: a thousand routes take a while, and sessions are not to wait for them.
        loaded = await asyncio.to_thread(self._read)
        if parts.leaving:
            raise NotNow
        found = change(parts.config, loaded.config)
        try:
            adoption = Adoption(parts, found.config)
        except (CannotLoad, UnusableKeys, OSError, ValueError) as failure:
            raise ConfigInvalid([_unusable(loaded, failure)]) from failure
        closed = adoption.take()
        self.record.successful = True
        self.record.succeeded_at = time.time()
        warnings = _texts(loaded.warnings)
        parts.log.info(
            "config_reloaded",
            by=by,
            changed=told(found.changed),
            needs_restart=told(found.needs_restart),
            warnings=warnings,
            closed=closed,
        )
        await adoption.settle()
        return Reloaded(found.changed, found.needs_restart, closed, tuple(warnings))

    def _reject(self, by: str, faults: Sequence[Fault]) -> None:
        self.record.successful = False
        errors = [fault for fault in faults if fault.severity == "error"]
        self._parts.log.warning("config_rejected", by=by, faults=len(errors), errors=_texts(errors))


def _unusable(loaded: Loaded, failure: Exception) -> Fault:
    """What was found out only when it was to be used."""
    file = "configuration" if loaded.path is None else str(loaded.path)
    return Fault(file, None, "", f"cannot be used ({failure})", "mend what this names")


def _texts(faults: Sequence[Fault]) -> list[str]:
    return told([str(fault) for fault in faults], _MOST_TOLD)

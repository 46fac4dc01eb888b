"""The keys of an identity provider, kept at hand while it rotates them, and while it is down."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Protocol

from proxy.auth.jwk import KeySet, UnusableKeys
from proxy.identity.sources import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.identity.sources import Source
    from proxy.logs import Logger

# Seconds for which keys are taken as they are. Tokens of a new key do not wait for it: they name
# a key that is not known.
MAX_AGE: Final = 300.0

# Seconds between two fetches, however many tokens ask for one; also between tries in an outage.
QUIET: Final = 10.0

# Seconds that one fetch may take.
PATIENCE: Final = 10.0


class Timers(Protocol):
    """What of an event loop tells and keeps the time."""

    def time(self) -> float: ...
    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle: ...


class JwksKeeper:
    """Fetches a JWK set at the start, every `max_age` and when a token needs it.

    The last good set serves for as long as there is no newer one.

    Args:
        source: where it is published.
        algorithms: that the rules allow.
        timers: the event loop.
        max_age: seconds between fetches.
        patience: seconds that a fetch may take.
    """

    def __init__(
        self,
        source: Source,
        algorithms: frozenset[str],
        *,
        timers: Timers,
        log: Logger,
        max_age: float = MAX_AGE,
        patience: float = PATIENCE,
    ) -> None:
        self._source = source
        self._algorithms = algorithms
        self._timers = timers
        self._log = log
        self._max_age = max_age
        self._patience = patience
        # None until the first fetch that went well.
        self.keys: KeySet | None = None
        # Whether the last fetch went wrong.
        self.failing = False
        self._fetch: asyncio.Task[None] | None = None
        self._next: asyncio.TimerHandle | None = None
        # No fetch is begun for a token before.
        self._quiet_until = timers.time()

    def start(self) -> None:
        """Begins the first fetch, unless a token has, and returns."""
        if self._fetch is None:
            self._begin()

    async def refreshed(self) -> KeySet | None:
        """The keys after a fetch, or as they are when the last one was less than `QUIET` ago.

        Many may wait for one fetch. It may fail: look at `failing`.
        """
        if self._fetch is None and self._timers.time() >= self._quiet_until:
            self._begin()
        if self._fetch is not None:
            # Whoever stops waiting does not stop the fetch.
            await asyncio.wait([self._fetch])
        return self.keys

    async def close(self) -> None:
        """Gives up what is under way and begins nothing more."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.wait([self._fetch])
        self._quiet_until = math.inf
        self._cancel_next()

    def _begin(self) -> None:
        self._cancel_next()
        self._fetch = asyncio.get_running_loop().create_task(self._refresh(), name="fetch jwks")
        self._fetch.add_done_callback(self._fetched)

    def _cancel_next(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                document = await self._source.load()
            self._take(KeySet.of_jwks(document, self._algorithms))
        except TimeoutError:
            self._fail(f"no answer within {self._patience:g} s")
        except (Unavailable, UnusableKeys) as failure:
            self._fail(str(failure))

    def _take(self, keys: KeySet) -> None:
        self.keys = keys
        if self.failing:
            self.failing = False
            self._log.info("jwks_available", source=self._source.place, keys=len(keys))

    def _fail(self, cause: str, failure: BaseException | None = None) -> None:
        if not self.failing:
            self.failing = True
            self._log.warning(
                "jwks_unavailable",
                source=self._source.place,
                cause=cause,
                keys=0 if self.keys is None else len(self.keys),
                failure=failure,
            )

    def _fetched(self, fetch: asyncio.Task[None]) -> None:
        self._fetch = None
        if fetch.cancelled():
            return
        if fetch.exception() is not None:
            self._fail("a fault of the gateway's", fetch.exception())
        self._quiet_until = self._timers.time() + QUIET
        delay = min(QUIET, self._max_age) if self.failing else self._max_age
        self._next = self._timers.call_later(delay, self._begin)

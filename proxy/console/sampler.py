"""Takes the samples of the charts, whether or not somebody looks: a pass over the routes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.console.history import INTERVAL, History, Sample
from proxy.errors import ACCEPTED, CLIENT_GONE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.sessions.registry import Registry

_NOT_REFUSED: Final = (ACCEPTED, CLIENT_GONE)


class Sampler:
    """Reads the counters of a gateway every two seconds.

    Args:
        registry: has the counters.
        wall: the time of day, in seconds since the epoch.
        loop: on which it runs.
    """

    def __init__(
        self, registry: Registry, wall: Callable[[], float], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.history = History()
        self._registry = registry
        self._wall = wall
        self._loop = loop
        # Set by start.
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Takes the first sample, and one every two seconds from now on."""
        self.history.note(self._sample())
        self._timer = self._loop.call_later(INTERVAL, self.start)

    def stop(self) -> None:
        """Takes no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _sample(self) -> Sample:
        messages, sizes = [0, 0], [0, 0]
        outcomes: Counter[str] = Counter()
        for totals in self._registry.totals.values():
            outcomes.update(totals.outcomes)
            for side, traffic in enumerate(totals.traffic):
                messages[side] += sum(traffic.messages_by_size)
                sizes[side] += traffic.message_bytes
        accepted = outcomes[ACCEPTED]
        for outcome in _NOT_REFUSED:
            del outcomes[outcome]
        return Sample(
            self._wall(),
            self._loop.time(),
            len(self._registry),
            (messages[0], messages[1]),
            (sizes[0], sizes[1]),
            accepted,
            outcomes,
        )


SAMPLER: Final = web.AppKey("sampler", Sampler)

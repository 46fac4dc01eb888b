"""The latest events of the log, kept for the admin API and the console, and told to who follows.

A busy gateway pushes out what clients did within seconds; what somebody changed (events with a
`by`) is kept behind it for longer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# Events that a follower may be behind before it is dropped.
MOST_BEHIND: Final = 1000

# Changes that are kept when other events have pushed them out.
_CHANGES_KEPT: Final = 500


class Event(NamedTuple):
    """One event.

    Args:
        id: above those of all events before it, also those before a restart.
        at: seconds since the epoch.
        level: `info`, `warning` or `error`.
        name: as in the log.
        fields: as in the log, but for tracebacks; not to be changed.
    """

    id: int
    at: float
    level: str
    name: str
    fields: Mapping[str, Any]


class Wanted(NamedTuple):
    """Which events somebody wants; None is any.

    Args:
        keys: ids of keys.
    """

    names: frozenset[str] | None = None
    route: str | None = None
    keys: frozenset[str] | None = None
    request_id: str | None = None

    def admits(self, event: Event) -> bool:
        """Whether an event is among them."""
        fields = event.fields
        return (
            (self.names is None or event.name in self.names)
            and (self.route is None or fields.get("route") == self.route)
            and (self.keys is None or fields.get("key_id") in self.keys)
            and (self.request_id is None or fields.get("request_id") == self.request_id)
        )


EVERYTHING: Final = Wanted()


class Subscription:
    """What somebody who follows has not seen yet; made by `EventRing.subscribe`."""

    __slots__ = ("_arrived", "_dropped", "_ring", "behind", "lost", "over")

    def __init__(self, ring: EventRing, dropped: Callable[[], None]) -> None:
        self._ring = ring
        self._dropped = dropped
        self._arrived = asyncio.Event()
        # Events that wait in the ring.
        self.behind = 0
        # Whether it was too slow.
        self.lost = False
        self.over = False

    def tell(self) -> None:
        """There is a new event."""
        self.behind += 1
        self._arrived.set()

    def end(self) -> None:
        """Nothing will be told any more; whoever waits is woken."""
        self.over = True
        self._arrived.set()

    def drop(self) -> None:
        """Ends it from our side: its reader may be stuck in a write, and is told."""
        self.end()
        self._dropped()

    async def batch(self) -> list[Event]:
        """Waits for events; all that there are, oldest first, or none when it is over.

        What came before a stop is still told; whoever was too slow is told nothing more.
        """
        await self._arrived.wait()
        if self.over and (self.lost or not self.behind):
            return []
        if not self.over:
            self._arrived.clear()
        events, self.behind = self._ring.newest(self.behind), 0
        return events


def _nothing() -> None:
    """Nothing is on its way."""


class EventRing:
    """A bounded memory of events.

    Args:
        wall: seconds since the epoch.
        size: events that are kept.
    """

    def __init__(self, wall: Callable[[], float], size: int = 2000) -> None:
        self._wall = wall
        self._events: deque[Event] = deque(maxlen=size)
        self._changes: deque[Event] = deque(maxlen=_CHANGES_KEPT)
        # In microseconds, so that a restart goes on above the ids before it; no gateway has a
        # million events a second, and JavaScript can still count so far.
        self._born = self._last = int(wall() * 1e6)
        self._subscriptions: set[Subscription] = set()
        # Has noted what is still on its way; set by whoever lets events wait.
        self.catch_up: Callable[[], None] = _nothing

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._subscriptions)

    def note(
        self, level: str, name: str, fields: Mapping[str, Any], at: float | None = None
    ) -> None:
        """Takes an event.

        Args:
            fields: none of them long; they stay as they are from now on.
            at: seconds since the epoch; None for now.
        """
        if at is None:
            at = self._wall()
        self._last += 1
        events = self._events
        if len(events) == events.maxlen and "by" in events[0].fields:
            self._changes.append(events[0])
        # What `Event(...)` does, without a call of Python's for each.
        events.append(tuple.__new__(Event, (self._last, at, level, name, fields)))
        if self._subscriptions:
            self._tell()

    def _tell(self) -> None:
        for subscription in tuple(self._subscriptions):
            if subscription.behind >= MOST_BEHIND:
                subscription.lost = True
                self.unsubscribe(subscription)
                subscription.drop()
            else:
                subscription.tell()

    # Looking back ------------------------------------------------------------------------------

    def recent(
        self, limit: int, *, before: int | None = None, wanted: Wanted = EVERYTHING
    ) -> list[Event]:
        """Events, the newest first.

        Args:
            limit: how many at most.
            before: the id above all of theirs; None for the newest.
            wanted: which ones.
        """
        self.catch_up()
        found = (
            event
            for event in self._backwards()
            if (before is None or event.id < before) and wanted.admits(event)
        )
        return list(islice(found, limit))

    def since(self, id: int) -> tuple[list[Event], int | None]:
        """What came after an event, oldest first, and how much of it is gone.

        The number is None for an id that is none of ours: of another gateway, or from before a
        restart. Then nobody knows.
        """
        self.catch_up()
        if not self._born <= id <= self._last:
            return [], None
        oldest = self._events[0].id if self._events else id + 1
        return self.newest(self._last - id), max(0, oldest - 1 - id)

    def newest(self, count: int) -> list[Event]:
        """So many of the latest events, oldest first, as far as they are still there."""
        events = list(islice(reversed(self._events), count))
        events.reverse()
        return events

    def _backwards(self) -> Iterator[Event]:
        return chain(reversed(self._events), reversed(self._changes))

    # Following ---------------------------------------------------------------------------------

    def subscribe(self, dropped: Callable[[], None]) -> Subscription:
        """Lets somebody follow from now on.

        Args:
            dropped: is called when it is over before the follower wants it to be: the follower is
                `MOST_BEHIND` events behind, or the gateway stops.
        """
        self.catch_up()
        subscription = Subscription(self, dropped)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forgets a follower; one that is gone already, too."""
        self._subscriptions.discard(subscription)

    def hang_up(self) -> None:
        """Ends every subscription, once all is told that has happened."""
        self.catch_up()
        subscriptions, self._subscriptions = self._subscriptions, set()
        for subscription in subscriptions:
            subscription.drop()

"""What one scrape counts over all sessions and all keys, a slice in each turn of the event loop.

All totals of ended sessions are copied in the turn in which the live ones are listed. Whoever is
looked at later, ended or not, is in that list and not in those totals: each session counts exactly
once, and no counter falls from one scrape to the next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from proxy.keys.key import STATES
from proxy.sessions.key_totals import KeyTraffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from proxy.keys.key import Key, State
    from proxy.keys.ring import KeyRing
    from proxy.sessions.live import LiveSession
    from proxy.sessions.registry import Registry
    from proxy.sessions.totals import RouteTotals

# Sessions or keys that are looked at in one turn: about a millisecond.
SLICE: Final = 1000

# Days ahead in which keys that end are counted.
SOON_DAYS: Final = (1, 7, 30)
_DAY: Final = 86_400.0

_T = TypeVar("_T")


class Figures:
    """Sessions, messages and bytes; pairs are (client to upstream, upstream to client)."""

    __slots__ = ("bytes", "connections", "messages")

    def __init__(self, messages: Sequence[int], received: Sequence[int]) -> None:
        self.connections = 0
        self.messages = [*messages]
        self.bytes = [*received]

    def add(self, session: LiveSession) -> None:
        """Counts a session with what it has passed so far."""
        sent, received = session.state.scanners
        self.connections += 1
        self.messages[0] += sent.messages
        self.messages[1] += received.messages
        self.bytes[0] += sent.bytes
        self.bytes[1] += received.bytes


class KeyFigures(NamedTuple):
    """What is counted of the keys.

    Args:
        by_state: how many are in each state.
        ending: how many active ones end within so many days.
        used: what each was used for, by name; None where nobody wants to know.
    """

    by_state: dict[State, int]
    ending: dict[int, int]
    used: dict[str, Figures] | None


class Count(NamedTuple):
    """One count.

    Args:
        totals: of each route that has metrics.
        routes: what each of them has passed, live sessions included.
        keys: of the keys.
    """

    totals: dict[str, RouteTotals]
    routes: dict[str, Figures]
    keys: KeyFigures


async def count(routes: Sequence[str], registry: Registry, ring: KeyRing, now: float) -> Count:
    """Counts over all sessions and keys that there are at this moment.

    Args:
        routes: names of those that have metrics.
        now: seconds since the epoch.
    """
    # Before anybody else has a turn.
    totals = {route: registry.totals[route] for route in routes}
    by_route = {route: Figures(one.messages, one.bytes) for route, one in totals.items()}
    sessions, keys = list(registry), list(ring)
    used = _used(registry, keys) if registry.key_totals.kept else None
    async for some in _sliced(sessions):
        for session in some:
            figures = by_route.get(session.route)
            if figures is not None:
                figures.add(session)
            if used is not None and (figures := used.get(session.principal.key_id)) is not None:
                figures.add(session)
    return Count(totals, by_route, await _count_keys(keys, now, used))


def _used(registry: Registry, keys: Sequence[Key]) -> dict[str | None, Figures]:
    """What ended sessions of each key have passed, by its id."""
    registry.key_totals.forget_but({key.id for key in keys})
    before, nothing = registry.key_totals.now(), KeyTraffic()
    return {key.id: Figures(*before.get(key.id, nothing)) for key in keys}


async def _count_keys(
    keys: Sequence[Key], now: float, used: dict[str | None, Figures] | None
) -> KeyFigures:
    by_state = dict.fromkeys(STATES, 0)
    ending = dict.fromkeys(SOON_DAYS, 0)
    by_name: dict[str, Figures] = {}
    async for some in _sliced(keys):
        for key in some:
            state = key.state(now)
            by_state[state] += 1
            if state == "active" and key.expires_at is not None:
                for days in SOON_DAYS:
                    ending[days] += key.expires_at <= now + days * _DAY
            if used is not None:
                by_name[key.name] = used[key.id]
    return KeyFigures(by_state, ending, None if used is None else by_name)


async def _sliced(many: Sequence[_T]) -> AsyncIterator[Sequence[_T]]:
    """Some at a time, with a turn for everybody else behind each."""
    for start in range(0, len(many), SLICE):
        yield many[start : start + SLICE]
        await asyncio.sleep(0)

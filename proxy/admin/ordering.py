"""The order of many sessions, found out in turns: those that are relayed are not to wait for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from proxy.admin.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxy.sessions.live import LiveSession

    # Where a session stands among others: a number, and its id where numbers are equal.
    Place = tuple[float, str]

# Sessions looked at in one turn of the event loop: a few milliseconds.
SLICE: Final = 500


@dataclass(frozen=True, slots=True)
class Ordering:
    """An order of sessions.

    Args:
        number: what they are ordered by, the lowest first; None for their ids alone.
    """

    number: Callable[[LiveSession], float] | None

    def place(self, session: LiveSession) -> Place:
        """Where it stands."""
        return 0.0 if self.number is None else self.number(session), session.id

    def cursor(self, session: LiveSession) -> str:
        """Where it stands, as text that `place_after` takes."""
        return session.id if self.number is None else f"{self.number(session)!r} {session.id}"

    def place_after(self, cursor: str) -> Place:
        """The place that a page begins behind.

        Raises:
            Problem: `bad_parameter`.
        """
        if self.number is None:
            return 0.0, cursor
        number, _, session_id = cursor.partition(" ")
        try:
            return float(number), session_id
        except ValueError:
            raise Problem("bad_parameter", "Give 'after' the 'next' of the page before.") from None


def _messages(session: LiveSession) -> float:
    sent, received = session.state.scanners
    return -(sent.messages + received.messages)


def _bytes(session: LiveSession) -> float:
    sent, received = session.state.scanners
    return -(sent.bytes + received.bytes)


_ORDERINGS: Final = {
    "id": Ordering(None),
    "opened_at": Ordering(lambda session: session.opened_at),
    "-opened_at": Ordering(lambda session: -session.opened_at),
    "-messages": Ordering(_messages),
    "-bytes": Ordering(_bytes),
}
_place: Final = itemgetter(0)

# As `sort` names them, the usual one first.
ORDERS: Final = tuple(_ORDERINGS)


def ordering(name: str) -> Ordering:
    """The order of that name.

    Raises:
        Problem: `bad_parameter`.
    """
    found = _ORDERINGS.get(name)
    if found is None:
        raise Problem("bad_parameter", f"Give 'sort' one of {', '.join(ORDERS)}.")
    return found


async def first(
    sessions: Sequence[LiveSession], most: int, *, order: Ordering, after: Place | None
) -> list[LiveSession]:
    """The first sessions behind a place, in order.

    Args:
        most: how many at most.
        after: the place; None for the beginning.
    """
    found: list[tuple[Place, LiveSession]] = []
    for some in slices(sessions):
        behind = [(order.place(session), session) for session in some]
        if after is not None:
            behind = [entry for entry in behind if entry[0] > after]
        found = sorted([*found, *behind], key=_place)[:most]
        await asyncio.sleep(0)
    return [session for _, session in found]


def slices(sessions: Sequence[LiveSession]) -> Iterator[Sequence[LiveSession]]:
    """Sessions in parts, for a turn of the event loop each."""
    return (sessions[at : at + SLICE] for at in range(0, len(sessions), SLICE))

"""The one truth about live sessions: metrics, drain and limits all read it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from proxy.sessions.totals import RouteTotals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy import errors
    from proxy.sessions.live import LiveSession


class Registry:
    """All live sessions by id, and the totals of each route."""

    def __init__(self) -> None:
        self._sessions: dict[str, LiveSession] = {}
        self.totals: defaultdict[str, RouteTotals] = defaultdict(RouteTotals)

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    def __iter__(self) -> Iterator[LiveSession]:
        """The sessions as they are now; those that end meanwhile are still among them."""
        return iter(list(self._sessions.values()))

    def add(self, session: LiveSession) -> None:
        """Registers a session under its id."""
        self._sessions[session.id] = session

    def remove(self, session: LiveSession, duration: float) -> None:
        """Forgets an ended session and keeps its totals."""
        del self._sessions[session.id]
        self.totals[session.route].take_over(session, duration)

    def end_all(self, ending: errors.Ending) -> None:
        """Ends every session in good order."""
        for session in self:
            session.end(ending)

"""The one truth about live sessions: metrics, drain, revocation and limits all read it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from proxy.sessions.key_totals import KeyTotals
from proxy.sessions.occupancy import Occupancy
from proxy.sessions.totals import PING_BUCKETS, Histogram, RouteTotals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proxy.errors import Ending
    from proxy.sessions.closing import Closing
    from proxy.sessions.ledger import Ledger
    from proxy.sessions.live import LiveSession


class Registry:
    """All live sessions by id, who holds them, and the totals of each route.

    Args:
        closing: ends many sessions.
        ledger: takes down what ended sessions used.
    """

    def __init__(self, closing: Closing, ledger: Ledger) -> None:
        self._sessions: dict[str, LiveSession] = {}
        self._closing = closing
        self._ledger = ledger
        # Hears of each session that has ended; None where nobody asks.
        self.on_end: Callable[[LiveSession], None] | None = None
        self.occupancy = Occupancy()
        self.totals: defaultdict[str, RouteTotals] = defaultdict(RouteTotals)
        self.key_totals = KeyTotals()
        # How often a limit was met, by (route, limit).
        self.limited: Counter[tuple[str, str]] = Counter()
        # Round trips of the gateway's own pings: to clients, to upstreams.
        self.ping_rtt = (Histogram(PING_BUCKETS), Histogram(PING_BUCKETS))

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    def __iter__(self) -> Iterator[LiveSession]:
        """The sessions as they are now; those that end meanwhile are still among them."""
        return iter(list(self._sessions.values()))

    def get(self, session_id: str) -> LiveSession | None:
        """The live session with that id."""
        return self._sessions.get(session_id)

    def select(
        self, *, route: str | None = None, key: str | None = None, subject: str | None = None
    ) -> list[LiveSession]:
        """The live sessions of a route, a key (its id or name), a subject; None is any."""
        return [
            session
            for session in self._sessions.values()
            if (route is None or session.route == route)
            and (subject is None or session.principal.subject == subject)
            and (key is None or key in {session.principal.key_id, session.principal.key_name})
        ]

    def add(self, session: LiveSession) -> None:
        """Registers a session under its id; the places it holds were taken for its handshake."""
        self._sessions[session.id] = session

    def remove(self, session: LiveSession, duration: float) -> None:
        """Forgets a session that ended after so many seconds and keeps its totals."""
        del self._sessions[session.id]
        self.occupancy.release(session.holders)
        self._ledger.take_down(session, duration)
        self.totals[session.route].take_over(session, duration)
        if self.on_end is not None:
            self.on_end(session)
        if self.key_totals.kept:
            self.key_totals.take_over(session)

    def end(self, sessions: Iterable[LiveSession], ending: Ending) -> int:
        """Ends sessions in good order, however many; returns how many."""
        return self._closing.end(sessions, ending)

    def end_all(self, ending: Ending) -> None:
        """Ends every session in good order, at once."""
        for session in self:
            session.end(ending)

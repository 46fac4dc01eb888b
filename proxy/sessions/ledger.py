"""What each key uses, taken down when sessions end and now and then while they live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.relay.commands import Side
from proxy.stores.store import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.sessions.live import LiveSession

_HOUR: Final = 3600


class Settled(NamedTuple):
    """What of a live session is in the ledger already.

    Args:
        seconds: for which it was connected.
        messages, bytes: (from the client, from the upstream).
    """

    seconds: float
    messages: tuple[int, int]
    bytes: tuple[int, int]


class _Row:
    """A `Usage` that grows with every session that ends."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "connections",
        "last_used_at",
        "messages_received",
        "messages_sent",
        "seconds",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.seconds = 0.0
        self.messages_sent = self.messages_received = 0
        self.bytes_sent = self.bytes_received = 0
        self.last_used_at: float | None = None

    def usage(self, key_id: str, hour: int) -> Usage:
        return Usage(
            key_id,
            hour,
            self.connections,
            self.seconds,
            (self.messages_sent, self.messages_received),
            (self.bytes_sent, self.bytes_received),
            self.last_used_at,
        )


class Ledger:
    """Usage by key and hour that no store has yet.

    Args:
        monotonic: the loop's clock.
        wall: seconds since the epoch.
    """

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._wall = wall
        # By the id of a key and the beginning of an hour.
        self._rows: dict[tuple[str, int], _Row] = {}

    def __len__(self) -> int:
        """How many rows wait for a store."""
        return len(self._rows)

    def settle(self, session: LiveSession) -> None:
        """Takes down what a live session used, and notes in it how far."""
        if session.principal.key is None:
            return
        seconds = self._monotonic() - session.opened_at
        self.take_down(session, seconds)
        sent, received = session.state.scanners
        session.settled = Settled(
            seconds, (sent.messages, received.messages), (sent.bytes, received.bytes)
        )

    def take_down(self, session: LiveSession, seconds: float) -> None:
        """Takes down what a session used since it was last settled.

        Args:
            seconds: for which it has been connected.
        """
        key = session.principal.key
        if key is None:
            return
        wall = self._wall()
        place = (key.id, int(wall // _HOUR) * _HOUR)
        sent, received = session.state.scanners
        messages = (sent.messages, received.messages)
        passed = (sent.bytes, received.bytes)
        before = session.settled
        if before is None:
            self._add(place, 1, seconds, messages, passed, wall - seconds)
        else:
            messages = _difference(messages, before.messages)
            passed = _difference(passed, before.bytes)
            self._add(place, 0, seconds - before.seconds, messages, passed, None)

    def take(self) -> list[Usage]:
        """All rows; the ledger is empty then."""
        rows = [row.usage(*place) for place, row in self._rows.items()]
        self._rows.clear()
        return rows

    def put_back(self, rows: Iterable[Usage]) -> None:
        """Takes rows again that could not be stored."""
        for row in rows:
            self._add(row[:2], *row[2:])

    def _add(
        self,
        place: tuple[str, int],
        connections: int,
        seconds: float,
        messages: tuple[int, int],
        passed: tuple[int, int],
        used_at: float | None,
    ) -> None:
        row = self._rows.get(place)
        if row is None:
            row = self._rows[place] = _Row()
        sent, received = messages
        row.messages_sent += sent
        row.messages_received += received
        sent, received = passed
        row.bytes_sent += sent
        row.bytes_received += received
        row.connections += connections
        row.seconds += seconds
        known = row.last_used_at
        if used_at is not None and (known is None or used_at > known):
            row.last_used_at = used_at


def _difference(now: tuple[int, int], before: tuple[int, int]) -> tuple[int, int]:
    return now[Side.CLIENT] - before[Side.CLIENT], now[Side.UPSTREAM] - before[Side.UPSTREAM]

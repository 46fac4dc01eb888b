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

    def used(self, at: float) -> None:
        """The key was used then, in seconds since the epoch."""
        if self.last_used_at is None or at > self.last_used_at:
            self.last_used_at = at

    def take_off(self, settled: Settled) -> None:
        """Takes off what was in the ledger already."""
        self.seconds -= settled.seconds
        self.messages_sent -= settled.messages[Side.CLIENT]
        self.messages_received -= settled.messages[Side.UPSTREAM]
        self.bytes_sent -= settled.bytes[Side.CLIENT]
        self.bytes_received -= settled.bytes[Side.UPSTREAM]

    def put_back(self, usage: Usage) -> None:
        """Adds what no store took."""
        self.connections += usage.connections
        self.seconds += usage.seconds
        self.messages_sent += usage.messages[Side.CLIENT]
        self.messages_received += usage.messages[Side.UPSTREAM]
        self.bytes_sent += usage.bytes[Side.CLIENT]
        self.bytes_received += usage.bytes[Side.UPSTREAM]
        if usage.last_used_at is not None:
            self.used(usage.last_used_at)

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
        row = self._row(key.id, int(wall // _HOUR) * _HOUR)
        sent, received = session.state.scanners
        row.messages_sent += sent.messages
        row.messages_received += received.messages
        row.bytes_sent += sent.bytes
        row.bytes_received += received.bytes
        row.seconds += seconds
        before = session.settled
        if before is None:
            row.connections += 1
            row.used(wall - seconds)
        else:
            row.take_off(before)

    def take(self) -> list[Usage]:
        """All rows; the ledger is empty then."""
        rows = [row.usage(*place) for place, row in self._rows.items()]
        self._rows.clear()
        return rows

    def put_back(self, rows: Iterable[Usage]) -> None:
        """Takes rows again that could not be stored."""
        for row in rows:
            self._row(row.key_id, row.hour).put_back(row)

    def _row(self, key_id: str, hour: int) -> _Row:
        place = (key_id, hour)
        row = self._rows.get(place)
        if row is None:
            row = self._rows[place] = _Row()
        return row

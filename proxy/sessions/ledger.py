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
        at: when that was, on the loop's clock.
        messages, bytes: (from the client, from the upstream).
    """

    at: float
    messages: tuple[int, int]
    bytes: tuple[int, int]


class Ledger:
    """Usage by key and hour that no store has yet.

    Args:
        monotonic: the loop's clock.
        wall: seconds since the epoch.
    """

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._rows: dict[tuple[str, int], Usage] = {}

    def __len__(self) -> int:
        """How many rows wait for a store."""
        return len(self._rows)

    def settle(self, session: LiveSession) -> None:
        """Takes down what a session used since it was last settled."""
        key_id = session.principal.key_id
        if key_id is None:
            return
        now, wall = self._monotonic(), self._wall()
        sent, received = session.state.scanners
        messages = (sent.messages, received.messages)
        passed = (sent.bytes, received.bytes)
        before = session.settled
        session.settled = Settled(now, messages, passed)
        if before is None:
            before = Settled(session.opened_at, (0, 0), (0, 0))
            connections, used_at = 1, wall - (now - session.opened_at)
        else:
            connections, used_at = 0, None
        self._add(
            Usage(
                key_id,
                int(wall // _HOUR) * _HOUR,
                connections,
                now - before.at,
                _difference(messages, before.messages),
                _difference(passed, before.bytes),
                used_at,
            )
        )

    def take(self) -> list[Usage]:
        """All rows; the ledger is empty then."""
        rows = list(self._rows.values())
        self._rows.clear()
        return rows

    def put_back(self, rows: Iterable[Usage]) -> None:
        """Takes rows again that could not be stored."""
        for row in rows:
            self._add(row)

    def _add(self, row: Usage) -> None:
        place = (row.key_id, row.hour)
        known = self._rows.get(place)
        if known is not None:
            row = Usage(
                row.key_id,
                row.hour,
                known.connections + row.connections,
                known.seconds + row.seconds,
                _sum(known.messages, row.messages),
                _sum(known.bytes, row.bytes),
                max(
                    (at for at in (known.last_used_at, row.last_used_at) if at is not None),
                    default=None,
                ),
            )
        self._rows[place] = row


def _difference(now: tuple[int, int], before: tuple[int, int]) -> tuple[int, int]:
    return now[Side.CLIENT] - before[Side.CLIENT], now[Side.UPSTREAM] - before[Side.UPSTREAM]


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]

"""Which keys a page shows, and how what they were used for is drawn."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.console.figures import count, moment, size
from proxy.console.paging import Paged, Sort, page_number, paged
from proxy.keys.key import STATES, Key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from proxy.keys.key import KeyLimits, State
    from proxy.stores.store import Usage

_HOUR: Final = 3600
# What a chart of usage reaches back, in hours.
CHART_HOURS: Final = 7 * 24

_EXCEEDING: Final = {"throttle": "is read more slowly", "close": "is closed"}

# By what the table can be sorted.
ORDERS: Final = ("name", "sessions", "created", "used", "expires")
DEFAULT_ORDER: Final = Sort("name", descending=False)
# Where a key stands that has no such moment: behind those that have, as long as they ascend.
_NEVER: Final = float("inf")


class Query(NamedTuple):
    """What a page of the table is to show.

    Args:
        name: a part of a key's name in any case, or its id; empty for all.
        state: of the keys; None for all.
        page: from 1.
    """

    name: str
    state: State | None
    sort: Sort
    page: int

    @property
    def given(self) -> dict[str, str]:
        """What was asked for, by name."""
        asked = {"name": self.name, "state": self.state}
        return {name: value for name, value in asked.items() if value}


def read_query(given: Mapping[str, str]) -> Query:
    """What is asked for; what makes no sense is left out."""
    return Query(
        given.get("name", "").strip(),
        next((state for state in STATES if state == given.get("state")), None),
        Sort.read(given.get("sort", ""), ORDERS, DEFAULT_ORDER),
        page_number(given.get("page", "")),
    )


class Standing(NamedTuple):
    """What a table says of a key beside what it is.

    Args:
        now: seconds since the epoch.
        sessions: how many live sessions a key has, by its id.
        last_used: when one last began, by key id, in seconds since the epoch.
    """

    now: float
    sessions: Callable[[str], int]
    last_used: Mapping[str, float]


def found(keys: Iterable[Key], query: Query, standing: Standing) -> Paged[Key]:
    """The page that is asked for."""
    part = query.name.lower()
    chosen = [
        key
        for key in keys
        if (not part or part in key.name.lower() or key.id == query.name)
        and (query.state is None or key.state(standing.now) == query.state)
    ]
    order = _order(query.sort.by, standing)
    return paged(chosen, order, descending=query.sort.descending, page=query.page)


def _order(by: str, standing: Standing) -> Callable[[Key], Any]:
    if by == "sessions":
        return lambda key: (standing.sessions(key.id), key.name, key.id)
    if by == "created":
        return lambda key: (key.created_at or 0.0, key.name, key.id)
    if by == "used":
        return lambda key: (standing.last_used.get(key.id, 0.0), key.name, key.id)
    if by == "expires":
        return lambda key: (
            _NEVER if key.expires_at is None else key.expires_at,
            key.name,
            key.id,
        )
    return lambda key: (key.name, key.id)


class UsageChart(NamedTuple):
    """What a key was used for, hour by hour; each list has one number for each hour.

    Args:
        hours: their beginnings, in seconds since the epoch.
    """

    hours: list[int]
    connections: list[int]
    messages: list[int]
    bytes: list[int]

    @property
    def empty(self) -> bool:
        """Whether it was used for nothing at all."""
        return not any((*self.connections, *self.bytes))


def usage_chart(rows: Iterable[Usage], now: float) -> UsageChart:
    """The last `CHART_HOURS` hours, those without use among them.

    Args:
        rows: of one key; several of one hour add up.
        now: seconds since the epoch.
    """
    last = int(now // _HOUR) * _HOUR
    hours = [last - _HOUR * ago for ago in range(CHART_HOURS - 1, -1, -1)]
    connections: defaultdict[int, int] = defaultdict(int)
    messages: defaultdict[int, int] = defaultdict(int)
    passed: defaultdict[int, int] = defaultdict(int)
    for row in rows:
        connections[row.hour] += row.connections
        messages[row.hour] += sum(row.messages)
        passed[row.hour] += sum(row.bytes)
    return UsageChart(
        hours,
        [connections[hour] for hour in hours],
        [messages[hour] for hour in hours],
        [passed[hour] for hour in hours],
    )


class Day(NamedTuple):
    """What a key was used for on one day, in UTC."""

    day: str
    connections: int
    messages: int
    bytes: int


def days_of(chart: UsageChart) -> list[Day]:
    """The chart as a table by days, the latest first."""
    days: dict[str, Day] = {}
    for hour, *used in zip(*chart, strict=True):
        day = moment(hour)[:10]
        before = days.get(day, Day(day, 0, 0, 0))
        days[day] = Day(day, *map(sum, zip(before[1:], used, strict=True)))
    return list(days.values())[::-1]


def limits_told(limits: KeyLimits) -> list[tuple[str, str]]:
    """The limits that there are, in words."""
    to_upstream, to_client = limits.message_size
    told = [
        ("Connections", limits.connections, count),
        ("… from one address", limits.connections_per_address, count),
        ("… of one subject", limits.connections_per_subject, count),
        ("Handshakes a second", limits.handshakes_per_second, count),
        ("Messages a second", limits.messages_per_second, count),
        ("Bytes a second", limits.bytes_per_second, size),
        ("Message from clients", to_upstream, size),
        ("Message to clients", to_client, size),
        ("Who sends faster", limits.on_exceed, _EXCEEDING.__getitem__),
    ]
    # mypy joins the texts of all rows; each takes what its own row has.
    return [(name, text(value)) for name, value, text in told if value is not None]  # type: ignore[operator]

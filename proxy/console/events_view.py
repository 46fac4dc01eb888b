"""Which events a page shows, and how each is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.console.figures import visible
from proxy.events import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from proxy.events import Event

# Events of one page.
EVENTS: Final = 100
# All that a ring holds: a level can be looked for in all of it.
_ALL: Final = 10_000

# Levels from the least on, as a filter names them: these and what is worse.
LEVELS: Final = ("debug", "info", "warning", "error")
_ERROR: Final = len(LEVELS) - 1

# What operators look for most, so that it can be chosen before it has happened.
SOUGHT: Final = (
    "admin_closed",
    "config_rejected",
    "config_reloaded",
    "connection_closed",
    "connection_opened",
    "handshake_refused",
    "key_created",
    "key_revoked",
    "limited",
    "upstream_down",
    "upstream_up",
)

# What is told in columns of its own.
_SHOWN_APART: Final = frozenset({"route", "key_id", "key_name", "request_id"})
_MOST_DIGITS: Final = 16


class Query(NamedTuple):
    """What a page of events is to show; what is empty chooses nothing.

    Args:
        event: the name of an event.
        level: the least that is told.
        route: the name of a route.
        key: the id or the name of a key.
        session: the id of a session or a request.
        before: the id of an event: only those before it; None for the latest.
    """

    event: str = ""
    level: str = ""
    route: str = ""
    key: str = ""
    session: str = ""
    before: int | None = None

    @property
    def given(self) -> dict[str, str]:
        """What was asked for, by name, but for the page."""
        texts = self._asdict()
        del texts["before"]
        return {name: value for name, value in texts.items() if value}

    @property
    def live(self) -> bool:
        """Whether new events belong on the page."""
        return self.before is None


def read_query(given: Mapping[str, str]) -> Query:
    """What is asked for; what makes no sense is left out."""
    texts = {name: given.get(name, "").strip() for name in Query._fields[:-1]}
    if texts["level"] not in LEVELS:
        texts["level"] = ""
    before = given.get("before", "")
    sound = before.isascii() and before.isdigit() and len(before) <= _MOST_DIGITS
    return Query(**texts, before=int(before) if sound else None)


def wanted(query: Query, keys: Collection[str]) -> Wanted:
    """What to ask the ring for.

    Args:
        keys: ids of the keys that the query names.
    """
    return Wanted(
        names=frozenset({query.event}) if query.event else None,
        route=query.route or None,
        keys=frozenset({query.key, *keys}) if query.key else None,
        request_id=query.session or None,
    )


def latest(
    recent: Callable[[int], Iterable[Event]], query: Query
) -> tuple[list[Event], int | None]:
    """The events of a page, latest first, and before which id the next page begins, if any.

    Args:
        recent: so many of the events that are wanted, latest first.
    """
    least = LEVELS.index(query.level) if query.level else 0
    most = _ALL if least else EVENTS + 1
    events = [event for event in recent(most) if _weight(event) >= least][: EVENTS + 1]
    shown = events[:EVENTS]
    return shown, shown[-1].id if len(events) > EVENTS else None


def _weight(event: Event) -> int:
    return LEVELS.index(event.level) if event.level in LEVELS else _ERROR


class EventRow(NamedTuple):
    """An event as the table tells it.

    Args:
        at: seconds since the epoch.
        live: whether its session still is.
        details: its other fields, as names and texts.
    """

    id: int
    at: float
    level: str
    name: str
    route: str
    key_id: str
    key_name: str
    session: str
    live: bool
    details: list[tuple[str, str]]


def row_of(
    event: Event, *, key_name: Callable[[str], str | None], is_live: Callable[[str], bool]
) -> EventRow:
    """One line of the table.

    Args:
        key_name: of the key with an id; None when there is none any more.
        is_live: whether a session with that id is.
    """
    fields = event.fields
    key_id, session = _text(fields.get("key_id", "")), _text(fields.get("request_id", ""))
    return EventRow(
        event.id,
        event.at,
        event.level,
        event.name,
        _text(fields.get("route", "")),
        key_id,
        _text(fields.get("key_name") or key_name(key_id) or key_id),
        session,
        bool(session) and is_live(session),
        [
            (name, _text(value))
            for name, value in fields.items()
            if name not in _SHOWN_APART and value is not None and value != ""
        ],
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return visible(str(value))

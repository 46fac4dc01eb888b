"""The page of the latest events."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from proxy.admin.desk import DESK
from proxy.console.events_view import LEVELS, SOUGHT, latest, read_query, row_of, wanted
from proxy.console.pages import is_fragment, page

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.admin.desk import AdminDesk
    from proxy.console.events_view import EventRow
    from proxy.events import Event


async def show_events(request: web.Request) -> web.Response:
    """The table; htmx asks for it alone whenever there is something new."""
    desk = request.app[DESK]
    query = read_query(request.query)
    ring = desk.keeper.ring
    keys = [key.id for key in ring if query.key in {key.id, key.name}] if query.key else []
    which = wanted(query, keys)
    events, before = latest(
        lambda most: desk.events.recent(most, before=query.before, wanted=which), query
    )
    given = query.given
    context = {
        "query": query,
        "rows": rows_of(desk, events),
        "names": sorted({*SOUGHT, *(event.name for event in desk.events.recent(_NAMES_FROM))}),
        "levels": LEVELS[1:],
        "routes": [route.name for route in desk.config().routes],
        "older": None if before is None else _link({**given, "before": str(before)}),
        "newest": _link(given),
    }
    return page(request, "events_table.html" if is_fragment(request) else "events.html", context)


# All that a ring holds.
_NAMES_FROM = 10_000


def rows_of(desk: AdminDesk, events: list[Event]) -> list[EventRow]:
    """Events as a table tells them."""
    ring = desk.keeper.ring

    def key_name(key_id: str) -> str | None:
        key = ring.get(key_id)
        return None if key is None else key.name

    return [
        row_of(event, key_name=key_name, is_live=desk.registry.__contains__) for event in events
    ]


def _link(given: dict[str, str]) -> str:
    return f"/events?{urlencode(given)}" if given else "/events"

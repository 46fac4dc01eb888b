"""The page of live connections: found, looked at, closed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from aiohttp import web

from proxy.admin import connections as admin
from proxy.admin.desk import DESK, OPERATOR
from proxy.admin.problems import Problem
from proxy.admin.reading import number
from proxy.config.faults import Wrong
from proxy.console.connections_view import (
    DEFAULT_ORDER,
    Filter,
    chosen,
    found,
    read_query,
)
from proxy.console.forms import ending_told, texts
from proxy.console.pages import is_fragment, page
from proxy.console.paging import Paged, Place
from proxy.sessions.description import described

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.admin.desk import AdminDesk
    from proxy.console.connections_view import Query
    from proxy.sessions.live import LiveSession

_NO_ADDRESS: Final = "Write an address such as 192.0.2.7, or a network such as 10.0.0.0/8."

# Columns of which the largest matter most.
_FALLING: Final = frozenset({"messages", "bytes"})

# Keys and routes that a question names; of more it tells how many.
_NAMED: Final = 5


async def show_connections(request: web.Request) -> web.Response:
    """The table; htmx asks for it alone."""
    desk = request.app[DESK]
    query = read_query(request.query)
    shown, fault = await _found(desk, query)
    place = Place("/connections", query.filter.given, query.sort, DEFAULT_ORDER, _FALLING)
    context = {
        "query": query,
        "shown": shown,
        "fault": fault,
        "rows": [_row(desk, session) for session in shown.rows],
        "live": len(desk.registry),
        "routes": [route.name for route in desk.config().routes],
        "place": place,
        "here": place.at(shown.page),
        "asked": urlencode(query.filter.given),
        "closed": number(request.query.get("closed", "")),
        "first_path": first_path(desk),
    }
    template = "connections_table.html" if is_fragment(request) else "connections.html"
    return page(request, template, context)


async def ask_to_close(request: web.Request) -> web.Response:
    """Which connections a filter would close."""
    desk = request.app[DESK]
    wanted = _filter(request.query)
    sessions = await _chosen(desk, wanted)
    keys = Counter(session.principal.key_name or "no key" for session in sessions)
    routes = Counter(session.route for session in sessions)
    return page(
        request,
        "connections_close.html",
        {
            "wanted": wanted.given,
            "count": len(sessions),
            "keys": keys.most_common(_NAMED),
            "more_keys": max(0, len(keys) - _NAMED),
            "routes": routes.most_common(_NAMED),
            "back": f"/connections?{urlencode(wanted.given)}",
        },
    )


async def close(request: web.Request) -> web.Response:
    """Closes the connections that a filter chooses, never all of them by a slip."""
    desk = request.app[DESK]
    given = await texts(request)
    wanted = _filter(given)
    ending = ending_told(given)
    closed = admin.close(
        desk,
        await _chosen(desk, wanted),
        ending,
        by=request[OPERATOR].by,
        by_filter=",".join(wanted.given),
    )
    raise web.HTTPSeeOther(f"/connections?{urlencode({**wanted.given, 'closed': closed})}")


async def _found(desk: AdminDesk, query: Query) -> tuple[Paged[LiveSession], str]:
    """The page that is asked for; or an empty one, and why."""
    try:
        # In a thread, as sessions are not to wait for ten thousand others.
        return await asyncio.to_thread(found, list(desk.registry), query), ""
    except Wrong:
        return Paged((), 1, 0), _NO_ADDRESS


async def _chosen(desk: AdminDesk, wanted: Filter) -> list[LiveSession]:
    try:
        return await asyncio.to_thread(chosen, list(desk.registry), wanted)
    except Wrong:
        raise Problem("bad_parameter", _NO_ADDRESS) from None


def first_path(desk: AdminDesk) -> str:
    """A path that a client may try."""
    routes = desk.config().routes
    return routes[0].path if routes else "/"


def _filter(given: Mapping[str, str]) -> Filter:
    wanted = read_query(given).filter
    if not wanted.given:
        raise Problem("filter_needed", "Filter by key, route, address or subject first.")
    return wanted


def _row(desk: AdminDesk, session: LiveSession) -> dict[str, Any]:
    return described(session, now=asyncio.get_running_loop().time(), wall=desk.now())

"""The pages of keys: the table, and one key with what it was used for."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from proxy.admin.desk import DESK
from proxy.admin.keys import described_key, named_key
from proxy.console.keys_view import (
    CHART_HOURS,
    DEFAULT_ORDER,
    Standing,
    days_of,
    found,
    limits_told,
    read_query,
    usage_chart,
)
from proxy.console.pages import is_fragment, page
from proxy.console.paging import Place
from proxy.keys.key import STATES

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.admin.desk import AdminDesk
    from proxy.keys.key import Key
    from proxy.sessions.live import LiveSession

# What can have been done to a key that is shown, as its address says it.
_DONE: Final = frozenset({"changed", "suspended", "resumed", "revoked"})

# A name as keys may have; links could lead here with any other text in its place.
_NAME: Final = re.compile(r"[A-Za-z0-9_.@:+-]{1,64}")

# Seconds before its end that a key is marked.
_SOON: Final = 7 * 86_400.0

# Columns of which the largest, or the latest, matter most.
_FALLING: Final = frozenset({"sessions", "created", "used"})


async def show_keys(request: web.Request) -> web.Response:
    """The table; htmx asks for it alone."""
    desk = request.app[DESK]
    query, deleted = read_query(request.query), request.query.get("deleted", "")
    now = desk.now()
    last_used = await desk.keeper.last_used()
    standing = Standing(now, desk.registry.occupancy.of, last_used)
    # In a thread, as sessions are not to wait for a hundred thousand keys.
    shown = await asyncio.to_thread(found, list(desk.keeper.ring), query, standing)
    place = Place("/keys", query.given, query.sort, DEFAULT_ORDER, _FALLING)
    context = {
        "query": query,
        "shown": shown,
        "rows": [
            {
                **described_key(desk, key, last_used.get(key.id)),
                "sessions": desk.registry.occupancy.of(key.id),
                "soon": ends_soon(key, now),
            }
            for key in shown.rows
        ],
        "all": len(desk.keeper.ring),
        "states": desk.keeper.ring.by_state(now),
        "names_of_states": STATES,
        "place": place,
        "here": place.at(shown.page),
        "deleted": deleted if _NAME.fullmatch(deleted) else "",
    }
    return page(request, "keys_table.html" if is_fragment(request) else "keys.html", context)


async def show_key(request: web.Request) -> web.Response:
    """One key."""
    desk, key = request.app[DESK], named_key(request)
    context = await _context(desk, key)
    done = request.query.get("done", "")
    return page(request, "key.html", {**context, "done": done if done in _DONE else ""})


async def _context(desk: AdminDesk, key: Key) -> dict[str, Any]:
    now = desk.now()
    last_used = await desk.keeper.last_used()
    rows = await desk.keeper.usage(since=now - CHART_HOURS * 3600, key_id=key.id)
    chart = usage_chart(rows, now)
    return {
        "key": described_key(desk, key, last_used.get(key.id)),
        "sessions": len(sessions_of(desk, key)),
        "soon": ends_soon(key, now),
        "valid": [secret.until is None or secret.until > now for secret in key.secrets],
        "limits": limits_told(key.limits),
        "chart": chart,
        "days": days_of(chart),
        "used": {
            "connections": sum(row.connections for row in rows),
            "seconds": sum(row.seconds for row in rows),
            "messages": sum(sum(row.messages) for row in rows),
            "bytes": sum(sum(row.bytes) for row in rows),
        },
    }


def sessions_of(desk: AdminDesk, key: Key) -> list[LiveSession]:
    """The live sessions that would end with a key."""
    return [session for session in desk.registry if session.principal.key_id == key.id]


def ends_soon(key: Key, now: float) -> bool:
    """Whether somebody should think of a successor."""
    left = None if key.expires_at is None else key.expires_at - now
    return left is not None and left < _SOON and key.state(now) == "active"

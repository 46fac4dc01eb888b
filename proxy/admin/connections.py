"""Live sessions in the admin API: seen, and closed."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Any, Final

from proxy.admin.answers import shown
from proxy.admin.desk import DESK, OPERATOR
from proxy.admin.problems import Problem
from proxy.admin.reading import number, page_of, parameters
from proxy.errors import POLICY_VIOLATION, closed_by_admin
from proxy.relay.frames import MAX_CONTROL_PAYLOAD, close_code_may_travel
from proxy.sessions.description import described

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from proxy.admin.desk import AdminDesk
    from proxy.errors import Ending
    from proxy.sessions.live import LiveSession

FILTERS: Final = ("route", "key", "subject")

# Two bytes of a Close frame's payload are its code (RFC 6455 section 5.5.1).
_MAX_REASON: Final = MAX_CONTROL_PAYLOAD - 2
# Allowed on the wire, but some clients drop the connection for it.
_BAD_GATEWAY: Final = 1014


async def list_connections(request: web.Request) -> web.Response:
    """Live sessions by id; `route`, `key` and `subject` choose among them."""
    desk = request.app[DESK]
    given = parameters(request, (*FILTERS, "limit", "after"))
    page = page_of(given)
    chosen = desk.registry.select(**_filters(given))
    rest = (session for session in chosen if page.after is None or session.id > page.after)
    found = heapq.nsmallest(page.limit + 1, rest, key=lambda session: session.id)
    sessions = found[: page.limit]
    return shown(
        {
            "connections": [_described(desk, session) for session in sessions],
            "next": sessions[-1].id if len(found) > page.limit else None,
        }
    )


async def show_connection(request: web.Request) -> web.Response:
    parameters(request, ())
    return shown(_described(request.app[DESK], _named(request)))


async def close_connection(request: web.Request) -> web.Response:
    ending = _ending(parameters(request, ("code", "reason")))
    return _close(request, [_named(request)], ending, by_filter="id")


async def close_connections(request: web.Request) -> web.Response:
    """Closes the sessions of one route, key or subject, never of all by a slip."""
    given = parameters(request, (*FILTERS, "code", "reason"))
    filters = _filters(given)
    if len(filters) != 1:
        raise Problem("filter_needed", "Give one of 'key', 'subject' and 'route'.")
    sessions = request.app[DESK].registry.select(**filters)
    return _close(request, sessions, _ending(given), by_filter=next(iter(filters)))


def _close(
    request: web.Request, sessions: list[LiveSession], ending: Ending, *, by_filter: str
) -> web.Response:
    desk = request.app[DESK]
    closed = desk.registry.end(sessions, ending)
    # Without the filter's value: by a slip it may be a secret. Each session's end says the rest.
    desk.log.info(
        "admin_closed", by=request[OPERATOR].by, filter=by_filter, closed=closed, code=ending.code
    )
    return shown({"closed": closed})


def _filters(given: Mapping[str, str]) -> dict[str, str]:
    return {name: given[name] for name in FILTERS if name in given}


def _ending(given: Mapping[str, str]) -> Ending:
    """What the clients are told, by `code` and `reason`."""
    code = number(given.get("code", str(POLICY_VIOLATION)))
    if code is None or not close_code_may_travel(code) or code == _BAD_GATEWAY:
        raise Problem(
            "bad_parameter",
            "Give 'code' a close code that may travel: 1000 to 1003, 1007 to 1013, 3000 to 4999.",
        )
    if "reason" not in given:
        return closed_by_admin(code)
    reason = given["reason"]
    if len(reason.encode()) > _MAX_REASON:
        raise Problem("bad_parameter", f"Give 'reason' at most {_MAX_REASON} bytes of UTF-8.")
    return closed_by_admin(code, reason)


def _named(request: web.Request) -> LiveSession:
    session = request.app[DESK].registry.get(request.match_info["connection"])
    if session is None:
        raise Problem("no_such_connection", "It has ended, or never was.")
    return session


def _described(desk: AdminDesk, session: LiveSession) -> dict[str, Any]:
    return described(session, now=asyncio.get_running_loop().time(), wall=desk.now())

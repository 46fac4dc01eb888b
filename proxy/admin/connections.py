"""Live sessions in the admin API: seen, and closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from proxy.admin.answers import shown
from proxy.admin.desk import DESK, OPERATOR
from proxy.admin.ordering import ORDERS, first, ordering, slices
from proxy.admin.problems import Problem
from proxy.admin.reading import number, page_of, parameters
from proxy.errors import POLICY_VIOLATION, closed_by_admin
from proxy.keys.description import moment_or_none
from proxy.relay.commands import Side
from proxy.relay.frames import MAX_CONTROL_PAYLOAD, close_code_may_travel
from proxy.sessions.description import described

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from proxy.admin.desk import AdminDesk
    from proxy.errors import Ending
    from proxy.sessions.leg import Leg
    from proxy.sessions.live import LiveSession

FILTERS: Final = ("route", "key", "subject")

# Two bytes of a Close frame's payload are its code (RFC 6455 section 5.5.1).
_MAX_REASON: Final = MAX_CONTROL_PAYLOAD - 2
# Allowed on the wire, but some clients drop the connection for it.
_BAD_GATEWAY: Final = 1014


async def list_connections(request: web.Request) -> web.Response:
    """Live sessions in the order that `sort` says; filters choose among them."""
    desk = request.app[DESK]
    given = parameters(request, (*FILTERS, "sort", "limit", "after"))
    page = page_of(given)
    order = ordering(given.get("sort", ORDERS[0]))
    after = None if page.after is None else order.place_after(page.after)
    chosen = desk.registry.select(**_filters(given))
    found = await first(chosen, page.limit + 1, order=order, after=after)
    sessions = found[: page.limit]
    connections: list[dict[str, Any]] = []
    for some in slices(sessions):
        connections += [_described(desk, session) for session in some]
        await asyncio.sleep(0)
    more = len(found) > page.limit
    return shown(
        {
            "connections": connections,
            "next": order.cursor(sessions[-1]) if more else None,
        }
    )


async def show_connection(request: web.Request) -> web.Response:
    """One session, with what a list has no room for."""
    parameters(request, ())
    session = _named(request)
    return shown({**_described(request.app[DESK], session), **_detailed(session)})


async def close_connection(request: web.Request) -> web.Response:
    ending = ending_of(parameters(request, ("code", "reason")))
    session = _named(request)
    return _close(request, [session], ending, by_filter="id", request_id=session.id)


async def close_connections(request: web.Request) -> web.Response:
    """Closes the sessions of one route, key or subject, never of all by a slip."""
    given = parameters(request, (*FILTERS, "code", "reason"))
    filters = _filters(given)
    if len(filters) != 1:
        raise Problem("filter_needed", "Give one of 'key', 'subject' and 'route'.")
    sessions = request.app[DESK].registry.select(**filters)
    return _close(request, sessions, ending_of(given), by_filter=next(iter(filters)))


def _close(
    request: web.Request,
    sessions: list[LiveSession],
    ending: Ending,
    *,
    by_filter: str,
    **named: str,
) -> web.Response:
    desk, by = request.app[DESK], request[OPERATOR].by
    return shown({"closed": close(desk, sessions, ending, by=by, by_filter=by_filter, **named)})


def close(
    desk: AdminDesk,
    sessions: list[LiveSession],
    ending: Ending,
    *,
    by: str,
    by_filter: str,
    **named: str,
) -> int:
    """Ends sessions for somebody and logs it; returns how many.

    Args:
        ending: what the peers are told.
        by: whose will it is.
        by_filter: how they were chosen, without the filter's value: by a slip it may be a secret.
            Each session's end says the rest.
        named: further fields of the log line.
    """
    closed = desk.registry.end(sessions, ending)
    desk.log.info("admin_closed", **named, by=by, filter=by_filter, closed=closed, code=ending.code)
    return closed


def _filters(given: Mapping[str, str]) -> dict[str, str]:
    return {name: given[name] for name in FILTERS if name in given}


def ending_of(given: Mapping[str, str]) -> Ending:
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


def _detailed(session: LiveSession) -> dict[str, Any]:
    """What of a session is worth a look at it alone."""
    return {
        "origin": None if session.origin is None else session.origin.decode("ascii", "replace"),
        "credential_ends_at": moment_or_none(session.until),
        "legs": {
            side.name.lower(): _leg(leg) for side, leg in zip(Side, session.legs, strict=True)
        },
    }


def _leg(leg: Leg) -> dict[str, Any]:
    rtt = None if leg.liveness is None else leg.liveness.rtt
    return {
        # Bytes that wait for a slow reader.
        "waiting_bytes": 0 if leg.gone else leg.transport.get_write_buffer_size(),
        "reading_paused": leg.paused_at is not None,
        # Of the latest ping, in seconds.
        "ping_rtt_s": None if rtt is None else round(rtt, 6),
    }

"""The page of one live session: what passes, how fast, and the headers of its last frames."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.admin import connections as admin
from proxy.admin.desk import DESK, OPERATOR
from proxy.console.events import rows_of
from proxy.console.figures import visible
from proxy.console.forms import ending_told, texts
from proxy.console.pages import is_fragment, page
from proxy.console.session_view import flows, frame_rows
from proxy.events import Wanted
from proxy.relay.session import Phase
from proxy.sessions.description import described
from proxy.sessions.recorder import Recorders

if TYPE_CHECKING:
    from proxy.admin.desk import AdminDesk
    from proxy.sessions.live import LiveSession

RECORDERS: Final = web.AppKey("recorders", Recorders)

# Events that are told of a session that has ended.
_EVENTS: Final = 20


async def show_session(request: web.Request) -> web.Response:
    """The page; htmx asks for the part that changes alone."""
    desk, session_id = request.app[DESK], request.match_info["connection"]
    session = desk.registry.get(session_id)
    if session is None:
        return _ended(request, session_id)
    template = "session_live.html" if is_fragment(request) else "session.html"
    return page(request, template, _context(request, session))


def _context(request: web.Request, session: LiveSession) -> dict[str, Any]:
    desk, now = request.app[DESK], asyncio.get_running_loop().time()
    recorder = request.app[RECORDERS].look(session)
    return {
        "id": session.id,
        "session": described(session, now=now, wall=desk.now()),
        "origin": _text(session.origin),
        "user_agent": _text(session.user_agent),
        "subprotocol": _text(session.subprotocol),
        "until": session.until,
        "ends_in": None if session.ends_at is None else max(0.0, session.ends_at - now),
        "ending": session.state.phase is not Phase.RELAYING,
        "flows": flows(session, recorder, now),
        "frames": frame_rows(recorder.frames(), now),
    }


def _ended(request: web.Request, session_id: str) -> web.Response:
    """What is still known of a session that is no more."""
    desk = request.app[DESK]
    events = desk.events.recent(_EVENTS, wanted=Wanted(request_id=session_id))
    answer = page(
        request,
        "session_ended.html",
        {
            "id": session_id,
            "rows": rows_of(desk, events),
            "closed": next((one for one in events if one.name == "connection_closed"), None),
        },
        status=404 if not events else 200,
    )
    if is_fragment(request):  # All of the page changes, and nothing of it will again.
        answer.headers["HX-Refresh"] = "true"
    return answer


async def ask_to_close(request: web.Request) -> web.Response:
    """Whether to close it, and what its client is to be told."""
    session = request.app[DESK].registry.get(request.match_info["connection"])
    if session is None:
        raise web.HTTPSeeOther(request.path.removesuffix("/close"))
    return page(request, "session_close.html", {"session": _described(request.app[DESK], session)})


async def close(request: web.Request) -> web.Response:
    """Closes it."""
    desk = request.app[DESK]
    ending = ending_told(await texts(request))
    session = desk.registry.get(request.match_info["connection"])
    if session is not None:
        admin.close(
            desk,
            [session],
            ending,
            by=request[OPERATOR].by,
            by_filter="id",
            request_id=session.id,
        )
    raise web.HTTPSeeOther(request.path.removesuffix("/close"))


def _described(desk: AdminDesk, session: LiveSession) -> dict[str, Any]:
    return described(session, now=asyncio.get_running_loop().time(), wall=desk.now())


def _text(value: bytes | None) -> str | None:
    return None if value is None else visible(value.decode("utf-8", "replace"))

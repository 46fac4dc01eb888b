"""The latest events in the admin API: as a page, or as they happen."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from proxy.admin.answers import shown
from proxy.admin.desk import DESK
from proxy.admin.problems import Problem
from proxy.admin.reading import PAGE, number, parameters
from proxy.admin.stream import frame, stream
from proxy.events import Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from proxy.admin.desk import AdminDesk
    from proxy.events import Event

_FILTERS: Final = ("event", "route", "key", "request_id")
# Events of an answer, or at the beginning of a stream, when nothing is said.
_SOME: Final = 100

_STREAM: Final = "text/event-stream"
_JSON: Final = "application/json"


async def show_events(request: web.Request) -> web.StreamResponse:
    """Events, the newest first, or a stream of them; filters choose among them."""
    desk = request.app[DESK]
    if not _as_json(request):
        given = parameters(request, (*_FILTERS, "recent", "format"))
        recent = _count(given, "recent", least=0)
        return await stream(
            request, desk.events, render=rendered, recent=recent, wanted=_wanted(desk, given)
        )
    given = parameters(request, (*_FILTERS, "limit", "before", "format"))
    limit = _count(given, "limit", least=1)
    found = desk.events.recent(limit + 1, before=_before(given), wanted=_wanted(desk, given))
    events = found[:limit]
    return shown(
        {
            "events": [described_event(event) for event in events],
            "next_before": events[-1].id if len(found) > limit else None,
        }
    )


def described_event(event: Event) -> dict[str, Any]:
    """An event as JSON: as its line in the log, with its id."""
    at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
    return {
        "id": event.id,
        "ts": at.replace("+00:00", "Z"),
        "level": event.level,
        "event": event.name,
        **{name: _plain(value) for name, value in event.fields.items()},
    }


def rendered(event: Event) -> bytes:
    """An event as a frame of a stream."""
    return frame(event.name, json.dumps(described_event(event)), event.id)


def _plain(value: Any) -> Any:
    """What JSON has no word for, as text."""
    known = value is None or isinstance(value, str | int | float | list | tuple | dict)
    return value if known else str(value)


def _as_json(request: web.Request) -> bool:
    form = request.query.get("format")
    if form not in {None, "json", "stream"}:
        raise Problem("bad_parameter", "Give 'format' one of 'json', 'stream'.")
    accept = request.headers.get("Accept", "").lower()
    return form == "json" or (form is None and _JSON in accept and _STREAM not in accept)


def _wanted(desk: AdminDesk, given: Mapping[str, str]) -> Wanted:
    names, key = given.get("event"), given.get("key")
    return Wanted(
        names=None if names is None else frozenset(names.split(",")),
        route=given.get("route"),
        # Also by the id of a key that is deleted.
        keys=None if key is None else frozenset({key, *_called(desk, key)}),
        request_id=given.get("request_id"),
    )


def _called(desk: AdminDesk, name: str) -> list[str]:
    return [key.id for key in desk.keeper.ring if key.name == name]


def _count(given: Mapping[str, str], name: str, *, least: int) -> int:
    count = number(given.get(name, str(_SOME)))
    if count is None or not least <= count <= PAGE:
        raise Problem("bad_parameter", f"Give '{name}' a number from {least} to {PAGE}.")
    return count


def _before(given: Mapping[str, str]) -> int | None:
    text = given.get("before")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise Problem("bad_parameter", "Give 'before' the 'next_before' of the answer before.")
    return int(text)

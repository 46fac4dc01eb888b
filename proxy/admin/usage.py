"""What keys have used, in the admin API."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.admin.answers import shown
from proxy.admin.desk import DESK
from proxy.admin.keys import find_key
from proxy.admin.problems import Problem
from proxy.admin.reading import parameters
from proxy.config import values
from proxy.config.faults import Wrong
from proxy.keys.description import moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    from proxy.admin.desk import AdminDesk
    from proxy.stores.store import Usage

_SINCE: Final = "7d"


class Taken(NamedTuple):
    """What was used; pairs are (from the client, from the upstream)."""

    connections: int = 0
    seconds: float = 0.0
    messages: tuple[int, int] = (0, 0)
    bytes: tuple[int, int] = (0, 0)

    def plus(self, usage: Usage) -> Taken:
        return Taken(
            self.connections + usage.connections,
            self.seconds + usage.seconds,
            (self.messages[0] + usage.messages[0], self.messages[1] + usage.messages[1]),
            (self.bytes[0] + usage.bytes[0], self.bytes[1] + usage.bytes[1]),
        )

    def described(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "connections": self.connections,
            "connected_seconds": round(self.seconds, 3),
            "messages_from_client": self.messages[0],
            "messages_from_upstream": self.messages[1],
            "bytes_from_client": self.bytes[0],
            "bytes_from_upstream": self.bytes[1],
        }


async def show_usage(request: web.Request) -> web.Response:
    """Usage by key and hour, and by key in all; of one key, with `key`, and `since` a while ago."""
    desk = request.app[DESK]
    given = parameters(request, ("key", "since"))
    try:
        since = desk.now() - values.duration(_number_or_text(given.get("since", _SINCE)))
    except Wrong as wrong:
        raise Problem("bad_parameter", f"'since' {wrong}.") from None
    rows = await _rows(desk, given.get("key"), since)
    totals: defaultdict[str, Taken] = defaultdict(Taken)
    for row in rows:
        totals[row.key_id] = totals[row.key_id].plus(row)
    return shown(
        {
            "since": moment(since),
            "usage": _by_hour(desk, rows),
            "totals": [
                {**_holder(desk, key_id), **taken.described()} for key_id, taken in totals.items()
            ],
        }
    )


async def _rows(desk: AdminDesk, reference: str | None, since: float) -> list[Usage]:
    if reference is None:
        return await desk.keeper.usage(since=since)
    try:
        key_id = find_key(desk, reference).id
    except Problem:
        # The usage of a deleted key stays, under its id.
        rows = await desk.keeper.usage(since=since, key_id=reference)
        if not rows:
            raise
        return rows
    return await desk.keeper.usage(since=since, key_id=key_id)


def _by_hour(desk: AdminDesk, rows: Iterable[Usage]) -> list[dict[str, Any]]:
    return [
        {
            **_holder(desk, row.key_id),
            "hour": moment(row.hour),
            **Taken().plus(row).described(),
        }
        for row in rows
    ]


def _holder(desk: AdminDesk, key_id: str) -> dict[str, str | None]:
    key = desk.keeper.ring.get(key_id)
    return {"key_id": key_id, "key_name": None if key is None else key.name}


def _number_or_text(text: str) -> float | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else text

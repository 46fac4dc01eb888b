"""Keys in the admin API: found and shown."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Any

from proxy.admin.answers import shown
from proxy.admin.desk import DESK
from proxy.admin.problems import Problem
from proxy.admin.reading import page_of, parameters
from proxy.keys.description import described
from proxy.keys.key import STATES, Key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp import web

    from proxy.admin.desk import AdminDesk


async def list_keys(request: web.Request) -> web.Response:
    """Keys by name; `state` and `name` (a part of it, in any case) choose among them."""
    desk = request.app[DESK]
    given = parameters(request, ("state", "name", "limit", "after"))
    page = page_of(given)
    state, part = given.get("state"), given.get("name", "").lower()
    if state is not None and state not in STATES:
        raise Problem("bad_parameter", f"Give 'state' one of {', '.join(STATES)}.")
    now = desk.now()

    def wanted(key: Key) -> bool:
        return (state is None or key.state(now) == state) and part in key.name.lower()

    # Names have no space. In a thread, as sessions are not to wait for a hundred thousand keys.
    name, _, key_id = (page.after or "").partition(" ")
    found = await asyncio.to_thread(
        _first, list(desk.keeper.ring), wanted, (name, key_id), page.limit + 1
    )
    last_used = await desk.keeper.last_used()
    keys = found[: page.limit]
    more = len(found) > page.limit
    return shown(
        {
            "keys": [described_key(desk, key, last_used.get(key.id)) for key in keys],
            "next": f"{keys[-1].name} {keys[-1].id}" if more else None,
        }
    )


def _first(
    keys: Iterable[Key], wanted: Callable[[Key], bool], after: tuple[str, str], most: int
) -> list[Key]:
    rest = (key for key in keys if _place(key) > after and wanted(key))
    return heapq.nsmallest(most, rest, key=_place)


def _place(key: Key) -> tuple[str, str]:
    return key.name, key.id


async def show_key(request: web.Request) -> web.Response:
    parameters(request, ())
    desk = request.app[DESK]
    key = named_key(request)
    last_used = await desk.keeper.last_used()
    return shown(described_key(desk, key, last_used.get(key.id)))


def described_key(desk: AdminDesk, key: Key, last_used_at: float | None) -> dict[str, Any]:
    """A key as JSON, wherever it stands."""
    fixed = desk.keeper.ring.is_fixed(key.id)
    return described(
        key,
        now=desk.now(),
        last_used_at=last_used_at,
        source="configuration" if fixed else "store",
    )


def named_key(request: web.Request) -> Key:
    """The key that the path names, by its id or its name."""
    return find_key(request.app[DESK], request.match_info["key"])


def find_key(desk: AdminDesk, reference: str) -> Key:
    """The key with that id or name.

    Raises:
        Problem: `no_such_key` or `ambiguous_key`.
    """
    found = [key for key in desk.keeper.ring if reference in {key.id, key.name}]
    if not found:
        raise Problem("no_such_key", "Use the id or the name of a key of 'GET /api/v1/keys'.")
    if len(found) > 1:
        raise Problem("ambiguous_key", "One key has it as its id, another as its name: use the id.")
    return found[0]

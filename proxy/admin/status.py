"""The gateway as a whole in the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.admin.answers import shown
from proxy.admin.desk import DESK
from proxy.admin.figures import totals
from proxy.admin.reading import parameters
from proxy.keys.description import moment

if TYPE_CHECKING:
    from aiohttp import web


async def show_status(request: web.Request) -> web.Response:
    parameters(request, ())
    desk = request.app[DESK]
    now = desk.now()
    return shown(
        {
            "version": desk.version,
            "started_at": moment(desk.started_at),
            "uptime_s": round(now - desk.started_at, 3),
            "ready": desk.ready(),
            "draining": desk.draining(),
            "connections": len(desk.registry),
            "connections_limit": desk.connections_limit(),
            "store": {"place": desk.keeper.place, "up": desk.keeper.up},
            "keys": desk.keeper.ring.by_state(now),
            "routes": len(desk.config().routes),
            "last_reload": {
                "successful": desk.reloads.successful,
                # The start counts.
                "succeeded_at": moment(desk.reloads.succeeded_at),
            },
            "totals": totals(desk),
        }
    )

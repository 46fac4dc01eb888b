"""The gateway as a whole in the admin API: how it is, and what it serves."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from proxy.admin.answers import shown
from proxy.admin.desk import DESK
from proxy.admin.reading import parameters
from proxy.keys.description import moment

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.config.model import Carrier, Config, Route


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
            "connections_limit": desk.connections_limit,
            "store": {"place": desk.keeper.place, "up": desk.keeper.up},
            "keys": desk.keeper.ring.by_state(now),
        }
    )


async def show_routes(request: web.Request) -> web.Response:
    parameters(request, ())
    desk = request.app[DESK]
    config = desk.config()
    live = Counter(session.route for session in desk.registry)
    return shown({"routes": [_route(config, route, live[route.name]) for route in config.routes]})


def _route(config: Config, route: Route, connections: int) -> dict[str, Any]:
    return {
        "name": route.name,
        "host": route.host,
        "path": route.path,
        "targets": [str(target) for target in route.upstream.targets],
        "auth": route.auth,
        "carriers": [_carrier(carrier) for carrier in config.carriers_of(route)],
        "connections": connections,
    }


def _carrier(carrier: Carrier) -> str | dict[str, str]:
    """As the configuration writes it."""
    name = carrier.header or carrier.query or carrier.cookie
    return carrier.kind if name is None else {carrier.kind: name}

"""Routes in the admin API: what they serve, how their targets are, what became of requests."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from proxy.admin.answers import shown
from proxy.admin.desk import DESK
from proxy.admin.figures import Passed, passed_by_route
from proxy.admin.reading import parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from proxy.admin.desk import AdminDesk
    from proxy.config.model import Carrier, Route


async def show_routes(request: web.Request) -> web.Response:
    parameters(request, ())
    return shown({"routes": described_routes(request.app[DESK])})


def described_routes(desk: AdminDesk) -> list[dict[str, Any]]:
    """The routes of the configuration in force, in its order."""
    config = desk.config()
    live = Counter((session.route, session.upstream) for session in desk.registry)
    passed = passed_by_route(desk.registry)
    up = {(route, target): is_up for route, target, is_up in desk.upstreams()}
    return [
        {
            "name": route.name,
            "host": route.host,
            "path": route.path,
            "auth": route.auth,
            "carriers": [_carrier(carrier) for carrier in config.carriers_of(route)],
            "targets": _targets(route, up, live),
            "connections": sum(count for (name, _), count in live.items() if name == route.name),
            "outcomes": _outcomes(desk, route.name),
            **passed.get(route.name, Passed()).described(),
        }
        for route in config.routes
    ]


def _targets(
    route: Route,
    up: Mapping[tuple[str, str], bool],
    live: Mapping[tuple[str, str], int],
) -> list[dict[str, Any]]:
    return [
        {
            "url": url,
            # One that is new to the configuration, and not asked yet, is thought well of.
            "up": up.get((route.name, url), True),
            "connections": live.get((route.name, url), 0),
        }
        for url in map(str, route.upstream.targets)
    ]


def _outcomes(desk: AdminDesk, route: str) -> dict[str, int]:
    """What became of its handshakes, by the names of the metrics."""
    totals = desk.registry.totals.get(route)
    return {} if totals is None else dict(sorted(totals.outcomes.items()))


def _carrier(carrier: Carrier) -> str | dict[str, str]:
    """As the configuration writes it."""
    name = carrier.header or carrier.query or carrier.cookie
    return carrier.kind if name is None else {carrier.kind: name}

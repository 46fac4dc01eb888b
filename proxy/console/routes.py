"""The page of routes: what they serve, how their targets are, what became of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.admin.desk import DESK
from proxy.admin.routes import described_routes
from proxy.console.pages import is_fragment, page
from proxy.errors import ACCEPTED, CLIENT_GONE

if TYPE_CHECKING:
    from aiohttp import web


async def show_routes(request: web.Request) -> web.Response:
    """The routes; htmx asks for what changes alone."""
    desk = request.app[DESK]
    routes = [_row(route) for route in described_routes(desk)]
    template = "routes_live.html" if is_fragment(request) else "routes.html"
    return page(request, template, {"routes": routes})


def _row(route: dict[str, Any]) -> dict[str, Any]:
    refused = {
        code: count
        for code, count in route["outcomes"].items()
        if code not in {ACCEPTED, CLIENT_GONE}
    }
    up = sum(target["up"] for target in route["targets"])
    return {
        **route,
        "carriers": [_carrier(carrier) for carrier in route["carriers"]],
        "accepted": route["outcomes"].get(ACCEPTED, 0),
        "refused": sorted(refused.items(), key=lambda one: -one[1]),
        "health": "good" if up == len(route["targets"]) else "warn" if up else "bad",
        "up": up,
    }


def _carrier(carrier: str | dict[str, str]) -> tuple[str, str]:
    """Its kind, and the name of the header, parameter or cookie."""
    if isinstance(carrier, str):
        return carrier.replace("_", " "), ""
    ((kind, name),) = carrier.items()
    return kind, name

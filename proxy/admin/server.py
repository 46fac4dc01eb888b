"""The operators' listener: probes, metrics and the API. Who may do what stands in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from proxy.admin import connections, key_changes, keys, status, usage
from proxy.admin.answers import add_common_headers
from proxy.admin.desk import DESK, OPERATOR
from proxy.admin.gate import gate
from proxy.admin.problems import Problem
from proxy.admin.reading import MAX_BODY

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from proxy.admin.access import Access, Role
    from proxy.admin.desk import AdminDesk
    from proxy.admin.try_page.page import TryPage

METRICS: Final = web.AppKey("metrics", CollectorRegistry)

_KEY: Final = "/api/v1/keys/{key}"
_CONNECTION: Final = "/api/v1/connections/{connection}"

ENDPOINTS: Final[tuple[tuple[str, str, Role, Handler], ...]] = (
    ("GET", "/api/v1/status", "viewer", status.show_status),
    ("GET", "/api/v1/routes", "viewer", status.show_routes),
    ("GET", "/api/v1/usage", "viewer", usage.show_usage),
    ("GET", "/api/v1/connections", "viewer", connections.list_connections),
    ("DELETE", "/api/v1/connections", "operator", connections.close_connections),
    ("GET", _CONNECTION, "viewer", connections.show_connection),
    ("DELETE", _CONNECTION, "operator", connections.close_connection),
    ("GET", "/api/v1/keys", "viewer", keys.list_keys),
    ("POST", "/api/v1/keys", "admin", key_changes.create_key),
    ("GET", _KEY, "viewer", keys.show_key),
    ("PATCH", _KEY, "admin", key_changes.update_key),
    ("DELETE", _KEY, "admin", key_changes.delete_key),
    ("POST", _KEY + "/rotate", "admin", key_changes.rotate_key),
    ("POST", _KEY + "/revoke", "operator", key_changes.revoke_key),
    ("POST", _KEY + "/suspend", "operator", key_changes.suspend_key),
    ("POST", _KEY + "/resume", "operator", key_changes.resume_key),
)


def application(
    desk: AdminDesk,
    *,
    metrics: CollectorRegistry,
    access: Access,
    public_metrics: bool,
    try_page: TryPage | None = None,
) -> web.Application:
    """The admin listener's application; `AdminProtocol` is to serve it.

    Args:
        desk: the gateway.
        metrics: what `/metrics` shows.
        access: finds out who asks.
        public_metrics: whether `/metrics` is open to all.
        try_page: the demo's page; None for no such page.
    """
    probes = {"/livez", "/readyz"}
    app = web.Application(
        middlewares=[gate(access, desk.log, probes | {"/metrics"} if public_metrics else probes)],
        client_max_size=MAX_BODY,
    )
    app[DESK] = desk
    app[METRICS] = metrics
    app.on_response_prepare.append(add_common_headers)
    app.router.add_get("/livez", _livez)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _show_metrics)
    for method, path, role, handler in ENDPOINTS:
        if method == "GET":
            app.router.add_get(path, _needing(role, handler))
        else:
            app.router.add_route(method, path, _needing(role, _carrying_json(handler)))
    if try_page is not None:
        for path, handler in try_page.handlers(app).items():
            app.router.add_get(path, _needing("viewer", handler))
    return app


def _needing(role: Role, handler: Handler) -> Handler:
    async def needing(request: web.Request) -> web.StreamResponse:
        if not request[OPERATOR].may(role):
            raise Problem("role_forbidden", f"Use a token whose role is {role} or above it.")
        return await handler(request)

    return needing


def _carrying_json(handler: Handler) -> Handler:
    """What changes something must say that it carries JSON: no HTML form can."""

    async def carrying_json(request: web.Request) -> web.StreamResponse:
        if request.content_type != "application/json":
            raise Problem("json_needed", "Send 'Content-Type: application/json'.")
        return await handler(request)

    return carrying_json


async def _livez(_request: web.Request) -> web.Response:
    return web.Response(text="alive\n")


async def _readyz(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    if desk.ready():
        return web.Response(text="ready\n")
    return web.Response(status=503, text="draining\n" if desk.draining() else "not ready\n")


async def _show_metrics(request: web.Request) -> web.Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(request.app[METRICS]), headers={"Content-Type": content_type})

"""The operators' listener: probes, metrics and the API. Who may do what stands in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.admin import (
    connections,
    events,
    key_changes,
    keys,
    openapi,
    reload,
    routes,
    status,
    usage,
)
from proxy.admin.answers import add_common_headers
from proxy.admin.desk import ACCESS, DESK, OPERATOR
from proxy.admin.gate import gate, login_of
from proxy.admin.logins import CSRF_HEADER
from proxy.admin.probes import METRICS_PATH, Probes
from proxy.admin.problems import Problem
from proxy.admin.reading import MAX_BODY

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from proxy.admin.access import Access, Role
    from proxy.admin.desk import AdminDesk
    from proxy.admin.hosting import Pages
    from proxy.admin.try_page.page import TryPage
    from proxy.metrics.scrape import Metrics

# Paths that anybody may ask for.
OPEN_PATHS: Final = web.AppKey("open_paths", set)

_KEY: Final = "/api/v1/keys/{key}"
_CONNECTION: Final = "/api/v1/connections/{connection}"

ENDPOINTS: Final[tuple[tuple[str, str, Role, Handler], ...]] = (
    ("GET", "/api/v1/openapi.json", "viewer", openapi.show_description),
    ("GET", "/api/v1/status", "viewer", status.show_status),
    ("GET", "/api/v1/routes", "viewer", routes.show_routes),
    ("GET", "/api/v1/events", "viewer", events.show_events),
    ("POST", "/api/v1/reload", "operator", reload.reload),
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
    metrics: Metrics,
    access: Access,
    public_metrics: bool,
    try_page: TryPage | None = None,
    pages: Pages | None = None,
) -> web.Application:
    """The admin listener's application; `AdminProtocol` is to serve it.

    Args:
        desk: the gateway.
        metrics: what `/metrics` shows.
        access: finds out who asks.
        public_metrics: whether `/metrics` is open to all.
        try_page: the demo's page; None for no such page.
        pages: the console; None for none.
    """
    open_paths = {"/livez", "/readyz", *(() if pages is None else pages.open_paths)}
    app = web.Application(
        middlewares=[gate(access, desk.log, open_paths, pages)], client_max_size=MAX_BODY
    )
    app[ACCESS] = access
    app[OPEN_PATHS] = open_paths
    open_metrics(app, to_all=public_metrics)
    app[DESK] = desk
    app.on_response_prepare.append(add_common_headers)
    app.on_shutdown.append(_hang_up)
    Probes(metrics, ready=desk.ready, draining=desk.draining).mount(app)
    for method, path, role, handler in ENDPOINTS:
        if method == "GET":
            app.router.add_get(path, needing(role, handler))
        else:
            app.router.add_route(method, path, needing(role, _carrying_json(handler)))
    if try_page is not None:
        for path, handler in try_page.handlers(app).items():
            app.router.add_get(path, needing("viewer", handler))
    if pages is not None:
        pages.mount(app)
    return app


def open_metrics(app: web.Application, *, to_all: bool) -> None:
    """Says anew whether `/metrics` is open to all."""
    if to_all:
        app[OPEN_PATHS].add(METRICS_PATH)
    else:
        app[OPEN_PATHS].discard(METRICS_PATH)


async def _hang_up(app: web.Application) -> None:
    """A stop waits for answers under way, and those that follow the events would never end."""
    app[DESK].events.hang_up()


def needing(role: Role, handler: Handler) -> Handler:
    """What a handler is for whoever has the role, or one above it."""

    async def needing(request: web.Request) -> web.StreamResponse:
        if not request[OPERATOR].may(role):
            raise Problem("role_forbidden", f"Use a token whose role is {role} or above it.")
        return await handler(request)

    return needing


def _carrying_json(handler: Handler) -> Handler:
    """What changes something must say that it carries JSON: no HTML form can.

    A script of the console may show the token of its forms instead.
    """

    async def carrying_json(request: web.Request) -> web.StreamResponse:
        if request.content_type != "application/json" and not _of_console(request):
            raise Problem("json_needed", "Send 'Content-Type: application/json'.")
        return await handler(request)

    return carrying_json


def _of_console(request: web.Request) -> bool:
    logins = request.app[ACCESS].logins
    return logins is not None and logins.is_csrf(
        login_of(request), request.headers.get(CSRF_HEADER, "")
    )

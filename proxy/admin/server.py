"""The operators' listener: metrics and probes. Thin; what it shows is computed elsewhere."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from proxy.errors import Refused
from proxy.handshake.reply import problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry


def application(
    *, metrics: CollectorRegistry, ready: Callable[[], bool], metrics_token: str | None
) -> web.Application:
    """The admin listener's application.

    Args:
        metrics: what `/metrics` shows.
        ready: whether new sessions are welcome.
        metrics_token: the bearer token that `/metrics` asks for; None asks for none.
    """

    async def show_metrics(request: web.Request) -> web.Response:
        if metrics_token is not None and not _shows(request, metrics_token):
            return _unauthorized()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(metrics), headers={"Content-Type": content_type})

    async def livez(_request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def readyz(_request: web.Request) -> web.Response:
        if ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="draining\n")

    app = web.Application()
    app.on_response_prepare.append(_without_versions)
    app.add_routes(
        [
            web.get("/metrics", show_metrics),
            web.get("/livez", livez),
            web.get("/readyz", readyz),
        ]
    )
    return app


async def _without_versions(_request: web.Request, answer: web.StreamResponse) -> None:
    answer.headers["Server"] = "wskeeper"
    answer.headers["Cache-Control"] = "no-store"


def _shows(request: web.Request, token: str) -> bool:
    sent = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
    return hmac.compare_digest(sent, b"Bearer " + token.encode())


def _unauthorized() -> web.Response:
    return web.Response(
        status=401,
        body=problem(Refused("key_missing", "Send the admin token as 'Authorization: Bearer …'.")),
        content_type="application/problem+json",
        headers={"WWW-Authenticate": 'Bearer realm="wskeeper admin"'},
    )

"""What machines ask: is it alive, is it ready, what has it counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.metrics.scrape import Metrics

METRICS_PATH: Final = "/metrics"


class Probes:
    """The paths that are the same on every listener for operators.

    Args:
        metrics: what `/metrics` shows.
        ready: whether new sessions are welcome.
        draining: whether the gateway is going away.
    """

    def __init__(
        self, metrics: Metrics, *, ready: Callable[[], bool], draining: Callable[[], bool]
    ) -> None:
        self._metrics = metrics
        self._ready = ready
        self._draining = draining

    def mount(self, app: web.Application) -> None:
        """Puts them into an application that has not started."""
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get(METRICS_PATH, self._show_metrics)

    @staticmethod
    async def _livez(_request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="draining\n" if self._draining() else "not ready\n")

    async def _show_metrics(self, request: web.Request) -> web.Response:
        scraped = await self._metrics.scrape(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=scraped.body, headers={"Content-Type": scraped.content_type})

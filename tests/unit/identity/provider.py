"""An identity provider on loopback: real HTTP, answers as told."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.unit.auth.tokens import jwk, jwks

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


class Provider:
    """Publishes what `pages` says, by path: JSON, bytes, or what a function makes of a request."""

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {"/jwks": jwks(jwk("RS256"))}
        self.requests: list[web.BaseRequest] = []
        self.asked = asyncio.Event()  # set by the first request
        self.answering = asyncio.Event()
        self.answering.set()
        self.url = ""
        self._runner: web.ServerRunner | None = None

    async def start(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        assert self._runner is not None
        return self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.asked.set()
        await self.answering.wait()
        page = self.pages.get(request.path)
        if page is None:
            return web.Response(status=404)
        if callable(page):
            return await page(request)
        if isinstance(page, bytes):
            return web.Response(body=page)
        return web.Response(text=json.dumps(page), content_type="text/plain")


def redirect(place: str, status: int = 302) -> Callable[[Any], Any]:
    """A page that is elsewhere."""

    async def page(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, headers={"Location": place})

    return page


def answer(status: int) -> Callable[[Any], Any]:
    """A page that is an error, with a key set in it nevertheless."""

    async def page(request: web.BaseRequest) -> web.Response:
        return web.json_response(jwks(jwk("RS256")), status=status)

    return page

"""Answers with the page, its script and its style sheet. No outside host is asked for anything."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

import aiohttp_jinja2
import jinja2
from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

_PACKAGE: Final = "proxy.admin.try_page"
_ENVIRONMENT: Final = web.AppKey("try_page", jinja2.Environment)

# What the page may load and whom it may speak to: itself, and the gateway.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src http://{gateway} ws://{gateway}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class TryPage:
    """What the page tries.

    Args:
        gateway: host and port of the public listener.
        chat: path of a room; its route takes a subprotocol, tickets and first messages, and
            refuses browsers with a Close frame.
        plain: path on a route that takes a subprotocol and refuses over HTTP.
    """

    gateway: str
    chat: str
    plain: str

    def handlers(self, app: web.Application) -> dict[str, Handler]:
        """What answers a GET of each path, in an application that this prepares for it."""
        aiohttp_jinja2.setup(
            app,
            app_key=_ENVIRONMENT,
            loader=jinja2.PackageLoader(_PACKAGE, ""),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
        )
        return {
            "/try": self._show,
            "/try/try.css": _file("try.css", "text/css"),
            "/try/try.js": _file("try.js", "text/javascript"),
        }

    async def _show(self, request: web.Request) -> web.Response:
        answer = aiohttp_jinja2.render_template(
            "try.html",
            request,
            {"gateway": self.gateway, "chat": self.chat, "plain": self.plain},
            app_key=_ENVIRONMENT,
        )
        answer.headers["Content-Security-Policy"] = _POLICY.format(gateway=self.gateway)
        answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer


def _file(name: str, content_type: str) -> Handler:
    text = resources.files(_PACKAGE).joinpath(name).read_text("utf-8")

    async def show(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type=content_type)

    return show

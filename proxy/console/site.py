"""The console as a whole: its pages, who may ask for them, and how it says no."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.admin.answers import refusing
from proxy.admin.desk import ACCESS
from proxy.admin.gate import login_of
from proxy.admin.logins import CSRF_HEADER
from proxy.admin.problems import Problem
from proxy.admin.reading import body_of
from proxy.admin.server import needing
from proxy.console import login, operations, overview, reload, routes
from proxy.console.assets import Assets
from proxy.console.key_seen import MARKS, Marks
from proxy.console.overview import KEYS, Keys
from proxy.console.pages import HEADERS, page, prepare
from proxy.console.sampler import SAMPLER
from proxy.console.session_page import RECORDERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from aiohttp.typedefs import Handler

    from proxy.admin.access import Role
    from proxy.console.sampler import Sampler
    from proxy.sessions.recorder import Recorders

# As aiohttp calls it.
_STATIC: Final = "/static/{name}"
_FORM: Final = "application/x-www-form-urlencoded"

# A page that asks for itself once more: then it is no other site that asks.
_ONCE_MORE: Final = '<!doctype html><meta http-equiv="refresh" content="0"><title>wskeeper</title>'

PAGES: Final[tuple[tuple[str, str, Role, Handler], ...]] = (
    ("GET", "/", "viewer", overview.show_overview),
    ("GET", "/console/history", "viewer", overview.show_history),
    ("GET", "/routes", "viewer", routes.show_routes),
    ("GET", "/reload", "operator", reload.ask_to_reload),
    ("POST", "/reload", "operator", reload.reload),
    ("POST", "/logout", "viewer", login.log_out),
    *operations.PAGES,
)


class Console:
    """The pages of the console.

    Args:
        sampler: takes the samples of the charts.
        recorders: of sessions that are looked at.
        try_page: whether the demo's page is there to be linked to.
    """

    def __init__(self, sampler: Sampler, recorders: Recorders, *, try_page: bool) -> None:
        self._sampler = sampler
        self._recorders = recorders
        self._try_page = try_page
        self._assets = Assets.packaged()

    @property
    def open_paths(self) -> Collection[str]:
        """What it takes to sign in."""
        return (login.PATH, _STATIC)

    def mount(self, app: web.Application) -> None:
        """Puts the pages into the admin listener's application."""
        prepare(app, self._assets, try_page=self._try_page)
        app[SAMPLER] = self._sampler
        app[RECORDERS] = self._recorders
        app[KEYS] = Keys()
        app[MARKS] = Marks(secrets.token_bytes(32))
        app.cleanup_ctx.append(self._sampling)
        app.router.add_get("/static/{name:.+}", self._assets.show)
        app.router.add_get(login.PATH, login.ask_to_log_in)
        app.router.add_post(login.PATH, _form_of(login.log_in))
        for method, path, role, handler in PAGES:
            if method == "GET":
                app.router.add_get(path, needing(role, handler))
            else:
                app.router.add_route(method, path, needing(role, _form_of(_with_token(handler))))

    def refusing(self, request: web.Request, problem: Problem) -> web.StreamResponse | None:
        """A problem as a page, where a page was asked for."""
        headers = request.headers
        if request.path.startswith("/api/"):
            return None
        if problem.code == "token_missing" and "HX-Request" in headers:
            answer = refusing(problem)
            answer.headers["HX-Redirect"] = login.PATH
            return answer
        if "text/html" not in headers.get("Accept", "") or "HX-Request" in headers:
            return None
        if problem.code == "cross_site" and _is_link(request):
            return web.Response(text=_ONCE_MORE, content_type="text/html", headers=HEADERS)
        if request.path == login.PATH and request.method == "POST":
            return login.refused(request, problem)
        if problem.code == "token_missing":
            return web.Response(status=303, headers={"Location": login.way_in(request)})
        return _problem_page(request, problem)

    async def _sampling(self, _app: web.Application) -> AsyncIterator[None]:
        self._sampler.start()
        yield
        self._sampler.stop()


def _is_link(request: web.Request) -> bool:
    """Whether somebody followed a link of another site, which harms nobody."""
    headers = request.headers
    return (
        request.method == "GET"
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") == "document"
        and headers.get("Sec-Fetch-Site") == "cross-site"
    )


def _problem_page(request: web.Request, problem: Problem) -> web.Response:
    row = problem.row
    context = {
        "status": row.status,
        "code": row.code,
        "what": row.title,
        "detail": problem.detail,
    }
    answer = page(request, "problem.html", context, status=row.status)
    answer.headers.update({"X-Wskeeper-Code": row.code, **dict(problem.headers)})
    return answer


def _form_of(handler: Handler) -> Handler:
    """What takes the fields of a form, which must be there in time."""

    async def taking_form(request: web.Request) -> web.StreamResponse:
        if request.content_type != _FORM:
            raise Problem("form_needed", f"Send 'Content-Type: {_FORM}'.")
        await body_of(request)
        try:
            await request.post()
        except (LookupError, ValueError):  # Another charset than it says, or one that nobody knows.
            raise Problem("bad_parameter", "Send the form in UTF-8.") from None
        return await handler(request)

    return taking_form


def _with_token(handler: Handler) -> Handler:
    """What only a page of this login may ask for."""

    async def with_token(request: web.Request) -> web.StreamResponse:
        shown = request.headers.get(CSRF_HEADER)
        if shown is None:
            shown = str((await request.post()).get("csrf", ""))
        logins = request.app[ACCESS].logins
        assert logins is not None
        if not logins.is_csrf(login_of(request), shown):
            raise Problem("csrf_failed", "Go back, load the page again, and try once more.")
        return await handler(request)

    return with_token

"""Signing in with a token of the admin API, and out again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import web

from proxy.admin.desk import ACCESS, DESK
from proxy.admin.gate import asked_of
from proxy.admin.logins import LASTS, cookie_name
from proxy.console.forms import texts
from proxy.console.pages import page

if TYPE_CHECKING:
    from proxy.admin.problems import Problem

PATH: Final = "/login"

# Where whoever signs in wanted to go: it outlasts a wrong token.
_WANTED: Final = web.RequestKey("wanted", str)

# What of an address is kept while somebody signs in.
_LONGEST: Final = 2000
# Two slashes begin the name of a host, and browsers take a backslash for one.
_OWN_PLACE: Final = re.compile(r"/(?!/)[!-\[\]-~]*")


async def ask_to_log_in(request: web.Request) -> web.Response:
    """The form; who needs no token is sent on."""
    if not request.app[ACCESS].tokens:
        raise web.HTTPSeeOther("/")
    return _form(request, request.query.get("next", ""))


async def log_in(request: web.Request) -> web.Response:
    """Takes a token, and gives a cookie for it."""
    if not request.app[ACCESS].tokens:
        raise web.HTTPSeeOther("/")
    given = await texts(request)
    request[_WANTED] = given.get("next", "")
    operator, cookie = request.app[ACCESS].log_in(asked_of(request), given.get("token", ""))
    request.app[DESK].log.info("admin_login", by=operator.by, client=request.remote)
    answer = web.Response(status=303, headers={"Location": own_place(request[_WANTED])})
    answer.set_cookie(
        cookie_name(request.headers.get("Host", "")),
        cookie,
        max_age=LASTS,
        path="/",
        httponly=True,
        samesite="Strict",
        secure=_is_secure(request),
    )
    return answer


async def log_out(request: web.Request) -> web.Response:
    """Ends the login, wherever else its cookie may be."""
    request.app[ACCESS].log_out(asked_of(request))
    answer = web.Response(status=303, headers={"Location": PATH})
    answer.del_cookie(
        cookie_name(request.headers.get("Host", "")),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=_is_secure(request),
    )
    return answer


def refused(request: web.Request, problem: Problem) -> web.Response:
    """The form once more, with what was wrong."""
    answer = _form(request, request.get(_WANTED, ""), problem, status=problem.row.status)
    answer.headers.update(problem.headers)
    return answer


def way_in(request: web.Request) -> str:
    """The form's address, from which one comes back to where one wanted to go."""
    wanted = request.raw_path
    if wanted == "/" or request.method not in {"GET", "HEAD"} or len(wanted) > _LONGEST:
        return PATH
    return f"{PATH}?next={quote(wanted, safe='')}"


def own_place(text: str) -> str:
    """A place of this console, whatever a link claims to lead on to."""
    return text if _OWN_PLACE.fullmatch(text) and len(text) <= _LONGEST else "/"


def _form(
    request: web.Request, wanted: str, problem: Problem | None = None, *, status: int = 200
) -> web.Response:
    context = {"wanted": own_place(wanted), "problem": problem}
    return page(request, "login.html", context, status=status)


def _is_secure(request: web.Request) -> bool:
    """Whether the browser speaks TLS, to us or to a proxy; who lies about it harms himself."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"

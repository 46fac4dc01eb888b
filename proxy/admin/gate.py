"""What every admin request passes: who asks on the way in, problems on the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin.access import Asked
from proxy.admin.answers import refusing, translated
from proxy.admin.desk import OPERATOR
from proxy.admin.logins import cookie_name
from proxy.admin.problems import Problem
from proxy.keys.lifecycle import NotPossible
from proxy.stores.store import Conflict, NoSuchKey, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp.typedefs import Handler, Middleware

    from proxy.admin.access import Access
    from proxy.admin.hosting import Pages
    from proxy.logs import Logger


def gate(
    access: Access, log: Logger, open_paths: Collection[str], pages: Pages | None = None
) -> Middleware:
    """The middleware around every handler.

    Args:
        access: finds out who asks.
        log: where wrong tokens and failures of ours go.
        open_paths: resources that anybody may ask for.
        pages: says problems to whoever reads pages.
    """

    @web.middleware
    async def pass_gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            resource = request.match_info.route.resource
            if resource is None or resource.canonical not in open_paths:
                request[OPERATOR] = access.admit(asked_of(request))
            return await handler(request)
        except ConnectionError:
            raise  # The client is gone.
        except web.HTTPRedirection as elsewhere:
            return web.Response(status=elsewhere.status, headers=_location(elsewhere))
        except Exception as failure:  # noqa: BLE001 - whatever it is, the answer is a problem
            problem = _problem_of(failure)
            _tell(log, request, problem, failure)
            shown = None if pages is None else pages.refusing(request, problem)
            return refusing(problem) if shown is None else shown

    return pass_gate


def _tell(log: Logger, request: web.Request, problem: Problem, failure: Exception) -> None:
    """Logs what operators want to know of."""
    if problem.code == "token_unknown":
        log.warning("admin_refused", client=request.remote, code=problem.code)
    if problem.code == "role_forbidden":
        resource = request.match_info.route.resource
        log.warning(
            "admin_refused",
            by=request[OPERATOR].by,
            client=request.remote,
            code=problem.code,
            # As the pattern: what stands in a path may be a secret.
            asked=f"{request.method} {resource.canonical if resource is not None else ''}",
        )
    if problem.code == "internal_error":
        log.error("internal_error", listener="admin", failure=failure)


def _location(elsewhere: web.HTTPRedirection) -> dict[str, str]:
    return {"Location": elsewhere.headers["Location"]}


def asked_of(request: web.Request) -> Asked:
    """What of a request decides who asks."""
    headers = request.headers
    return Asked(
        address=request.remote or "",
        scheme=request.scheme,
        hosts=headers.getall("Host", []),
        origins=headers.getall("Origin", []),
        fetch_sites=headers.getall("Sec-Fetch-Site", []),
        authorizations=headers.getall("Authorization", []),
        login=login_of(request),
    )


def login_of(request: web.Request) -> str:
    """The console's cookie that a request carries; empty without one."""
    return request.cookies.get(cookie_name(request.headers.get("Host", "")), "")


def _problem_of(failure: Exception) -> Problem:
    if isinstance(failure, Problem):
        return failure
    if isinstance(failure, web.HTTPException):
        return translated(failure)
    if isinstance(failure, StoreUnavailable):
        return Problem("store_unavailable", f"{failure}.")  # It begins with the place.
    if isinstance(failure, Conflict):
        return Problem("conflict", _sentence(failure))
    if isinstance(failure, NotPossible):
        return Problem("not_possible", _sentence(failure))
    if isinstance(failure, NoSuchKey):  # It was deleted meanwhile.
        return Problem("no_such_key")
    return Problem("internal_error")


def _sentence(failure: Exception) -> str:
    text = str(failure)
    return f"{text[:1].upper()}{text[1:]}."

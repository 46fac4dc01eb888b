"""Answers of the admin listener: JSON, and problem+json (RFC 9457) for whatever goes wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.admin.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

# On every answer. It tells neither versions nor, to a cache, anything of the keys.
COMMON: Final[Mapping[str, str]] = {
    "Server": "wskeeper",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # What is no page has nothing to load, and stands in no frame.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
# What an answer may say in its own words.
_OWN: Final = ("Cache-Control", "Content-Security-Policy")

_CODES: Final = {
    404: "no_such_path",
    405: "method_not_allowed",
    413: "body_too_large",
    417: "expectation_failed",
}


def shown(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer in JSON."""
    return web.Response(
        status=status,
        body=json.dumps(data).encode(),
        content_type="application/json",
        headers=headers,
    )


def refusing(problem: Problem) -> web.Response:
    """A problem as its answer."""
    row = problem.row
    members = {
        "type": f"urn:wskeeper:{row.code}",
        "title": row.title,
        "status": row.status,
        "code": row.code,
        "detail": problem.detail or row.title + ".",
        **problem.more,
    }
    headers = {**COMMON, "X-Wskeeper-Code": row.code, **dict(problem.headers)}
    if row.retry_after is not None:
        headers["Retry-After"] = str(row.retry_after)
    return web.Response(
        status=row.status,
        body=json.dumps(members).encode(),
        content_type="application/problem+json",
        headers=headers,
    )


def translated(failure: web.HTTPException) -> Problem:
    """What aiohttp itself objects to, without its words: some quote the request."""
    allow = failure.headers.get("Allow")
    headers = () if allow is None else (("Allow", allow),)
    return Problem(_CODES.get(failure.status, "bad_request"), headers=headers)


async def add_common_headers(_request: web.Request, answer: web.StreamResponse) -> None:
    """Puts on an answer what every answer carries.

    A file may say how long it is kept, and a page what it may load.
    """
    own = {name: answer.headers[name] for name in _OWN if name in answer.headers}
    answer.headers.update({**COMMON, **own})

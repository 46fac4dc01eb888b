"""What a request says: its query, and the JSON of its body. Nothing of it is ever echoed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import web

from proxy.admin.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

# No key needs more.
MAX_BODY: Final = 64 * 1024
# Seconds for a body to arrive.
_BODY_TIMEOUT: Final = 10.0

# Longer than any name, id or reason.
_MAX_VALUE: Final = 512

# Entries of one answer: about a megabyte, made in some ten milliseconds.
PAGE: Final = 1000


class Page(NamedTuple):
    """The part of a list that is asked for.

    Args:
        limit: entries at most.
        after: the `next` of the answer before; None for the beginning.
    """

    limit: int
    after: str | None


async def json_object(request: web.Request) -> dict[str, Any]:
    """The JSON object of a body; an empty body is an empty object.

    Raises:
        Problem: `bad_json`, `body_too_large` or `body_timeout`.
    """
    return parsed(await body_of(request))


async def body_of(request: web.Request) -> bytes:
    """The body of a request, which must arrive in time.

    Raises:
        Problem: `body_too_large` or `body_timeout`.
    """
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            return await request.read()
    except TimeoutError:
        raise Problem("body_timeout", "Send the whole body at once.") from None
    except web.HTTPRequestEntityTooLarge:
        raise Problem("body_too_large", f"Send at most {MAX_BODY} bytes.") from None
    except web.RequestPayloadError:
        raise Problem("bad_request", "Frame the body as its header says.") from None


def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object; nothing is taken that two parsers could read in two ways (RFC 8259).

    Raises:
        Problem: `bad_json`.
    """
    if not body:
        return {}
    try:
        data = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant
        )
        # A lone surrogate has no UTF-8: no store, log or header could take it.
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise Problem("bad_json", "Send one JSON object in UTF-8, each name once.") from None
    if not isinstance(data, dict):
        raise Problem("bad_json", "Send a JSON object: {…}.")
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name stands there twice")
    return names


def _no_constant(_name: str) -> None:
    raise ValueError("no JSON")


def parameters(request: web.Request, names: Sequence[str]) -> dict[str, str]:
    """The query's parameters.

    Args:
        names: those that there are here.

    Raises:
        Problem: `bad_parameter`: another one, one twice, an empty or unprintable one.
    """
    query = request.query
    if any(name not in names for name in query):
        known = ", ".join(f"'{name}'" for name in names)
        raise Problem(
            "bad_parameter",
            f"Use none but {known}." if known else "Nothing can be asked for here.",
        )
    for name in names:
        values = query.getall(name, [])
        if len(values) > 1:
            raise Problem("bad_parameter", f"Give '{name}' once.")
        if values and not (values[0].isprintable() and 0 < len(values[0]) <= _MAX_VALUE):
            raise Problem("bad_parameter", f"Give '{name}' 1 to {_MAX_VALUE} printable characters.")
    return {name: query[name] for name in query}


def page_of(given: dict[str, str]) -> Page:
    """Which part of a list is asked for, by `limit` and `after`.

    Raises:
        Problem: `bad_parameter`.
    """
    limit = number(given.get("limit", str(PAGE)))
    if limit is None or not 1 <= limit <= PAGE:
        raise Problem("bad_parameter", f"Give 'limit' a number from 1 to {PAGE}.")
    return Page(limit, given.get("after"))


def number(text: str) -> int | None:
    """A number out of its decimal digits; None when it is none, or has too many."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None

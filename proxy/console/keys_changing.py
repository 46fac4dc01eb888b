"""The pages that make, change and end keys: a question that names what follows, then the deed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode

from aiohttp import web

from proxy.admin import key_edits
from proxy.admin.desk import DESK, OPERATOR
from proxy.admin.keys import described_key
from proxy.admin.problems import Problem
from proxy.console.connections import first_path
from proxy.console.forms import texts
from proxy.console.key_forms import (
    LIFETIMES,
    LIMITS,
    ON_EXCEED,
    OVERLAPS,
    KeyForm,
    body_of,
    empty_form,
    faults_by_field,
    form_given,
    form_of,
)
from proxy.console.key_seen import Overtaken, as_shown, seen
from proxy.console.keys import sessions_of
from proxy.console.pages import page
from proxy.keys.description import moment
from proxy.stores.store import Conflict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp.typedefs import Handler
    from multidict import MultiDict

    from proxy.admin.access import Role
    from proxy.keys.key import Key

# What is chosen for a rotation unless somebody chooses.
_OVERLAP: Final = "24h"


async def ask_for_new(request: web.Request) -> web.Response:
    """The form of a new key."""
    return _form_page(request, empty_form(), {}, key=None)


async def create(request: web.Request) -> web.Response:
    """Makes the key, and shows its secret this once."""
    form = _form(await texts(request))
    try:
        told = await key_edits.create(request.app[DESK], body_of(form), by=request[OPERATOR].by)
    except (Problem, Conflict) as failure:
        return _form_page(request, form, _faults(failure), key=None)
    return _secret_page(request, told, verb="created")


async def ask_for_changes(request: web.Request) -> web.Response:
    """The form of a key that is."""
    key = key_edits.stored(request.app[DESK], request.match_info["key"])
    return _form_page(request, form_of(key), {}, key=key)


async def change(request: web.Request) -> web.Response:
    """Changes the key."""
    desk = request.app[DESK]
    key = key_edits.stored(desk, request.match_info["key"])
    given = await texts(request)
    form = _form(given)
    try:
        async with as_shown(request, key, given):
            await key_edits.update(desk, key.id, body_of(form), by=request[OPERATOR].by)
    except Overtaken as late:
        return _form_page(request, form, {}, key=late.key, overtaken=given)
    except (Problem, Conflict) as failure:
        return _form_page(request, form, _faults(failure), key=key)
    raise web.HTTPSeeOther(f"/keys/{key.id}?done=changed")


async def ask_to_rotate(request: web.Request) -> web.Response:
    """For how long the secret before is to work."""
    key = key_edits.stored(request.app[DESK], request.match_info["key"])
    return _rotation_page(request, key)


async def rotate(request: web.Request) -> web.Response:
    """Gives the key a new secret, and shows it this once."""
    desk = request.app[DESK]
    key = key_edits.stored(desk, request.match_info["key"])
    given = await texts(request)
    body = {"overlap": given.get("overlap", _OVERLAP)}
    try:
        async with as_shown(request, key, given):
            told = await key_edits.rotate(desk, key.id, body, by=request[OPERATOR].by)
    except Overtaken as late:
        return _rotation_page(request, late.key, given)
    return _secret_page(request, told, verb="rotated")


def _rotation_page(
    request: web.Request, key: Key, overtaken: Mapping[str, str] | None = None
) -> web.Response:
    context = {
        "key": key,
        "overlaps": OVERLAPS,
        "overlap": (overtaken or {}).get("overlap", _OVERLAP),
        "sessions": len(sessions_of(request.app[DESK], key)),
        **seen(request, key, overtaken),
    }
    return page(request, "key_rotate.html", context, status=200 if overtaken is None else 409)


def _form(given: MultiDict[str]) -> KeyForm:
    return form_given(given, given.getall("routes", []))


def _form_page(
    request: web.Request,
    form: KeyForm,
    faults: dict[str, str],
    *,
    key: Key | None,
    overtaken: Mapping[str, str] | None = None,
) -> web.Response:
    context = {
        "key": key,
        "form": form,
        "faults": faults,
        "routes": key_edits.routes_of(request.app[DESK]),
        "lifetimes": LIFETIMES,
        "limits": LIMITS,
        "on_exceed": ON_EXCEED,
        "opened": _opened(form, faults),
        **({"overtaken": False} if key is None else seen(request, key, overtaken)),
    }
    status = 422 if faults else 200 if overtaken is None else 409
    return page(request, "key_form.html", context, status=status)


def _opened(form: KeyForm, faults: Mapping[str, str]) -> dict[str, bool]:
    """Which parts of the form have something in them."""
    parts = {
        "limits": (*LIMITS, "limits.on_exceed"),
        "scope": ("origins", "addresses.allow", "addresses.deny"),
        "metadata": ("metadata",),
    }
    return {
        part: any(form[name] or name in faults for name in names) for part, names in parts.items()
    }


def _secret_page(request: web.Request, told: key_edits.Told, *, verb: str) -> web.Response:
    desk = request.app[DESK]
    return page(
        request,
        "key_secret.html",
        {
            "key": described_key(desk, told.key, None),
            "secret": told.secret,
            "verb": verb,
            "before": _end_of_the_one_before(told.key, desk.now()),
            "first_path": first_path(desk),
        },
    )


def _end_of_the_one_before(key: Key, now: float) -> str | None:
    """Until when the secret before the last rotation works; None when it works no more."""
    ends = [secret.until for secret in key.secrets[1:2] if secret.until is not None]
    return moment(ends[0]) if ends and ends[0] > now else None


def _faults(failure: Problem | Conflict) -> dict[str, str]:
    if isinstance(failure, Conflict):
        said = str(failure)
        return {"": f"{said[:1].upper()}{said[1:]}."}
    errors = failure.more.get("errors")
    return {"": failure.detail} if errors is None else faults_by_field(errors)


class Deed(NamedTuple):
    """Something that is done to a key without further words.

    Args:
        verb: as in its address.
        role: who may do it.
        past: as it is told afterwards.
        do: the deed.
    """

    verb: str
    role: Role
    past: str
    do: Callable[..., Awaitable[Key]]


DEEDS: Final = (
    Deed("suspend", "operator", "suspended", key_edits.suspend),
    Deed("resume", "operator", "resumed", key_edits.resume),
    Deed("revoke", "operator", "revoked", key_edits.revoke),
    Deed("delete", "admin", "deleted", key_edits.delete),
)


def asking(deed: Deed) -> Handler:
    """Whether to do it, and what would follow."""

    async def ask(request: web.Request) -> web.Response:
        key = key_edits.stored(request.app[DESK], request.match_info["key"])
        return _question_page(request, key, deed)

    return ask


def _question_page(
    request: web.Request, key: Key, deed: Deed, overtaken: Mapping[str, str] | None = None
) -> web.Response:
    desk = request.app[DESK]
    context = {
        "key": key,
        "state": key.state(desk.now()),
        "verb": deed.verb,
        "sessions": len(sessions_of(desk, key)),
        **seen(request, key, overtaken),
    }
    return page(request, "key_deed.html", context, status=200 if overtaken is None else 409)


def doing(deed: Deed) -> Handler:
    """Does it."""

    async def do(request: web.Request) -> web.Response:
        desk = request.app[DESK]
        key = key_edits.stored(desk, request.match_info["key"])
        given = await texts(request)
        try:
            async with as_shown(request, key, given):
                key = await deed.do(desk, key.id, by=request[OPERATOR].by)
        except Overtaken as late:
            return _question_page(request, late.key, deed, given)
        if deed.verb == "delete":
            raise web.HTTPSeeOther(f"/keys?{urlencode({'deleted': key.name})}")
        raise web.HTTPSeeOther(f"/keys/{key.id}?done={deed.past}")

    return do

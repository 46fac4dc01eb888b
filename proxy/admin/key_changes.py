"""What the admin API changes of keys: each handler turns a request into one change of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.admin import key_bodies
from proxy.admin.answers import shown
from proxy.admin.desk import DESK, OPERATOR
from proxy.admin.keys import described_key, named_key
from proxy.admin.problems import Problem
from proxy.admin.reading import json_object, parameters
from proxy.keys.key import digest_of
from proxy.keys.lifecycle import resumed, revoked, rotated, suspended
from proxy.keys.made import made, updated
from proxy.keys.secret import make_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.admin.desk import AdminDesk
    from proxy.keys.key import Key

_CHANGE_THERE: Final = "Change it in the configuration, and reload."


async def create_key(request: web.Request) -> web.Response:
    """Makes a key and tells its secret, this once; or imports one."""
    desk = request.app[DESK]
    parameters(request, ())
    now = desk.now()
    new = key_bodies.read_new_key(await json_object(request), now=now, routes=_routes(desk))
    ours = make_secret(desk.below)
    secret = {}
    if new.secret is not None:
        digest = digest_of(new.secret.get_secret_value().encode())
    elif new.sha256 is not None:
        digest = bytes.fromhex(new.sha256)
    else:
        digest = digest_of(ours.text.encode())
        secret = {"secret": ours.text}
    key = made(new, id=ours.id, digest=digest, now=now, weak=key_bodies.is_weak(new))
    _refuse_fixed_name(desk, new.name)
    holder = desk.keeper.ring.find(digest)
    if holder is not None and desk.keeper.ring.is_fixed(holder.id):
        raise Problem("conflict", "A key of the configuration has this secret.")
    await desk.keeper.add([key], by=request[OPERATOR].by)
    return shown(
        {**described_key(desk, key, None), **secret},
        status=201,
        headers={"Location": f"/api/v1/keys/{key.id}"},
    )


async def update_key(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    parameters(request, ())
    body = await json_object(request)
    changes = key_bodies.read_changes(body, now=desk.now(), routes=_routes(desk))
    if "name" in changes.model_fields_set:
        _refuse_fixed_name(desk, changes.name)
    return await _changed(request, lambda key: updated(key, changes))


async def delete_key(request: web.Request) -> web.Response:
    parameters(request, ())
    key = _stored(request)
    await request.app[DESK].keeper.delete(key.id, by=request[OPERATOR].by)
    return web.Response(status=204)


async def rotate_key(request: web.Request) -> web.Response:
    """Gives a key a new secret and tells it, this once."""
    desk = request.app[DESK]
    parameters(request, ())
    overlap = key_bodies.read(key_bodies.Rotation, await json_object(request)).overlap
    now = desk.now()
    secret = make_secret(desk.below, _stored(request).id).text
    digest = digest_of(secret.encode())
    return await _changed(request, lambda key: rotated(key, digest, now, overlap), secret=secret)


async def revoke_key(request: web.Request) -> web.Response:
    await _read_nothing(request)
    now = request.app[DESK].now()
    return await _changed(request, lambda key: revoked(key, now))


async def suspend_key(request: web.Request) -> web.Response:
    await _read_nothing(request)
    now = request.app[DESK].now()
    return await _changed(request, lambda key: suspended(key, now))


async def resume_key(request: web.Request) -> web.Response:
    await _read_nothing(request)
    return await _changed(request, resumed)


async def _read_nothing(request: web.Request) -> None:
    parameters(request, ())
    key_bodies.read(key_bodies.Nothing, await json_object(request))


async def _changed(request: web.Request, edit: Callable[[Key], Key], **more: str) -> web.Response:
    """Changes the key that the path names, and shows it."""
    desk = request.app[DESK]
    key = _stored(request)
    # Asked for first: behind a change that is done nothing may fail, or a new secret were lost.
    last_used = await desk.keeper.last_used()
    after = await desk.keeper.change(key.id, edit, by=request[OPERATOR].by)
    return shown({**described_key(desk, after, last_used.get(key.id)), **more})


def _stored(request: web.Request) -> Key:
    """The key that the path names, if the store holds it."""
    key = named_key(request)
    if request.app[DESK].keeper.ring.is_fixed(key.id):
        raise Problem("fixed_key", _CHANGE_THERE)
    return key


def _refuse_fixed_name(desk: AdminDesk, name: str) -> None:
    if desk.keeper.ring.is_fixed(name):  # There a key's name is its id.
        raise Problem("conflict", "A key of the configuration has this name.")


def _routes(desk: AdminDesk) -> list[str]:
    return [route.name for route in desk.config().routes]

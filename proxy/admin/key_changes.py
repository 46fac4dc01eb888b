"""What the admin API changes of keys: each handler turns a request into one change of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin import key_bodies, key_edits
from proxy.admin.answers import shown
from proxy.admin.desk import DESK, OPERATOR
from proxy.admin.keys import described_key
from proxy.admin.reading import json_object, parameters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.admin.desk import AdminDesk
    from proxy.keys.key import Key


async def create_key(request: web.Request) -> web.Response:
    """Makes a key and tells its secret, this once; or imports one."""
    desk = request.app[DESK]
    parameters(request, ())
    key, secret = await key_edits.create(desk, await json_object(request), by=request[OPERATOR].by)
    told = {} if secret is None else {"secret": secret}
    return shown(
        {**described_key(desk, key, None), **told},
        status=201,
        headers={"Location": f"/api/v1/keys/{key.id}"},
    )


async def update_key(request: web.Request) -> web.Response:
    parameters(request, ())
    body = await json_object(request)
    return await _changed(request, lambda desk, key, by: key_edits.update(desk, key, body, by=by))


async def delete_key(request: web.Request) -> web.Response:
    parameters(request, ())
    desk, reference = request.app[DESK], request.match_info["key"]
    await key_edits.delete(desk, reference, by=request[OPERATOR].by)
    return web.Response(status=204)


async def rotate_key(request: web.Request) -> web.Response:
    """Gives a key a new secret and tells it, this once."""
    parameters(request, ())
    body = await json_object(request)
    return await _changed(request, lambda desk, key, by: key_edits.rotate(desk, key, body, by=by))


async def revoke_key(request: web.Request) -> web.Response:
    await _read_nothing(request)
    return await _changed(request, lambda desk, key, by: key_edits.revoke(desk, key, by=by))


async def suspend_key(request: web.Request) -> web.Response:
    await _read_nothing(request)
    return await _changed(request, lambda desk, key, by: key_edits.suspend(desk, key, by=by))


async def resume_key(request: web.Request) -> web.Response:
    await _read_nothing(request)
    return await _changed(request, lambda desk, key, by: key_edits.resume(desk, key, by=by))


async def _read_nothing(request: web.Request) -> None:
    parameters(request, ())
    key_bodies.read(key_bodies.Nothing, await json_object(request))


async def _changed(
    request: web.Request,
    change: Callable[[AdminDesk, str, str], Awaitable[Key | key_edits.Told]],
) -> web.Response:
    """Changes the key that the path names, and shows it."""
    desk, reference = request.app[DESK], request.match_info["key"]
    key_edits.stored(desk, reference)
    # Asked for first: behind a change that is done nothing may fail, or a new secret were lost.
    last_used = await desk.keeper.last_used()
    after = await change(desk, reference, request[OPERATOR].by)
    told = {}
    if isinstance(after, key_edits.Told):
        after, told = after.key, {"secret": after.secret}
    return shown({**described_key(desk, after, last_used.get(after.id)), **told})

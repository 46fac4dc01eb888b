"""What operators do with keys, whoever hands it in: the API or the console.

Each function is one change of the store. All of them may raise what the store does, and `Problem`:
`no_such_key`, `ambiguous_key`, `fixed_key`, `conflict` or `invalid_fields`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.admin import key_bodies
from proxy.admin.keys import find_key
from proxy.admin.problems import Problem
from proxy.keys import lifecycle
from proxy.keys.key import digest_of
from proxy.keys.made import made, updated
from proxy.keys.secret import make_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.admin.desk import AdminDesk
    from proxy.keys.key import Key

_CHANGE_THERE: Final = "Change it in the configuration, and reload."


class Told(NamedTuple):
    """A key and the secret that nobody can be told again; None for an imported one."""

    key: Key
    secret: str | None


async def create(desk: AdminDesk, body: Mapping[str, Any], *, by: str) -> Told:
    """Makes a key; or imports one, when the body has its secret or digest."""
    now = desk.now()
    new = key_bodies.read_new_key(body, now=now, routes=routes_of(desk))
    ours = make_secret(desk.below)
    secret = None
    if new.secret is not None:
        digest = digest_of(new.secret.get_secret_value().encode())
    elif new.sha256 is not None:
        digest = bytes.fromhex(new.sha256)
    else:
        digest = digest_of(ours.text.encode())
        secret = ours.text
    key = made(new, id=ours.id, digest=digest, now=now, weak=key_bodies.is_weak(new))
    _refuse_fixed_name(desk, new.name)
    holder = desk.keeper.ring.find(digest)
    if holder is not None and desk.keeper.ring.is_fixed(holder.id):
        raise Problem("conflict", "A key of the configuration has this secret.")
    await desk.keeper.add([key], by=by)
    return Told(key, secret)


async def update(desk: AdminDesk, reference: str, body: Mapping[str, Any], *, by: str) -> Key:
    """Replaces the fields that the body has."""
    changes = key_bodies.read_changes(body, now=desk.now(), routes=routes_of(desk))
    if "name" in changes.model_fields_set:
        _refuse_fixed_name(desk, changes.name)
    key = stored(desk, reference)
    return await desk.keeper.change(key.id, lambda key: updated(key, changes), by=by)


async def rotate(desk: AdminDesk, reference: str, body: Mapping[str, Any], *, by: str) -> Told:
    """Gives a key a new secret."""
    overlap = key_bodies.read(key_bodies.Rotation, body).overlap
    now = desk.now()
    key = stored(desk, reference)
    secret = make_secret(desk.below, key.id).text
    digest = digest_of(secret.encode())
    after = await desk.keeper.change(
        key.id, lambda key: lifecycle.rotated(key, digest, now, overlap), by=by
    )
    return Told(after, secret)


async def revoke(desk: AdminDesk, reference: str, *, by: str) -> Key:
    now = desk.now()
    key = stored(desk, reference)
    return await desk.keeper.change(key.id, lambda key: lifecycle.revoked(key, now), by=by)


async def suspend(desk: AdminDesk, reference: str, *, by: str) -> Key:
    now = desk.now()
    key = stored(desk, reference)
    return await desk.keeper.change(key.id, lambda key: lifecycle.suspended(key, now), by=by)


async def resume(desk: AdminDesk, reference: str, *, by: str) -> Key:
    key = stored(desk, reference)
    return await desk.keeper.change(key.id, lifecycle.resumed, by=by)


async def delete(desk: AdminDesk, reference: str, *, by: str) -> Key:
    return await desk.keeper.delete(stored(desk, reference).id, by=by)


def stored(desk: AdminDesk, reference: str) -> Key:
    """The key with that id or name, if the store holds it."""
    key = find_key(desk, reference)
    if desk.keeper.ring.is_fixed(key.id):
        raise Problem("fixed_key", _CHANGE_THERE)
    return key


def routes_of(desk: AdminDesk) -> list[str]:
    """The names of the routes that a key can be for."""
    return [route.name for route in desk.config().routes]


def _refuse_fixed_name(desk: AdminDesk, name: str) -> None:
    if desk.keeper.ring.is_fixed(name):  # There a key's name is its id.
        raise Problem("conflict", "A key of the configuration has this name.")

"""Keys out of the fields that a configuration, a command or a request gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from proxy.config.limit_fields import MessageSize
from proxy.keys.key import UNLIMITED, Key, KeyLimits, Secret
from proxy.keys.lifecycle import SHORT_SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.key_fields import KeyFields, KeyLimitFields
    from proxy.config.model import FixedKey


def made(fields: KeyFields, *, id: str, digest: bytes, now: float, weak: bool = False) -> Key:
    """A new key.

    Args:
        id: its public id.
        digest: of its secret.
        now: seconds since the epoch.
        weak: whether its secret is short.
    """
    return Key(
        id=id, secrets=(Secret(digest),), created_at=now, weak=weak, **_parts(fields, everything)
    )


def updated(key: Key, fields: KeyFields) -> Key:
    """The key with the fields and the limits that were given, and only those, replaced."""
    return replace(key, **_parts(fields, fields.model_fields_set.__contains__, key.limits))


def fixed(key: FixedKey) -> Key:
    """A key of the configuration; its name is its id. As an imported one, it may be weak."""
    secret = key.secret
    return Key(
        id=key.name,
        secrets=(Secret(key.digest),),
        weak=secret is not None and len(secret.get_secret_value()) < SHORT_SECRET,
        suspended_at=key.suspended_at,
        revoked_at=key.revoked_at,
        **_parts(key, everything),
    )


def everything(_field: str) -> bool:
    """Every field counts, given or not."""
    return True


def _parts(
    fields: KeyFields, given: Callable[[str], bool], limits: KeyLimits = UNLIMITED
) -> dict[str, Any]:
    """The parts of a key that the given fields stand for; limits that are not given stay."""
    parts: dict[str, Any] = {}
    if given("name"):
        parts["name"] = fields.name
    if given("routes"):
        parts["routes"] = None if fields.routes is None else frozenset(fields.routes)
    if given("expires_at"):
        parts["expires_at"] = fields.expires_at
    if given("limits"):
        parts["limits"] = limits._replace(**_limits(fields.limits))
    if given("origins"):
        origins = fields.origins
        parts["origins"] = (
            None if origins is None else frozenset(origin.encode() for origin in origins)
        )
    if given("addresses"):
        parts["allow"] = fields.addresses.allow
        parts["deny"] = fields.addresses.deny
    if given("metadata"):
        parts["metadata"] = dict(fields.metadata)
    return parts


def _limits(fields: KeyLimitFields) -> dict[str, Any]:
    """The limits that were given, by name."""
    given = {name: getattr(fields, name) for name in fields.model_fields_set}
    if "message_size" in given:
        size = fields.message_size or MessageSize()
        given["message_size"] = (size.client_to_upstream, size.upstream_to_client)
    return given

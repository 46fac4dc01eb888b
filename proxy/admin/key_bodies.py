"""The bodies that make and change keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import BeforeValidator, ValidationError, WithJsonSchema

from proxy.admin.problems import invalid
from proxy.config import fields, translation, values
from proxy.config.key_fields import FieldFault, FieldsInvalid, KeyFields
from proxy.config.section import Section
from proxy.keys.lifecycle import SHORT_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# How long the secrets before a rotation stay valid, in seconds, when nothing else is said.
OVERLAP: Final = 86_400.0

_NOTHING: Final = re.compile(r"0+(\.0+)?\s*(ms|s|m|h|d)?")
_SectionT = TypeVar("_SectionT", bound=Section)


def _overlap(value: object) -> float:
    at_once = isinstance(value, int | float) and not isinstance(value, bool) and value == 0
    if at_once or (isinstance(value, str) and _NOTHING.fullmatch(value.strip())):
        return 0.0
    return values.duration(value)


class KeyChanges(KeyFields):
    """What a key is to be from now on; what is not given stays.

    Args:
        expires_in: seconds from now, in place of `expires_at`.
    """

    expires_in: fields.Duration | None = None


class NewKey(KeyChanges):
    """A key to be made, or, with a secret or its digest, to be imported.

    Args:
        secret: of a key that exists elsewhere.
        sha256: of the secret, in its place.
        allow_weak: takes a short secret too.
    """

    name: fields.KeyName
    secret: fields.Secret | None = None
    sha256: fields.Sha256 | None = None
    allow_weak: bool = False


class Rotation(Section):
    """A rotation; the secrets before it stay valid for `overlap` seconds."""

    overlap: Annotated[
        float,
        BeforeValidator(_overlap),
        WithJsonSchema({"type": ["string", "number"], "examples": ["24h", 0]}),
    ] = OVERLAP


class Nothing(Section):
    """The body of what needs none."""


def read(model: type[_SectionT], data: Mapping[str, Any]) -> _SectionT:
    """A body out of its JSON.

    Raises:
        Problem: `invalid_fields`, with every fault.
    """
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        found = translation.findings(error, dict(data), model, within=("keys",))
        raise invalid(FieldsInvalid(found).faults) from None


def read_new_key(data: Mapping[str, Any], *, now: float, routes: Sequence[str]) -> NewKey:
    """A new key; see `read_changes`."""
    new = read(NewKey, data)
    faults = [*_faults(new, now, routes), *_secret_faults(new)]
    if faults:
        raise invalid(faults)
    return _with_end(new, now)


def read_changes(data: Mapping[str, Any], *, now: float, routes: Sequence[str]) -> KeyChanges:
    """Changes of a key.

    Args:
        data: the body.
        now: seconds since the epoch.
        routes: the names of those that there are.

    Raises:
        Problem: `invalid_fields`, with every fault.
    """
    changes = read(KeyChanges, data)
    faults = [*_faults(changes, None, routes)]
    if faults:
        raise invalid(faults)
    return _with_end(changes, now)


_ChangesT = TypeVar("_ChangesT", bound=KeyChanges)


def _with_end(changes: _ChangesT, now: float) -> _ChangesT:
    if changes.expires_in is None:
        return changes
    return changes.model_copy(update={"expires_at": now + changes.expires_in})


def _faults(changes: KeyChanges, now: float | None, routes: Sequence[str]) -> Iterator[FieldFault]:
    end = changes.expires_at
    if changes.expires_in is not None and end is not None:
        yield FieldFault("expires_in", "stands beside `expires_at`", "send one of them")
    if now is not None and end is not None and end <= now:
        yield FieldFault("expires_at", "is past", "send a later moment, or leave it out")
    known = ", ".join(f"`{name}`" for name in routes)
    for index, name in enumerate(changes.routes or ()):
        if name not in routes:
            yield FieldFault(
                f"routes[{index}]",
                "is not the name of a route",
                f"write one of {known}" if known else "add the route to the configuration",
            )


def _secret_faults(new: NewKey) -> Iterator[FieldFault]:
    if new.secret is not None and new.sha256 is not None:
        yield FieldFault("secret", "stands beside `sha256`", "send one of them")
    if new.secret is not None and is_weak(new) and not new.allow_weak:
        yield FieldFault(
            "secret",
            f"is shorter than {SHORT_SECRET} characters, and can be guessed",
            "use a longer one, or send `allow_weak: true`",
        )


def is_weak(new: NewKey) -> bool:
    """Whether the imported secret is short; of a digest nobody can tell."""
    return new.secret is not None and len(new.secret.get_secret_value()) < SHORT_SECRET

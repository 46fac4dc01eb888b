"""The options that stand for the fields of a key, and what they say as plain data."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from proxy.config.faults import Wrong
from proxy.config.key_fields import FieldsInvalid, KeyLimitFields, read_key_fields
from proxy.config.limit_fields import MessageSize
from proxy.config.moments import moment
from proxy.config.translation import NOT_OF_A_KEY
from proxy.config.values import duration
from proxy.keys.description import scope_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.cli.keys_store import Configured
    from proxy.config.key_fields import KeyFields
    from proxy.keys.key import Key

_F = TypeVar("_F", bound="Callable[..., Any]")

# The option that each field comes from, by the first step of the field's path.
_OPTIONS: Final = {
    "name": "--name",
    "routes": "--routes",
    "expires_at": "--expires",
    "limits": "--limit",
    "origins": "--origin",
    "addresses.allow": "--address",
    "addresses.deny": "--deny-address",
    "metadata": "--metadata",
}
_ABOVE_NOTHING: Final = re.compile(r"(?=.*[1-9])[0-9]+(\.[0-9]+)?")
# Limits whose value is a size or a word, with one that each could have.
_NO_NUMBERS: Final = {"message_size": "64KiB", "bytes_per_second": "1MiB", "on_exceed": "close"}
_BARE_NUMBER: Final = re.compile(r"[0-9]*\.?[0-9]+|[0-9]+\.")
_FORMS: Final = "write it as in `90d`, `2030-12-31` or `2030-12-31T23:59:59Z`, or `never`"


class Given(NamedTuple):
    """The options as they were given; None and () for those that were not."""

    routes: tuple[str, ...] = ()
    expires: str | None = None
    limits: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()


_FIELDS: Final = (
    click.option(
        "--routes",
        metavar="A,B",
        multiple=True,
        help="Routes it opens, by name (may be repeated); `all` opens all, also those to come.",
    ),
    click.option(
        "--expires",
        metavar="WHEN",
        help="A duration from now (90d), a moment (2030-12-31T23:59:59Z), a date (its first instant"
        " in UTC), or `never`.",
    ),
    click.option(
        "--limit",
        "limits",
        metavar="NAME=VALUE",
        multiple=True,
        help=f"As in connections=5 or message_size=64KiB (may be repeated); NAME=none takes the"
        f" limit away. There is {', '.join(KeyLimitFields.model_fields)}.",
    ),
    click.option(
        "--origin",
        "origins",
        metavar="ORIGIN",
        multiple=True,
        help="A page that may use it, as in https://app.example.com (may be repeated); `any` for"
        " every page.",
    ),
    click.option(
        "--address",
        "allow",
        metavar="CIDR",
        multiple=True,
        help="Clients that may use it, as in 10.0.0.0/8 (may be repeated); `any` for every"
        " address.",
    ),
    click.option(
        "--deny-address",
        "deny",
        metavar="CIDR",
        multiple=True,
        help="Clients that may not (may be repeated); `none` denies nobody.",
    ),
    click.option(
        "--metadata",
        metavar="K=V",
        multiple=True,
        help="Sent to the service as X-Wskeeper-Meta-K (may be repeated). `K=` takes it away,"
        " `none` takes all.",
    ),
)


def fields(command: _F) -> _F:
    """The options for all fields but the name; `Given` takes them by keyword."""
    for option in reversed(_FIELDS):
        command = option(command)
    return command


def read(
    given: Given, *, now: float, name: str | None = None, before: Key | None = None
) -> KeyFields:
    """The fields that were given.

    Args:
        given: the options.
        now: seconds since the epoch.
        name: the key's, None for not given.
        before: the key that is to be changed; None for a new one.

    Raises:
        click.UsageError: something cannot be taken.
    """
    data = _data(given, now, None if before is None else scope_of(before))
    if name is not None:
        data["name"] = name
    try:
        return read_key_fields(data, partial=before is not None)
    except FieldsInvalid as invalid:
        raise click.UsageError(
            "\n".join(
                f"{_option(fault.path)} {fault.problem}; {fault.mend}" for fault in invalid.faults
            )
        ) from None


def _option(path: str) -> str:
    """The option that the fault of a field belongs to."""
    field = next(field for field in _OPTIONS if path.startswith(field))
    entry = path.removeprefix(field).lstrip(".")
    return f"{_OPTIONS[field]} {entry}:" if entry[:1] not in {"", "["} else _OPTIONS[field]


def _data(given: Given, now: float, before: dict[str, Any] | None) -> dict[str, Any]:
    """What was given, by the names of the fields."""
    data: dict[str, Any] = {}
    if given.routes:
        named = [route.strip() for text in given.routes for route in text.split(",")]
        data["routes"] = _all_or("--routes", "all", named)
    if given.expires is not None:
        data["expires_at"] = _expiry(given.expires.strip(), now)
    if given.limits:
        data["limits"] = _limits(given.limits, before["limits"] if before else {})
    if given.origins:
        data["origins"] = _all_or("--origin", "any", given.origins)
    if given.allow or given.deny:
        data["addresses"] = dict(before["addresses"]) if before else {}
    if given.allow:
        data["addresses"]["allow"] = _all_or("--address", "any", given.allow)
    if given.deny:
        data["addresses"]["deny"] = _all_or("--deny-address", "none", given.deny) or []
    if given.metadata:
        data["metadata"] = _metadata(given.metadata, before["metadata"] if before else {})
    return data


def _all_or(option: str, word: str, entries: Sequence[str]) -> list[str] | None:
    """The entries; None for the word that clears them."""
    if list(entries) == [word]:
        return None
    if word in entries:
        raise click.UsageError(f"{option} {word} stands alone; remove it, or all others")
    return list(entries)


def _expiry(text: str, now: float) -> float | None:
    if text == "never":
        return None
    # In days, most would mean; for a duration it is seconds.
    if _BARE_NUMBER.fullmatch(text.strip()):
        raise click.UsageError(f"--expires {text} has no unit; {_FORMS}")
    try:
        # A minus stands in every moment and in no duration.
        at = moment(text) if "-" in text else now + duration(text)
    except Wrong as wrong:
        neither = wrong.problem in {"is not a duration", "is not a moment"}
        problem = "is neither a duration nor a moment" if neither else wrong.problem
        raise click.UsageError(f"--expires {problem}; {_FORMS}") from None
    if at <= now:
        raise click.UsageError(
            "--expires lies in the past; write a moment to come, or end the key with"
            " `wskeeper keys revoke`"
        )
    return at


def _limits(entries: Sequence[str], before: dict[str, Any]) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for entry in entries:
        name, equals, text = (part.strip() for part in entry.partition("="))
        value = _limit(name, text if equals else "")
        limit, _, direction = name.partition(".")
        if limit != "message_size":
            limits[limit] = value
        elif value is None and not direction:
            limits[limit] = {}
        else:
            sizes = limits.setdefault(limit, dict(before.get(limit) or {}))
            # A bare size is the client's, as in the configuration.
            sizes[direction or "client_to_upstream"] = value
    return limits


def _limit(name: str, text: str) -> str | int | float | None:
    """The value of a limit; sizes and words are read where those of a configuration are."""
    sizes = [f"message_size.{direction}" for direction in MessageSize.model_fields]
    known = [*KeyLimitFields.model_fields, *sizes]
    if name in NOT_OF_A_KEY:
        mend = "set it under `limits:` of the configuration"
        raise click.UsageError(f"--limit {name} {NOT_OF_A_KEY[name]}; {mend}")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        mend = f"did you mean `{near[0]}`?" if near else f"there is {_listed(known)}"
        raise click.UsageError(f"--limit `{name}` is not the name of a limit; {mend}")
    if text == "none":
        return None
    example = _NO_NUMBERS.get(name.partition(".")[0])
    if text and example:
        return text
    if example is None and _ABOVE_NOTHING.fullmatch(text):
        return float(text) if "." in text else int(text[:20])
    what = "value" if example else "number above 0"
    raise click.UsageError(
        f"--limit {name} has no {what}; write `{name}={example or 5}`, or `{name}=none`"
    )


def _metadata(entries: Sequence[str], before: dict[str, str]) -> dict[str, str]:
    if _all_or("--metadata", "none", entries) is None:
        return {}
    metadata = dict(before)
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals:
            raise click.UsageError(f"--metadata `{name}` has no value; write `{name}=VALUE`")
        # As header names they are compared without case.
        for other in [other for other in metadata if other.lower() == name.lower()]:
            del metadata[other]
        if value:
            metadata[name] = value
    return metadata


def check(fields: KeyFields, beside: Configured, digest: bytes | None = None) -> None:
    """Sees that the configuration has every route that was named, and no key like this one.

    Args:
        fields: of the key.
        beside: what the configuration says.
        digest: of the key's secret; None when that does not change.

    Raises:
        click.ClickException: it is otherwise.
    """
    for key in beside.keys:
        same = "name" if key.name == fields.name else "secret"
        if same == "name" or (digest is not None and key.secret(digest)):
            raise click.ClickException(
                f"the key `{key.name}` under `keys:` of {beside.file} has that {same} already"
            )
    known = beside.routes
    for route in fields.routes or ():
        if route not in known:
            near = difflib.get_close_matches(route, known, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise click.ClickException(
                f"`{route}` is not the name of a route of {beside.file}; {hint}there is"
                f" {_listed(known)}"
            )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)

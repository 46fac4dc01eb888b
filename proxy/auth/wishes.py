"""What whoever buys a ticket, or renews a session, may ask for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.config import values
from proxy.config.faults import Wrong
from proxy.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MAX_TEXT: Final = 256
_MAX_METADATA: Final = 16
_METADATA_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")


class Wish(NamedTuple):
    """What a ticket is to be.

    Args:
        route: the name of the route it opens; None for the only one.
        subject: whom the session is for.
        metadata: for the upstream.
        ttl: seconds for which it can be used.
        expires_in: seconds that its session may live; None for as long as the buyer's credential.
        origin: the only page that may use it, lower case.
    """

    route: str | None
    subject: str | None
    metadata: Mapping[str, str]
    ttl: float
    expires_in: float | None
    origin: bytes | None


class Renewal(NamedTuple):
    """Which session is to live on, and for how long.

    Args:
        session: its id.
        expires_in: seconds from now; None for as long as the credential.
    """

    session: str
    expires_in: float | None


def read_wish(body: Mapping[str, Any], *, longest: float) -> Wish:
    """The wish in a body.

    Args:
        longest: seconds that a ticket can be used at most, and unless less is asked for.

    Raises:
        Refused: `body_invalid`, with the field.
    """
    _refuse_others(body, Wish._fields)
    ttl = _duration(body, "ttl")
    if ttl is not None and ttl > longest:
        raise _invalid("ttl", f"is longer than {longest:g} s, which is what tickets last here")
    origin = _text(body, "origin")
    return Wish(
        route=_text(body, "route"),
        subject=_text(body, "subject"),
        metadata=_metadata(body.get("metadata")),
        ttl=longest if ttl is None else ttl,
        expires_in=_duration(body, "expires_in"),
        origin=None if origin is None else origin.lower().encode(),
    )


def read_renewal(body: Mapping[str, Any]) -> Renewal:
    """The renewal in a body.

    Raises:
        Refused: `body_invalid`, with the field.
    """
    _refuse_others(body, Renewal._fields)
    session = _text(body, "session")
    if session is None:
        raise _invalid("session", "is missing: it is the X-Request-Id of the session's 101")
    return Renewal(session, _duration(body, "expires_in"))


def _refuse_others(body: Mapping[str, Any], known: Iterable[str]) -> None:
    if not body.keys() <= set(known):
        raise Refused("body_invalid", f"Send no other fields than {', '.join(known)}.")


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    fits = isinstance(value, str) and 0 < len(value) <= _MAX_TEXT
    if not fits or not value.isprintable() or value != value.strip():
        raise _invalid(name, f"is not 1 to {_MAX_TEXT} printable characters")
    return str(value)


def _duration(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    try:
        return values.duration(value)
    except Wrong as wrong:
        raise _invalid(name, f"{wrong.problem}; {wrong.mend}") from None


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > _MAX_METADATA:
        raise _invalid("metadata", f"is not an object of at most {_MAX_METADATA} texts")
    for name, text in value.items():
        if not _METADATA_NAME.fullmatch(name):
            raise _invalid("metadata", "has a name that is not letters, digits and `-`")
        fits = isinstance(text, str) and len(text) <= _MAX_TEXT and text.isprintable()
        if not fits or text != text.strip():
            raise _invalid("metadata", f"has a value that is not {_MAX_TEXT} printable characters")
    if len({name.lower() for name in value}) < len(value):
        raise _invalid("metadata", "has a name in two spellings: headers have no case")
    return value


def _invalid(name: str, problem: str) -> Refused:
    return Refused("body_invalid", f"`{name}` {problem}.")

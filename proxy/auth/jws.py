"""The compact form of a signed token, `header.claims.signature` (RFC 7515 section 7.1).

It is read strictly. Nothing is verified: what comes out is what somebody wrote.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

# Bytes. Tokens with groups in them reach a few KiB; longer ones are not looked at.
MAX_TOKEN: Final = 16 * 1024

# An empty signature is how unsecured tokens look; no key ever made one.
_COMPACT: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")


class Malformed(ValueError):
    """No token in compact form; the message says what is wrong and quotes nothing of it."""


class Jws(NamedTuple):
    """A token taken apart.

    Args:
        header: its JOSE header.
        claims: its claims set (RFC 7519 section 4).
        signing_input: the bytes that the signature is over.
        signature: decoded.
    """

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signing_input: bytes
    signature: bytes


def parse(token: bytes) -> Jws:
    """Takes a token apart.

    Raises:
        Malformed: it is too long, not three canonical base64url parts, or its header or claims
            are no JSON object with unique names.
    """
    if len(token) > MAX_TOKEN:
        raise Malformed("The token is longer than 16 KiB.")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise Malformed("The token is not of the form header.claims.signature in base64url.")
    header, claims, signature = (_decoded(part) for part in parts.groups())
    return Jws(
        _object(header, "header"),
        _object(claims, "claims set"),
        token[: parts.start(3) - 1],
        signature,
    )


def _decoded(part: bytes) -> bytes:
    # A length of 4n + 1 and stray bits at the end decode in no way, or in one of many.
    if len(part) % 4 != 1:
        raw = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
        if base64.urlsafe_b64encode(raw).rstrip(b"=") == part:
            return raw
    raise Malformed("A part of the token is not base64url.")


def _object(raw: bytes, part: str) -> Mapping[str, Any]:
    try:
        value = _read(raw.decode())
    except (ValueError, RecursionError):
        value = None
    # Raised out here: the decoder's own error keeps hold of what it read.
    if not isinstance(value, dict):
        raise Malformed(f"The token's {part} is not a JSON object with unique names.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 7515 section 4 and RFC 7519 section 4: the last of several values would do, ours not."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands there twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _no_number(text: str) -> NoReturn:
    """`NaN` and `Infinity` are Python's, not JSON's."""
    raise ValueError(f"{text} is not JSON")


_read: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_number
).decode

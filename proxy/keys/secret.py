"""Secrets of our own making: `wsk_<id>_<secret><check>`.

The id is public and finds the key in a list; the secret has 190 random bits; the check finds a
typo without a look-up, and lets secret scanners recognise a leaked key.
"""

from __future__ import annotations

import re
import string
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX: Final = "wsk_"
_ALPHABET: Final = string.digits + string.ascii_letters
_ID_LENGTH: Final = 10
_SECRET_LENGTH: Final = 32
_CHECK_LENGTH: Final = 6

_FORM: Final = re.compile(
    f"{PREFIX}([0-9A-Za-z]{{{_ID_LENGTH}}})_[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECK_LENGTH}}}"
)


class Made(NamedTuple):
    """A new secret.

    Args:
        id: the public part, the id of the key it is made for.
        text: all of it: shown once, never kept.
    """

    id: str
    text: str


def make_secret(below: Callable[[int], int], id: str | None = None) -> Made:
    """Makes a new secret.

    Args:
        below: a random number below its argument, from a source nobody can predict.
        id: of the key it is for; None makes one.
    """
    public = _drawn(below, _ID_LENGTH) if id is None or not _fits(id) else id
    body = f"{PREFIX}{public}_{_drawn(below, _SECRET_LENGTH)}"
    return Made(public, body + _check(body))


def is_mistyped(secret: str) -> bool:
    """Whether a secret begins like one of ours and cannot be one."""
    if not secret.startswith(PREFIX):
        return False
    return not _FORM.fullmatch(secret) or _check(secret[:-_CHECK_LENGTH]) != secret[-_CHECK_LENGTH:]


def id_in(secret: str) -> str | None:
    """The public id within a secret of ours; None when it is none, or mistyped."""
    match = _FORM.fullmatch(secret)
    return None if match is None or is_mistyped(secret) else match[1]


def _fits(id: str) -> bool:
    return len(id) == _ID_LENGTH and id.isascii() and id.isalnum()


def _drawn(below: Callable[[int], int], length: int) -> str:
    return "".join(_ALPHABET[below(len(_ALPHABET))] for _ in range(length))


def _check(body: str) -> str:
    """CRC-32 in base 62: finds every single slip and every swap of neighbours."""
    rest = zlib.crc32(body.encode("ascii"))
    digits = []
    for _ in range(_CHECK_LENGTH):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))

"""Secrets of our own making: `wsk_<id>_<secret><check>`.

The id is public and finds the key in a list; the secret has 190 random bits; the check finds a
typo without a look-up, and lets secret scanners recognise a leaked key.
"""

from __future__ import annotations

import string
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX: Final = "wsk_"
_ALPHABET: Final = string.digits + string.ascii_letters
_ID_LENGTH: Final = 10
_SECRET_LENGTH: Final = 32
_CHECK_LENGTH: Final = 6


def make_secret(below: Callable[[int], int]) -> str:
    """Makes a new secret.

    Args:
        below: a random number below its argument, from a source nobody can predict.
    """
    public = "".join(_ALPHABET[below(len(_ALPHABET))] for _ in range(_ID_LENGTH))
    secret = "".join(_ALPHABET[below(len(_ALPHABET))] for _ in range(_SECRET_LENGTH))
    body = f"{PREFIX}{public}_{secret}"
    return body + _check(body)


def _check(body: str) -> str:
    """CRC-32 in base 62: finds every single slip and every swap of neighbours."""
    rest = zlib.crc32(body.encode("ascii"))
    digits = []
    for _ in range(_CHECK_LENGTH):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))

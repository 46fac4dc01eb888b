"""Where a credential travels (docs/ways-in.md): each carrier finds it in its place.

How it is checked is no business of a carrier (see `authenticator`), nor is keeping it from the
upstream (see `stripping`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from proxy.auth.presented import Found
from proxy.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.auth.presented import Presented

    IsOurs = Callable[[bytes], bool]

AMBIGUOUS = "Send exactly one credential, once."


class Carrier(Protocol):
    """One place of a request."""

    @property
    def challenge(self) -> str:
        """What WWW-Authenticate says of it (RFC 9110 section 11.6.1)."""

    def claim(self, presented: Presented, is_ours: IsOurs) -> Found | None:
        """The credential found there; None when there is none that could be ours.

        Raises:
            Refused: `key_ambiguous`: it stands there twice.
        """


@dataclass(frozen=True, slots=True)
class HeaderCarrier:
    """A header of its own, such as X-Api-Key: whatever stands in it is a credential."""

    name: bytes
    # The name in lower case.
    header: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", self.name.lower())

    @property
    def challenge(self) -> str:
        return f'ApiKey realm="wskeeper", header="{self.name.decode()}"'

    def claim(self, presented: Presented, is_ours: IsOurs) -> Found | None:
        del is_ours
        headers = presented.headers
        value = headers.one(self.header)
        if value is None and len(headers.all(self.header)) > 1:
            raise Refused("key_ambiguous", AMBIGUOUS)
        return Found(value, "key") if value else None


@dataclass(frozen=True, slots=True)
class BearerCarrier:
    """`Authorization: Bearer …` (RFC 6750); a token that cannot be ours is the application's."""

    challenge = 'Bearer realm="wskeeper"'

    def claim(self, presented: Presented, is_ours: IsOurs) -> Found | None:
        lines = presented.headers.all(b"authorization")
        tokens = [
            token.lstrip(b" ")
            for scheme, _, token in (line.partition(b" ") for line in lines)
            if scheme.lower() == b"bearer" and is_ours(token.lstrip(b" "))
        ]
        if tokens and len(lines) > 1:
            raise Refused("key_ambiguous", AMBIGUOUS)
        return Found(tokens[0], "key") if tokens else None

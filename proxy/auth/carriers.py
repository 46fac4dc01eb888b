"""Where a credential travels (the contract's 4.0-4.1): each carrier claims it and names its line.

How it is checked is no business of a carrier; see `authenticator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from proxy.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.model import Carrier as CarrierConfig
    from proxy.handshake.head import Headers

AMBIGUOUS = "Send exactly one credential, once."


class Carrier(Protocol):
    """One place of a request."""

    @property
    def header(self) -> bytes:
        """The header it reads: lower case, `_` read as `-`."""

    @property
    def challenge(self) -> str:
        """What WWW-Authenticate says of it (RFC 9110 section 11.6.1)."""

    def claim(self, headers: Headers, is_ours: Callable[[bytes], bool]) -> bytes | None:
        """The credential found there; None when there is none that could be ours.

        Raises:
            Refused: `key_ambiguous`: it stands there twice.
        """


@dataclass(frozen=True, slots=True)
class HeaderCarrier:
    """A header of its own, such as X-Api-Key: whatever stands in it is a credential."""

    name: bytes

    @property
    def header(self) -> bytes:
        return self.name.lower().replace(b"_", b"-")

    @property
    def challenge(self) -> str:
        return f'ApiKey realm="wskeeper", header="{self.name.decode()}"'

    def claim(self, headers: Headers, is_ours: Callable[[bytes], bool]) -> bytes | None:
        del is_ours
        values = headers.all(self.name.lower())
        if len(values) > 1:
            raise Refused("key_ambiguous", AMBIGUOUS)
        return values[0] if values and values[0] else None


@dataclass(frozen=True, slots=True)
class BearerCarrier:
    """`Authorization: Bearer …` (RFC 6750); a token that cannot be ours is the application's."""

    header = b"authorization"
    challenge = 'Bearer realm="wskeeper"'

    def claim(self, headers: Headers, is_ours: Callable[[bytes], bool]) -> bytes | None:
        lines = headers.all(b"authorization")
        tokens = [
            token.lstrip(b" ")
            for scheme, _, token in (line.partition(b" ") for line in lines)
            if scheme.lower() == b"bearer" and is_ours(token.lstrip(b" "))
        ]
        if tokens and len(lines) > 1:
            raise Refused("key_ambiguous", AMBIGUOUS)
        return tokens[0] if tokens else None


def carrier_of(config: CarrierConfig) -> Carrier:
    """The carrier that a configuration names."""
    if config.kind == "bearer":
        return BearerCarrier()
    return HeaderCarrier((config.header or "").encode())

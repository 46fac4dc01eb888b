"""What of a request can carry a credential, and what a carrier found there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from proxy.handshake.head import Headers


class Presented(NamedTuple):
    """Where carriers look.

    Args:
        headers: of the request.
        query: of its target, raw, with its `?`; empty when there is none.
    """

    headers: Headers
    query: bytes


class Found(NamedTuple):
    """A credential as it was sent; nothing says yet that it is any good.

    Args:
        credential: never empty.
        kind: `key` for keys and JWTs.
    """

    credential: bytes
    kind: Literal["key", "ticket"]

    def __repr__(self) -> str:
        """No log may show the credential."""
        return f"Found({self.kind})"

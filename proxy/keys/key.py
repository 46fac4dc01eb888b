"""A key: what the gateway knows of a credential, which is everything but the secret."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping


def digest_of(secret: bytes) -> bytes:
    """The SHA-256 of a secret: all that is kept, compared and looked up."""
    return hashlib.sha256(secret).digest()


@dataclass(frozen=True)
class Key:
    """One key.

    Args:
        id: public, stable.
        name: unique; what logs, metrics and upstreams call it.
        routes: names of the routes it opens; None for all.
        metadata: sent to the upstream as `X-Wskeeper-Meta-<name>`.
    """

    id: str
    name: str
    routes: frozenset[str] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def opens(self, route: str) -> bool:
        """Whether the key's scope holds a route."""
        return self.routes is None or route in self.routes

    @cached_property
    def headers(self) -> tuple[bytes, ...]:
        """The header lines that tell the upstream whose key this is."""
        pairs = [("Key-Id", self.id), ("Key-Name", self.name)]
        pairs += [(f"Meta-{name}", value) for name, value in self.metadata.items()]
        return tuple(f"X-Wskeeper-{name}: {_ascii(value)}".encode() for name, value in pairs)


def _ascii(value: str) -> str:
    """A header's value: what is not printable ASCII is percent-encoded as UTF-8."""
    return "".join(c if " " <= c <= "~" and c != "%" else quote(c, safe="") for c in value)

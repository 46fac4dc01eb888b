"""Tickets: what a key or token buys for a page that must not hold it (docs/clients.md).

A ticket can only narrow what its buyer may do. What it stands for is kept beside its digest until
it is used, once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Tickets that one buyer may have outstanding.
QUOTA: Final = 1000


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket stands for.

    Args:
        key_id: the key that bought it; None when a token did.
        digest: of that key's secret.
        route: the name of the one route it opens.
        session: the id that its session will have.
        subject: whom the session is for.
        metadata: for the upstream.
        origin: the only page that may use it, lower case; None for any that the route serves.
        until: when its session ends, in seconds since the epoch; None for as long as its key
            lives.
    """

    key_id: str | None
    digest: bytes
    route: str
    session: str
    subject: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    origin: bytes | None = None
    until: float | None = None

    @property
    def holder(self) -> str:
        """Whose quota it counts in."""
        return f"key:{self.key_id}" if self.key_id is not None else f"subject:{self.subject}"

    def text(self) -> str:
        """The ticket as a store keeps it."""
        kept = {
            "key_id": self.key_id,
            "digest": self.digest.hex(),
            "route": self.route,
            "session": self.session,
            "subject": self.subject,
            "metadata": dict(self.metadata),
            "origin": None if self.origin is None else self.origin.decode("latin-1"),
            "until": self.until,
        }
        return json.dumps(kept)

    @classmethod
    def read(cls, text: str) -> Ticket:
        """The ticket that a store has kept."""
        kept: dict[str, Any] = json.loads(text)
        origin = kept.pop("origin")
        return cls(
            **{
                **kept,
                "digest": bytes.fromhex(kept["digest"]),
                "origin": None if origin is None else origin.encode("latin-1"),
            }
        )


def narrowed(wished: Mapping[str, str], *said: Mapping[str, str]) -> dict[str, str]:
    """The metadata that a buyer may add to what is said of it: headers have no case."""
    taken = {name.lower() for metadata in said for name in metadata}
    return {name: text for name, text in wished.items() if name.lower() not in taken}

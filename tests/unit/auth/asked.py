"""Questions about handshakes, and stores that answer or do not."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from proxy.auth.presented import Presented
from proxy.auth.question import Question
from tests.unit.build import headers

if TYPE_CHECKING:
    from proxy.keys.principal import Principal

NOW = 1_700_000_000.0


@dataclass
class Trust:
    """How far the store may be believed."""

    up: bool = True
    fresh: bool = True


class NoTickets:
    """There are none."""

    async def redeem(self, ticket: bytes, question: Question) -> Principal:
        del ticket, question
        raise AssertionError("nobody sent a ticket")


def question(*lines: str | bytes, query: bytes = b"", **fields: Any) -> Question:
    """A question about a handshake with these header lines."""
    return Question(
        **{
            "id": "an-id",
            "presented": Presented(headers(*lines), query),
            "path": b"/chat",
            "route": "chat",
            "origin": None,
            "address": ip_address("192.0.2.7"),
            "now": NOW,
            **fields,
        }
    )

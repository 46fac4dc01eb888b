"""Sells tickets and takes them, each once, whichever gateway of a store it is shown to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.auth.tickets import QUOTA, Ticket
from proxy.errors import Refused
from proxy.keys.key import digest_of
from proxy.keys.principal import ticket_holder
from proxy.stores.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.auth.key_verifier import KeyVerifier
    from proxy.auth.question import Question
    from proxy.keys.principal import Principal
    from proxy.keys.ring import KeyRing

_INVALID = "The ticket you sent was used, is past its time, or is not for this; get a new one."
_AWAY = "The gateway cannot look tickets up at the moment; try again later."


class Drawer(Protocol):
    """Where tickets are kept; both may raise `StoreUnavailable`."""

    async def keep_ticket(
        self, digest: bytes, text: str, *, holder: str, until: float, quota: int
    ) -> bool:
        """Keeps a ticket; False when its holder has `quota` of them already."""

    async def take_ticket(self, digest: bytes) -> str | None:
        """Removes a ticket and returns its text; None when there is none that is still good."""


class TicketOffice:
    """The gateway's tickets.

    Args:
        drawer: where they are kept until they are used.
        ring: of all keys.
        keys: judges the key behind a ticket.
        secret: makes the text of a ticket that nobody can guess.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        drawer: Drawer,
        ring: KeyRing,
        keys: KeyVerifier,
        *,
        secret: Callable[[], str],
        wall: Callable[[], float],
    ) -> None:
        self._drawer = drawer
        self._ring = ring
        self._keys = keys
        self._secret = secret
        self._wall = wall

    async def sell(self, ticket: Ticket, *, ttl: float) -> str:
        """Makes a ticket out of what it stands for.

        Args:
            ttl: seconds for which it can be used.

        Raises:
            Refused: `ticket_quota` or `store_unavailable`.
        """
        text = self._secret()
        try:
            kept = await self._drawer.keep_ticket(
                digest_of(text.encode()),
                ticket.text(),
                holder=ticket.holder,
                until=self._wall() + ttl,
                quota=QUOTA,
            )
        except StoreUnavailable:
            raise Refused("store_unavailable", _AWAY) from None
        if not kept:
            raise Refused("ticket_quota", f"At most {QUOTA} tickets may wait to be used.")
        return text

    async def redeem(self, ticket: bytes, question: Question) -> Principal:
        """Uses a ticket up.

        Raises:
            Refused: `ticket_invalid`, `store_unavailable`, or what became of the key behind it.
        """
        try:
            text = await self._drawer.take_ticket(digest_of(ticket))
        except StoreUnavailable:
            raise Refused("store_unavailable", _AWAY) from None
        if text is None:
            raise Refused("ticket_invalid", _INVALID)
        stands_for = Ticket.read(text)
        if stands_for.route != question.route:
            raise Refused("ticket_invalid", _INVALID)
        if stands_for.origin is not None and stands_for.origin != question.origin:
            raise Refused("ticket_invalid", _INVALID)
        if stands_for.until is not None and stands_for.until <= question.now:
            raise Refused("ticket_invalid", _INVALID)
        key = None
        if stands_for.key_id is not None:
            key = self._ring.get(stands_for.key_id)
            if key is None:
                raise Refused("key_revoked", "The key that bought the ticket was revoked.")
        principal = ticket_holder(
            key,
            stands_for.digest,
            stands_for.subject,
            stands_for.metadata,
            until=stands_for.until,
            session=stands_for.session,
        )
        self._keys.check_again(principal, question)
        return principal

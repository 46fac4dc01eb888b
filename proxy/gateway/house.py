"""What all doors of a listener share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from proxy.deadlines import Deadlines
    from proxy.gateway.admission import Admission
    from proxy.gateway.plain import PlainHttp
    from proxy.routes import Route


class Opening(Protocol):
    """A connection whose caller or upstream is waited for."""

    def give_up(self) -> None:
        """Ends it at once: the client is gone, or the gateway is."""


class House:
    """What all doors of a listener share.

    Args:
        admission: judges and dials.
        plain: the gateway's own HTTP service.
        head_size: bytes of a request head.
        head_timeout: seconds for it to be complete.
        close_timeout: seconds for a client to answer a Close that ends its handshake.
        unauthenticated: how many sockets may be open whose caller is not known; None is no limit.
        secure: whether clients come over TLS.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        plain: PlainHttp,
        head_size: int,
        head_timeout: float,
        close_timeout: float,
        unauthenticated: int | None,
        secure: bool,
        deadlines: Deadlines,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.admission = admission
        self.plain = plain
        self.head_size = head_size
        self.close_timeout = close_timeout
        self.secure = secure
        self.deadlines = deadlines
        self.loop = loop
        self._unauthenticated = unauthenticated
        # Connections whose head is not complete.
        self.waiting = deadlines.lasting(head_timeout)
        # Sockets beyond their head whose caller is not known: they are to say who they are, are
        # being looked up, or hear their refusal in a Close frame.
        self.unproven = 0
        # Transports that were answered and are not gone yet.
        self.lingering: set[asyncio.Transport] = set()
        # Connections whose caller or upstream is waited for.
        self.opening: set[Opening] = set()

    def admits_unproven(self, route: Route) -> bool:
        """Whether one more socket may stay open whose caller is not known; counts what may not."""
        limit = self._unauthenticated
        if limit is None or self.unproven < limit:
            return True
        self.admission.account.note_limit(route.name, "unauthenticated", limit)
        return False

    async def close(self) -> None:
        """Ends what has not become a session: silent connections, handshakes, answered sockets."""
        for door in self.waiting.clear():
            door.overdue()
        for opening in list(self.opening):
            opening.give_up()
        for transport in list(self.lingering):
            transport.abort()
        await self.plain.close()

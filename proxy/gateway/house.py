"""What all doors of a listener share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

from proxy.gateway.limit_met import LimitMet
from proxy.gateway.request import described
from proxy.limits.limit import Limit
from proxy.sockets import give_up_after

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.deadlines import DeadlineQueue, Deadlines, Overdue
    from proxy.errors import Refused
    from proxy.gateway.admission import Admission
    from proxy.gateway.plain import PlainHttp
    from proxy.gateway.request import HandshakeRequest
    from proxy.routes import Route

_UNAUTHENTICATED: Final = "unauthenticated"
_CROWDED: Final = "Too many clients are being identified; try again later."


class Opening(Protocol):
    """A connection whose caller or upstream is waited for."""

    def give_up(self) -> None:
        """Ends it at once: the client is gone, or the gateway is."""


class HeadDeadlines:
    """Connections whose head is not complete, each with the deadline that held when it came."""

    def __init__(self, seconds: float, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._use(deadlines.lasting(seconds))
        # Of configurations before, as long as somebody is in them.
        self._earlier: list[DeadlineQueue] = []

    def _use(self, queue: DeadlineQueue) -> None:
        self._queue = queue
        # Begins a connection's deadline; returns the time on the loop's clock.
        self.add: Callable[[Overdue], float] = queue.add

    def __len__(self) -> int:
        return len(self._queue) + sum(map(len, self._earlier))

    def last(self, seconds: float) -> None:
        """Gives those that come from now on so much time."""
        queues = {id(queue): queue for queue in (*self._earlier, self._queue) if len(queue)}
        self._use(self._deadlines.lasting(seconds))
        queues.pop(id(self._queue), None)
        self._earlier = list(queues.values())

    def discard(self, door: Overdue) -> None:
        """Ends a connection's deadline, if it has one."""
        self._queue.discard(door)
        for queue in self._earlier:
            queue.discard(door)

    def clear(self) -> list[Overdue]:
        """Ends all deadlines; returns whose they were."""
        return [door for queue in (self._queue, *self._earlier) for door in queue.clear()]


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
        # The user timeout with which all accepted sockets come, in seconds; NaN, which is like
        # no other, when they come with more than one.
        self.user_timeout: float | None = None
        # Connections whose head is not complete.
        self.waiting = HeadDeadlines(head_timeout, deadlines)
        # Sockets beyond their head whose caller is not known: they are to say who they are, are
        # being looked up, or hear their refusal in a Close frame.
        self.unproven = 0
        # Transports that were answered and are not gone yet.
        self.lingering: set[asyncio.Transport] = set()
        # Connections whose caller or upstream is waited for.
        self.opening: set[Opening] = set()

    def adopt(
        self,
        *,
        head_size: int,
        head_timeout: float,
        close_timeout: float,
        unauthenticated: int | None,
    ) -> None:
        """Takes what a new configuration says, for connections to come."""
        self.head_size = head_size
        self.waiting.last(head_timeout)
        self.close_timeout = close_timeout
        self._unauthenticated = unauthenticated

    def crowded(self) -> LimitMet | None:
        """What a socket is refused with that may not stay open, its caller not being known."""
        limit = self._unauthenticated
        if limit is None or self.unproven < limit:
            return None
        return LimitMet(
            "gateway_connections",
            _CROWDED,
            Limit(_UNAUTHENTICATED, limit, "limits.unauthenticated"),
        )

    def has_room_for(self, request: HandshakeRequest, refused: Refused | None = None) -> bool:
        """Whether a client may stay that is to hear its refusal as a Close frame.

        If not, the limit is told of, since it is why the client is answered by HTTP; unless it
        is what the client was refused for.
        """
        crowded = self.crowded()
        is_told = isinstance(refused, LimitMet) and refused.limit.name == _UNAUTHENTICATED
        if crowded is not None and not is_told:
            fields = described(request, "", request.id)
            self.admission.account.note_limit(crowded.limit, fields)
        return crowded is None

    def hand_down(self, user_timeout: float | None) -> None:
        """Takes note that sockets come with another user timeout, after those of the one before."""
        if user_timeout != self.user_timeout:
            self.user_timeout = math.nan

    def hold_to(self, route: Route, transport: asyncio.Transport) -> None:
        """Has the kernel give up a client as its route says, where its listener said otherwise."""
        if route.user_timeout != self.user_timeout:
            sock = transport.get_extra_info("socket")
            if sock is not None:  # Some transports have none to show.
                give_up_after(sock, route.user_timeout)

    async def close(self) -> None:
        """Ends what has not become a session: silent connections, handshakes, answered sockets."""
        for door in self.waiting.clear():
            door.overdue()
        for opening in list(self.opening):
            opening.give_up()
        for transport in list(self.lingering):
            transport.abort()
        await self.plain.close()

"""One handshake's way along the targets of a route: the next when one cannot be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.deadlines import DeadlineQueue
from proxy.errors import Refused

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from proxy.handshake.head import AnswerHead
    from proxy.upstream.attempt import Attempt, Caller
    from proxy.upstream.pool import Member

    # Begins to dial one target, for a caller, with a deadline for the connection.
    Begin = Callable[[Member, Caller, DeadlineQueue | None], Attempt]

UNHEALTHY: Final = "No instance of the service behind this gateway is well; try again later."


class Series:
    """Attempts one after the other, until an upstream heard the request.

    A target that closes the connection without a byte of an answer counts as one that did not
    hear: that is what a service does that is just being stopped, and a GET may be sent again
    (RFC 9110 section 9.2.2).

    Args:
        order: whom to ask; nobody when all are unhealthy.
        begin: dials.
        caller: hears what became of it all, never before `start` has returned.
        patience: seconds for all connecting together; None is no limit.
    """

    __slots__ = ("_attempt", "_began", "_begin", "_caller", "_causes", "_left", "_loop", "_until")

    _attempt: Attempt  # Set by start, when anybody is asked.

    def __init__(
        self,
        order: Sequence[Member],
        begin: Begin,
        caller: Caller,
        *,
        patience: float | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._left = list(order)
        self._begin = begin
        # None once it has heard what it waits for, or left.
        self._caller: Caller | None = caller
        self._loop = loop
        self._began = loop.time()
        self._until = None if patience is None else self._began + patience
        # Why which target was not reached.
        self._causes: list[str] = []

    def start(self) -> None:
        """Dials the first target."""
        if self._left:
            self._next()
        else:
            self._loop.call_soon(self._refuse, Refused("upstream_unhealthy", UNHEALTHY))

    # A dial, for its caller --------------------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport:
        """The socket of the target that answered."""
        return self._attempt.transport

    @property
    def connected_in(self) -> float:
        """Seconds for names, TCP and TLS over all targets."""
        return self._attempt.began + self._attempt.connected_in - self._began

    @property
    def behind(self) -> bytes:
        """What came behind the answer's head so far."""
        return self._attempt.behind

    def read_body(self, caller: Caller) -> None:
        """Reads the body of a refusal until it is complete, long enough, or the socket ends."""
        self._attempt.read_body(caller)

    def cancel(self) -> None:
        """The caller does not want the answer any more."""
        self._caller = None
        self._left.clear()
        attempt = getattr(self, "_attempt", None)
        if attempt is not None:
            attempt.cancel()

    # A caller, for its attempts ----------------------------------------------------------------

    def answered(self, answer: AnswerHead) -> None:
        """A target gave its answer, whatever it is."""
        if self._caller is not None:
            self._caller.answered(answer)

    def unanswered(self, refused: Refused) -> None:
        """A target gave none: on to the next, unless this one heard the request."""
        attempt = self._attempt
        self._causes.append(f"{attempt.member.text}: {refused.cause}")
        unheard = refused.code == "upstream_unreachable" or not attempt.connected
        in_time = self._until is None or self._loop.time() < self._until
        if not (self._left and unheard and in_time):
            self._refuse(Refused(refused.code, refused.detail, cause="; ".join(self._causes)))
            return
        try:
            self._next()
        except Exception as failure:  # noqa: BLE001 - the caller makes a refusal of it
            self.broken(failure)

    def broken(self, failure: BaseException) -> None:
        """Dialling failed in a way that nobody foresaw."""
        if self._caller is not None:
            self._caller.broken(failure)

    def body_read(self, body: bytes) -> None:
        """Told to the caller itself."""

    # -------------------------------------------------------------------------------------------

    def _next(self) -> None:
        within = None
        if self._until is not None:
            # Each gets an equal share of what is left, so that one that is silent leaves some.
            share = (self._until - self._loop.time()) / len(self._left)
            within = DeadlineQueue(share, self._loop)
        self._attempt = self._begin(self._left.pop(0), self, within)

    def _refuse(self, refused: Refused) -> None:
        if self._caller is not None:
            self._caller.unanswered(refused)

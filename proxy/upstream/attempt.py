"""One upstream dialled once: a socket, the handshake on it, its answer.

An attempt is a protocol that calls back, not a coroutine that waits: every session pays for one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from proxy.errors import Refused
from proxy.handshake.answer import AnswerReader
from proxy.handshake.body import RefusalBody
from proxy.sockets import words_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.config.limit_fields import Timeouts
    from proxy.deadlines import DeadlineQueue, Deadlines
    from proxy.handshake.head import AnswerHead
    from proxy.upstream.pool import Member

UNREACHABLE: Final = "The service behind this gateway cannot be reached."
LATE: Final = "The service behind this gateway did not answer in time."


class Patience(NamedTuple):
    """How long a route's upstream may take; None for as long as it likes.

    Args:
        connect: until there is a connection.
        answer: from then on, until its answer's head is complete.
        body: of a refusal.
    """

    connect: DeadlineQueue | None
    answer: DeadlineQueue | None
    body: DeadlineQueue

    @classmethod
    def of(cls, timeouts: Timeouts, deadlines: Deadlines) -> Patience:
        """What a route's timeouts stand for."""
        connect, answer = timeouts.upstream_connect, timeouts.upstream_handshake
        return cls(
            None if connect is None else deadlines.lasting(connect),
            None if answer is None else deadlines.lasting(answer),
            deadlines.lasting(timeouts.close),
        )


class Caller(Protocol):
    """Who dialled; exactly one of the first three is called, once, unless the dial is cancelled."""

    def answered(self, answer: AnswerHead) -> None:
        """The upstream gave its answer, whatever it is; `Dial.transport` is the caller's now."""

    def unanswered(self, refused: Refused) -> None:
        """There is no answer: `upstream_unreachable`, `upstream_invalid` or `upstream_timeout`."""

    def broken(self, failure: BaseException) -> None:
        """Dialling failed in a way that nobody foresaw."""

    def body_read(self, body: bytes) -> None:
        """What `Dial.read_body` was asked for."""


class Attempt(asyncio.Protocol):
    """One upstream dialled once for one handshake, until its answer is complete.

    Args:
        member: the target; hears whether it could be connected to.
        request: the head to send.
        caller: hears what became of it.
        patience: with the upstream.
        attempts: those whose callers wait.
    """

    __slots__ = (
        "_attempts",
        "_behind",
        "_caller",
        "_cause",
        "_due",
        "_head",
        "_loop",
        "_patience",
        "_reader",
        "_refusal",
        "_task",
        "began",
        "connected",
        "connected_in",
        "member",
        "transport",
        "unsent",
    )

    transport: asyncio.Transport  # Set by connection_made.

    def __init__(
        self,
        member: Member,
        request: bytes,
        caller: Caller,
        patience: Patience,
        attempts: set[Attempt],
    ) -> None:
        self.member = member
        # Of the request, what is not in the socket yet.
        self.unsent = request
        # None once the caller has heard what it waits for.
        self._caller: Caller | None = caller
        self._patience = patience
        self._attempts = attempts
        self._due: DeadlineQueue | None = None
        self._cause = ""
        # Connects.
        self._task: asyncio.Task[Any] | None = None
        self._reader = AnswerReader()
        # Set once the answer's head is complete.
        self._head: AnswerHead | None = None
        self._behind = b""
        # Set while the body of a refusal is read.
        self._refusal: RefusalBody | None = None
        # Whether there was a connection; then in how many seconds for name, TCP and TLS.
        self.connected = False
        self.connected_in = 0.0

    def begin(
        self,
        connect: Callable[[], Awaitable[Any]],
        within: DeadlineQueue | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Begins to connect.

        Args:
            connect: calls this protocol's `connection_made` when it goes well.
            within: the deadline for that; None sets none.
        """
        self._loop = loop
        self.began = loop.time()
        self._attempts.add(self)
        if within is not None:
            self.expect_connection(within)
        self._task = loop.create_task(self._connect(connect), name="dial")

    def expect_connection(self, within: DeadlineQueue | None) -> None:
        """Sets the deadline for the connection, if there is to be one."""
        self._wait(within, "no connection in time")

    def cancel(self) -> None:
        """The caller does not want the answer any more."""
        self._caller = None
        self._stop()

    @property
    def behind(self) -> bytes:
        """What came behind the answer's head so far; whoever takes the socket over takes it too."""
        return self._behind

    def read_body(self, caller: Caller) -> None:
        """Reads the body of a refusal until it is complete, long enough, or the socket ends."""
        self._caller = caller
        self._attempts.add(self)
        self._wait(self._patience.body, "no body in time")
        assert self._head is not None
        self._refusal = RefusalBody(self._head.headers)
        self._read_on(self._behind, ended=self.transport.is_closing())

    # The socket --------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self._caller is None:
            self.transport.abort()
            return
        self.connected = True
        self.connected_in = self._loop.time() - self.began
        if self.member.failing:
            self.member.reached()
        if self.unsent:
            self.transport.write(self.unsent)
        self._wait(self._patience.answer, "no answer in time")

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            if self._refusal is None:
                self._behind += data
            else:
                self._read_on(data, ended=False)
            return
        try:
            result = self._reader.feed(data)
        except Refused as refused:
            self._refuse(refused)
            return
        if result is not None:
            self._head, self._behind = result
            self._conclude().answered(self._head)

    def eof_received(self) -> bool:
        self._hung_up()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._hung_up()
        del self.transport  # TLS keeps its last protocol; see Leg.let_go.

    def overdue(self) -> None:
        """The deadline is over."""
        self._due = None
        if self._head is not None:
            self._read_on(b"", ended=True)
            return
        if not self.connected:
            self.member.missed(self._loop.time(), self._cause)
        self._refuse(Refused("upstream_timeout", LATE, cause=self._cause))

    # Decisions ---------------------------------------------------------------------------------

    async def _connect(self, connect: Callable[[], Awaitable[Any]]) -> None:
        """Waits for the connection; when it goes well `connection_made` has been called."""
        try:
            await connect()
        except OSError as failure:
            self._task = None
            if self._caller is not None:
                cause = words_of(failure)
                self.member.missed(self._loop.time(), cause)
                self._refuse(Refused("upstream_unreachable", UNREACHABLE, cause=cause))
        except Exception as failure:  # noqa: BLE001 - the caller makes a refusal of it
            self._task = None
            if self._caller is not None:
                caller = self._conclude()
                self._stop()
                caller.broken(failure)
        else:
            self._task = None

    def _hung_up(self) -> None:
        if self._head is not None:
            self._read_on(b"", ended=True)
        elif self._reader.begun:
            self._refuse(Refused("upstream_invalid", UNREACHABLE, cause="it hung up half-way"))
        else:
            self._refuse(Refused("upstream_unreachable", UNREACHABLE, cause="it hung up at once"))

    def _refuse(self, refused: Refused) -> None:
        if self._caller is None:
            return
        caller = self._conclude()
        self._stop()
        caller.unanswered(refused)

    def _read_on(self, data: bytes, *, ended: bool) -> None:
        refusal = self._refusal
        if self._caller is None or refusal is None:
            return
        if refusal.feed(data) or ended:
            caller = self._conclude()
            self._stop()
            caller.body_read(refusal.taken)

    def _conclude(self) -> Caller:
        """The caller hears its one answer; nothing more is waited for."""
        caller = self._caller
        assert caller is not None
        self._caller = None
        if self._due is not None:
            self._patience_over()
        self._attempts.discard(self)
        return caller

    def _stop(self) -> None:
        """Drops whatever there is of a socket."""
        if self._due is not None:
            self._patience_over()
        self._attempts.discard(self)
        if self._task is not None:
            self._task.cancel()
        transport = getattr(self, "transport", None)
        if transport is not None:
            transport.abort()

    def _wait(self, within: DeadlineQueue | None, cause: str) -> None:
        if self._due is not None:
            self._patience_over()
        if within is not None:
            self._cause = cause
            self._due = within
            within.add(self)

    def _patience_over(self) -> None:
        assert self._due is not None
        self._due.discard(self)
        self._due = None

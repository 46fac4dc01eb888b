"""Opens the upstream's leg: a socket, TLS where asked for, the handshake on it, its answer.

A dial is a protocol that calls back, not a coroutine that waits: every session pays for one.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import aiohappyeyeballs

from proxy.errors import Refused
from proxy.handshake.answer import AnswerReader
from proxy.handshake.body import unframe
from proxy.upstream.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from proxy.deadlines import DeadlineQueue, Deadlines
    from proxy.handshake.head import AnswerHead
    from proxy.routes import Route
    from proxy.upstream.resolver import Resolver

# RFC 8305 section 5: how long an address has before the next one is tried beside it.
_ATTEMPT_DELAY: Final = 0.25

_UNREACHABLE: Final = "The service behind this gateway cannot be reached."
_LATE: Final = "The service behind this gateway did not answer in time."


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


class Dial(asyncio.Protocol):
    """One upstream dialled for one handshake, until its answer is complete.

    Args:
        route: whose upstream it is.
        request: the head to send.
        caller: hears what became of it.
        deadlines: of connecting and answering.
    """

    __slots__ = (
        "_body",
        "_caller",
        "_cause",
        "_deadlines",
        "_dials",
        "_due",
        "_head",
        "_loop",
        "_reader",
        "_request",
        "_task",
        "_timeouts",
        "began",
        "connected_in",
        "transport",
    )

    transport: asyncio.Transport  # Set by connection_made.

    def __init__(
        self, route: Route, request: bytes, caller: Caller, deadlines: Deadlines, dials: set[Dial]
    ) -> None:
        self._timeouts = route.timeouts
        self._request = request
        # None once the caller has heard what it waits for.
        self._caller: Caller | None = caller
        self._deadlines = deadlines
        self._dials = dials
        self._due: DeadlineQueue | None = None
        self._cause = ""
        # Connects; its result is this protocol's `connection_made`.
        self._task: asyncio.Task[Any] | None = None
        self._reader = AnswerReader()
        # Set once the answer's head is complete.
        self._head: AnswerHead | None = None
        self._body = b""
        # Seconds for name, TCP and TLS.
        self.connected_in = 0.0

    def begin(self, connecting: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> None:
        """Begins to connect."""
        self._loop = loop
        self.began = loop.time()
        self._dials.add(self)
        self._wait(self._timeouts.upstream_connect, "no connection in time")
        self._task = loop.create_task(connecting, name="dial")
        self._task.add_done_callback(self._connected)

    def cancel(self) -> None:
        """The caller does not want the answer any more."""
        self._caller = None
        self._stop()

    @property
    def behind(self) -> bytes:
        """What came behind the answer's head so far; whoever takes the socket over takes it too."""
        return self._body

    def read_body(self, caller: Caller) -> None:
        """Reads the body of a refusal until it is complete, long enough, or the socket ends."""
        self._caller = caller
        self._dials.add(self)
        self._wait(self._timeouts.close, "no body in time")
        self._look_at_body(ended=self.transport.is_closing())

    # The socket --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._caller is None:
            self.transport.abort()
            return
        self.connected_in = self._loop.time() - self.began
        self.transport.write(self._request)
        self._wait(self._timeouts.upstream_handshake, "no answer in time")

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._body += data
            self._look_at_body(ended=False)
            return
        try:
            result = self._reader.feed(data)
        except Refused as refused:
            self._refuse(refused)
            return
        if result is not None:
            self._head, self._body = result
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
            self._look_at_body(ended=True)
        else:
            self._refuse(Refused("upstream_timeout", _LATE, cause=self._cause))

    # Decisions ---------------------------------------------------------------------------------

    def _connected(self, task: asyncio.Task[Any]) -> None:
        """Connecting is over; when it went well `connection_made` has been called."""
        self._task = None
        if task.cancelled():
            return
        failure = task.exception()
        if failure is None or self._caller is None:
            return
        if isinstance(failure, OSError):
            self._refuse(Refused("upstream_unreachable", _UNREACHABLE, cause=_words(failure)))
        else:
            caller = self._conclude()
            self._stop()
            caller.broken(failure)

    def _hung_up(self) -> None:
        if self._head is not None:
            self._look_at_body(ended=True)
        elif self._reader.begun:
            self._refuse(Refused("upstream_invalid", _UNREACHABLE, cause="it hung up half-way"))
        else:
            self._refuse(Refused("upstream_unreachable", _UNREACHABLE, cause="it hung up at once"))

    def _refuse(self, refused: Refused) -> None:
        if self._caller is None:
            return
        caller = self._conclude()
        self._stop()
        caller.unanswered(refused)

    def _look_at_body(self, *, ended: bool) -> None:
        if self._caller is None or self._head is None:
            return
        body, complete = unframe(self._head.headers, self._body)
        if complete or ended:
            caller = self._conclude()
            self._stop()
            caller.body_read(body)

    def _conclude(self) -> Caller:
        """The caller hears its one answer; nothing more is waited for."""
        caller = self._caller
        assert caller is not None
        self._caller = None
        self._patience_over()
        self._dials.discard(self)
        return caller

    def _stop(self) -> None:
        """Drops whatever there is of a socket."""
        self._patience_over()
        self._dials.discard(self)
        if self._task is not None:
            self._task.cancel()
        transport = getattr(self, "transport", None)
        if transport is not None:
            transport.abort()

    def _wait(self, seconds: float | None, cause: str) -> None:
        self._patience_over()
        if seconds is not None:
            self._cause = cause
            self._due = self._deadlines.lasting(seconds)
            self._due.add(self)

    def _patience_over(self) -> None:
        if self._due is not None:
            self._due.discard(self)
            self._due = None


class Dialer:
    """Dials the upstreams of all routes.

    Args:
        routes: whose TLS settings are read now.
        resolver: of their names.
        deadlines: of connecting and answering.

    Raises:
        OSError: a TLS file cannot be used.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        resolver: Resolver,
        deadlines: Deadlines,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._resolver = resolver
        self._deadlines = deadlines
        self._loop = loop
        # Those whose callers wait.
        self._dials: set[Dial] = set()
        self._contexts = {
            route.name: client_context(route.upstream_tls)
            for route in routes
            if route.target.secure
        }

    def __len__(self) -> int:
        """How many handshakes wait for their upstream."""
        return len(self._dials)

    def dial(self, route: Route, request: bytes, caller: Caller) -> Dial:
        """Connects to a route's upstream and sends a request head; `caller` hears the answer."""
        dial = Dial(route, request, caller, self._deadlines, self._dials)
        target = route.target
        addresses = None
        if not target.secure and target.socket_path is None:
            addresses = self._resolver.known(target.host, target.port)
        if addresses is not None and len(addresses) == 1:  # The way of nearly all: no detour.
            host, port = addresses[0][4][:2]
            connecting: Coroutine[Any, Any, Any] = self._loop.create_connection(
                lambda: dial, host, port
            )
        else:
            connecting = self._connect(route, dial)
        dial.begin(connecting, self._loop)
        return dial

    async def _connect(self, route: Route, dial: Dial) -> None:
        loop, target = self._loop, route.target
        tls = self._contexts.get(route.name)
        secure: dict[str, Any] = {}
        if tls is not None:
            secure = {
                "ssl": tls,
                "server_hostname": route.upstream_tls.server_name or target.host,
                "ssl_handshake_timeout": route.timeouts.upstream_connect,
                "ssl_shutdown_timeout": route.timeouts.close,
            }
        if target.socket_path is not None:
            await loop.create_unix_connection(lambda: dial, target.socket_path)
            return
        addresses = await self._resolver.resolve(target.host, target.port)
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_ATTEMPT_DELAY, loop=loop
        )
        try:
            await loop.create_connection(lambda: dial, sock=sock, **secure)
        except BaseException:
            sock.close()
            raise


def _words(failure: OSError) -> str:
    """An operating system's or TLS library's failure, for the log."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return f"TLS: {failure.verify_message}"
    if isinstance(failure, ssl.SSLError):
        return f"TLS: {failure.reason or 'handshake failed'}"
    return failure.strerror or str(failure)

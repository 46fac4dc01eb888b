"""Opens the upstream's leg: a socket, TLS where asked for, the handshake on it, its answer."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import aiohappyeyeballs

from proxy.errors import Refused
from proxy.handshake.answer import AnswerReader
from proxy.handshake.body import unframe
from proxy.upstream.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.deadlines import DeadlineQueue, Deadlines
    from proxy.handshake.head import AnswerHead
    from proxy.routes import Route
    from proxy.upstream.resolver import Resolver

# RFC 8305 section 5: how long an address has before the next one is tried beside it.
_ATTEMPT_DELAY: Final = 0.25

_UNREACHABLE: Final = "The service behind this gateway cannot be reached."
_LATE: Final = "The service behind this gateway did not answer in time."


@dataclass(slots=True)
class Opened:
    """An upstream that has answered.

    Args:
        opening: its socket's protocol; whoever takes the socket over takes `opening.behind`, the
            bytes behind the answer, with it.
        answer: the final answer's head.
        connected_in: seconds for name, TCP and TLS.
    """

    opening: Opening
    answer: AnswerHead
    connected_in: float

    @property
    def transport(self) -> asyncio.Transport:
        return self.opening.transport


class Opening(asyncio.Protocol):
    """The upstream's socket until its answer is complete."""

    __slots__ = ("_answered", "_body", "_changed", "_closed", "_reader", "_request", "transport")

    transport: asyncio.Transport  # Set by connection_made.

    def __init__(self, request: bytes, answered: asyncio.Future[AnswerHead]) -> None:
        self._request = request
        self._answered = answered
        self._reader = AnswerReader()
        # What came behind the answer's head, kept for a refusal's body.
        self._body = b""
        self._closed = False
        self._changed: asyncio.Event | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._answered.done():
            self._keep(data)
            return
        try:
            result = self._reader.feed(data)
        except Refused as refused:
            self._fail(refused)
            return
        if result is not None:
            head, self._body = result
            self._answered.set_result(head)

    def eof_received(self) -> bool:
        self._hung_up()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._hung_up()

    def abort(self) -> None:
        """Drops the socket, if there is one yet."""
        transport = getattr(self, "transport", None)
        if transport is not None:
            transport.abort()

    async def body(self, headers: AnswerHead) -> bytes:
        """Reads the body of a refusal, until it is complete, long enough, or the socket ends."""
        self._changed = asyncio.Event()
        while True:
            body, complete = unframe(headers.headers, self._body)
            if complete or self._closed:
                return body
            self._changed.clear()
            await self._changed.wait()

    @property
    def behind(self) -> bytes:
        """What came behind the answer's head so far."""
        return self._body

    def _keep(self, data: bytes) -> None:
        self._body += data
        if self._changed is not None:
            self._changed.set()

    def _hung_up(self) -> None:
        self._closed = True
        if self._changed is not None:
            self._changed.set()
        if self._reader.begun:
            self._fail(Refused("upstream_invalid", _UNREACHABLE, cause="it hung up in mid-answer"))
        else:
            self._fail(Refused("upstream_unreachable", _UNREACHABLE, cause="it hung up at once"))

    def _fail(self, refused: Refused) -> None:
        if not self._answered.done():
            self._answered.set_exception(refused)


class Dialer:
    """Dials the upstreams of all routes.

    Args:
        routes: whose TLS settings are read now.
        resolver: of their names.
        deadlines: of connecting and answering.

    Raises:
        OSError: a TLS file cannot be used.
    """

    def __init__(self, routes: Iterable[Route], resolver: Resolver, deadlines: Deadlines) -> None:
        self._resolver = resolver
        self._deadlines = deadlines
        self._contexts = {
            route.name: client_context(route.upstream_tls)
            for route in routes
            if route.target.secure
        }

    async def open(self, route: Route, request: bytes) -> Opened:
        """Connects to a route's upstream, sends a request head and waits for the answer's.

        Raises:
            Refused: `upstream_unreachable`, `upstream_invalid` or `upstream_timeout`.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[AnswerHead] = loop.create_future()
        opening = Opening(request, answered)
        patience = _Patience(self._deadlines)
        began = loop.time()
        opened = None
        try:
            patience.begin(route.timeouts.upstream_connect, "no connection in time")
            await self._connect(loop, route, opening)
            connected_in = loop.time() - began
            patience.begin(route.timeouts.upstream_handshake, "no answer in time")
            opened = Opened(opening, await answered, connected_in)
        except asyncio.CancelledError:
            patience.check()
            raise
        except OSError as failure:
            raise Refused("upstream_unreachable", _UNREACHABLE, cause=_words(failure)) from None
        finally:
            patience.end()
            if opened is None:
                answered.cancel()
                opening.abort()
        return opened

    async def read_refusal(self, opened: Opened, route: Route) -> bytes:
        """The body of an upstream's 4xx or 5xx; its socket is closed afterwards."""
        patience = _Patience(self._deadlines)
        patience.begin(route.timeouts.close, "no body in time")
        try:
            return await opened.opening.body(opened.answer)
        except asyncio.CancelledError:
            with contextlib.suppress(Refused):
                patience.check()
                raise
            return unframe(opened.answer.headers, opened.opening.behind)[0]
        finally:
            patience.end()
            opened.opening.abort()

    async def _connect(
        self, loop: asyncio.AbstractEventLoop, route: Route, opening: Opening
    ) -> None:
        target = route.target
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
            await loop.create_unix_connection(lambda: opening, target.socket_path)
            return
        addresses = await self._resolver.resolve(target.host, target.port)
        if len(addresses) == 1:
            host, port = addresses[0][4][:2]
            await loop.create_connection(lambda: opening, host, port, **secure)
            return
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_ATTEMPT_DELAY, loop=loop
        )
        try:
            await loop.create_connection(lambda: opening, sock=sock, **secure)
        except BaseException:
            sock.close()
            raise


class _Patience:
    """Ends the current task's wait when a deadline is over."""

    __slots__ = ("_cause", "_deadlines", "_over", "_queue", "_task")

    def __init__(self, deadlines: Deadlines) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._deadlines = deadlines
        self._queue: DeadlineQueue | None = None
        self._cause = ""
        self._over = False

    def begin(self, seconds: float | None, cause: str) -> None:
        """Begins a deadline in place of the one before; None is no deadline."""
        self.end()
        if seconds is not None:
            self._cause = cause
            self._queue = self._deadlines.lasting(seconds)
            self._queue.add(self)

    def end(self) -> None:
        if self._queue is not None:
            self._queue.discard(self)
            self._queue = None

    def overdue(self) -> None:
        self._over = True
        self._task.cancel()

    def check(self) -> None:
        """Tells our cancellation from another's.

        Raises:
            Refused: `upstream_timeout`: it was the deadline, and nobody else wants the task ended.
        """
        if self._over and self._task.uncancel() == 0:
            raise Refused("upstream_timeout", _LATE, cause=self._cause) from None


def _words(failure: OSError) -> str:
    """An operating system's or TLS library's failure, for the log."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return f"TLS: {failure.verify_message}"
    if isinstance(failure, ssl.SSLError):
        return f"TLS: {failure.reason or 'handshake failed'}"
    return failure.strerror or str(failure)

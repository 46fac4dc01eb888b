"""One ordinary HTTP request to a route's upstream, with aiohttp's client.

Each has a connection of its own. A connection that serves one client's request after another's is
what request smuggling needs, and a service that closes a kept one just then fails a POST that
cannot be sent again. Connecting is the dialer's, so that names, TLS and targets are those of
handshakes; `_Way`, `_Request` and `_Reader` are the only touch of aiohttp's inside
(tests/unit/upstream/test_http_call.py fails loudly when it changes).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from aiohttp import (
    BaseConnector,
    ClientConnectorError,
    ClientError,
    ClientPayloadError,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    ServerDisconnectedError,
)
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from proxy.errors import Refused
from proxy.handshake.answer import MAX_ANSWER_HEAD
from proxy.handshake.head import MAX_HEADERS, AnswerHead, Headers, Malformed
from proxy.sockets import words_of
from proxy.upstream.attempt import LATE, UNREACHABLE
from proxy.upstream.series import UNHEALTHY

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterable, Callable, Sequence

    from aiohttp import ClientResponse
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.connector import Connection
    from aiohttp.http_parser import RawResponseMessage
    from aiohttp.streams import StreamReader
    from aiohttp.tracing import Trace

    from proxy.routes import Route
    from proxy.upstream.dialer import Dialer
    from proxy.upstream.pool import Member

# What travels is what the client sent, not what aiohttp would add.
_NOT_ADDED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_READ_SIZE: Final = 64 * 1024
# Answers before the answer: more than any service has to say in an hour.
_MAX_INTERIM: Final = 1000


class Asking(NamedTuple):
    """An ordinary request as one target is to hear it.

    Args:
        method: of the request.
        target: the raw request target.
        lines: of its header, a Content-Length included where the length is known.
    """

    method: bytes
    target: bytes
    lines: Sequence[bytes]


class UpstreamLost(Exception):
    """The upstream's answer ended before its end."""


class HttpCall:
    """A request under way to the upstream of a route; `close` it, whatever became of it.

    Args:
        dialer: knows the way to targets.
        route: whose upstream is asked.
    """

    def __init__(self, dialer: Dialer, route: Route, loop: asyncio.AbstractEventLoop) -> None:
        self._dialer = dialer
        self._route = route
        self._loop = loop
        # Of the target that is asked.
        self._session: ClientSession | None = None
        self._way: _Way | None = None
        # Set once there is an answer.
        self._response: ClientResponse | None = None

    async def ask(
        self,
        asking: Callable[[Member], Asking],
        body: AsyncIterable[bytes] | None,
        affinity: bytes,
    ) -> tuple[AnswerHead, bytes]:
        """Asks the first target that can be connected to.

        Connecting may take `timeouts.upstream_connect` over all targets; nothing limits the time
        until the answer, since long polls hold theirs back on purpose.

        Args:
            asking: the request for a target; called for each that is tried, when it is.
            body: sent in pieces as they come; None for none.
            affinity: equal ones go to the same target, where the route balances by hash.

        Returns:
            The answer's head, and its reason phrase.

        Raises:
            Refused: `upstream_unreachable`, `upstream_invalid`, `upstream_timeout`,
                `upstream_unhealthy`.
        """
        order = self._dialer.order(self._route, affinity)
        if not order:
            raise Refused("upstream_unhealthy", UNHEALTHY)
        patience = self._route.timeouts.upstream_connect
        until = None if patience is None else self._loop.time() + patience
        causes: list[str] = []
        while True:
            member = order.pop(0)
            # Each gets an equal share of what is left, so that one that is silent leaves some.
            left = None if until is None else until - self._loop.time()
            share = None if left is None else max(left, 0.0) / (len(order) + 1)
            try:
                return await self._ask(member, asking(member), body, share)
            except _Unreached as unreached:
                member.missed(self._loop.time(), unreached.cause)
                causes.append(f"{member.text}: {unreached.cause}")
                in_time = until is None or self._loop.time() < until
                if not (order and in_time):
                    raise unreached.refused("; ".join(causes)) from None
            await self.close()

    async def read(self) -> bytes:
        """The next piece of the answer's body as it comes; empty at its end.

        Raises:
            UpstreamLost: it ended before its end.
        """
        assert self._response is not None
        try:
            return await self._response.content.readany()
        except (ClientError, OSError):
            raise UpstreamLost from None

    async def close(self) -> None:
        """Ends it at once, unless the answer is complete."""
        if self._response is not None:
            self._response.close()
        if self._way is not None:
            self._way.abort()
        if self._session is not None:
            await self._session.close()
        self._response = self._way = self._session = None

    async def _ask(
        self,
        member: Member,
        asking: Asking,
        body: AsyncIterable[bytes] | None,
        patience: float | None,
    ) -> tuple[AnswerHead, bytes]:
        self._way = _Way(self._dialer, self._route, member, self._loop)
        self._session = ClientSession(
            connector=self._way,
            request_class=_Request,
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_ADDED,
            timeout=ClientTimeout(total=None, connect=patience, sock_connect=None),
            read_bufsize=_READ_SIZE,
            max_line_size=MAX_ANSWER_HEAD,
            max_field_size=MAX_ANSWER_HEAD,
            max_headers=MAX_HEADERS,
        )
        # aiohttp would ask again, as is right for a connection that was kept: ours never are.
        self._session._retry_connection = False  # noqa: SLF001
        try:
            response = self._response = await self._session.request(
                asking.method.decode("ascii"),
                _url(asking.target),
                headers=_pairs(asking.lines),
                data=None if body is None else _HeadFirst(body),
                allow_redirects=False,
            )
        except ConnectionTimeoutError:
            raise _Unreached("no connection in time", late=True) from None
        except ClientConnectorError as failure:
            raise _Unreached(words_of(failure.os_error), late=False) from None
        except ClientResponseError:
            raise _invalid("its answer is malformed") from None
        except ServerDisconnectedError as failure:
            if failure.message and not isinstance(failure.message, str):
                raise _invalid("it hung up half-way") from None
            raise _unreachable("it hung up at once") from None
        except (ClientError, OSError):
            raise _unreachable("it broke the connection") from None
        return _head_of(response), (response.reason or "").encode("utf-8", "surrogateescape")


class _Unreached(Exception):
    """A target could not be connected to, so it has heard nothing.

    Args:
        cause: for the log.
        late: whether that took too long.
    """

    def __init__(self, cause: str, *, late: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self._late = late

    def refused(self, cause: str) -> Refused:
        """What the client hears when no other target is left."""
        if self._late:
            return Refused("upstream_timeout", LATE, cause=cause)
        return Refused("upstream_unreachable", UNREACHABLE, cause=cause)


class _HeadFirst:
    """A body that lets go of its head at once: aiohttp keeps that back until the first piece."""

    def __init__(self, body: AsyncIterable[bytes]) -> None:
        self._pieces = aiter(body)
        self._begun = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._begun:
            return await anext(self._pieces)
        self._begun = True
        return b""


class _Way(BaseConnector):
    """The dialer's way to one target, for aiohttp."""

    def __init__(
        self, dialer: Dialer, route: Route, member: Member, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(force_close=True, limit=0, loop=loop)
        self._dialer = dialer
        self._route = route
        self._member = member
        # aiohttp's readers forget theirs when they close, however long that takes.
        self._opened: list[asyncio.Transport] = []

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - theirs
    ) -> ResponseHandler:
        """Connects, as aiohttp's own connectors do."""
        del traces, timeout
        protocol = _Reader(self._loop)
        try:
            await self._dialer.connect(self._route, self._member, lambda: protocol)
        except TimeoutError:
            raise
        except OSError as failure:
            raise ClientConnectorError(req.connection_key, failure) from failure
        assert protocol.transport is not None
        self._opened.append(protocol.transport)
        self._member.reached()
        return protocol

    def abort(self) -> None:
        """Drops what is left: closing would wait for a target that reads nothing."""
        for transport in self._opened:
            transport.abort()


class _Request(ClientRequest):
    """aiohttp's request, whose last write may come after the service has hung up."""

    async def write_bytes(
        self,
        writer: AbstractStreamWriter,
        conn: Connection,
        content_length: int | None = None,
    ) -> None:
        # It has closed the connection, and whoever reads the answer hears of that; of a failure
        # here nobody would.
        with contextlib.suppress(ClientError, OSError):
            await super().write_bytes(writer, conn, content_length)


class _Reader(ResponseHandler):
    """aiohttp's reader of answers, but for what it does where services break the rules."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        # Interim answers so far, and whether the one they announce has begun.
        self._interim = 0
        self._begun = False

    def data_received(self, data: bytes) -> None:
        # Heads go in one by one: else what makes no sense behind one would take it along, as the
        # body of an answer that has none.
        resumes = not data  # aiohttp wakes its parser so, once what it has is read.
        while data and not self._begun:
            if self._interim > _MAX_INTERIM:
                return
            head, end, data = data.partition(b"\r\n\r\n")
            super().data_received(head + end)
        if data or resumes:
            super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        if data[0].code >= 200 or data[0].code == 101:
            self._begun = True
        else:
            self._interim += 1
        super().feed_data(data, size)
        if self._interim > _MAX_INTERIM and self.transport is not None:
            self.set_exception(HttpProcessingError())
            self.transport.abort()

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        self._break_off()
        super().set_exception(exc, *cause)

    def close(self) -> None:
        self._break_off()
        super().close()

    def _break_off(self) -> None:
        """Whoever reads the body waits for that alone, and would for ever."""
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(ClientPayloadError())


def _url(target: bytes) -> URL:
    """A URL of which aiohttp sends these very bytes; where to is the dialer's to know."""
    return URL.build(scheme="http", host="upstream", path=target.decode("ascii"), encoded=True)


def _pairs(lines: Sequence[bytes]) -> CIMultiDict[str]:
    # aiohttp takes a line for a correction of the one before whose name is spelled otherwise.
    spelled: dict[str, str] = {}
    pairs: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.decode("utf-8", "surrogateescape").partition(": ")
        pairs.add(spelled.setdefault(name.lower(), name), value)
    return pairs


def _head_of(response: ClientResponse) -> AnswerHead:
    """The head by our own grammar: aiohttp reads those of services more kindly than theirs."""
    block = b"".join([b"%b: %b\r\n" % line for line in response.raw_headers])
    if len(block) > MAX_ANSWER_HEAD:
        raise _invalid("its answer head is larger than 64 KiB")
    try:
        headers = Headers(block)
    except Malformed:
        raise _invalid("its answer head is malformed") from None
    return AnswerHead(response.status, headers)


def _invalid(cause: str) -> Refused:
    return Refused("upstream_invalid", UNREACHABLE, cause=cause)


def _unreachable(cause: str) -> Refused:
    return Refused("upstream_unreachable", UNREACHABLE, cause=cause)

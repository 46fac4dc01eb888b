"""Plain HTTP on the public listener: aiohttp's part of it, and every touch of aiohttp's inside.

A request for one of the gateway's own services goes to aiohttp. When the next request begins on
the same connection, the connection comes back to a front door: balancers send their health checks
and their clients' upgrades over the same kept-alive connections, and only the door judges. A
connection whose request had a body is closed behind the answer. (aiohttp is pinned to one minor
version for this; tests/integration/test_plain_http.py fails loudly when it changes.)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.errors import Refused
from proxy.handshake.client import LOCAL, peer_address
from proxy.handshake.http_body import body_of
from proxy.handshake.reply import problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import StreamReader

    from proxy.gateway.front import FrontDoor
    from proxy.handshake.client import Address
    from proxy.handshake.head import RequestHead


class Service(Protocol):
    """Something that is answered over plain HTTP."""

    async def answer(
        self, request: web.BaseRequest, head: RequestHead, peer: Address
    ) -> web.Response:
        """Answers one request.

        Args:
            request: its body is still to be read.
            head: as the front door parsed it.
            peer: who sent it.
        """


# Bytes of a next request that wait for the answer to this one; then nothing more is read.
MAX_EARLY: Final = 64 * 1024

# Seconds an idle connection is kept for the next request.
KEEP_ALIVE: Final = 75.0

# Seconds for a request's unread body to end before the connection is closed.
_BODY_LINGER: Final = 2.0


class PlainHttp:
    """The gateway's own HTTP services on the public listener.

    Args:
        health_path: answers 200, or 503 when `ready` says no; None switches it off.
        ready: whether new sessions are welcome.
        services: what answers at each further path.
        door: makes a front door, for a client whose address is not the socket's peer or None.
    """

    def __init__(
        self,
        *,
        health_path: str | None,
        ready: Callable[[], bool],
        services: Mapping[bytes, Service],
        door: Callable[[Address | None], FrontDoor],
        head_size: int,
    ) -> None:
        self._ready = ready
        self.door = door
        self.adopt(health_path=health_path, services=services, head_size=head_size)
        self._server = web.Server(self._handle)

    def adopt(
        self, *, health_path: str | None, services: Mapping[bytes, Service], head_size: int
    ) -> None:
        """Takes what a new configuration says; requests under way keep their service."""
        self._health_path = None if health_path is None else health_path.encode("ascii")
        self._services = services
        self._head_size = head_size

    def serves(self, head: RequestHead) -> bool:
        """Whether a request is for one of these services.

        One that offers `Upgrade: h2c` is, as that may be declined (RFC 9110 section 7.8).
        """
        if head.target != self._health_path and head.target not in self._services:
            return False
        return not head.headers.lists(b"upgrade", b"websocket")

    def take(
        self,
        transport: asyncio.Transport,
        head: RequestHead,
        raw: bytes,
        rest: bytes,
        source: Address | None,
    ) -> None:
        """Hands a connection to aiohttp for one request.

        Args:
            transport: of the connection.
            head: the request's, parsed.
            raw: its head as it came.
            rest: what arrived behind it.
            source: the client's address, where it is not the socket's peer; else None.

        Raises:
            Refused: `bad_request`: two readers could differ on where its body ends.
        """
        takes_body = not body_of(head).complete
        handler = _Handler(self, self._server, self._head_size, head, source, takes_body)
        handler.service = self._services.get(head.target)
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(raw)
        if rest:
            handler.data_received(rest)

    async def close(self) -> None:
        """Closes the connections that are aiohttp's."""
        await self._server.shutdown(timeout=1.0)

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        handler = request.protocol
        assert isinstance(handler, _Handler)
        service = handler.service
        if service is not None:
            return await service.answer(request, handler.head, handler.peer())
        if request.method not in {"GET", "HEAD"}:
            return _refusal(
                Refused("method_not_allowed", "Ask with GET or HEAD.", (("Allow", "GET, HEAD"),))
            )
        ready = self._ready()
        return web.Response(
            status=200 if ready else 503,
            text="ready\n" if ready else "not ready\n",
            headers={"Cache-Control": "no-store", "Server": "wskeeper"},
        )


def _refusal(refused: Refused) -> web.Response:
    answer = web.Response(
        status=refused.row.status,
        body=problem(refused),
        content_type="application/problem+json",
        headers={"X-Wskeeper-Code": refused.code, "Server": "wskeeper", **dict(refused.headers)},
    )
    answer.force_close()
    return answer


class _Handler(RequestHandler):
    """One request in aiohttp's hands; what comes behind it belongs to the next one."""

    __slots__ = (
        "_answered",
        "_body",
        "_next",
        "_plain",
        "_server",
        "_source",
        "_takes_body",
        "head",
        "service",
    )

    def __init__(
        self,
        plain: PlainHttp,
        server: web.Server,
        head_size: int,
        head: RequestHead,
        source: Address | None,
        takes_body: bool,  # noqa: FBT001 - made in one place
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEP_ALIVE,
            max_line_size=head_size,
            max_field_size=head_size,
            lingering_time=_BODY_LINGER,
            auto_decompress=False,
        )
        self._plain = plain
        self._server = server
        self.head = head
        # What answers; None for the health check.
        self.service: Service | None = None
        self._source = source
        self._takes_body = takes_body
        # Set once the head is parsed.
        self._body: StreamReader | None = None
        # What arrived behind the request; it waits for the answer.
        self._next = b""
        # Set once the answer is written and the connection is to be kept.
        self._answered = False

    def peer(self) -> Address:
        """The address of whoever sent the request: a client, or a proxy in front of it."""
        if self._source is not None or self.transport is None:
            return self._source or LOCAL
        return peer_address(self.transport.get_extra_info("peername"))

    def data_received(self, data: bytes) -> None:
        if self._takes_body or not self._request_count:
            super().data_received(data)
            if self._body is None and self._messages:
                self._body = self._messages[0][1]
            if self._request_count > 1:
                self._end_body()
            return
        self._next += data
        if self._answered:
            self._return()
        elif len(self._next) > MAX_EARLY and self.transport is not None:
            self.transport.pause_reading()

    def _end_body(self) -> None:
        """What came is no more of the body; whoever still waits for that is told so."""
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(web.RequestPayloadError())

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Writes the answer; then a next request that waits goes back to a door."""
        if self._takes_body:
            resp.force_close()
        answered = await super().finish_response(request, resp, start_time)
        if resp.keep_alive and self.transport is not None:
            self._answered = True
            if self._next:
                self._return()
        return answered

    def _return(self) -> None:
        """Gives the connection, and what arrived on it, back to a front door."""
        transport = self.transport
        assert transport is not None
        self.keep_alive(False)
        self.transport = None
        self.force_close()
        self._server.connection_lost(self, None)
        transport.resume_reading()
        self._plain.door(self._source).resume(transport, self._next)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers in our words: those of aiohttp quote the request."""
        del request, exc, message
        code = "internal_error" if status >= 500 else "bad_request"
        return _refusal(Refused(code))

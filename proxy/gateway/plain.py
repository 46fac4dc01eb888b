"""Plain HTTP on the public listener: aiohttp's part of it, and every touch of aiohttp's inside.

A request for one of the gateway's own services goes to aiohttp with all its bytes. When the next
request begins on the same connection, the connection comes back to a front door: balancers send
their health checks and their clients' upgrades over the same kept-alive connections, and only the
door judges. (aiohttp is pinned to one minor version for this; tests/integration/test_plain.py
fails loudly when it changes.)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.errors import Refused
from proxy.handshake.reply import problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.gateway.front import FrontDoor
    from proxy.handshake.head import RequestHead

# Seconds an idle connection is kept for the next request.
KEEP_ALIVE: Final = 75.0

# Seconds for a request's unread body to end before the connection is closed.
_BODY_LINGER: Final = 2.0


class PlainHttp:
    """The gateway's own HTTP services on the public listener.

    Args:
        health_path: answers 200, or 503 when `ready` says no; None switches it off.
        ready: whether new sessions are welcome.
        door: makes a front door.
    """

    def __init__(
        self,
        *,
        health_path: str | None,
        ready: Callable[[], bool],
        door: Callable[[], FrontDoor],
        head_size: int,
    ) -> None:
        self._health_path = None if health_path is None else health_path.encode("ascii")
        self._ready = ready
        self.door = door
        self._head_size = head_size
        self._server = web.Server(self._handle)

    def serves(self, head: RequestHead) -> bool:
        """Whether a request is for one of these services."""
        return head.target == self._health_path and b"upgrade" not in head.headers

    def take(self, transport: asyncio.Transport, data: bytes) -> None:
        """Hands a connection to aiohttp, with what was read from it so far."""
        handler = _Handler(self, self._server, self._head_size)
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    async def close(self) -> None:
        """Closes the connections that are aiohttp's."""
        await self._server.shutdown(timeout=1.0)

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        if request.raw_path.encode() != self._health_path:
            return _refusal(Refused("bad_request", "Wait for each answer before the next request."))
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
    """aiohttp's connection, which lets go of the socket when the next request begins."""

    __slots__ = ("_plain", "_server")

    def __init__(self, plain: PlainHttp, server: web.Server, head_size: int) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEP_ALIVE,
            max_line_size=head_size,
            max_field_size=head_size,
            lingering_time=_BODY_LINGER,
        )
        self._plain = plain
        self._server = server

    def data_received(self, data: bytes) -> None:
        if self._between_requests():
            self._return(data)
        else:
            super().data_received(data)

    def _between_requests(self) -> bool:
        """Whether at least one answer was given whole and nothing of a next request is here."""
        waiter = self._waiter
        return (
            self._request_count > 0
            and waiter is not None
            and not waiter.done()
            and self.transport is not None
        )

    def _return(self, data: bytes) -> None:
        """Gives the connection, and what just arrived on it, back to a front door."""
        transport = self.transport
        assert transport is not None
        self.keep_alive(False)
        self.transport = None
        self.force_close()
        self._server.connection_lost(self, None)
        self._plain.door().resume(transport, data)

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

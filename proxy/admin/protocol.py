"""The admin listener's connections: aiohttp's, without aiohttp's own error pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.admin.answers import refusing, translated
from proxy.admin.problems import Problem

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.logs import Logger

# Seconds that an idle connection is kept, and that the rest of a refused body is read.
_KEEPALIVE: Final = 75.0
_LINGERING: Final = 1.0


class AdminProtocol(web.RequestHandler):
    """One connection.

    Args:
        server: of the application's runner.
        log: where failures of ours go.
        loop: on which it runs.
    """

    __slots__ = ("_log", "when_lost")

    def __init__(self, server: web.Server, *, log: Logger, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=_KEEPALIVE,
            lingering_time=_LINGERING,
            access_log=None,  # type: ignore[arg-type]  # what switches it off
            auto_decompress=False,  # No body here is worth a bomb.
        )
        self._log = log
        # Told when the client goes, by a handler that waits for something else.
        self.when_lost: Callable[[], None] | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.when_lost is not None:
            self.when_lost()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answers; what aiohttp refused before any handler saw it becomes a problem of ours."""
        if isinstance(resp, web.HTTPException):
            resp = refusing(translated(resp))
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers what is no HTTP, or failed outside every handler; the connection ends."""
        del message  # It quotes the request.
        if isinstance(exc, ConnectionError):
            raise exc  # The client is gone.
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer is sent already")
        if status >= 500:
            self._log.error("internal_error", listener="admin", failure=exc)
        answer = refusing(Problem("internal_error" if status >= 500 else "bad_request"))
        answer.force_close()
        return answer

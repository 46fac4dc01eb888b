"""A further listener for machines alone: probes and metrics, nothing that changes anything."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin.answers import add_common_headers, refusing, translated
from proxy.admin.probes import Probes
from proxy.admin.problems import Problem
from proxy.admin.protocol import AdminProtocol
from proxy.listeners import address_of, listen

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware

    from proxy.config.values import Address
    from proxy.logs import Logger
    from proxy.metrics.scrape import Metrics


class MetricsListener:
    """Serves `/metrics`, `/livez` and `/readyz` to whoever reaches it, without a token.

    Args:
        address: where.
        metrics: what `/metrics` shows.
        ready: whether new sessions are welcome.
        draining: whether the gateway is going away.
    """

    def __init__(
        self,
        address: Address,
        metrics: Metrics,
        *,
        ready: Callable[[], bool],
        draining: Callable[[], bool],
        log: Logger,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._address = address
        self._log = log
        self._loop = loop
        app = web.Application(middlewares=[_answering_problems(log)])
        app.on_response_prepare.append(add_common_headers)
        Probes(metrics, ready=ready, draining=draining).mount(app)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        # Set by start.
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begins to listen.

        Raises:
            CannotListen: the address is taken or may not be used.
        """
        await self._runner.setup()
        assert self._runner.server is not None
        self._server = await listen(
            self._address,
            partial(AdminProtocol, self._runner.server, log=self._log, loop=self._loop),
            name="metrics.listen",
        )
        self._log.info(
            "listening", listener="metrics", address=address_of(self._server, self._address)
        )

    async def close(self) -> None:
        """Stops, with whatever it serves."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()


def _answering_problems(log: Logger) -> Middleware:
    @web.middleware
    async def answering_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ConnectionError:
            raise  # The client is gone.
        except web.HTTPException as failure:
            return refusing(translated(failure))
        except Exception as failure:  # noqa: BLE001 - a scrape that fails is no reason to end
            return _failed(log, failure)

    return answering_problems


def _failed(log: Logger, failure: Exception) -> web.Response:
    log.error("internal_error", listener="metrics", failure=failure)
    return refusing(Problem("internal_error"))

"""The operators' listener as a whole: begins, stops, and is gone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin.access import Access, tokens_of
from proxy.admin.failures import TokenFailures
from proxy.admin.protocol import AdminProtocol
from proxy.admin.server import application
from proxy.config.values import UnixAddress
from proxy.listeners import address_of, listen

if TYPE_CHECKING:
    import asyncio
    import ssl

    from prometheus_client import CollectorRegistry

    from proxy.admin.desk import AdminDesk
    from proxy.admin.try_page.page import TryPage
    from proxy.config.model import Admin, Timeouts
    from proxy.logs import Logger


class AdminListener:
    """Serves the admin application where the configuration says.

    Args:
        desk: the gateway.
        metrics: what `/metrics` shows.
        admin: the section of the configuration; its `listen` is set.
        timeouts: of TLS handshakes and closes.
        tls: None for plain TCP.
        try_page: the demo's page; None for no such page.
    """

    def __init__(
        self,
        desk: AdminDesk,
        metrics: CollectorRegistry,
        admin: Admin,
        timeouts: Timeouts,
        log: Logger,
        loop: asyncio.AbstractEventLoop,
        *,
        tls: ssl.SSLContext | None,
        try_page: TryPage | None = None,
    ) -> None:
        assert admin.listen is not None
        self._listen = admin.listen
        self._timeouts = timeouts
        self._log = log
        self._loop = loop
        self._tls = tls
        access = Access(
            tokens_of(admin),
            unix=isinstance(admin.listen, UnixAddress),
            failures=TokenFailures(loop.time),
        )
        self._runner = web.AppRunner(
            application(
                desk,
                metrics=metrics,
                access=access,
                public_metrics=admin.public_metrics,
                try_page=try_page,
            ),
            access_log=None,
            handle_signals=False,
        )
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
            self._listen,
            partial(AdminProtocol, self._runner.server, log=self._log, loop=self._loop),
            name="admin.listen",
            tls=self._tls,
            handshake_timeout=self._timeouts.handshake,
            close_timeout=self._timeouts.close,
        )
        self._log.info(
            "listening", listener="admin", address=address_of(self._server, self._listen)
        )

    async def close(self) -> None:
        """Stops, with whatever it serves."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

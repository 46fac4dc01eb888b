"""The operators' listener as a whole: begins, stops, and is gone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin.access import Access, tokens_of
from proxy.admin.desk import DESK
from proxy.admin.failures import TokenFailures
from proxy.admin.protocol import AdminProtocol
from proxy.admin.server import application, open_metrics
from proxy.config.values import UnixAddress
from proxy.listeners import address_of, listen

if TYPE_CHECKING:
    import asyncio
    import ssl

    from proxy.admin.desk import AdminDesk
    from proxy.admin.hosting import Pages
    from proxy.admin.logins import Logins
    from proxy.admin.try_page.page import TryPage
    from proxy.config.limit_fields import Timeouts
    from proxy.config.model import Admin
    from proxy.logs import Logger
    from proxy.metrics.scrape import Metrics


class AdminListener:
    """Serves the admin application where the configuration says.

    Args:
        desk: the gateway.
        metrics: what `/metrics` shows.
        admin: the section of the configuration; its `listen` is set.
        timeouts: of TLS handshakes and closes.
        tls: None for plain TCP.
        try_page: the demo's page; None for no such page.
        pages: the console; None for none.
        logins: those of the console.
    """

    def __init__(
        self,
        desk: AdminDesk,
        metrics: Metrics,
        admin: Admin,
        timeouts: Timeouts,
        log: Logger,
        loop: asyncio.AbstractEventLoop,
        *,
        tls: ssl.SSLContext | None,
        try_page: TryPage | None = None,
        pages: Pages | None = None,
        logins: Logins | None = None,
    ) -> None:
        assert admin.listen is not None
        self._listen = admin.listen
        self._timeouts = timeouts
        self._log = log
        self._loop = loop
        self._tls = tls
        self._access = Access(
            tokens_of(admin),
            unix=isinstance(admin.listen, UnixAddress),
            failures=TokenFailures(loop.time),
            logins=logins,
        )
        self._app = application(
            desk,
            metrics=metrics,
            access=self._access,
            public_metrics=admin.public_metrics,
            try_page=try_page,
            pages=pages,
        )
        self._runner = web.AppRunner(self._app, access_log=None, handle_signals=False)
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

    def adopt(self, admin: Admin) -> None:
        """Takes the tokens of a new configuration, and who may see the metrics."""
        tokens = tokens_of(admin)
        if tokens != self._access.tokens:
            self._app[DESK].events.hang_up()  # Who follows shows a token again.
        self._access.tokens = tokens
        open_metrics(self._app, to_all=admin.public_metrics)

    async def close(self) -> None:
        """Stops, with whatever it serves."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

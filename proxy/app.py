"""The composition root: the one room that knows every other."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from proxy.admin.desk import AdminDesk
from proxy.admin.listener import AdminListener
from proxy.callers import Callers, client_services
from proxy.deadlines import Deadlines
from proxy.gateway.admission import Admission
from proxy.gateway.front import FrontDoor
from proxy.gateway.house import House
from proxy.gateway.plain import PlainHttp
from proxy.keys.made import fixed
from proxy.keys.ring import KeyRing
from proxy.listeners import address_of, affordable, listen
from proxy.metrics.collector import GatewayCollector
from proxy.proxied import listen_proxied
from proxy.routes import RouteTable
from proxy.sessions.bookkeeper import Bookkeeper
from proxy.sessions.closing import Closing
from proxy.sessions.drain import Drain
from proxy.sessions.ledger import Ledger
from proxy.sessions.registry import Registry
from proxy.sessions.revocation import Revocation
from proxy.sessions.sweeper import Sweeper
from proxy.stores.keeper import StoreKeeper
from proxy.stores.open import open_store, place_of
from proxy.tls_files import TlsFiles
from proxy.upstream.upstreams import Upstreams

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from proxy.admin.try_page.page import TryPage
    from proxy.config.model import Config
    from proxy.handshake.client import Address
    from proxy.listeners import Listener
    from proxy.logs import Logger

# Request ids drawn from the kernel at a time.
_IDS_PER_DRAW: Final = 64

# Seconds for the last batch of usage.
_LAST_BATCH: Final = 3.0

# Turns of the event loop that closing sockets may take to be reported.
_LAST_TURNS: Final = 20


class Gateway:
    """A gateway for one configuration.

    Args:
        config: valid.
        log: where events go.
        loop: on which it will run.
        try_page: what the demo shows on the admin listener; else None.

    Raises:
        OSError, ValueError: a TLS file cannot be used.
        CannotLoad: a plugin cannot be used.
        UnusableKeys: the secret for tokens does not fit its algorithms.
    """

    def __init__(
        self,
        config: Config,
        log: Logger,
        loop: asyncio.AbstractEventLoop,
        *,
        try_page: TryPage | None = None,
    ) -> None:
        self._config = config
        self._log = log
        self._loop = loop
        ledger = Ledger(loop.time, time.time)
        self.registry = Registry(Closing(loop), ledger)
        self.sweeper = Sweeper(self.registry, time.time, loop)
        self.ring = KeyRing(map(fixed, config.keys))
        self.ring.schedule(time.time())
        routes = RouteTable.of(config)
        deadlines = Deadlines(loop)
        self.keeper = self._new_keeper()
        self.bookkeeper = Bookkeeper(self.registry, ledger, self.keeper, log)
        self.callers = Callers(
            config, self.keeper, self.ring, ticket=_new_ticket, wall=time.time, log=log, loop=loop
        )
        self.revocation = Revocation(
            self.registry, self.callers.keys, partial(_binds, routes), time.time
        )
        self.tls_files = TlsFiles(log, loop)
        self.upstreams = Upstreams(
            routes,
            load=self.registry.occupancy.of,
            noise=secrets.token_bytes,
            deadlines=deadlines,
            log=log,
            loop=loop,
            context=self.tls_files.upstream,
        )
        self.admission = self._new_admission(routes, deadlines)
        self._tls = None if config.tls is None else self.tls_files.listener("public", config.tls)
        self.house = self._new_house(routes, deadlines)
        # Set when the gateway begins to go away.
        self.leaving = False
        self.metrics = self._metrics()
        self._admin = self._admin_listener(try_page)
        # Set by start.
        self._public: Listener | None = None

    def door(self, peer: Address | None = None) -> FrontDoor:
        """A protocol for a connection just accepted.

        Args:
            peer: its client, where the socket's own peer is a balancer; else None.
        """
        return FrontDoor(self.house, peer)

    def ready(self) -> bool:
        """Whether new sessions are welcome."""
        return self.keeper.up and not self.leaving

    async def start(self) -> None:
        """Opens the store and begins to listen.

        Raises:
            StoreUnavailable: the store cannot be used.
            CannotListen: an address is taken or may not be used.
        """
        config = self._config
        await self.keeper.start()
        self.bookkeeper.start()
        self.callers.start()
        self.tls_files.start()
        if self._admin is not None:
            await self._admin.start()
        self._public = await self._listen()
        self.sweeper.start()
        self._log.info(
            "listening", listener="public", address=address_of(self._public, config.listen)
        )
        self._log.info(
            "started",
            routes=len(config.routes),
            keys=len(self.ring),
            stop_grace_s=config.drain.timeout,
        )
        self.upstreams.start()

    async def _listen(self) -> Listener:
        """The public listener, as the configuration wants it."""
        config = self._config
        if config.proxy_protocol:
            return listen_proxied(
                config.listen,
                self.door,
                name="listen",
                trusted=config.trusted_proxies,
                at_most=self.admission.total_connections,
                log=self._log,
                loop=self._loop,
                tls=self._tls,
                handshake_timeout=config.timeouts.handshake,
                close_timeout=config.timeouts.close,
            )
        return await listen(
            config.listen,
            self.door,
            name="listen",
            tls=self._tls,
            handshake_timeout=config.timeouts.handshake,
            close_timeout=config.timeouts.close,
        )

    async def drain(self) -> None:
        """Lets nobody in any more and ends every session, as `drain` of the configuration says."""
        settings = self._config.drain
        deadline = self._loop.time() + settings.timeout
        self.leaving = True
        self._log.info("draining", sessions=len(self.registry))
        if settings.delay:
            await asyncio.sleep(settings.delay)
        self.admission.draining = True
        if self._public is not None:
            self._public.close()
        drain = Drain(
            self.registry,
            lambda: len(self.house.opening),
            spread=settings.spread,
            shuffle=random.SystemRandom().shuffle,
            log=self._log,
            loop=self._loop,
        )
        await drain.run(deadline)

    async def close(self) -> None:
        """Stops at once; whatever is left is aborted."""
        self.leaving = self.admission.draining = True
        if self._public is not None:
            self._public.close()
        await self.house.close()
        for session in self.registry:
            session.abort()
        self.sweeper.stop()
        await self.upstreams.close()
        await self.callers.close()
        await self.tls_files.close()
        if self._admin is not None:
            await self._admin.close()
        for _ in range(_LAST_TURNS):  # The loop has yet to report the aborted sockets as lost.
            if not self.registry:
                break
            await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):  # A store that hangs keeps nobody from going.
            await asyncio.wait_for(self.bookkeeper.close(), _LAST_BATCH)
        await self.keeper.close()
        self._log.info("stopped")

    # Parts -------------------------------------------------------------------------------------

    def _new_keeper(self) -> StoreKeeper:
        config = self._config
        return StoreKeeper(
            place_of(config.store),
            partial(open_store, config.store, create=True),
            self.ring,
            grace=config.store_grace,
            on_change=self._keys_changed,
            wall=time.time,
            log=self._log,
            loop=self._loop,
        )

    def _new_admission(self, routes: RouteTable, deadlines: Deadlines) -> Admission:
        config = self._config
        return Admission(
            routes=routes,
            authenticator=self.callers.authenticator,
            dialer=self.upstreams.dialer,
            registry=self.registry,
            trusted_proxies=config.trusted_proxies,
            address_header=config.client_address_header.lower().encode("ascii"),
            total_connections=affordable(config.limits.total_connections, self._log),
            new_id=_unguessable_ids(),
            wall=time.time,
            deadlines=deadlines,
            log=self._log,
            loop=self._loop,
        )

    def _new_house(self, routes: RouteTable, deadlines: Deadlines) -> House:
        config = self._config
        services = client_services(
            config, routes, self.callers, self.registry, self.admission.new_id, self._log
        )
        return House(
            admission=self.admission,
            plain=PlainHttp(
                health_path=config.health_path,
                ready=self.ready,
                services=services,
                door=self.door,
                head_size=config.limits.head_size,
            ),
            head_size=config.limits.head_size,
            head_timeout=config.timeouts.handshake,
            close_timeout=config.timeouts.close,
            unauthenticated=config.limits.unauthenticated,
            secure=self._tls is not None,
            deadlines=deadlines,
            loop=self._loop,
        )

    def _keys_changed(self, ids: Collection[str]) -> None:
        self.revocation.reconsider(ids)

    def _admin_listener(self, try_page: TryPage | None) -> AdminListener | None:
        config = self._config
        if config.admin.listen is None:
            return None
        desk = AdminDesk(
            keeper=self.keeper,
            registry=self.registry,
            config=lambda: self._config,
            log=self._log,
            now=time.time,
            below=secrets.randbelow,
            version=version("wskeeper"),
            started_at=time.time(),
            connections_limit=self.admission.total_connections,
            ready=self.ready,
            draining=lambda: self.leaving,
        )
        return AdminListener(
            desk,
            self.metrics,
            config.admin,
            config.timeouts,
            self._log,
            self._loop,
            tls=(
                None
                if config.admin.tls is None
                else self.tls_files.listener("admin", config.admin.tls)
            ),
            try_page=try_page,
        )

    def _metrics(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        registry.register(
            GatewayCollector(
                [route.name for route in self._config.routes],
                self.admission,
                lambda: self.sweeper.lag,
                lambda: self.tls_files.ends,
                leaving=lambda: self.leaving,
                keys=self.ring,
                store_up=lambda: self.keeper.up,
                upstreams=self.upstreams.states,
                wall=time.time,
            )
        )
        return registry


def _unguessable_ids() -> Callable[[], str]:
    """Ids of 128 random bits; drawn in batches, since asking the kernel is what costs."""
    drawn: list[str] = []

    def next_id() -> str:
        if not drawn:
            noise = secrets.token_hex(16 * _IDS_PER_DRAW)
            drawn.extend(noise[at : at + 32] for at in range(0, len(noise), 32))
        return drawn.pop()

    return next_id


def _new_ticket() -> str:
    """The text of a ticket: 192 random bits."""
    return "wst_" + secrets.token_urlsafe(24)


def _binds(routes: RouteTable, name: str) -> bool:
    """Whether a route, by its name, refuses callers at all."""
    route = routes.get(name)
    return route is not None and route.auth == "required"

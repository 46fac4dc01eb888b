"""The composition root: the one room that knows every other."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.adoption import hand_down_patience, rules_of
from proxy.auth.standing import Standing
from proxy.callers import Callers, client_services
from proxy.deadlines import Deadlines
from proxy.gateway.account import Account
from proxy.gateway.admission import Admission
from proxy.gateway.front import FrontDoor
from proxy.gateway.house import House
from proxy.gateway.limiter import Counters
from proxy.gateway.plain import PlainHttp
from proxy.keys.made import fixed
from proxy.keys.ring import KeyRing
from proxy.listeners import address_of, affordable, listen
from proxy.operating import admin_listener_of, metrics_listener_of, metrics_of
from proxy.proxied import listen_proxied
from proxy.reloading import Reloading
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
from proxy.unguessable import new_ticket, unguessable_ids
from proxy.upstream.upstreams import Upstreams

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from proxy.admin.try_page.page import TryPage
    from proxy.config.load import Loaded
    from proxy.config.model import Config
    from proxy.events import EventRing
    from proxy.gateway.rules import ReloadRecord
    from proxy.handshake.client import Address
    from proxy.listeners import Listener
    from proxy.logs import Logger

# Seconds for the last batch of usage.
_LAST_BATCH: Final = 3.0

# Turns of the event loop that closing sockets may take to be reported.
_LAST_TURNS: Final = 20


class Gateway:
    """A gateway for one configuration.

    Args:
        config: valid.
        log: where events go.
        events: what `log` is heard by.
        loop: on which it will run.
        set_level: says anew which events `log` is to write.
        reread: reads the configuration again; None where there is no file.
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
        events: EventRing,
        set_level: Callable[[str], None],
        reread: Callable[[], Loaded] | None = None,
        try_page: TryPage | None = None,
    ) -> None:
        self.config = config
        self.log = log
        self.set_level = set_level
        self.loop = loop
        ledger = Ledger(loop.time, time.time)
        self.registry = Registry(Closing(loop), ledger)
        self.registry.key_totals.keep(kept=config.metrics.per_key)
        self.sweeper = Sweeper(self.registry, wall=time.time, noise=secrets.token_bytes, loop=loop)
        self.ring = KeyRing(map(fixed, config.keys))
        self.ring.schedule(time.time())
        routes = RouteTable.of(config)
        deadlines = Deadlines(loop)
        self.keeper = self._new_keeper()
        self.bookkeeper = Bookkeeper(self.registry, ledger, self.keeper, log)
        self.callers = Callers(
            config, self.keeper, self.ring, ticket=new_ticket, wall=time.time, log=log, loop=loop
        )
        self.standing = Standing(self.callers.keys, routes)
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
        self.counters = Counters()
        self.admission = self._new_admission(routes, deadlines)
        self.revocation = Revocation(
            self.registry, self.standing, time.time, self.admission.exchanges
        )
        self._tls = None if config.tls is None else self.tls_files.listener("public", config.tls)
        self.house = self._new_house(routes, deadlines)
        # Set when the gateway begins to go away.
        self.leaving = False
        # Names of the routes that have metrics.
        self.measured = [route.name for route in config.routes]
        self.reloading = Reloading(self, reread)
        self.metrics = metrics_of(self)
        self.scraped = metrics_listener_of(self)
        self.admin = admin_listener_of(self, events, deadlines, try_page)
        # Set by start.
        self.public: Listener | None = None

    @property
    def reloads(self) -> ReloadRecord:
        """How reading the configuration again went."""
        return self.reloading.record

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
        config = self.config
        await self.keeper.start()
        self.bookkeeper.start()
        self.callers.start()
        self.tls_files.start()
        for listener in (self.admin, self.scraped):
            if listener is not None:
                await listener.start()
        self.public = await self._listen()
        self.house.user_timeout = hand_down_patience(self.public, self.admission.rules.routes)
        self.sweeper.start()
        self.log.info(
            "listening", listener="public", address=address_of(self.public, config.listen)
        )
        self.log.info(
            "started",
            routes=len(config.routes),
            keys=len(self.ring),
            stop_grace_s=config.drain.timeout,
        )
        self.upstreams.start()

    async def _listen(self) -> Listener:
        """The public listener, as the configuration wants it."""
        config = self.config
        if config.proxy_protocol:
            return listen_proxied(
                config.listen,
                self.door,
                name="listen",
                trusted=config.trusted_proxies,
                at_most=self.admission.total_connections,
                log=self.log,
                loop=self.loop,
                tls=self._tls,
                handshake_timeout=config.timeouts.handshake,
                close_timeout=config.timeouts.close,
            )
        return await listen(
            config.listen,
            partial(FrontDoor, self.house),
            name="listen",
            tls=self._tls,
            handshake_timeout=config.timeouts.handshake,
            close_timeout=config.timeouts.close,
        )

    async def drain(self) -> None:
        """Lets nobody in any more and ends every session, as `drain` of the configuration says."""
        settings = self.config.drain
        deadline = self.loop.time() + settings.timeout
        self.leaving = True
        self.log.info("draining", sessions=len(self.registry))
        if settings.delay:
            await asyncio.sleep(settings.delay)
        self.admission.draining = True
        if self.public is not None:
            self.public.close()
        drain = Drain(
            self.registry,
            lambda: len(self.house.opening),
            spread=settings.spread,
            shuffle=random.SystemRandom().shuffle,
            log=self.log,
            loop=self.loop,
        )
        await drain.run(deadline)

    async def close(self) -> None:
        """Stops at once; whatever is left is aborted."""
        self.leaving = self.admission.draining = True
        if self.public is not None:
            self.public.close()
        await self.house.close()
        for session in self.registry:
            session.abort()
        await self.reloading.close()
        self.sweeper.stop()
        await self.upstreams.close()
        await self.callers.close()
        await self.tls_files.close()
        for listener in (self.admin, self.scraped):
            if listener is not None:
                await listener.close()
        for _ in range(_LAST_TURNS):  # The loop has yet to report the aborted sockets as lost.
            if not self.registry:
                break
            await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):  # A store that hangs keeps nobody from going.
            await asyncio.wait_for(self.bookkeeper.close(), _LAST_BATCH)
        await self.keeper.close()
        self.log.info("stopped")

    # Parts -------------------------------------------------------------------------------------

    def _new_keeper(self) -> StoreKeeper:
        config = self.config
        return StoreKeeper(
            place_of(config.store),
            partial(open_store, config.store, create=True),
            self.ring,
            grace=config.store_grace,
            on_change=self._keys_changed,
            wall=time.time,
            log=self.log,
            loop=self.loop,
        )

    def _new_admission(self, routes: RouteTable, deadlines: Deadlines) -> Admission:
        config = self.config
        return Admission(
            rules=rules_of(
                config,
                routes,
                self.callers,
                self.upstreams.dialer,
                registry=self.registry,
                counters=self.counters,
            ),
            account=Account(self.registry, self.log),
            registry=self.registry,
            total_connections=affordable(config.limits.total_connections, self.log),
            new_id=unguessable_ids(),
            wall=time.time,
            deadlines=deadlines,
            log=self.log,
            loop=self.loop,
        )

    def _new_house(self, routes: RouteTable, deadlines: Deadlines) -> House:
        config = self.config
        services = client_services(
            config,
            routes,
            self.callers,
            self.registry,
            limiter=self.admission.rules.limiter,
            account=self.admission.account,
            new_id=self.admission.new_id,
            clock=self.loop.time,
            log=self.log,
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
            loop=self.loop,
        )

    def _keys_changed(self, ids: Collection[str]) -> None:
        self.revocation.reconsider(ids)

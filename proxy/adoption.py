"""A new configuration on its way into force.

First everything is made that may fail, and nobody notices. Then all of it takes its place in one
turn of the event loop, so that no handshake and no session ever sees half of it. What is not
needed any more ends behind that.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from proxy.callers import Callers, client_services, unvouched
from proxy.gateway.limiter import Limiter
from proxy.gateway.rules import Rules
from proxy.keys.made import fixed
from proxy.listeners import affordable
from proxy.proxied import ProxiedListener
from proxy.routes import NO_ROUTE, RouteTable
from proxy.sockets import give_up_after
from proxy.unguessable import new_ticket

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.admin.listener import AdminListener
    from proxy.auth.standing import Standing
    from proxy.config.model import Config
    from proxy.gateway.admission import Admission
    from proxy.gateway.house import House
    from proxy.gateway.limiter import Counters
    from proxy.keys.ring import KeyRing
    from proxy.listeners import Listener
    from proxy.logs import Logger
    from proxy.sessions.registry import Registry
    from proxy.sessions.revocation import Revocation
    from proxy.stores.keeper import StoreKeeper
    from proxy.tls_files import TlsFiles
    from proxy.upstream.dialer import Dialer
    from proxy.upstream.upstreams import Upstreams


class Parts(Protocol):
    """The parts of a gateway that a configuration says something to."""

    config: Config
    leaving: bool
    log: Logger
    loop: asyncio.AbstractEventLoop
    set_level: Callable[[str], None]
    registry: Registry
    ring: KeyRing
    keeper: StoreKeeper
    callers: Callers
    standing: Standing
    revocation: Revocation
    tls_files: TlsFiles
    upstreams: Upstreams
    counters: Counters
    admission: Admission
    house: House
    # Names of the routes that have metrics; changed in place.
    measured: list[str]
    public: Listener | None
    admin: AdminListener | None


class Adoption:
    """One configuration that is to replace the one in force.

    Args:
        parts: of the gateway.
        config: valid; what needs a restart is as in the one in force.

    Raises:
        OSError, ValueError: a TLS file cannot be used.
        CannotLoad: a plugin cannot be used.
        UnusableKeys: the secret for tokens does not fit its algorithms.
    """

    def __init__(self, parts: Parts, config: Config) -> None:
        self._parts = parts
        self._config = config
        self._routes = RouteTable.of(config, before=parts.admission.rules.routes)
        self._callers = Callers(
            config,
            parts.keeper,
            parts.ring,
            ticket=new_ticket,
            wall=time.time,
            log=parts.log,
            loop=parts.loop,
            before=parts.callers,
        )
        self._certificates = self._other_certificates()
        try:
            self._plan = parts.upstreams.plan(self._routes)
        except BaseException:
            parts.tls_files.forget_upstreams_but(parts.upstreams.contexts)
            raise
        # Set by take.
        self._former: Callers | None = None

    def _other_certificates(self) -> list[Callable[[], None]]:
        """What puts other certificates of the listeners into force."""
        before, after = self._parts.config, self._config
        return [
            self._parts.tls_files.other_listener(name, other)
            for name, tls, other in (
                ("public", before.tls, after.tls),
                ("admin", before.admin.tls, after.admin.tls),
            )
            if other is not None and other != tls
        ]

    def take(self) -> int:
        """Puts the configuration in force; returns how many sessions it ends."""
        parts, config = self._parts, self._config
        before, parts.config = parts.config, config
        parts.set_level(config.log.level)
        parts.keeper.grace = config.store_grace
        parts.registry.key_totals.keep(kept=config.metrics.per_key)
        parts.ring.replace_fixed(map(fixed, config.keys))
        parts.ring.schedule(time.time())
        for take in self._certificates:
            take()
        parts.upstreams.adopt(self._plan)
        parts.tls_files.forget_upstreams_but(parts.upstreams.contexts)
        self._former, parts.callers = parts.callers, self._callers
        self._callers.start()
        self._open_doors()
        if parts.admin is not None:
            parts.admin.adopt(config.admin)
        parts.standing.adopt(
            self._routes,
            generation=parts.admission.rules.generation,
            distrusted=unvouched(before, config),
        )
        self._measure(before)
        return parts.revocation.reconsider_all()

    def _open_doors(self) -> None:
        """Says to what listens what it is to do with clients."""
        parts, config = self._parts, self._config
        rules = rules_of(
            config,
            self._routes,
            self._callers,
            self._plan.dialer,
            registry=parts.registry,
            counters=parts.counters,
            generation=parts.admission.rules.generation + 1,
        )
        parts.admission.adopt(
            rules,
            parts.standing,
            total_connections=affordable(config.limits.total_connections, parts.log),
        )
        parts.house.adopt(
            head_size=config.limits.head_size,
            head_timeout=config.timeouts.handshake,
            close_timeout=config.timeouts.close,
            unauthenticated=config.limits.unauthenticated,
        )
        parts.house.plain.adopt(
            health_path=config.health_path,
            services=client_services(
                config,
                self._routes,
                self._callers,
                parts.registry,
                limiter=rules.limiter,
                account=parts.admission.account,
                new_id=parts.admission.new_id,
                clock=parts.loop.time,
                log=parts.log,
            ),
            head_size=config.limits.head_size,
        )
        parts.house.hand_down(hand_down_patience(parts.public, self._routes))
        if isinstance(parts.public, ProxiedListener):
            parts.public.trusted = config.trusted_proxies
            parts.public.at_most = parts.admission.total_connections

    def _measure(self, before: Config) -> None:
        """Measures the routes of now, and those of before until a later reload."""
        parts = self._parts
        alive = {session.route for session in parts.registry}
        named = (route.name for config in (self._config, before) for route in config.routes)
        parts.measured[:] = dict.fromkeys((*named, *alive))
        totals = parts.registry.totals
        for name in totals.keys() - {*parts.measured, NO_ROUTE}:
            del totals[name]

    async def settle(self) -> None:
        """Ends what nobody needs any more, and looks at all TLS files."""
        parts = self._parts
        if self._former is not None:
            await self._former.close(after=self._callers)
        await parts.upstreams.settle()
        await parts.tls_files.look()


def rules_of(
    config: Config,
    routes: RouteTable,
    callers: Callers,
    dialer: Dialer,
    *,
    registry: Registry,
    counters: Counters,
    generation: int = 0,
) -> Rules:
    """What a configuration says of handshakes.

    Args:
        counters: outlive the configuration.
        generation: how many were in force before.
    """
    return Rules(
        routes,
        callers.authenticator,
        dialer,
        config.trusted_proxies,
        config.client_address_header.lower().encode("ascii"),
        Limiter(config.limits, routes, registry.occupancy, counters),
        generation,
    )


def hand_down_patience(listener: Listener | None, routes: RouteTable) -> float | None:
    """Has the sockets of clients come with the user timeout that all routes agree on.

    One system call for each handshake is saved by it. Where routes differ, each handshake asks
    for its own.

    Returns:
        The timeout in seconds, None for none.
    """
    timeouts = {route.user_timeout for route in routes}
    user_timeout = timeouts.pop() if len(timeouts) == 1 else None
    for sock in () if listener is None else listener.sockets:
        give_up_after(sock, user_timeout)
    return user_timeout

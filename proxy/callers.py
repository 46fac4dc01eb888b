"""Everything that finds out who is calling, put together for one configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.auth.authenticator import Authenticator
from proxy.auth.jwk import KeySet
from proxy.auth.jwt import TokenRules
from proxy.auth.key_verifier import KeyVerifier
from proxy.auth.ways import Ways, ways_of
from proxy.config.model import Carrier
from proxy.gateway.services import (
    RENEW_PATH,
    TICKET_PATH,
    ClientServices,
    RenewalService,
    TicketService,
)
from proxy.identity.jwks import JwksKeeper
from proxy.identity.plugins import PluginDesk, load_plugin
from proxy.identity.sources import DiscoveredSource, FileSource, UrlSource
from proxy.identity.tickets import TicketOffice
from proxy.identity.verifier import JwtVerifier

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.config.jwt_fields import Jwt
    from proxy.config.model import Config, Route
    from proxy.gateway.account import Account
    from proxy.gateway.limiter import Limiter
    from proxy.gateway.plain import Service
    from proxy.identity.sources import Source
    from proxy.keys.ring import KeyRing
    from proxy.logs import Logger
    from proxy.routes import RouteTable
    from proxy.sessions.registry import Registry
    from proxy.stores.keeper import StoreKeeper

# Where a credential may stand in a request for a ticket: no browser's page needs more there.
_BUYING = frozenset({"header", "bearer", "cookie"})


class Callers:
    """Finds out who is calling.

    Args:
        config: valid.
        keeper: of the store.
        ring: of all keys.
        ticket: makes the text of a ticket that nobody can guess.
        wall: seconds since the epoch.
        before: of the configuration in force; its issuer's keys are taken over where `jwt` is the
            same, so that no reload needs the issuer to answer.

    Raises:
        CannotLoad: a plugin cannot be used.
        UnusableKeys: the secret for tokens does not fit its algorithms.
    """

    def __init__(
        self,
        config: Config,
        keeper: StoreKeeper,
        ring: KeyRing,
        *,
        ticket: Callable[[], str],
        wall: Callable[[], float],
        log: Logger,
        loop: asyncio.AbstractEventLoop,
        before: Callers | None = None,
    ) -> None:
        self.wall = wall
        self.keys = KeyVerifier(ring, keeper)
        self.tickets = TicketOffice(keeper, ring, self.keys, secret=ticket, wall=wall)
        self.jwt = config.jwt
        self.jwks: JwksKeeper | None = None
        self.tokens: JwtVerifier | None = None
        if before is not None and before.jwt == config.jwt:
            self.tokens, self.jwks = before.tokens, before.jwks
        elif config.jwt is not None:
            self.tokens = self._verifier(config.jwt, wall, log, loop)
        plugins = (
            PluginDesk([(name, load_plugin(name)) for name in config.plugins], log)
            if config.plugins
            else None
        )
        self.authenticator = Authenticator(
            {route.name: ways_of(config.carriers_of(route)) for route in config.routes},
            self.keys,
            tokens=self.tokens,
            tickets=self.tickets,
            plugins=plugins,
        )
        # Judges whoever buys tickets and renews sessions.
        self.buyers = Authenticator(
            {route.name: _buying(config, route) for route in config.routes},
            self.keys,
            tokens=self.tokens,
            tickets=self.tickets,
            plugins=plugins,
        )

    def start(self) -> None:
        """Begins to fetch what has to be fetched."""
        if self.jwks is not None:
            self.jwks.start()

    async def close(self, *, after: Callers | None = None) -> None:
        """Stops fetching, but for what those of a new configuration have taken over."""
        if self.jwks is not None and (after is None or after.jwks is not self.jwks):
            await self.jwks.close()

    def _verifier(
        self,
        jwt: Jwt,
        wall: Callable[[], float],
        log: Logger,
        loop: asyncio.AbstractEventLoop,
    ) -> JwtVerifier:
        rules = rules_of(jwt)
        if jwt.secret is not None:
            secret = jwt.secret.get_secret_value().encode()
            return JwtVerifier(rules, KeySet.of_secret(secret, jwt.algorithms), wall)
        self.jwks = JwksKeeper(_source(jwt), rules.algorithms, timers=loop, log=log)
        return JwtVerifier(rules, self.jwks, wall)


def _source(jwt: Jwt) -> Source:
    """Where the issuer's keys are found."""
    if jwt.jwks_url is not None:
        return UrlSource(jwt.jwks_url)
    if jwt.jwks_file is not None:
        return FileSource(jwt.jwks_file)
    assert jwt.issuer is not None
    return DiscoveredSource(jwt.issuer)


def _buying(config: Config, route: Route) -> Ways:
    """The ways in which a buyer of tickets for a route may show who it is."""
    accepted = [*config.carriers_of(route), *config.carriers, Carrier(kind="bearer")]
    unique = {carrier: None for carrier in accepted if carrier.kind in _BUYING}
    return ways_of(unique)


def unvouched(before: Config, after: Config) -> frozenset[str]:
    """The ways in, as `Principal.auth` has them, that a new configuration takes its trust from.

    What a token or a plugin said is not kept, so whoever came by one is judged by whether it
    would be asked today, and would be understood as it was.
    """
    tokens = before.jwt is not None and not _trusts_as(before.jwt, after.jwt)
    plugins = not set(before.plugins) <= set(after.plugins)
    ways = {"jwt": tokens, "plugin": plugins, "ticket": tokens or plugins}
    return frozenset(way for way, lost in ways.items() if lost)


def _trusts_as(before: Jwt, after: Jwt | None) -> bool:
    """Whether all tokens that were accepted still are, as far as the configuration tells."""
    if after is None:
        return False
    source = ("jwks_url", "jwks_file", "secret", "routes_claim")
    return (
        after.issuer in {before.issuer, None}
        and set(before.audience) <= set(after.audience)
        and set(before.algorithms) <= set(after.algorithms)
        and all(getattr(before, field) == getattr(after, field) for field in source)
    )


def client_services(
    config: Config,
    routes: RouteTable,
    callers: Callers,
    registry: Registry,
    *,
    limiter: Limiter,
    account: Account,
    new_id: Callable[[], str],
    clock: Callable[[], float],
    log: Logger,
) -> dict[bytes, Service]:
    """What clients may ask for over plain HTTP, by path; where no ticket or token is, nothing."""
    ticketed = []
    for settings in config.routes:
        route = routes.get(settings.name)
        if route is not None and any(
            carrier.kind == "ticket" for carrier in config.carriers_of(settings)
        ):
            ticketed.append(route)
    if not ticketed and config.jwt is None:
        return {}
    shared = ClientServices(
        routes=routes,
        ticketed=ticketed,
        buyers=callers.buyers,
        secure=config.tls is not None,
        trusted_proxies=config.trusted_proxies,
        address_header=config.client_address_header.lower().encode("ascii"),
        limiter=limiter,
        account=account,
        new_id=new_id,
        wall=callers.wall,
        clock=clock,
        log=log,
    )
    services: dict[bytes, Service] = {RENEW_PATH: RenewalService(shared, registry)}
    if ticketed:
        services[TICKET_PATH] = TicketService(shared, callers.tickets, config.tickets.ttl)
    return services


def rules_of(jwt: Jwt) -> TokenRules:
    """Which tokens are accepted, and what is read out of them."""
    return TokenRules(
        issuer=jwt.issuer,
        audience=jwt.audience,
        algorithms=frozenset(jwt.algorithms),
        leeway=jwt.leeway,
        subject_claim=jwt.subject_claim,
        routes_claim=jwt.routes_claim,
        metadata_claims=jwt.metadata_claims,
    )

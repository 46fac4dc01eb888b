"""All that leads to the upstreams of the routes: names, targets, dials, checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy.upstream.checker import Checker
from proxy.upstream.dialer import Dialer
from proxy.upstream.pool import Pool, pools_of
from proxy.upstream.resolver import Resolver
from proxy.upstream.tls import unwatched

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from proxy.config.upstream_fields import UpstreamTls
    from proxy.config.values import Target
    from proxy.deadlines import Deadlines
    from proxy.logs import Logger
    from proxy.routes import Route
    from proxy.upstream.pool import Member


class Plan(NamedTuple):
    """The way to the upstreams of one configuration's routes.

    Args:
        routes: by name.
        pools: of their targets, by the routes' names.
        contexts: TLS settings and what came of them, by the routes' names.
    """

    routes: Mapping[str, Route]
    pools: Mapping[str, Pool]
    contexts: Mapping[str, tuple[UpstreamTls, ssl.SSLContext]]
    dialer: Dialer


class Upstreams:
    """The upstreams of all routes.

    Args:
        routes: of the configuration.
        load: how many connections a target has.
        noise: makes so many random bytes.
        deadlines: of connecting and answering.
        log: hears of targets that go down or come back.
        context: makes the TLS context of a route, by its name and settings.

    Raises:
        OSError: a TLS file cannot be used.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        *,
        load: Callable[[Target], int],
        noise: Callable[[int], bytes],
        deadlines: Deadlines,
        log: Logger,
        loop: asyncio.AbstractEventLoop,
        context: Callable[[str, UpstreamTls], ssl.SSLContext] = unwatched,
    ) -> None:
        self._load = load
        self._noise = noise
        self._deadlines = deadlines
        self._log = log
        self._loop = loop
        self._context = context
        self._resolver = Resolver(loop.time)
        self._plan: Plan | None = None
        self._plan = self.plan(routes)
        # By the names of their routes.
        self._checkers = self._checkers_of(self._plan.routes.values())
        # Of routes that are gone or were changed; they have yet to end.
        self._over: list[Checker] = []
        # From start on.
        self._looking: asyncio.Task[None] | None = None

    @property
    def dialer(self) -> Dialer:
        """Dials the upstreams of the routes in force."""
        return self._in_force.dialer

    @property
    def contexts(self) -> Collection[ssl.SSLContext]:
        """The TLS contexts of the routes in force."""
        return [context for _, context in self._in_force.contexts.values()]

    def start(self) -> None:
        """Looks every name up, and begins with the checks."""
        self._looking = self._loop.create_task(self._look_up(), name="look for upstreams")
        for checker in self._checkers.values():
            checker.start()

    async def close(self) -> None:
        """Looks nothing up and checks nothing any more; dials under way are their callers'."""
        if self._looking is not None:
            self._looking.cancel()
        self._over += self._checkers.values()
        await self.settle()
        await self._resolver.close()

    # Other routes ------------------------------------------------------------------------------

    def plan(self, routes: Iterable[Route]) -> Plan:
        """The way to the upstreams of other routes, on which nobody goes before `adopt`.

        What is known of a target stays known, and a TLS context stays while its settings do.

        Raises:
            OSError: a TLS file cannot be used.
        """
        routes, before = tuple(routes), self._plan
        known = {} if before is None else before.contexts
        contexts: dict[str, tuple[UpstreamTls, ssl.SSLContext]] = {}

        def context(name: str, settings: UpstreamTls) -> ssl.SSLContext:
            kept = known.get(name)
            if kept is None or kept[0] != settings:
                kept = (settings, self._context(name, settings))
            contexts[name] = kept
            return kept[1]

        pools = pools_of(
            routes, load=self._load, changed=self._tell, known=self._members_known_for(routes)
        )
        dialer = Dialer(
            routes,
            pools,
            self._resolver,
            self._deadlines,
            self._loop,
            context=context,
            before=None if before is None else before.dialer,
        )
        return Plan({route.name: route for route in routes}, pools, contexts, dialer)

    def adopt(self, plan: Plan) -> None:
        """Takes other routes; `settle` is to be called next."""
        before, self._plan = self._in_force, plan
        changed = [
            route for name, route in plan.routes.items() if before.routes.get(name) is not route
        ]
        gone = {*before.routes} - {*plan.routes} | {route.name for route in changed}
        self._over += [self._checkers.pop(name) for name in gone & {*self._checkers}]
        begun = self._checkers_of(changed)
        self._checkers.update(begun)
        if self._looking is not None:
            self._looking.cancel()
            self._looking = self._loop.create_task(self._look_up(), name="look for upstreams")
            for checker in begun.values():
                checker.start()

    async def settle(self) -> None:
        """Ends the checks of targets that are not asked any more."""
        over, self._over = self._over, []
        for checker in over:
            await checker.close()

    @property
    def _in_force(self) -> Plan:
        assert self._plan is not None
        return self._plan

    def _members_known_for(self, routes: Iterable[Route]) -> Iterator[Member]:
        """Those of whom what is known still holds: checks believe nothing but checks."""
        for route in routes:
            before = None if self._plan is None else self._plan.routes.get(route.name)
            if before is not None and (before.health is None) is (route.health is None):
                yield from self._in_force.pools[route.name].members

    def _checkers_of(self, routes: Iterable[Route]) -> dict[str, Checker]:
        plan = self._in_force
        return {
            route.name: Checker(
                [route],
                plan.pools,
                plan.dialer,
                noise=self._noise,
                log=self._log,
                loop=self._loop,
            )
            for route in routes
        }

    # What is known -----------------------------------------------------------------------------

    def states(self) -> Iterator[tuple[str, str, bool]]:
        """Every target: (route, target, whether it is up)."""
        for member in self._members():
            yield member.route, member.text, member.up

    def _members(self) -> Iterator[Member]:
        for pool in self._in_force.pools.values():
            yield from pool.members

    async def _look_up(self) -> None:
        """Finds out which targets have no address yet; they are asked for again when needed."""
        for member in list(self._members()):
            target = member.target
            if target.socket_path is not None:
                continue
            try:
                await self._resolver.resolve(target.host, target.port)
            except OSError as failure:
                member.missed(self._loop.time(), failure.strerror or str(failure))

    def _tell(self, member: Member, cause: str | None) -> None:
        if member.up:
            self._log.info("upstream_up", route=member.route, upstream=member.text)
        else:
            self._log.warning(
                "upstream_down", route=member.route, upstream=member.text, cause=cause
            )

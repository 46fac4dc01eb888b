"""All that leads to the upstreams of one configuration: names, targets, dials, checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.upstream.checker import Checker
from proxy.upstream.dialer import Dialer
from proxy.upstream.pool import pools_of
from proxy.upstream.resolver import Resolver
from proxy.upstream.tls import unwatched

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from proxy.config.model import UpstreamTls
    from proxy.config.values import Target
    from proxy.deadlines import Deadlines
    from proxy.logs import Logger
    from proxy.routes import Route
    from proxy.upstream.pool import Member


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
        routes = tuple(routes)
        self._log = log
        self._loop = loop
        self._resolver = Resolver(loop.time)
        self._pools = pools_of(routes, load=load, changed=self._tell)
        self.dialer = Dialer(routes, self._pools, self._resolver, deadlines, loop, context=context)
        self._checker = Checker(routes, self._pools, self.dialer, noise=noise, log=log, loop=loop)
        # From start on.
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Looks every name up, and begins with the checks."""
        self._looking = self._loop.create_task(self._look_up(), name="look for upstreams")
        self._checker.start()

    async def close(self) -> None:
        """Looks nothing up and checks nothing any more; dials under way are their callers'."""
        if self._looking is not None:
            self._looking.cancel()
        await self._checker.close()
        await self._resolver.close()

    def states(self) -> Iterator[tuple[str, str, bool]]:
        """Every target: (route, target, whether it is up)."""
        for member in self._members():
            yield member.route, member.text, member.up

    def _members(self) -> Iterator[Member]:
        for pool in self._pools.values():
            yield from pool.members

    async def _look_up(self) -> None:
        """Finds out which targets have no address yet; they are asked for again when needed."""
        for member in self._members():
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

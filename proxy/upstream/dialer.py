"""Opens the upstream's leg: chooses a target, connects to it, TLS where asked for."""

from __future__ import annotations

import errno
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohappyeyeballs

from proxy.sockets import give_up_after
from proxy.upstream.attempt import Attempt, Patience
from proxy.upstream.series import Series
from proxy.upstream.tls import unwatched

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable, Iterable, Mapping

    from aiohappyeyeballs import AddrInfoType as AddressInfo

    from proxy.config.upstream_fields import UpstreamTls
    from proxy.deadlines import DeadlineQueue, Deadlines
    from proxy.routes import Route
    from proxy.upstream.attempt import Caller
    from proxy.upstream.pool import Member, Pool
    from proxy.upstream.resolver import Resolver

# RFC 8305 section 5: how long an address has before the next one is tried beside it.
_ATTEMPT_DELAY: Final = 0.25

# What connecting without waiting says of a connection that is there or may come.
_UNDER_WAY: Final = frozenset({0, errno.EINPROGRESS})
# What sending says of one that is not there: Linux and BSD.
_NOT_YET: Final = frozenset({errno.EAGAIN, errno.ENOTCONN})


class Dial(Protocol):
    """One handshake's way to its upstream, as its caller sees it."""

    @property
    def transport(self) -> asyncio.Transport:
        """Of the upstream; the caller's once it was answered."""

    @property
    def connected_in(self) -> float:
        """Seconds for name, TCP and TLS."""

    @property
    def behind(self) -> bytes:
        """What came behind the answer's head so far; whoever takes the socket over takes it too."""

    def read_body(self, caller: Caller) -> None:
        """Reads the body of a refusal until it is complete, long enough, or the socket ends."""

    def cancel(self) -> None:
        """The caller does not want the answer any more."""


class Dialer:
    """Dials the upstreams of all routes.

    Args:
        routes: whose TLS settings are read now.
        pools: of their targets, by the routes' names.
        resolver: of their names.
        deadlines: of connecting and answering.
        before: the dialer of the routes before; the handshakes that it began are counted here too.

    Raises:
        OSError: a TLS file cannot be used.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        pools: Mapping[str, Pool],
        resolver: Resolver,
        deadlines: Deadlines,
        loop: asyncio.AbstractEventLoop,
        *,
        context: Callable[[str, UpstreamTls], ssl.SSLContext] = unwatched,
        before: Dialer | None = None,
    ) -> None:
        self._pools = pools
        self._resolver = resolver
        self._deadlines = deadlines
        self._loop = loop
        # Those whose callers wait.
        self.attempts: set[Attempt] = set() if before is None else before.attempts
        routes = tuple(routes)
        self._patience = {route.name: Patience.of(route.timeouts, deadlines) for route in routes}
        self._contexts = {
            route.name: context(route.name, route.upstream_tls)
            for route in routes
            if any(target.secure for target in route.targets)
        }

    def dial(
        self,
        route: Route,
        request_for: Callable[[Member], bytes],
        caller: Caller,
        *,
        affinity: bytes = b"",
    ) -> Dial:
        """Connects to a route's upstream and sends a request head; `caller` hears the answer.

        Args:
            request_for: the head for a target; asked for each that is tried, when it is.
            affinity: equal ones go to the same target, where the route balances by hash.
        """
        pool = self._pools[route.name]
        member = pool.only
        if member is not None and member.healthy:  # The way of nearly all: no detour.
            within = self._patience[route.name].connect
            return self._begin(route, request_for, member, caller, within)
        series = Series(
            pool.order(self._loop.time(), affinity),
            partial(self._begin, route, request_for),
            caller,
            patience=route.timeouts.upstream_connect,
            loop=self._loop,
        )
        series.start()
        return series

    def order(self, route: Route, affinity: bytes = b"") -> list[Member]:
        """Whom of a route's targets to ask, in this order; nobody when all are unhealthy."""
        return self._pools[route.name].order(self._loop.time(), affinity)

    def probe(self, route: Route, member: Member, request: bytes, caller: Caller) -> Dial:
        """Asks one target something that is no handshake of a client's, without a deadline."""
        attempt = Attempt(member, request, caller, self._patience[route.name], set())
        connect = partial(self.connect, route, member, lambda: attempt)
        attempt.begin(connect, None, self._loop)
        return attempt

    def _begin(
        self,
        route: Route,
        request_for: Callable[[Member], bytes],
        member: Member,
        caller: Caller,
        within: DeadlineQueue | None,
    ) -> Attempt:
        attempt = Attempt(
            member, request_for(member), caller, self._patience[route.name], self.attempts
        )
        target, addresses = member.target, None
        if member.plain and not member.failing:
            addresses = self._resolver.known(target.host, target.port)
        if addresses is not None and len(addresses) == 1:
            connect = partial(self._connect_directly, route, addresses[0], attempt, within)
            attempt.begin(connect, None, self._loop)
        else:
            connect = partial(self.connect, route, member, lambda: attempt)
            attempt.begin(connect, within, self._loop)
        return attempt

    async def _connect_directly(
        self, route: Route, address: AddressInfo, attempt: Attempt, within: DeadlineQueue | None
    ) -> None:
        """Connects to the only address of a plain target, and sends the request as soon as it can.

        On this host and its bridges a connection is there at once: nothing is waited for then.

        Args:
            within: the deadline for the connection, where it takes its time; None sets none.

        Raises:
            OSError: it cannot be reached.
        """
        family, kind, protocol, _, place = address
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sent = _sent_at_once(sock, place, attempt.unsent)
            if sent is None:
                attempt.expect_connection(within)
                await self._connected(sock, place)
            else:
                attempt.unsent = attempt.unsent[sent:]
            if route.user_timeout is not None:
                give_up_after(sock, route.user_timeout)
            await self._loop.create_connection(lambda: attempt, sock=sock)
        except BaseException:
            sock.close()
            raise

    async def _connected(self, sock: socket.socket, place: Any) -> None:
        try:
            await self._loop.sock_connect(sock, place)
        except OSError as error:
            if error.errno != errno.EISCONN:  # So BSD says that it is done.
                raise

    async def connect(
        self, route: Route, member: Member, protocol: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        """Connects to one target, with TLS where it asks for that; the member is not told.

        Raises:
            OSError: it cannot be reached.
        """
        loop, target = self._loop, member.target
        secure: dict[str, Any] = {}
        if target.secure:
            secure = {
                "ssl": self._contexts[route.name],
                "server_hostname": route.upstream_tls.server_name or target.host,
                "ssl_handshake_timeout": route.timeouts.upstream_connect,
                "ssl_shutdown_timeout": route.timeouts.close,
            }
        if target.socket_path is not None:
            await loop.create_unix_connection(protocol, target.socket_path)
            return
        # What could not be reached may have moved.
        resolve = self._resolver.resolve_anew if member.failing else self._resolver.resolve
        sock = await aiohappyeyeballs.start_connection(
            await resolve(target.host, target.port), happy_eyeballs_delay=_ATTEMPT_DELAY, loop=loop
        )
        try:
            if route.user_timeout is not None:
                give_up_after(sock, route.user_timeout)
            await loop.create_connection(protocol, sock=sock, **secure)
        except BaseException:
            sock.close()
            raise


def _sent_at_once(sock: socket.socket, place: Any, data: bytes) -> int | None:
    """Connects, and says how many bytes the kernel has taken; None while there is no connection."""
    code = sock.connect_ex(place)
    if code not in _UNDER_WAY:
        raise OSError(code, os.strerror(code))
    try:
        return sock.send(data)
    except OSError as error:
        if error.errno in _NOT_YET:
            return None
        raise

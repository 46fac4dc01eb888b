"""Names of upstreams, looked up seldom and never in the way of a handshake if it can be helped."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohappyeyeballs import AddrInfoType as AddressInfo

# getaddrinfo tells no TTL. Short enough to follow a service that moves.
FRESH_FOR: Final = 10.0

# Seconds for which a new answer is waited for where there is an old one.
RENEWAL: Final = 1.0


class Resolver:
    """Looks names up and remembers the answer for `FRESH_FOR` seconds.

    A stale answer is used at once while it is looked up anew, and for as long as the name service
    has none: a known upstream does not go away because DNS does.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # (addresses, when they were looked up) by (host, port).
        self._known: dict[tuple[str, int], tuple[Sequence[AddressInfo], float]] = {}
        self._under_way: dict[tuple[str, int], asyncio.Task[Sequence[AddressInfo]]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        """The addresses of a host, at least one.

        Raises:
            OSError: the name cannot be resolved and never was.
        """
        known = self.known(host, port)
        return known if known is not None else await asyncio.shield(self._look_up((host, port)))

    async def resolve_anew(self, host: str, port: int) -> Sequence[AddressInfo]:
        """The addresses as they are now; as they were, where the name service takes its time.

        Raises:
            OSError: the name cannot be resolved and never was.
        """
        known = self.known(host, port)
        if known is None or _literal(host, port) is not None:
            return await self.resolve(host, port)
        await asyncio.wait((self._look_up((host, port)),), timeout=RENEWAL)
        return self._known[host, port][0]

    def known(self, host: str, port: int) -> Sequence[AddressInfo] | None:
        """The addresses, if they need not be waited for; stale ones are looked up anew."""
        name = (host, port)
        known = self._known.get(name)
        if known is None:
            literal = _literal(host, port)
            if literal is not None:
                self._known[name] = (literal, float("inf"))
            return literal
        addresses, looked_up_at = known
        if self._clock() - looked_up_at > FRESH_FOR:
            self._look_up(name)
        return addresses

    async def close(self) -> None:
        """Gives up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look_up(self, name: tuple[str, int]) -> asyncio.Task[Sequence[AddressInfo]]:
        task = self._under_way.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(
                self._ask(name), name=f"resolve {name[0]}"
            )
            self._under_way[name] = task
            task.add_done_callback(lambda done: self._done(name, done))
        return task

    async def _ask(self, name: tuple[str, int]) -> Sequence[AddressInfo]:
        loop = asyncio.get_running_loop()
        found: Sequence[AddressInfo] = await loop.getaddrinfo(*name, type=socket.SOCK_STREAM)
        self._known[name] = (found, self._clock())
        return found

    def _done(self, name: tuple[str, int], task: asyncio.Task[Sequence[AddressInfo]]) -> None:
        del self._under_way[name]
        if task.cancelled() or task.exception() is None:
            return
        known = self._known.get(name)
        if known is not None:  # Serve the stale answer, ask again when it is due.
            self._known[name] = (known[0], self._clock())


def _literal(host: str, port: int) -> Sequence[AddressInfo] | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))]

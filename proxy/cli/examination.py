"""The probes of `wskeeper doctor`, in their order; each decides what the next is worth."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from proxy.cli import diagnosis, mends
from proxy.cli.doctor_requests import ordinary, upgrade, way_in
from proxy.cli.observation import Reply, Unreached
from proxy.cli.prober import Probe, reach, words
from proxy.errors import REFUSALS
from proxy.handshake.forward import OUR_SUBPROTOCOL

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from proxy.cli.diagnosis import Finding
    from proxy.cli.doctor_requests import Way
    from proxy.cli.observation import Connection, Place

# Nobody lists it (RFC 6761 section 6.4).
_FOREIGN_ORIGIN: Final = "https://doctor.invalid"
# Refusals that a good key may turn.
_FOR_WANT_OF_A_KEY: Final = frozenset({401, 429})


class Wanted(NamedTuple):
    """What is asked of the examination.

    Args:
        key: None examines without.
        origin: of a page that is to connect.
        subprotocols: to offer.
        idle: seconds of silence; None for none.
        seen: asks the gateway for a client's address by a request id.
    """

    key: str | None = None
    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    idle: float | None = None
    seen: Callable[[str], Awaitable[str | None]] | None = None


class Examination:
    """One examination of one place.

    Args:
        place: whom to dial.
        context: of TLS; None for plain TCP.
        agent: what to call ourselves.
        now: seconds since the epoch.
        tell: hears each finding at once.
    """

    def __init__(
        self,
        place: Place,
        context: ssl.SSLContext | None,
        wanted: Wanted,
        *,
        agent: str,
        now: float,
        tell: Callable[[Finding], None],
    ) -> None:
        self._place = place
        self._context = context
        self._wanted = wanted
        self._agent = agent
        self._now = now
        self._tell = tell

    async def run(self) -> bool:
        """Probes; returns whether a WebSocket opened, or would with a key."""
        place, wanted = self._place, self._wanted
        found = await reach(place, self._context)
        self._tell(diagnosis.of_connection(place, found, self._now))
        if isinstance(found, Unreached) or found.distrust is not None:
            return False
        plain = await self._ask(ordinary(place, agent=self._agent))
        self._tell(diagnosis.of_plain(place, plain))
        if plain.head is None or plain.of_operators:
            return False
        bare = await self._upgrade(found, last=wanted.key is None)
        if wanted.origin is not None and (bare.opened or bare.code is not None):
            await self._examine_origin(wanted.origin)
        if not bare.opened and not _wants_a_key(bare):
            return False
        if wanted.key is None:
            told = "not examined: no key was given"
            self._tell(diagnosis.Finding("key", "unsure", told, mends.NO_KEY))
            return bare.opened or bare.code == "key_missing"
        way = way_in(bare.header(b"www-authenticate"))
        return (await self._upgrade(found, key=wanted.key, way=way, last=True)).opened

    async def _examine_origin(self, origin: str) -> None:
        own, foreign = [
            await self._ask(*self._handshake(origin=each)) for each in (origin, _FOREIGN_ORIGIN)
        ]
        self._tell(diagnosis.of_origin(self._place, origin, own, foreign))

    async def _upgrade(
        self,
        found: Connection,
        *,
        key: str | None = None,
        way: Way | None = None,
        last: bool,
    ) -> Reply:
        """Asks for a WebSocket.

        Args:
            last: whether it is the one to look at closely.
        """
        origin = None if key is None else self._wanted.origin
        request, nonce = self._handshake(origin=origin, key=key, way=way)
        try:
            async with Probe(self._place, self._context) as probe:
                reply = await probe.ask(request, nonce)
                self._tell(
                    diagnosis.without_key(self._place, reply)
                    if way is None
                    else diagnosis.with_key(self._place, reply, str(way))
                )
                if reply.opened and last:
                    await self._examine_session(probe, found, reply)
                if reply.opened:
                    probe.take_leave()
                return reply
        except OSError as failure:
            reply = Reply(None, nonce=nonce, cause=words(failure))
            self._tell(
                diagnosis.of_refusal("upgrade" if way is None else "key", self._place, reply)
            )
            return reply

    async def _examine_session(self, probe: Probe, found: Connection, reply: Reply) -> None:
        wanted = self._wanted
        for finding in diagnosis.of_switch(reply, (*wanted.subprotocols, OUR_SUBPROTOCOL.decode())):
            self._tell(finding)
        if wanted.seen is None:
            self._tell(diagnosis.of_client(found, None))
        else:
            try:
                seen = await wanted.seen(reply.header(b"x-request-id"))
            except click.ClickException as failure:
                told = f"the gateway cannot be asked what it takes us for: {failure.message}"
                self._tell(diagnosis.Finding("client", "unsure", told))
            else:
                self._tell(diagnosis.of_client(found, seen))
        if wanted.idle is not None:
            self._tell(diagnosis.of_idleness(await probe.idle(wanted.idle), wanted.idle))

    async def _ask(self, request: bytes, nonce: bytes = b"") -> Reply:
        """Asks on a connection of its own."""
        try:
            async with Probe(self._place, self._context) as probe:
                return await probe.ask(request, nonce)
        except OSError as failure:
            return Reply(None, nonce=nonce, cause=words(failure))

    def _handshake(
        self, *, origin: str | None = None, key: str | None = None, way: Way | None = None
    ) -> tuple[bytes, bytes]:
        nonce = base64.b64encode(os.urandom(16))
        request = upgrade(
            self._place,
            agent=self._agent,
            nonce=nonce,
            subprotocols=self._wanted.subprotocols,
            origin=origin,
            key=key,
            way=way,
        )
        return request, nonce


def _wants_a_key(reply: Reply) -> bool:
    """Whether a key could turn the refusal. To others than a wskeeper none is sent."""
    row = REFUSALS.get(reply.code or "")
    return row is not None and row.status in _FOR_WANT_OF_A_KEY

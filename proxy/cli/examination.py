"""The probes of `wskeeper doctor`, in their order; each decides what the next is worth."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.cli import diagnosis
from proxy.cli.doctor_requests import ordinary, upgrade, way_in
from proxy.cli.observation import Reply, Unreached
from proxy.cli.prober import Probe, reach, words

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
        reply = await self._ask(ordinary(place, agent=self._agent))
        self._tell(diagnosis.of_plain(place, reply))
        if reply.head is None:
            return False
        bare = await self._upgrade(found, follow=wanted.key is None)
        self._tell(diagnosis.without_key(place, bare))
        # Told after what it is about.
        self._tell_rest()
        if wanted.origin is not None and (bare.opened or bare.code is not None):
            await self._examine_origin(wanted.origin)
        return False

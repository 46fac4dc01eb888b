"""Makes sessions out of handshakes that both sides have agreed to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.auth.browser_carriers import must_offer_ours
from proxy.errors import Refused
from proxy.handshake.answer import check_switch
from proxy.handshake.forward import offered_extensions, offered_subprotocols
from proxy.relay.scanner import Scanner
from proxy.routes import is_same_origin
from proxy.sessions.live import LiveSession

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.deadlines import Deadlines
    from proxy.gateway.request import HandshakeRequest
    from proxy.handshake.head import AnswerHead, Headers
    from proxy.logs import Logger
    from proxy.relay.scanner import Extensions
    from proxy.sessions.registry import Registry
    from proxy.sessions.rules import SessionLimits

_SUBPROTOCOL: Final = b"sec-websocket-protocol"
_EXTENSIONS: Final = b"sec-websocket-extensions"

OFFER_OURS: Final = (
    "Offer the subprotocol 'wskeeper' too: a browser drops a connection whose answer selects none "
    "of what it offered."
)

# Hexadecimal digits of an id: four bytes for a mask, one by which a lifetime varies.
_NOISE: Final = 10

# Bytes of a header's value that a session keeps for its page.
_KEPT: Final = 256


class SessionFactory:
    """Makes sessions.

    Args:
        registry: where they will be.
        new_id: makes a request id that nobody can guess.
    """

    def __init__(
        self,
        registry: Registry,
        new_id: Callable[[], str],
        deadlines: Deadlines,
        log: Logger,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._registry = registry
        self._new_id = new_id
        self._deadlines = deadlines
        self._log = log
        self._loop = loop

    def make(self, request: HandshakeRequest, answer: AnswerHead) -> LiveSession:
        """Checks the upstream's 101 and makes the session; it takes over the request's places.

        Raises:
            Refused: `upstream_invalid`, or `bad_request` where the client would drop the answer.
        """
        route, principal, headers = request.route, request.principal, request.head.headers
        assert route is not None
        assert principal is not None
        chosen, origin, now = answer.headers, request.origin, self._loop.time()
        extensions = _agreed(headers, answer, compression=route.compression)
        agent, subprotocol = headers.one(b"user-agent"), chosen.one(_SUBPROTOCOL)
        if request.id in self._registry:  # A trusted proxy used one id for two requests.
            request.id = self._new_id()
        limiter, noise = request.rules.limiter, bytes.fromhex(self._new_id()[:_NOISE])
        limits = limiter.limits_of(route, principal, now)
        session = LiveSession(
            id=request.id,
            route=route.name,
            principal=principal,
            origin=origin,
            same_origin=origin is not None and is_same_origin(origin, request.client, headers),
            address=request.client.address,
            client=request.client.text,
            holders=request.holders,
            upstream=request.upstream,
            scanners=self._scanners(route.name, extensions, limits),
            rules=limiter.rules_of(route),
            limits=limits,
            mask=noise[:4],
            chance=noise[4] / 256,
            now=now,
            user_agent=None if agent is None else agent[:_KEPT],
            subprotocol=None if subprotocol is None else subprotocol[:_KEPT],
            registry=self._registry,
            deadlines=self._deadlines,
            log=self._log,
            loop=self._loop,
        )
        request.holders = ()
        return session

    def _scanners(
        self, route: str, extensions: Extensions, limits: SessionLimits
    ) -> tuple[Scanner, Scanner]:
        to_upstream, to_client = self._registry.totals[route].traffic
        one, other = limits.message_sizes
        return (
            Scanner(
                masked=True,
                extensions=extensions,
                traffic=to_upstream,
                max_message=None if one is None else int(one.value),
            ),
            Scanner(
                masked=False,
                extensions=extensions,
                traffic=to_client,
                max_message=None if other is None else int(other.value),
            ),
        )


def _agreed(headers: Headers, answer: AnswerHead, *, compression: bool) -> Extensions:
    """What the 101 agrees on, once it is checked against the headers of the request."""
    chosen = answer.headers
    offers = _SUBPROTOCOL in headers.by_name  # Most clients offer none.
    extends = compression and _EXTENSIONS in chosen.by_name
    extensions = check_switch(
        answer,
        key=headers.by_name[b"sec-websocket-key"],
        subprotocols=offered_subprotocols(headers) if offers else (),
        extensions=offered_extensions(headers) if extends else (),
    )
    if offers and _SUBPROTOCOL not in chosen and must_offer_ours(headers):
        raise Refused("bad_request", OFFER_OURS)
    return extensions

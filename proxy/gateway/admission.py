"""Whether a request may open a WebSocket: the contract's steps 2 to 7, in their order."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.auth.browser_carriers import must_offer_ours
from proxy.auth.presented import Found
from proxy.auth.question import Question
from proxy.config.values import Target
from proxy.errors import ACCEPTED, Refused
from proxy.gateway.account import Account
from proxy.gateway.request import HandshakeRequest, affinity_of, certificate_headers
from proxy.handshake.answer import check_switch
from proxy.handshake.client import client_of
from proxy.handshake.forward import offered_extensions, offered_subprotocols, upstream_head
from proxy.handshake.request import check_handshake, host_of
from proxy.handshake.target import split_target
from proxy.keys.principal import NOBODY
from proxy.relay.scanner import Scanner
from proxy.sessions.live import LiveSession

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from proxy.auth.authenticator import Authenticator
    from proxy.deadlines import Deadlines
    from proxy.handshake.client import Address, Client, Network
    from proxy.handshake.head import AnswerHead, RequestHead
    from proxy.keys.key import Key
    from proxy.keys.principal import Principal
    from proxy.logs import Logger
    from proxy.relay.first_message_rule import FirstMessageRule
    from proxy.routes import Route, RouteTable
    from proxy.sessions.registry import Registry
    from proxy.upstream.attempt import Caller
    from proxy.upstream.dialer import Dial, Dialer
    from proxy.upstream.pool import Member

_SUBPROTOCOL: Final = b"sec-websocket-protocol"
_EXTENSIONS: Final = b"sec-websocket-extensions"

OFFER_OURS: Final = (
    "Offer the subprotocol 'wskeeper' too: a browser drops a connection whose answer selects none "
    "of what it offered."
)

# Seconds between two warnings of peers whose forwarding headers are not believed.
WARN_EVERY: Final = 60.0

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Admission:
    """Judges requests, dials for those that pass, and keeps the account of all.

    Args:
        routes: where requests may go.
        authenticator: who says who is calling.
        dialer: opens upstreams.
        registry: of live sessions.
        trusted_proxies: whose forwarding headers are believed.
        address_header: lower-case name of the header with the client's address.
        total_connections: sessions and handshakes at a time; None is no limit.
        new_id: makes a request id that nobody can guess.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        routes: RouteTable,
        authenticator: Authenticator,
        dialer: Dialer,
        registry: Registry,
        trusted_proxies: Sequence[Network],
        address_header: bytes,
        total_connections: int | None,
        new_id: Callable[[], str],
        wall: Callable[[], float],
        deadlines: Deadlines,
        log: Logger,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.registry = registry
        self.draining = False
        self.total_connections = total_connections
        self.account = Account(registry, log)
        # On the loop's clock.
        self._warns_again_at = 0.0
        self.routes = routes
        self._authenticator = authenticator
        self._dialer = dialer
        self._trusted_proxies = trusted_proxies
        self._address_header = address_header
        self._new_id = new_id
        self._wall = wall
        self._deadlines = deadlines
        self._log = log
        self._loop = loop

    # Steps -------------------------------------------------------------------------------------

    def receive(
        self,
        head: RequestHead,
        peer: Address,
        *,
        secure: bool,
        began: float,
        certificate: str | None = None,
    ) -> HandshakeRequest:
        """Takes a parsed head in; `certificate` is the subject of the client's, if it has one."""
        client = client_of(
            peer,
            head.headers,
            secure=secure,
            trusted_proxies=self._trusted_proxies,
            address_header=self._address_header,
        )
        if not client.trusted and (
            self._address_header in head.headers or b"forwarded" in head.headers
        ):
            self._warn_of_forwarder(client)
        return HandshakeRequest(self._id_for(head, client), began, head, client, certificate)

    def _warn_of_forwarder(self, client: Client) -> None:
        """Says, now and then, whom to trust if it is a proxy: its clients all look like itself."""
        now = self._loop.time()
        if now >= self._warns_again_at:
            self._warns_again_at = now + WARN_EVERY
            self.account.note_untrusted_forwarder(client.peer)

    def judge(self, request: HandshakeRequest) -> None:
        """Steps 2 to 4, which need no secret; fills `request` in as it goes.

        Raises:
            Refused: with the step's code. No upstream has heard of the request.
        """
        head = request.head
        request.path, request.query = split_target(head.target)
        route = self.routes.find(host_of(head.headers), request.path)
        if route is None:
            raise Refused("no_route", "Check the path; the gateway's operator names its routes.")
        request.route = route
        self._check_capacity(route)
        route.check_client(request.client, head.headers)
        check_handshake(head)
        origins = head.headers.all(b"origin")
        # Two of them together are no origin that any list holds.
        request.origin = b", ".join(origins).lower() if origins else None

    def awaits(self, request: HandshakeRequest) -> FirstMessageRule | None:
        """What the client is to say first, if it may and its request says nothing.

        Raises:
            Refused: `key_ambiguous`.
        """
        route = _route_of(request)
        if route.auth != "required":
            return None
        return self._authenticator.awaits(self._question(request, route))

    def identify(self, request: HandshakeRequest, said: bytes | None = None) -> None:
        """Steps 5 and 6: who is calling, and whether this caller may in.

        Args:
            said: the credential of a first message; None looks in the request.

        Raises:
            Refused: with the step's code.
            NotAtOnce: `identify_slowly` is to be asked.
        """
        route = _route_of(request)
        if route.auth == "none":
            request.principal = NOBODY
            return
        request.judged_at = self._authenticator.revision
        question = self._question(request, route)
        try:
            if said is None:
                principal = self._authenticator.authenticate(question)
            else:
                principal = self._authenticator.verify(Found(said, "key"), question)
            self._admit(request, principal)
        except Refused as refused:
            self._let_in_all_the_same(request, refused)

    async def identify_slowly(self, request: HandshakeRequest, said: bytes | None = None) -> None:
        """Steps 5 and 6 where they have to wait for something.

        Raises:
            Refused: with the step's code.
        """
        question = self._question(request, _route_of(request))
        request.judged_at = self._authenticator.revision
        try:
            if said is None:
                principal = await self._authenticator.authenticate_slowly(question)
            else:
                principal = await self._authenticator.verify_slowly(Found(said, "key"), question)
            self._admit(request, principal)
        except Refused as refused:
            self._let_in_all_the_same(request, refused)

    def dial(self, request: HandshakeRequest, caller: Caller) -> Dial:
        """Step 7: asks the upstream; `caller` hears its answer, whatever it is."""
        route = _route_of(request)
        affinity = b"" if route.balance == "round_robin" else affinity_of(request)
        handshake = partial(self._handshake, request)
        return self._dialer.dial(route, handshake, caller, affinity=affinity)

    def _handshake(self, request: HandshakeRequest, member: Member) -> bytes:
        """The request head for a target that is about to be asked."""
        route, principal, target = _route_of(request), request.principal, member.target
        assert principal is not None
        request.upstream = member.text
        if route.balance == "least_connections":
            # Its place is given back with the others, by the session or by `release`.
            before = [holder for holder in request.holders if isinstance(holder, Target)]
            self.registry.occupancy.release(before)
            self.registry.occupancy.take((target,))
            kept = (holder for holder in request.holders if not isinstance(holder, Target))
            request.holders = (*kept, target)
        stripping = self._authenticator.stripping(route.name)
        return upstream_head(
            request.head,
            route.upstream_target(request.path, stripping.query(request.query), target),
            client=request.client,
            credential_headers=stripping.headers(request.presented),
            cookie=stripping.cookie,
            compression=route.compression,
            ours=(
                b"X-Request-Id: " + request.id.encode(),
                b"X-Wskeeper-Route: " + route.name.encode(),
                *certificate_headers(request),
                *principal.headers,
            ),
            host=None if route.preserve_host else target.authority,
            settings=route.settings,
        )

    def accept(
        self, request: HandshakeRequest, answer: AnswerHead, *, connected_in: float
    ) -> LiveSession:
        """Step 8: checks the 101 and makes the session; nothing flows before it `begin`s.

        Raises:
            Refused: `upstream_invalid`, or what meanwhile became of the key: from here to the
                session's registration nothing else runs, so no revocation slips in between.
        """
        route, principal, headers = _route_of(request), request.principal, request.head.headers
        assert principal is not None
        if route.auth == "required" and request.judged_at != self._authenticator.revision:
            self._authenticator.check_again(principal, self._question(request, route))
        totals = self.registry.totals[route.name]
        totals.connect_duration.observe(connected_in)
        chosen = answer.headers
        subprotocols = offered_subprotocols(headers) if _SUBPROTOCOL in chosen else ()
        offers = route.compression and _EXTENSIONS in chosen
        extensions = check_switch(
            answer,
            key=headers.all(b"sec-websocket-key")[0],
            subprotocols=subprotocols,
            extensions=offered_extensions(headers) if offers else (),
        )
        if _SUBPROTOCOL not in chosen and must_offer_ours(headers):
            raise Refused("bad_request", OFFER_OURS)
        if request.id in self.registry:  # A trusted proxy used one id for two requests.
            request.id = self._new_id()
        to_upstream, to_client = totals.traffic
        session = LiveSession(
            id=request.id,
            route=route.name,
            principal=principal,
            origin=request.origin,
            address=request.client.address,
            holders=request.holders,
            upstream=request.upstream,
            scanners=(
                Scanner(masked=True, extensions=extensions, traffic=to_upstream),
                Scanner(masked=False, extensions=extensions, traffic=to_client),
            ),
            close_timeout=route.timeouts.close,
            mask=bytes.fromhex(self._new_id()[:8]),
            write_timeout=route.timeouts.write,
            registry=self.registry,
            deadlines=self._deadlines,
            log=self._log,
            loop=self._loop,
        )
        request.holders = ()
        totals.outcomes[ACCEPTED] += 1
        totals.handshake_duration.observe(self._loop.time() - request.began)
        return session

    def release(self, request: HandshakeRequest) -> None:
        """Gives back the places of a request that did not become a session."""
        self.registry.occupancy.release(request.holders)
        request.holders = ()

    # Who is calling ----------------------------------------------------------------------------

    def _admit(self, request: HandshakeRequest, principal: Principal) -> None:
        """Takes the caller's places, if there are any left."""
        route = _route_of(request)
        if must_offer_ours(request.head.headers) and not offered_subprotocols(request.head.headers):
            raise Refused("bad_request", OFFER_OURS)
        key = principal.key
        if key is not None:
            self._check_key_capacity(key, route)
            request.holders = (key.id,)
            self.registry.occupancy.take(request.holders)
        if principal.session is not None and principal.session not in self.registry:
            request.id = principal.session
        request.principal = principal

    def _let_in_all_the_same(self, request: HandshakeRequest, refused: Refused) -> None:
        """Lets nobody in as somebody, where the route only reports.

        Raises:
            Refused: it does refuse.
        """
        if _route_of(request).auth != "report_only":
            raise refused
        self.account.note_would_refuse(refused, request)
        request.principal = NOBODY

    def _question(self, request: HandshakeRequest, route: Route) -> Question:
        return Question(
            request.id,
            request.presented,
            request.path,
            route.name,
            request.origin,
            request.client.address,
            self._wall(),
        )

    def _check_key_capacity(self, key: Key, route: Route) -> None:
        limit = key.limits.connections
        if limit is not None and self.registry.occupancy.of(key.id) >= limit:
            self.account.note_limit(
                route.name, "connections", limit, set_in=f"keys.{key.name}.limits.connections"
            )
            refused = Refused(
                "key_connections",
                "Your key has as many connections as it may; close one of them first.",
            )
            refused.key_id = key.id
            raise refused

    # -------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        """An id for a request whose head could not be read."""
        return self._new_id()

    def _id_for(self, head: RequestHead, client: Client) -> str:
        if client.trusted:
            told = head.headers.one(b"x-request-id")
            if told is not None and _REQUEST_ID.fullmatch(told):
                name = told.decode("ascii")
                if name not in self.registry:
                    return name
        return self._new_id()

    def _check_capacity(self, route: Route) -> None:
        if self.draining:
            raise Refused("draining", "The gateway is going away; connect again.")
        limit = self.total_connections
        if limit is not None and len(self.registry) + len(self._dialer) >= limit:
            self.account.note_limit(route.name, "total_connections", limit)
            raise Refused(
                "gateway_connections",
                "The gateway serves as many connections as it may; try again later.",
            )


def _route_of(request: HandshakeRequest) -> Route:
    route = request.route
    assert route is not None
    return route

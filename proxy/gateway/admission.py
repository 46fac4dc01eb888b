"""Whether a request may open a WebSocket: step 2 to step 7, in their order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.auth.browser_carriers import must_offer_ours
from proxy.auth.presented import Found
from proxy.auth.question import Question
from proxy.errors import ACCEPTED, Refused
from proxy.gateway.exchanges import Exchanges
from proxy.gateway.limit_met import LimitMet
from proxy.gateway.request import HandshakeRequest, affinity_of, told_id
from proxy.gateway.session_factory import OFFER_OURS, SessionFactory
from proxy.gateway.upstream_request import upstream_request
from proxy.handshake.client import client_of
from proxy.handshake.forward import offered_subprotocols
from proxy.handshake.http_request import check_ordinary, is_ordinary, is_preflight
from proxy.handshake.request import check_handshake, host_of
from proxy.handshake.target import split_target
from proxy.keys.principal import NOBODY, PREFLIGHT
from proxy.limits.limit import Limit
from proxy.routes import is_same_origin

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.auth.standing import Standing
    from proxy.deadlines import Deadlines
    from proxy.gateway.account import Account
    from proxy.gateway.rules import Rules
    from proxy.gateway.tracer import Tracer
    from proxy.handshake.client import Address, Client
    from proxy.handshake.head import AnswerHead, RequestHead
    from proxy.keys.principal import Principal
    from proxy.logs import Logger
    from proxy.relay.first_message_rule import FirstMessageRule
    from proxy.routes import Route
    from proxy.sessions.live import LiveSession
    from proxy.sessions.registry import Registry
    from proxy.upstream.attempt import Caller
    from proxy.upstream.dialer import Dial

# Seconds between two warnings of peers whose forwarding headers are not believed.
WARN_EVERY: Final = 60.0

_OFFER: Final = b"sec-websocket-protocol"


class Admission:
    """Judges requests, dials for those that pass, and keeps the account of all.

    Args:
        rules: in force.
        account: of all handshakes.
        registry: of live sessions.
        total_connections: sessions and handshakes at a time; None is no limit.
        new_id: makes a request id that nobody can guess.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        account: Account,
        registry: Registry,
        total_connections: int | None,
        new_id: Callable[[], str],
        wall: Callable[[], float],
        deadlines: Deadlines,
        log: Logger,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.registry = registry
        self.new_id = new_id
        # Of all requests; None where nobody asks for it.
        self.tracer: Tracer | None = None
        self.draining = False
        self.total_connections = total_connections
        self.account = account
        self.exchanges = Exchanges(wall)
        # On the loop's clock.
        self._warns_again_at = 0.0
        # Those in force; a request keeps those that it came under.
        self.rules = rules
        # Set by the first reload.
        self._standing: Standing | None = None
        self._wall = wall
        self._factory = SessionFactory(registry, new_id, deadlines, log, loop)
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
        rules = self.rules
        client = client_of(
            peer,
            head.headers,
            secure=secure,
            trusted_proxies=rules.trusted_proxies,
            address_header=rules.address_header,
        )
        told = head.headers.by_name
        if (rules.address_header in told or b"forwarded" in told) and not client.trusted:
            self._warn_of_forwarder(client)
        name = told_id(head) if client.trusted else None
        if name is None or name in self.registry:
            name = self.new_id()
        request = HandshakeRequest(name, began, head, client, rules, certificate)
        if self.tracer is not None:
            request.span = self.tracer.begin(request)
        return request

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
        head, rules = request.head, request.rules
        headers = head.headers
        request.path, request.query = split_target(head.target)
        route = rules.routes.find(host_of(headers), request.path)
        if route is None:
            raise Refused("no_route", "Check the path; the gateway's operator names its routes.")
        request.route = route
        request.ordinary = route.http == "passthrough" and is_ordinary(head)
        self._check_capacity()
        if not request.ordinary:
            rules.limiter.check_client(route, request.client.address, self._loop.time())
        if not route.serves_all:
            route.check_client(request.client, headers)
        if request.ordinary:
            check_ordinary(head)
        else:
            check_handshake(head)
        if b"origin" in headers.by_name:
            # Two of them together are no origin that any list holds.
            request.origin = b", ".join(headers.all(b"origin")).lower()

    def awaits(self, request: HandshakeRequest) -> FirstMessageRule | None:
        """What the client is to say first, if it may and its request says nothing.

        Raises:
            Refused: `key_ambiguous`.
        """
        route, authenticator = request.route, request.rules.authenticator
        if not authenticator.first_messages:
            return None
        assert route is not None
        if route.auth != "required" or request.ordinary:
            return None
        return authenticator.awaits(self._question(request, route))

    def identify(self, request: HandshakeRequest, said: bytes | None = None) -> None:
        """Steps 5 and 6: who is calling, and whether this caller may in.

        Args:
            said: the credential of a first message; None looks in the request.

        Raises:
            Refused: with the step's code.
            NotAtOnce: `identify_slowly` is to be asked.
        """
        route = request.route
        assert route is not None
        preflight = request.ordinary and is_preflight(request.head)
        if preflight or route.auth == "none":
            request.principal = PREFLIGHT if preflight else NOBODY
            self._seat(request)
            return
        authenticator = request.rules.authenticator
        request.judged_at = authenticator.ring.revision
        question = self._question(request, route)
        try:
            if said is None:
                principal = authenticator.authenticate(question)
            else:
                principal = authenticator.verify(Found(said, "key"), question)
            self._admit(request, principal)
        except Refused as refused:
            self._let_in_all_the_same(request, refused)
        self._seat(request)

    async def identify_slowly(self, request: HandshakeRequest, said: bytes | None = None) -> None:
        """Steps 5 and 6 where they have to wait for something.

        Raises:
            Refused: with the step's code.
        """
        question = self._question(request, _route_of(request))
        authenticator = request.rules.authenticator
        request.judged_at = authenticator.ring.revision
        try:
            if said is None:
                principal = await authenticator.authenticate_slowly(question)
            else:
                principal = await authenticator.verify_slowly(Found(said, "key"), question)
            self._admit(request, principal)
        except Refused as refused:
            self._let_in_all_the_same(request, refused)
        self._seat(request)

    def dial(self, request: HandshakeRequest, caller: Caller) -> Dial:
        """Step 7: asks the upstream; `caller` hears its answer, whatever it is.

        Raises:
            Refused: the rules have changed meanwhile, and the new ones do not let the caller in.
        """
        route, principal = request.route, request.principal
        assert route is not None
        assert principal is not None
        if request.rules is not self.rules:
            self._check_rules(request, principal)
        affinity = b"" if route.balance == "round_robin" else affinity_of(request)
        handshake = partial(upstream_request, request, self.registry.occupancy)
        return request.rules.dialer.dial(route, handshake, caller, affinity=affinity)

    def accept(
        self, request: HandshakeRequest, answer: AnswerHead, *, connected_in: float
    ) -> LiveSession:
        """Step 8: checks the 101 and makes the session; nothing flows before it `begin`s.

        Raises:
            Refused: `upstream_invalid`, or what meanwhile became of the key: from here to the
                session's registration nothing else runs, so no revocation slips in between.
        """
        assert request.route is not None
        rules = request.rules
        if rules is not self.rules or request.judged_at != rules.authenticator.ring.revision:
            self.check_again(request)
        totals = self.registry.totals[request.route.name]
        totals.connect_duration.observe(connected_in)
        session = self._factory.make(request, answer)
        totals.outcomes[ACCEPTED] += 1
        totals.handshake_duration.observe(self._loop.time() - request.began)
        if request.span is not None:
            request.span.accepts(request, connected_in=connected_in)
        return session

    def release(self, request: HandshakeRequest) -> None:
        """Gives back the places of a request that did not become a session."""
        self.registry.occupancy.release(request.holders)
        request.holders = ()

    # Who is calling ----------------------------------------------------------------------------

    def _admit(self, request: HandshakeRequest, principal: Principal) -> None:
        """Checks what a caller whose credential is good may take besides."""
        route, headers = request.route, request.head.headers
        assert route is not None
        if (
            _OFFER in headers.by_name
            and must_offer_ours(headers)
            and not offered_subprotocols(headers)
        ):
            raise Refused("bad_request", OFFER_OURS)
        limiter, address, now = request.rules.limiter, request.client.address, self._loop.time()
        if principal.key is not None and principal.key.weak:
            limiter.check_weak(principal, route, address, now)
        try:
            if not request.ordinary:
                limiter.check_caller(route, address, principal, now)
        except Refused as refused:
            refused.key_id = principal.key_id
            raise
        if principal.session is not None and principal.session not in self.registry:
            request.id = principal.session
        request.principal = principal

    def _seat(self, request: HandshakeRequest) -> None:
        """Takes the places of a caller that is let in, if there are any left."""
        if request.ordinary:
            return
        route, principal = request.route, request.principal
        assert route is not None
        assert principal is not None
        limiter = request.rules.limiter
        request.holders = limiter.seat(route, request.client.address, principal)

    def _let_in_all_the_same(self, request: HandshakeRequest, refused: Refused) -> None:
        """Lets nobody in as somebody, where the route only reports.

        Raises:
            Refused: it does refuse.
        """
        route = _route_of(request)
        now = self._loop.time()
        refused = request.rules.limiter.refusal(refused, route, request.client.address, now)
        if route.auth != "report_only":
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
            ordinary=request.ordinary,
        )

    # Rules that change ----------------------------------------------------------------------------

    def adopt(self, rules: Rules, standing: Standing, *, total_connections: int | None) -> None:
        """Takes the rules of a new configuration; requests under way keep theirs.

        Args:
            standing: judges by the new rules who came under others.
        """
        self.rules = rules
        self._standing = standing
        self.total_connections = total_connections
        rules.limiter.recount(self.registry)

    def check_again(self, request: HandshakeRequest) -> None:
        """Checks that a caller is still admitted, whatever has changed since it was identified.

        Raises:
            Refused: it is not.
        """
        route, principal, rules = request.route, request.principal, request.rules
        assert route is not None
        assert principal is not None
        if route.auth == "required" and request.judged_at != rules.authenticator.ring.revision:
            rules.authenticator.check_again(principal, self._question(request, route))
        if rules is not self.rules:
            self._check_rules(request, principal)

    def _check_rules(self, request: HandshakeRequest, principal: Principal) -> None:
        """Checks that the rules in force admit a caller, too, who was judged by others."""
        rules, standing = self.rules, self._standing
        assert standing is not None
        headers, name = request.head.headers, _route_of(request).name
        route = rules.routes.find(host_of(headers), request.path)
        if route is None or route.name != name:
            raise Refused("no_route", "The route was taken away meanwhile.")
        objection = standing.objection(
            principal,
            self._wall(),
            route=name,
            origin=request.origin,
            same_origin=is_same_origin(request.origin, request.client, headers),
            address=request.client.address,
            since=request.rules.generation,
        )
        if objection is not None:
            refused = Refused(objection, "What the gateway accepts has changed meanwhile.")
            refused.key_id = principal.key_id
            raise rules.authenticator.challenged(refused, name, ordinary=request.ordinary)

    # -------------------------------------------------------------------------------------------

    def _check_capacity(self) -> None:
        if self.draining:
            raise Refused("draining", "The gateway is going away; connect again.")
        limit = self.total_connections
        if limit is None:
            return
        begun = len(self.rules.dialer.attempts) + len(self.exchanges)
        if len(self.registry) + begun >= limit:
            raise LimitMet(
                "gateway_connections",
                "The gateway serves as many connections as it may; try again later.",
                Limit("total_connections", limit, "limits.total_connections"),
            )


def _route_of(request: HandshakeRequest) -> Route:
    route = request.route
    assert route is not None
    return route

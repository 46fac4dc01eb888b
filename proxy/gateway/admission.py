"""Whether a request may open a WebSocket: the contract's steps 2 to 7, in their order."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.auth.presented import Presented
from proxy.auth.question import Question
from proxy.errors import ACCEPTED, CLIENT_GONE, UPSTREAM_REFUSED, Refused
from proxy.handshake.answer import check_switch
from proxy.handshake.client import client_of, text_of
from proxy.handshake.forward import offered_extensions, offered_subprotocols, upstream_head
from proxy.handshake.request import check_handshake, host_of
from proxy.handshake.target import split_target
from proxy.keys.principal import NOBODY
from proxy.relay.scanner import Scanner
from proxy.routes import NO_ROUTE
from proxy.sessions.live import LiveSession

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable, Sequence

    from proxy.auth.authenticator import Authenticator
    from proxy.deadlines import Deadlines
    from proxy.handshake.client import Address, Client, Network
    from proxy.handshake.head import AnswerHead, RequestHead
    from proxy.keys.principal import Principal
    from proxy.logs import Logger
    from proxy.routes import Route, RouteTable
    from proxy.sessions.registry import Registry
    from proxy.upstream.dialer import Caller, Dial, Dialer

_SUBPROTOCOL: Final = b"sec-websocket-protocol"
_EXTENSIONS: Final = b"sec-websocket-extensions"

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)
class HandshakeRequest:
    """A request head under judgement.

    Args:
        id: of the request, and of the session it may become.
        began: when its connection or its first byte came, on the loop's clock.
        head: as parsed.
        client: who sent it.
    """

    id: str
    began: float
    head: RequestHead
    client: Client
    # Set by the steps of `Admission.judge`.
    path: bytes = b""
    query: bytes = b""
    route: Route | None = None
    origin: bytes | None = None
    principal: Principal | None = None
    # The authenticator's revision then.
    judged_at: int = -1
    # Who has a place taken for it; until a session takes them over, or `Admission.release`.
    holders: tuple[Hashable, ...] = ()


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
        # Refusals by (route, limit) that a limit caused.
        self.limited: Counter[tuple[str, str]] = Counter()
        # What would have been refused where `auth: report_only`, by (route, code).
        self.would_refuse: Counter[tuple[str, str]] = Counter()
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
        self, head: RequestHead, peer: Address, *, secure: bool, began: float
    ) -> HandshakeRequest:
        """Takes a parsed head in."""
        client = client_of(
            peer,
            head.headers,
            secure=secure,
            trusted_proxies=self._trusted_proxies,
            address_header=self._address_header,
        )
        return HandshakeRequest(self._id_for(head, client), began, head, client)

    def judge(self, request: HandshakeRequest) -> None:
        """Steps 2 to 6, none of which waits for anything; fills `request` in as it goes.

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
        request.judged_at = self._authenticator.revision
        request.principal = principal = self._principal(request, route)
        if principal.key is not None:
            request.holders = (principal.key.id,)
            self.registry.occupancy.take(request.holders)

    def dial(self, request: HandshakeRequest, caller: Caller) -> Dial:
        """Step 7: asks the upstream; `caller` hears its answer, whatever it is."""
        route, principal = request.route, request.principal
        assert route is not None
        assert principal is not None
        stripping = self._authenticator.stripping(route.name)
        handshake = upstream_head(
            request.head,
            route.upstream_target(request.path, stripping.query(request.query)),
            client=request.client,
            credential_headers=stripping.headers(Presented(request.head.headers, request.query)),
            cookie=stripping.cookie,
            compression=route.compression,
            ours=(
                b"X-Request-Id: " + request.id.encode(),
                b"X-Wskeeper-Route: " + route.name.encode(),
                *principal.headers,
            ),
        )
        return self._dialer.dial(route, handshake, caller)

    def accept(
        self, request: HandshakeRequest, answer: AnswerHead, *, connected_in: float
    ) -> LiveSession:
        """Step 8: checks the 101 and makes the session; nothing flows before it `begin`s.

        Raises:
            Refused: `upstream_invalid`, or what meanwhile became of the key: from here to the
                session's registration nothing else runs, so no revocation slips in between.
        """
        route, principal, headers = request.route, request.principal, request.head.headers
        assert route is not None
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
            upstream=route.upstream,
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

    def _principal(self, request: HandshakeRequest, route: Route) -> Principal:
        """Steps 5 and 6, as far as the route asks for them."""
        if route.auth == "none":
            return NOBODY
        try:
            principal = self._authenticator.authenticate(self._question(request, route))
            self._check_key_capacity(principal, route)
        except Refused as refused:
            if route.auth != "report_only":
                raise
            self.would_refuse[route.name, refused.code] += 1
            self._log.info("would_refuse", **_described(request, "", ""), code=refused.code)
            return NOBODY
        return principal

    def _question(self, request: HandshakeRequest, route: Route) -> Question:
        return Question(
            request.id,
            Presented(request.head.headers, request.query),
            request.path,
            route.name,
            request.origin,
            request.client.address,
            self._wall(),
        )

    def _check_key_capacity(self, principal: Principal, route: Route) -> None:
        key = principal.key
        assert key is not None
        limit = key.limits.connections
        if limit is not None and self.registry.occupancy.of(key.id) >= limit:
            self.note_limit(
                route.name, "connections", limit, set_in=f"keys.{key.name}.limits.connections"
            )
            raise Refused(
                "key_connections",
                "Your key has as many connections as it may; close one of them first.",
            )

    # The account -------------------------------------------------------------------------------

    def note_refusal(
        self, refused: Refused, request: HandshakeRequest | None, *, client: str, id: str
    ) -> None:
        """Counts and logs a refusal of ours; `client` and `id` stand in where no head was read."""
        fields = _described(request, client, id)
        self.registry.totals[fields["route"]].outcomes[refused.code] += 1
        if refused.cause is not None:
            fields["cause"] = refused.cause
        tell = getattr(self._log, refused.row.level)
        tell("handshake_refused", **fields, status=refused.row.status, code=refused.code)

    def note_upstream_refusal(self, request: HandshakeRequest, status: int) -> None:
        """Counts and logs a refusal of the upstream's."""
        fields = _described(request, "", request.id)
        self.registry.totals[fields["route"]].outcomes[UPSTREAM_REFUSED] += 1
        self._log.info("handshake_refused", **fields, status=status, code=UPSTREAM_REFUSED)

    def note_client_gone(self, request: HandshakeRequest | None, *, client: str, id: str) -> None:
        """Counts and logs a client that left before its answer."""
        fields = _described(request, client, id)
        self.registry.totals[fields["route"]].outcomes[CLIENT_GONE] += 1
        self._log.debug("handshake_refused", **fields, code=CLIENT_GONE)

    def note_failure(
        self, failure: BaseException, request: HandshakeRequest | None, *, client: str, id: str
    ) -> None:
        """Logs a fault of ours with its traceback."""
        self._log.error("internal_error", **_described(request, client, id), failure=failure)

    def note_limit(self, route: str, limit: str, value: int, *, set_in: str | None = None) -> None:
        """Counts and logs that a limit was met.

        Args:
            set_in: where it stands; None for the top level.
        """
        self.limited[route, limit] += 1
        self._log.warning(
            "limited", route=route, limit=limit, value=value, set_in=set_in or f"limits.{limit}"
        )

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
            self.note_limit(route.name, "total_connections", limit)
            raise Refused(
                "gateway_connections",
                "The gateway serves as many connections as it may; try again later.",
            )


def _described(request: HandshakeRequest | None, client: str, id: str) -> dict[str, str]:
    """The fields that every log line about a request begins with."""
    if request is None:
        return {"request_id": id, "route": NO_ROUTE, "client": client}
    route, principal = request.route, request.principal
    fields = {"request_id": request.id, "route": NO_ROUTE if route is None else route.name}
    if principal is not None and principal.key is not None:
        fields["key_id"] = principal.key.id
    fields["client"] = text_of(request.client.address)
    if principal is not None and route is not None:
        fields["upstream"] = route.upstream
    return fields

"""The gateway's own HTTP services for clients: tickets and renewal (docs/clients.md).

Backends buy here with a key, pages with a token; what is bought or renewed can only narrow.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.auth.presented import Presented
from proxy.auth.question import NotAtOnce, Question
from proxy.auth.tickets import Ticket, narrowed
from proxy.auth.wishes import Wish, read_renewal, read_wish
from proxy.errors import Refused
from proxy.gateway.limit_met import LimitMet
from proxy.handshake.client import client_of, text_of
from proxy.handshake.http_answer import CONTINUE
from proxy.handshake.http_request import expects_continue
from proxy.handshake.reply import problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.auth.authenticator import Authenticator
    from proxy.gateway.account import Account
    from proxy.gateway.limiter import Limiter
    from proxy.handshake.client import Address, Client, Network
    from proxy.handshake.head import RequestHead
    from proxy.identity.tickets import TicketOffice
    from proxy.keys.principal import Principal
    from proxy.logs import Logger
    from proxy.routes import Route, RouteTable
    from proxy.sessions.registry import Registry

TICKET_PATH: Final = b"/.wskeeper/ticket"
RENEW_PATH: Final = b"/.wskeeper/renew"

_MAX_BODY: Final = 16 * 1024
_AT_MOST: Final = "Send at most 16 KiB."
_BODY_WITHIN: Final = 10.0
_PREFLIGHT_AGE: Final = 600


class ClientServices:
    """What both services share: who asks, what for, and how they are answered.

    Args:
        routes: by which pages may ask.
        buyers: judges credentials, by route.
        secure: whether clients come over TLS.
        trusted_proxies: whose forwarding headers are believed.
        address_header: lower-case name of the header with the client's address.
        account: is told of limits that are met.
        new_id: makes an id that nobody can guess.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        routes: RouteTable,
        ticketed: Sequence[Route],
        buyers: Authenticator,
        secure: bool,
        trusted_proxies: Sequence[Network],
        address_header: bytes,
        limiter: Limiter,
        account: Account,
        new_id: Callable[[], str],
        wall: Callable[[], float],
        clock: Callable[[], float],
        log: Logger,
    ) -> None:
        self.routes = routes
        self.ticketed = ticketed
        self.new_id = new_id
        self.wall = wall
        self.log = log
        self._buyers = buyers
        self._limiter = limiter
        self._account = account
        self._clock = clock
        self._secure = secure
        self._trusted_proxies = trusted_proxies
        self._address_header = address_header

    def client(self, head: RequestHead, peer: Address) -> Client:
        """Who sent a request."""
        return client_of(
            peer,
            head.headers,
            secure=self._secure,
            trusted_proxies=self._trusted_proxies,
            address_header=self._address_header,
        )

    def note_failure(self, failure: Exception, id: str) -> None:
        """Logs a fault of ours with its traceback."""
        self.log.error("internal_error", request_id=id, failure=failure)

    async def caller(
        self, head: RequestHead, client: Client, route: Route, id: str
    ) -> tuple[Principal, Question]:
        """Who asks, by a credential that opens the route.

        Raises:
            Refused: as a handshake would be.
        """
        route.check_client(client, head.headers)
        origins = head.headers.all(b"origin")
        question = Question(
            id,
            Presented(head.headers, b""),
            head.target,
            route.name,
            b", ".join(origins).lower() if origins else None,
            client.address,
            self.wall(),
            ordinary=True,
        )
        limiter, now = self._limiter, self._clock()
        try:
            principal = await self._identify(question)
            limiter.check_weak(principal, route, client.address, now)
        except Refused as failed:
            refused = limiter.refusal(failed, route, client.address, now)
            if isinstance(refused, LimitMet):
                fields = {"request_id": id, "route": route.name, "client": client.text}
                self._account.note_limit(refused.limit, fields)
            raise refused from None
        return principal, question

    async def _identify(self, question: Question) -> Principal:
        try:
            return self._buyers.authenticate(question)
        except NotAtOnce:
            return await self._buyers.authenticate_slowly(question)


class _Service:
    """One service: preflights, errors and the headers that let a page read the answer."""

    def __init__(self, shared: ClientServices) -> None:
        self._shared = shared

    async def answer(
        self, request: web.BaseRequest, head: RequestHead, peer: Address
    ) -> web.Response:
        """Answers one request."""
        request_id = self._shared.new_id()
        client = self._shared.client(head, peer)
        readable = self._readable(head, client)
        try:
            if request.method == "OPTIONS":
                answer = self._preflight(head, readable=readable)
            else:
                answer = await self._serve(await _body(request, head), head, client, request_id)
        except Refused as refused:
            self._shared.log.info(
                "service_refused",
                request_id=request_id,
                path=head.target.decode("ascii"),
                client=text_of(client.address),
                status=refused.row.status,
                code=refused.code,
            )
            answer = _refusal(refused)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the client is answered
            self._shared.note_failure(failure, request_id)
            answer = _refusal(Refused("internal_error", "The gateway failed; its log says how."))
        if readable:
            answer.headers["Access-Control-Allow-Origin"] = _origin(head)
            answer.headers["Access-Control-Expose-Headers"] = "X-Wskeeper-Code, X-Request-Id"
        answer.headers.update(
            {
                "Cache-Control": "no-store",
                "Server": "wskeeper",
                "Vary": "Origin",
                "X-Request-Id": request_id,
            }
        )
        return answer

    async def _serve(
        self, body: dict[str, Any], head: RequestHead, client: Client, id: str
    ) -> web.Response:
        raise NotImplementedError

    def _readable(self, head: RequestHead, client: Client) -> bool:
        """Whether the page that asks may read the answer: some route serves its origin."""
        origins = head.headers.all(b"origin")
        return len(origins) == 1 and any(
            route.admits(origins[0].lower(), client, head.headers)
            for route in self._shared.ticketed
        )

    @staticmethod
    def _preflight(head: RequestHead, *, readable: bool) -> web.Response:
        """What a browser asks before it lets a page of another origin send a key."""
        if not readable:
            raise Refused("origin_forbidden", "No route that takes tickets serves that origin.")
        asked = head.headers.one(b"access-control-request-headers") or b""
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": asked.decode("latin-1"),
                "Access-Control-Max-Age": str(_PREFLIGHT_AGE),
            },
        )


class TicketService(_Service):
    """`POST /.wskeeper/ticket`.

    Args:
        office: makes tickets.
        ttl: seconds for which a ticket can be used, unless less is asked for.
    """

    def __init__(self, shared: ClientServices, office: TicketOffice, ttl: float) -> None:
        super().__init__(shared)
        self._office = office
        self._ttl = ttl

    async def _serve(
        self, body: dict[str, Any], head: RequestHead, client: Client, id: str
    ) -> web.Response:
        shared = self._shared
        wish = read_wish(body, longest=self._ttl)
        route = self._route(wish)
        principal, question = await shared.caller(head, client, route, id)
        if wish.subject is not None and principal.subject not in {None, wish.subject}:
            raise Refused("body_invalid", "`subject` is not the one of your credential.")
        if wish.origin is not None and not route.admits(wish.origin, client, head.headers):
            raise Refused("body_invalid", "`origin` is none that the route serves.")
        ends = [principal.until]
        if wish.expires_in is not None:
            ends.append(question.now + wish.expires_in)
        keyed = {} if principal.key is None else principal.key.metadata
        ticket = Ticket(
            key_id=principal.key_id,
            digest=principal.digest,
            route=route.name,
            session=shared.new_id(),
            subject=wish.subject or principal.subject,
            metadata={**narrowed(wish.metadata, principal.metadata, keyed), **principal.metadata},
            origin=wish.origin,
            until=min((end for end in ends if end is not None), default=None),
        )
        text = await self._office.sell(ticket, ttl=wish.ttl)
        fields = {"key_id": principal.key_id, "subject": ticket.subject, "session": ticket.session}
        shared.log.info("ticket_issued", request_id=id, route=route.name, **_set(fields))
        return web.json_response(
            {
                "ticket": text,
                "expires_in": wish.ttl,
                "route": route.name,
                "session": ticket.session,
            },
            status=201,
        )

    def _route(self, wish: Wish) -> Route:
        """The route that the ticket is for."""
        ticketed = self._shared.ticketed
        if wish.route is None:
            if len(ticketed) == 1:
                return ticketed[0]
            raise Refused("body_invalid", "Say in `route` which route the ticket is for.")
        for route in ticketed:
            if route.name == wish.route:
                return route
        raise Refused("body_invalid", "`route` is none that takes tickets.")


class RenewalService(_Service):
    """`POST /.wskeeper/renew`.

    Args:
        registry: of live sessions.
    """

    def __init__(self, shared: ClientServices, registry: Registry) -> None:
        super().__init__(shared)
        self._registry = registry

    async def _serve(
        self, body: dict[str, Any], head: RequestHead, client: Client, id: str
    ) -> web.Response:
        wish = read_renewal(body)
        unknown = Refused("session_unknown", "No session of yours has that id.")
        session = self._registry.get(wish.session)
        route = None if session is None else self._shared.routes.get(session.route)
        if session is None or route is None:
            raise unknown
        principal, question = await self._shared.caller(head, client, route, id)
        same_key = principal.key_id == session.principal.key_id
        # A key speaks for all its subjects; a token for its own.
        same_subject = principal.subject == session.principal.subject or (
            principal.subject is None and principal.key is not None
        )
        if not same_key or not same_subject or self._registry.get(wish.session) is not session:
            raise unknown
        ends = [principal.until]
        if wish.expires_in is not None:
            ends.append(question.now + wish.expires_in)
        session.until = min((end for end in ends if end is not None), default=None)
        if principal.key is not None:
            # The newer secret holds the session from now on, so that rotation does not end it.
            shown = {session.principal.digest, principal.digest}
            newer = next(one.digest for one in principal.key.secrets if one.digest in shown)
            session.principal = session.principal._replace(digest=newer)
        self._shared.log.info("session_renewed", request_id=id, session=session.id)
        return web.Response(status=204)


def _origin(head: RequestHead) -> str:
    return (head.headers.one(b"origin") or b"").decode("latin-1")


def _set(fields: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


async def _body(request: web.BaseRequest, head: RequestHead) -> dict[str, Any]:
    """The JSON object of a POST; nothing at all is an empty one."""
    if request.method != "POST":
        raise Refused("method_not_allowed", "Ask with POST.", (("Allow", "POST"),))
    if b"content-encoding" in head.headers:
        raise Refused("body_invalid", "Send the body without Content-Encoding.")
    if (request.content_length or 0) > _MAX_BODY:
        raise Refused("body_too_large", _AT_MOST)
    if expects_continue(head) and request.transport is not None:
        request.transport.write(CONTINUE)
    data = bytearray()
    try:
        async with asyncio.timeout(_BODY_WITHIN):
            async for piece in request.content.iter_any():
                data += piece
                if len(data) > _MAX_BODY:
                    raise Refused("body_too_large", _AT_MOST)
    except TimeoutError:
        raise Refused("head_timeout", "Send the whole body at once.") from None
    except (web.RequestPayloadError, OSError):
        raise Refused("bad_request", "Send the body whole, and framed as its head says.") from None
    if not data:
        return {}
    if request.content_type != "application/json":
        raise Refused("body_invalid", "Send 'Content-Type: application/json'.")
    try:
        body = json.loads(bytes(data))
    except (ValueError, RecursionError):
        raise Refused("body_invalid", "Send a JSON object.") from None
    if not isinstance(body, dict):
        raise Refused("body_invalid", "Send a JSON object.")
    return body


def _refusal(refused: Refused) -> web.Response:
    headers = {"X-Wskeeper-Code": refused.code, **dict(refused.headers)}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(refused.retry_after)
    return web.Response(
        status=refused.row.status,
        body=problem(refused),
        content_type="application/problem+json",
        headers=headers,
    )

"""What a gateway would say to one request, step by step, by the very code that judges them.

The steps are those of `gateway.admission`, in their order. What only a running gateway can find
out (a ticket, a plugin's answer, how many connections there are) is named, not guessed.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, NoReturn

from proxy.auth.authenticator import Authenticator
from proxy.auth.browser_carriers import must_offer_ours
from proxy.auth.presented import Presented
from proxy.auth.question import NotAtOnce, Question
from proxy.auth.ways import ways_of
from proxy.cli import explained_limits, explained_upstream
from proxy.cli.explained_credential import Known, credential
from proxy.cli.explanation import Explanation
from proxy.cli.masking import Masking
from proxy.errors import Refused, close_code_for
from proxy.gateway.session_factory import OFFER_OURS
from proxy.handshake.client import client_of, text_of, within
from proxy.handshake.collect import HeadCollector, whole_head
from proxy.handshake.forward import offered_subprotocols
from proxy.handshake.head import Malformed, TooManyHeaders, parse_request
from proxy.handshake.http_request import check_ordinary, is_ordinary, is_preflight
from proxy.handshake.request import check_handshake, host_of
from proxy.handshake.target import split_target
from proxy.keys.principal import NOBODY
from proxy.routes import RouteTable

if TYPE_CHECKING:
    from proxy.auth.key_verifier import KeyVerifier
    from proxy.auth.ways import Ways
    from proxy.cli.explanation import Asked, Tokens
    from proxy.config.model import Config
    from proxy.handshake.client import Client
    from proxy.handshake.head import RequestHead
    from proxy.keys.principal import Principal
    from proxy.keys.ring import KeyRing
    from proxy.relay.first_message_rule import FirstMessageRule
    from proxy.routes import Route

_PASSED: Final = "the route takes both (http: passthrough)"
_MALFORMED: Final = "Send a well-formed HTTP/1.1 request head."


class _OnlyTheGateway:
    """Stands where tickets are taken and plugins asked; nothing of that happens here."""

    async def redeem(self, ticket: bytes, question: Question) -> NoReturn:
        del ticket, question
        raise NotAtOnce

    async def ask(self, question: Question, credential: bytes | None) -> NoReturn:
        del question, credential
        raise NotAtOnce


class Explainer:
    """Judges requests as a gateway of one configuration would.

    Args:
        config: valid.
        ring: of all keys that are known.
        keys: checks them.
        tokens: checks JWTs; None where none are accepted.
        own_paths: answered by the gateway itself when no upgrade is asked for, and how.
    """

    def __init__(
        self,
        config: Config,
        ring: KeyRing,
        keys: KeyVerifier,
        tokens: Tokens | None,
        own_paths: dict[bytes, str],
    ) -> None:
        self._config = config
        self._ring = ring
        self._tokens = tokens
        self._own_paths = own_paths
        self._routes = RouteTable.of(config)
        self._ways: dict[str, Ways] = {
            route.name: ways_of(config.carriers_of(route)) for route in config.routes
        }
        self._authenticator = Authenticator(
            self._ways,
            keys,
            tokens=None if tokens is None else tokens.verifier,
            tickets=_OnlyTheGateway(),
            plugins=_OnlyTheGateway() if config.plugins else None,
        )
        self._masking = Masking(self._authenticator.is_ours)

    def explain(self, asked: Asked) -> Explanation:
        """What the gateway would say."""
        told = Explanation()
        head = None
        try:
            head = _parsed(asked.raw, self._config.limits.head_size)
            self._judge(told, head, asked)
        except Refused as refused:
            told.refused = refused
            if head is not None and told.route is not None:
                told.close_code = _close_code(refused, told.route, head)
        return told

    # Steps -------------------------------------------------------------------------------------

    def _judge(self, told: Explanation, head: RequestHead, asked: Asked) -> None:
        if head.target in self._own_paths and b"upgrade" not in head.headers:
            told.answered = self._own_paths[head.target]
            return
        client = told.client = client_of(
            asked.peer,
            head.headers,
            secure=asked.secure,
            trusted_proxies=self._config.trusted_proxies,
            address_header=self._config.client_address_header.lower().encode("ascii"),
        )
        path, query = split_target(head.target)
        route = self._find(told, head, path)
        told.note("client", self._client_text(client, head))
        told.ordinary = route.http == "passthrough" and is_ordinary(head)
        if told.ordinary:
            method = head.method.decode()
            told.note("http", f"an ordinary {method} and no handshake; {_PASSED}")
        self._check_client(told, route, client, head)
        if told.ordinary:
            check_ordinary(head)
        else:
            check_handshake(head)
        origins = head.headers.all(b"origin")
        question = Question(
            "explain",
            Presented(head.headers, query),
            path,
            route.name,
            b", ".join(origins).lower() if origins else None,
            client.address,
            asked.now,
            ordinary=told.ordinary,
        )
        sent = self._identify(told, route, head, question)
        limits = (
            explained_limits.of_ordinary(self._config.limits, route)
            if told.ordinary
            else explained_limits.of_handshake(self._config.limits, route, told.key)
        )
        if limits:
            told.note("limits", limits)
        request = explained_upstream.upstream_request(
            sent,
            question,
            route=route,
            client=client,
            principal=told.principal,
            stripping=self._authenticator.strippings[route.name],
        )
        told.upstream_head = explained_upstream.shown(request, route, self._masking)

    def _find(self, told: Explanation, head: RequestHead, path: bytes) -> Route:
        host = host_of(head.headers)
        route = told.route = self._routes.find(host, path)
        shown = self._masking.path(path)
        if route is None:
            told.note("path", f"{shown}: no route, at the host {host}")
            raise Refused("no_route", "Check the path; the gateway's operator names its routes.")
        urls = [
            self._masking.path(
                str(
                    dataclasses.replace(target, path=route.upstream_target(path, b"", target))
                ).encode("latin-1")
            )
            for target in route.targets
        ]
        told.upstream_url = urls[0]
        place = f"{route.host or ''}{route.path.decode()}"
        balance = f" by {route.balance}" if len(urls) > 1 else ""
        told.note(
            "path",
            f"{shown} → route {route.name} (path {place}), upstream {' or '.join(urls)}{balance}",
        )
        return route

    def _client_text(self, client: Client, head: RequestHead) -> str:
        peer = text_of(client.peer)
        name = self._config.client_address_header
        if client.trusted:
            whence = f"socket {peer}, trusted by trusted_proxies"
        elif name.lower().encode() in head.headers:
            whence = f"its socket's: {peer} is not in trusted_proxies, so {name} is not believed"
        else:
            whence = "its socket's"
        return f"{text_of(client.address)} over {client.scheme} ({whence})"

    def _check_client(
        self, told: Explanation, route: Route, client: Client, head: RequestHead
    ) -> None:
        place = f"routes[{route.name}]"
        refusal = None
        try:
            route.check_client(client, head.headers)
        except Refused as refused:
            refusal = refused
        if refusal is not None and refusal.code == "address_forbidden":
            which = "deny" if within(client.address, route.deny) else "allow"
            told.note("address", f"not served, by {place}.addresses.{which}")
        elif route.allow is not None or route.deny:
            told.note("address", f"served, by {place}.addresses")
        if refusal is None or refusal.code == "origin_forbidden":
            told.note("origin", self._origin_text(route, head, forbidden=refusal is not None))
        if refusal is not None:
            raise refusal

    def _origin_text(self, route: Route, head: RequestHead, *, forbidden: bool) -> str:
        sent = head.headers.all(b"origin")
        place = f"routes[{route.name}].origins"
        if not sent:
            return "none sent, as by everything that is no browser"
        shown = ", ".join(map(self._masking.text, sent))
        if route.origins is None:
            return f"{shown}: any is allowed ({place} is not set)"
        if isinstance(route.origins, str):
            listed = route.origins
        else:
            listed = ", ".join(sorted(origin.decode() for origin in route.origins))
        return f"{shown}: {'not ' if forbidden else ''}allowed by {place} ({listed})"

    # Who is calling ----------------------------------------------------------------------------

    def _identify(
        self, told: Explanation, route: Route, head: RequestHead, question: Question
    ) -> RequestHead:
        """Finds out who is calling; returns the request as its upstream would hear of it."""
        if route.auth == "none":
            told.note("carrier", "none needed (auth: none)")
            told.principal = NOBODY
            return head
        if told.ordinary and is_preflight(head):
            told.note("carrier", "none needed: a CORS preflight, with which browsers send none")
            told.principal = NOBODY
            return head
        hears = route.auth == "required" and not told.ordinary
        rule = self._authenticator.awaits(question) if hears else None
        if rule is not None:
            return _awaiting(told, route, rule, head)
        try:
            self._authenticate(told, head, question)
        except Refused as refused:
            if route.auth != "report_only":
                raise
            told.conditions.clear()
            told.principal = NOBODY
            told.note("auth", f"report_only: let in as nobody, and counted as {refused.code}")
        return head

    def _authenticate(self, told: Explanation, head: RequestHead, question: Question) -> None:
        tokens = self._tokens
        found = credential(
            self._ways[question.route],
            question.presented,
            Known(
                self._ring,
                self._authenticator.is_ours,
                _never if tokens is None else tokens.verifier.is_ours,
                self._config.plugins,
                question.now,
                ordinary=question.ordinary,
            ),
        )
        told.carriers = found.carriers
        told.key = found.key
        told.steps += found.notes
        told.conditions += found.conditions
        try:
            told.principal = self._authenticator.authenticate(question)
        except NotAtOnce:
            if found.is_token and tokens is not None:
                raise _unverifiable(tokens) from None
        if found.is_token and tokens is not None and told.principal is not None:
            _note_token(told, tokens, told.principal)
        if must_offer_ours(head.headers) and not offered_subprotocols(head.headers):
            raise Refused("bad_request", OFFER_OURS)


def _parsed(raw: bytes, limit: int) -> RequestHead:
    collected = whole_head(raw, limit) or HeadCollector(limit).feed(raw)
    assert collected is not None
    try:
        return parse_request(collected[0])
    except TooManyHeaders:
        raise Refused("head_too_large", "Send fewer headers.") from None
    except Malformed:
        raise Refused("bad_request", _MALFORMED) from None


def _close_code(refused: Refused, route: Route, head: RequestHead) -> int | None:
    """With which a refusal is said after a 101; None when it is said as an HTTP status."""
    if route.refuse_with == "http" or (
        route.refuse_with == "auto" and b"origin" not in head.headers
    ):
        return None
    try:
        check_handshake(head)
    except Refused:
        return None
    return route.close_codes.get(refused.code) or close_code_for(refused.row.status)


def _awaiting(
    told: Explanation, route: Route, rule: FirstMessageRule, head: RequestHead
) -> RequestHead:
    """The request as its upstream would hear of it behind a good first message."""
    told.note(
        "carrier",
        f"first_message: 101 at once, then {route.timeouts.first_message:g} s for a JSON object of "
        f"at most {rule.max_size} bytes with the credential at {'.'.join(rule.token)}",
    )
    told.carriers = ("first_message",)
    told.conditions.append("a good first message comes in time")
    offered = head.headers.tokens(b"sec-websocket-protocol")
    return head.reoffering(next((name for name in offered if name in route.subprotocols), None))


def _note_token(told: Explanation, tokens: Tokens, principal: Principal) -> None:
    subject = f"subject {principal.subject or 'none'}"
    if tokens.checks:
        told.note("token", f"{subject}, signature checked with {tokens.by}")
    else:
        told.note("token", f"{subject}; the signature is not checked: no network ({tokens.by})")
        told.conditions.append("the token's signature is good")


def _unverifiable(tokens: Tokens) -> Refused:
    """What the gateway says of a token that none of the keys at hand can have signed."""
    if tokens.failure is not None:
        return Refused("store_unavailable", f"{tokens.by} cannot be used: {tokens.failure}.")
    return Refused("token_invalid", "The token is signed with a key that its issuer does not have.")


def _never(_value: bytes) -> bool:
    return False

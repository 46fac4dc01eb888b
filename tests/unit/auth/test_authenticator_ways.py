"""Tokens, tickets, plugins and first messages: who is asked for which, and who is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from proxy.auth.authenticator import Authenticator
from proxy.auth.browser_carriers import QueryCarrier, TicketCarrier
from proxy.auth.carriers import BearerCarrier, HeaderCarrier
from proxy.auth.jwk import UnknownKey
from proxy.auth.jwt import Claims
from proxy.auth.key_verifier import KeyVerifier
from proxy.auth.presented import Found
from proxy.auth.question import NotAtOnce
from proxy.auth.ways import Ways
from proxy.errors import Refused
from proxy.keys.key import Key, Secret, digest_of
from proxy.keys.principal import bearer_of
from proxy.keys.ring import KeyRing
from proxy.relay.first_message_rule import GRAPHQL_WS
from tests.unit.auth.asked import NOW, Trust, question

if TYPE_CHECKING:
    from proxy.auth.question import Question
    from proxy.keys.principal import Principal

SECRET = "CANARY-good-4f1a9c0d7e6b"
TICKET = bearer_of("ticket", "of a ticket", {}, until=None)
PLUGIN = bearer_of("plugin", "of a plugin", {}, until=None)
CARRIERS = (HeaderCarrier(b"X-Api-Key"), BearerCarrier(), QueryCarrier(b"key"), TicketCarrier())


class Tokens:
    """An issuer whose tokens begin with `jwt`; some need its newest keys."""

    def is_ours(self, token: bytes) -> bool:
        return token.startswith(b"jwt")

    def verify_now(self, token: bytes) -> Claims:
        if token == b"jwt-new":
            raise UnknownKey("new")
        return self._claims(token)

    async def verify(self, token: bytes) -> Claims:
        return self._claims(token)

    def _claims(self, token: bytes) -> Claims:
        if token == b"jwt-bad":
            raise Refused("token_invalid")
        routes = frozenset({"other"}) if token == b"jwt-other" else None
        return Claims("ada", NOW + 60, routes, {"tenant": "blue"})


class Tickets:
    async def redeem(self, ticket: bytes, question: Question) -> Principal:
        del question
        if ticket != b"wst_good":
            raise Refused("ticket_invalid")
        return TICKET


class Plugins:
    """Knows one credential, and nobody without one but on one route."""

    def __init__(self) -> None:
        self.asked: list[bytes | None] = []

    async def ask(self, question: Question, credential: bytes | None) -> Principal | None:
        self.asked.append(credential)
        if credential == b"kept-out":
            raise Refused("plugin_refused")
        known = credential == b"of-the-plugin" or question.route == "first"
        return PLUGIN if known else None


def authenticator(*, tokens: bool = True, plugins: Plugins | None = None) -> Authenticator:
    ring = KeyRing()
    ring.put("one", Key("one", "one", (Secret(digest_of(SECRET.encode())),)))
    return Authenticator(
        {"chat": Ways(CARRIERS, None), "first": Ways(CARRIERS, GRAPHQL_WS)},
        KeyVerifier(ring, Trust()),
        tokens=Tokens() if tokens else None,
        tickets=Tickets(),
        plugins=plugins,
    )


AUTHENTICATOR = authenticator()


def refusal(asked: Question, by: Authenticator = AUTHENTICATOR) -> Refused:
    with pytest.raises(Refused) as caught:
        by.authenticate(asked)
    return caught.value


def slowly(asked: Question, by: Authenticator = AUTHENTICATOR) -> Any:
    """The principal, or the code and the challenge of the refusal."""
    with pytest.raises(NotAtOnce):
        by.authenticate(asked)
    try:
        return asyncio.run(by.authenticate_slowly(asked))
    except Refused as refused:
        return refused.code, dict(refused.headers)


CHALLENGE = {"WWW-Authenticate": Ways(CARRIERS, None).challenge}


# Tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        question("X-Api-Key: jwt-good"),
        question("Authorization: Bearer jwt-good"),
        question(query=b"?key=jwt-good"),
    ],
)
def test_token_stands_where_a_key_may(asked: Question) -> None:
    caller = AUTHENTICATOR.authenticate(asked)
    assert (caller.auth, caller.subject, caller.until) == ("jwt", "ada", NOW + 60)
    assert b"X-Wskeeper-Meta-tenant: blue" in caller.headers
    AUTHENTICATOR.check_again(caller, asked)


def test_change_of_a_key_is_a_reason_to_judge_anew() -> None:
    ring = KeyRing()
    by = Authenticator({}, KeyVerifier(ring, Trust()), tickets=Tickets())
    before = by.ring.revision
    ring.put("one", Key("one", "one", (Secret(digest_of(b"x")),)))
    assert by.ring.revision > before


def test_token_opens_the_routes_that_it_names() -> None:
    assert refusal(question("X-Api-Key: jwt-other")).code == "route_forbidden"


def test_bad_token_is_told_the_ways_in() -> None:
    refused = refusal(question("X-Api-Key: jwt-bad"))
    assert (refused.code, dict(refused.headers)) == ("token_invalid", CHALLENGE)


def test_token_may_need_newer_keys() -> None:
    assert slowly(question("X-Api-Key: jwt-new")).auth == "jwt"


def test_token_is_a_strange_key_where_none_are_accepted() -> None:
    by = authenticator(tokens=False)
    assert refusal(question("X-Api-Key: jwt-good"), by).code == "key_unknown"
    assert refusal(question("Authorization: Bearer jwt-good"), by).code == "key_missing"
    assert not by.is_ours(b"jwt-good")


# Tickets -------------------------------------------------------------------------------------


def test_ticket_is_waited_for() -> None:
    assert slowly(question(query=b"?wskeeper_ticket=wst_good")) is TICKET
    assert slowly(question(query=b"?wskeeper_ticket=x")) == ("ticket_invalid", CHALLENGE)


def test_ticket_beside_a_key_is_ambiguous() -> None:
    asked = question(f"X-Api-Key: {SECRET}", query=b"?wskeeper_ticket=wst_good")
    assert refusal(asked).code == "key_ambiguous"
    # Also if both are spelled alike: they are not the same thing.
    asked = question("X-Api-Key: wst_good", query=b"?wskeeper_ticket=wst_good")
    assert refusal(asked).code == "key_ambiguous"


# Plugins -------------------------------------------------------------------------------------


def test_plugin_is_asked_for_what_nobody_else_knows() -> None:
    plugins = Plugins()
    by = authenticator(plugins=plugins)
    assert slowly(question("X-Api-Key: of-the-plugin"), by) is PLUGIN
    assert slowly(question("X-Api-Key: another"), by) == ("key_unknown", CHALLENGE)
    assert slowly(question(), by) == ("key_missing", CHALLENGE)
    assert slowly(question("X-Api-Key: kept-out"), by) == ("plugin_refused", {})
    assert plugins.asked == [b"of-the-plugin", b"another", None, b"kept-out"]


def test_plugin_is_not_asked_for_what_is_known() -> None:
    plugins = Plugins()
    by = authenticator(plugins=plugins)
    assert by.authenticate(question(f"X-Api-Key: {SECRET}")).key_id == "one"
    assert by.authenticate(question("X-Api-Key: jwt-good")).auth == "jwt"
    assert slowly(question("X-Api-Key: jwt-new"), by).auth == "jwt"
    assert slowly(question(query=b"?wskeeper_ticket=wst_good"), by) is TICKET
    # A key that came to be known meanwhile is the gateway's to judge.
    found = Found(SECRET.encode(), "key")
    assert asyncio.run(by.verify_slowly(found, question())).key_id == "one"
    assert plugins.asked == []


# First messages ------------------------------------------------------------------------------


def test_message_is_awaited_where_the_request_says_nothing() -> None:
    assert AUTHENTICATOR.awaits(question(route="first")) is GRAPHQL_WS
    assert AUTHENTICATOR.awaits(question("Authorization: Basic x", route="first")) is GRAPHQL_WS
    assert set(AUTHENTICATOR.first_messages) == {"first"}
    assert AUTHENTICATOR.awaits(question(route="chat")) is None
    assert AUTHENTICATOR.awaits(question(route="nowhere")) is None


@pytest.mark.parametrize("key", [SECRET, "wrong", "jwt-bad"])
def test_nothing_is_awaited_from_a_request_with_a_credential(key: str) -> None:
    assert AUTHENTICATOR.awaits(question(f"X-Api-Key: {key}", route="first")) is None


def test_request_that_says_two_things_is_not_waited_for() -> None:
    asked = question(f"X-Api-Key: {SECRET}", "X-Api-Key: x", route="first")
    with pytest.raises(Refused) as caught:
        AUTHENTICATOR.awaits(asked)
    assert caught.value.code == "key_ambiguous"


def test_wrong_credential_in_a_message_is_marked_and_not_challenged() -> None:
    with pytest.raises(Refused) as caught:
        AUTHENTICATOR.verify(Found(b"wrong", "key"), question(route="first"))
    refused = caught.value
    assert (refused.code, refused.headers) == ("key_unknown", ())
    assert refused.shown == digest_of(b"wrong")
    assert AUTHENTICATOR.verify(Found(SECRET.encode(), "key"), question()).key_id == "one"

"""Credentials that fail at the ticket desk and in first messages: counted, limited and logged."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.harness import frames
from tests.harness.client import handshakes
from tests.harness.heads import upgrade
from tests.integration.ways_scene import (
    HEADER,
    KEY,
    ORIGIN,
    TICKET_QUERY,
    TICKET_SUBPROTOCOL,
    Answer,
    Scene,
    ask,
    jwt,
    scene,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.client import Client

pytestmark = pytest.mark.timeout(60)

TICKET = "/.wskeeper/ticket"
RENEW = "/.wskeeper/renew"
MOST = 3
WEAK = "CANARY-weak"
LIMIT = "auth_failures_per_minute"
_ADDRESSES = (f"192.0.2.{number}" for number in count(1))


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    routes: list[dict[str, Any]] = [
        {
            "name": "guarded",
            "path": "/guarded",
            "carriers": ["ticket", "first_message"],
            "limits": {LIMIT: 1},
        },
        {"name": "gql", "path": "/gql", "carriers": [{"first_message": "graphql-ws"}]},
    ]
    with scene(
        tmp_path_factory.mktemp("gateway"),
        routes=routes,
        limits={LIMIT: MOST},
        trusted_proxies=["127.0.0.0/8"],
        keys=[{"name": "good", "secret": KEY}, {"name": "weak", "secret": WEAK}],
    ) as made:
        yield made
        made.leave()
        assert handshakes(made.gateway.metrics())["internal_error"] == 0
        shown = made.shown()
    assert "CANARY" not in shown
    assert "raceback" not in shown


@pytest.fixture(autouse=True)
def _clean_up(ways: Scene) -> Iterator[None]:
    yield
    ways.leave()


class Caller(NamedTuple):
    """Somebody at an address that nobody else has."""

    ways: Scene
    address: str

    @property
    def line(self) -> str:
        return f"X-Forwarded-For: {self.address}"

    def buys(
        self, key: str | None, route: str = "ticket", path: str = TICKET, **body: Any
    ) -> Answer:
        """Asks for a ticket, as a page of a good origin."""
        headers = {"X-Forwarded-For": self.address, "Origin": ORIGIN}
        asked = body or {"route": route}
        return ask(self.ways.gateway, path, asked, key=key, headers=headers)

    def says(self, token: str | None, route: str = "first_message") -> Client:
        """Shows a credential in a first message."""
        return self.says_all({"type": "auth", "token": token}, route)

    def says_all(self, message: Any, route: str) -> Client:
        return self.ways.says(message, route, lines=(self.line,))

    def shows(self, request: Callable[..., bytes], credential: str) -> str | None:
        """Shows a credential on the upgrade request; returns the code of the refusal."""
        return self.ways.door.ask(request(credential, None, self.line)).code

    def exhausted(self, way: Callable[[str], str | None] | None = None) -> Caller:
        """The caller, once it has shown as many wrong credentials as it may."""
        show = way or (lambda guess: self.buys(guess).code)
        assert [show(guess) for guess in guesses(MOST)] == ["key_unknown"] * MOST
        return self


def guesses(number: int) -> list[str]:
    return [f"CANARY-guess-{number}" for number in range(number)]


def closed(client: Client) -> str:
    """The reason of the 1008 that a client hears next."""
    frame = client.read_frame()
    assert (frame.opcode, frame.close_code) == (frames.CLOSE, 1008), frame
    return frame.close_reason


def welcome(client: Client) -> bool:
    """Whether a client that has said who it is hears that it is let in."""
    return client.read_frame().payload == b'{"type": "auth_ok"}'


def limited(ways: Scene, route: str) -> float:
    return ways.gateway.metrics().get(
        f'wskeeper_limited_total{{limit="{LIMIT}",route="{route}"}}', 0
    )


def outcomes(ways: Scene, route: str, *codes: str) -> list[float]:
    metrics = ways.gateway.metrics()
    name = "wskeeper_handshakes_total"
    return [metrics.get(f'{name}{{outcome="{code}",route="{route}"}}', 0) for code in codes]


@pytest.fixture
def caller(ways: Scene) -> Caller:
    return Caller(ways, next(_ADDRESSES))


@pytest.fixture
def elsewhere(ways: Scene) -> Caller:
    return Caller(ways, next(_ADDRESSES))


# The ticket desk -----------------------------------------------------------------------------


def test_buyer_that_guesses_waits_and_a_good_credential_buys(
    ways: Scene, caller: Caller, elsewhere: Caller
) -> None:
    before = limited(ways, "ticket"), +handshakes(ways.gateway.metrics())
    outdated, *others = guesses(MOST)
    for _ in range(MOST + 2):  # The same one counts once, a missing one never.
        assert caller.buys(outdated).code == "key_unknown"
        assert caller.buys(None).code == "key_missing"
    assert [caller.buys(guess).code for guess in others] == ["key_unknown"] * len(others)
    for key in ("CANARY-another", outdated, None):
        answer = caller.buys(key)
        assert (answer.status, answer.code) == (429, "auth_failures")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["WWW-Authenticate"] is None
    assert caller.buys(KEY).status == 201
    assert caller.buys(jwt(sub="ann")).status == 201
    assert elsewhere.buys(outdated).code == "key_unknown"
    # What is asked of the desk is no handshake; the limit counts it all the same.
    assert (limited(ways, "ticket"), +handshakes(ways.gateway.metrics())) == (
        before[0] + 3,
        before[1],
    )


def test_log_tells_of_a_buyer_that_guesses(ways: Scene, caller: Caller) -> None:
    refusal = caller.exhausted().buys("CANARY-another")
    lines = ways.gateway.events("service_refused", client=caller.address)
    assert [(line["status"], line["code"]) for line in lines] == [
        *[(401, "key_unknown")] * MOST,
        (429, "auth_failures"),
    ]
    assert {(line["path"], line["level"]) for line in lines} == {(TICKET, "info")}
    assert lines[-1]["request_id"] == refusal.headers["X-Request-Id"]
    (limit,) = ways.gateway.events("limited", client=caller.address)
    assert (limit["limit"], limit["value"], limit["set_in"]) == (LIMIT, MOST, f"limits.{LIMIT}")
    assert (limit["request_id"], limit["route"]) == (lines[-1]["request_id"], "ticket")


def test_token_that_fails_is_a_guess(caller: Caller) -> None:
    forged = [jwt(sub=name, aud="others") for name in ("a", "b", "c")]
    assert [caller.buys(token).code for token in forged] == ["token_invalid"] * MOST
    assert caller.buys(jwt(sub="d", aud="others")).code == "auth_failures"
    assert caller.buys(jwt(sub="d")).status == 201


def test_renewal_is_no_other_place_to_guess_at(
    ways: Scene, caller: Caller, elsewhere: Caller
) -> None:
    client = ways.door.send(TICKET_QUERY.request(elsewhere.buys(KEY).json["ticket"]))
    session = client.read_response().get("X-Request-Id")
    answers = [caller.buys(guess, path=RENEW, session=session) for guess in guesses(MOST + 1)]
    codes = [answer.code for answer in answers]
    assert codes == [*["key_unknown"] * MOST, "auth_failures"]
    assert caller.buys("CANARY-another").code == "auth_failures"
    assert caller.buys(KEY, path=RENEW, session=session).status == 204


def test_neighbours_of_one_ipv6_network_are_one_buyer(ways: Scene) -> None:
    for number, guess in enumerate(guesses(MOST)):
        assert Caller(ways, f"2001:db8:7::{number}").buys(guess).code == "key_unknown"
    assert Caller(ways, "2001:db8:7::ffff").buys("CANARY-another").code == "auth_failures"
    assert Caller(ways, "2001:db8:7:1::").buys("CANARY-another").code == "key_unknown"


# Tickets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [TICKET_QUERY, TICKET_SUBPROTOCOL], ids=["query", "subprotocol"])
def test_ticket_that_fails_is_a_guess_and_a_good_one_opens(
    ways: Scene, caller: Caller, elsewhere: Caller, way: Any
) -> None:
    made = [elsewhere.buys(KEY).json["ticket"] for _ in range(MOST + 1)]
    for used in made[:MOST]:
        ways.served(ways.door.open(way.request(used, None, elsewhere.line)))
    codes = [caller.shows(way.request, used) for used in (*made[:MOST], made[0])]
    assert codes == [*["ticket_invalid"] * MOST, "auth_failures"]
    assert caller.buys("CANARY-guess").code == "auth_failures"
    ways.served(ways.door.open(way.request(made[MOST], None, caller.line)))
    assert outcomes(ways, "ticket", "auth_failures")[0] >= 1


# The first message ---------------------------------------------------------------------------


def test_first_message_that_guesses_waits_and_a_good_credential_opens(
    ways: Scene, caller: Caller, elsewhere: Caller
) -> None:
    codes = ("key_unknown", "auth_failures")
    before = limited(ways, "first_message"), outcomes(ways, "first_message", *codes)
    outdated, *others = guesses(MOST)
    with ways.upstream.untouched():
        shown = [*[outdated] * 5, *others]  # The same one counts once.
        assert [closed(caller.says(token)) for token in shown] == ["key_unknown"] * len(shown)
        for token in ("CANARY-another", outdated):
            assert closed(caller.says(token)) == "auth_failures"
        assert closed(elsewhere.says(outdated)) == "key_unknown"
    unknown, refused = before[1]
    after = outcomes(ways, "first_message", *codes)
    assert after == [unknown + len(shown) + 1, refused + 2]
    assert limited(ways, "first_message") == before[0] + 2
    for token in (KEY, jwt(sub="ann")):
        client = caller.says(token)
        assert welcome(client)
        ways.served(client)


def test_log_tells_of_a_guess_in_a_first_message(ways: Scene, caller: Caller) -> None:
    caller.exhausted(lambda guess: closed(caller.says(guess)))
    assert closed(caller.says("CANARY-another")) == "auth_failures"
    lines = ways.gateway.events("handshake_refused", client=caller.address)
    assert [(line["status"], line["code"]) for line in lines] == [
        *[(401, "key_unknown")] * MOST,
        (429, "auth_failures"),
    ]
    assert {(line["route"], line["level"]) for line in lines} == {("first_message", "info")}
    (limit,) = ways.gateway.events("limited", client=caller.address)
    assert (limit["limit"], limit["value"], limit["set_in"]) == (LIMIT, MOST, f"limits.{LIMIT}")
    assert (limit["request_id"], limit["route"]) == (lines[-1]["request_id"], "first_message")


def test_missing_token_is_no_guess_and_no_way_round_the_limit(caller: Caller) -> None:
    for _ in range(MOST + 2):
        assert closed(caller.says("")) == "key_missing"
    caller.exhausted(lambda guess: closed(caller.says(guess)))
    assert closed(caller.says("")) == "auth_failures"


def test_first_messages_that_come_together_guess_no_more_often(caller: Caller) -> None:
    door, many = caller.ways.door, guesses(4 * MOST)
    clients = [door.open(upgrade("/first_message", lines=(caller.line,))) for _ in many]
    for client, guess in zip(clients, many, strict=True):
        client.send_text(json.dumps({"type": "auth", "token": guess}))
    heard = sorted(map(closed, clients))
    assert heard == [*["auth_failures"] * 3 * MOST, *["key_unknown"] * MOST]


def test_graphql_client_that_guesses_waits(caller: Caller) -> None:
    def connects(key: str) -> Client:
        return caller.says_all({"type": "connection_init", "payload": {"apiKey": key}}, "gql")

    caller.exhausted(lambda guess: closed(connects(guess)))
    assert closed(connects("CANARY-another")) == "auth_failures"
    caller.ways.served(connects(KEY))


# All ways together ---------------------------------------------------------------------------


def test_failures_of_all_ways_count_together_and_one_credential_once(caller: Caller) -> None:
    for _ in range(2):
        one, two, three = guesses(MOST)
        assert caller.buys(one).code == "key_unknown"
        assert closed(caller.says(one)) == "key_unknown"
        assert caller.shows(HEADER.request, one) == "key_unknown"
    assert closed(caller.says(two)) == "key_unknown"
    assert caller.shows(HEADER.request, three) == "key_unknown"
    assert caller.buys("CANARY-another").code == "auth_failures"
    assert closed(caller.says("CANARY-another")) == "auth_failures"
    assert caller.shows(HEADER.request, "CANARY-another") == "auth_failures"


def test_limit_of_a_route_holds_for_its_ticket_desk_and_its_first_message(
    ways: Scene, caller: Caller, elsewhere: Caller
) -> None:
    assert caller.buys("CANARY-guess-0", "guarded").code == "key_unknown"
    assert closed(caller.says("CANARY-guess-1", "guarded")) == "auth_failures"
    assert closed(caller.says("CANARY-guess-1")) == "key_unknown"
    assert closed(elsewhere.says("CANARY-guess-0", "guarded")) == "key_unknown"
    assert elsewhere.buys("CANARY-guess-1", "guarded").code == "auth_failures"
    assert elsewhere.buys("CANARY-guess-1").code == "key_unknown"
    places = {event["set_in"] for event in ways.gateway.events("limited", route="guarded")}
    assert places == {f"routes.guarded.limits.{LIMIT}"}


def test_key_that_can_be_guessed_waits_with_the_guesser(
    ways: Scene, caller: Caller, elsewhere: Caller
) -> None:
    caller.exhausted()
    assert caller.buys(WEAK).code == "auth_failures"
    assert closed(caller.says(WEAK)) == "auth_failures"
    assert elsewhere.buys(WEAK).status == 201
    assert welcome(elsewhere.says(WEAK))
    ways.upstream.connection()


def test_right_secret_of_a_key_that_ended_is_no_guess(ways: Scene, caller: Caller) -> None:
    made = [ways.api.create(f"ended-{number}") for number in range(MOST + 1)]
    for key in made:
        ways.api.act("revoke", key["name"])
        assert caller.buys(key["secret"]).code == "key_revoked"
        assert closed(caller.says(key["secret"])) == "key_revoked"
    assert caller.exhausted().buys(made[0]["secret"]).code == "key_revoked"
    assert closed(caller.says(made[0]["secret"])) == "key_revoked"
    lines = ways.gateway.events("handshake_refused", client=caller.address, code="key_revoked")
    assert {line["key_id"] for line in lines} == {key["id"] for key in made}

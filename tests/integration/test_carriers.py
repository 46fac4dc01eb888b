"""Every way in from outside: who is admitted by it, what is told, and what nobody ever sees."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import frames
from tests.harness.client import handshakes
from tests.harness.heads import upgrade
from tests.harness.process import wait_until
from tests.integration.key_scene import metric
from tests.integration.ways_scene import (
    BEARER,
    CARRIERS,
    COOKIE,
    DIRECT,
    ENCODED,
    HEADER,
    KEY,
    ORIGIN,
    OTHER_KEY,
    QUERY,
    SUBPROTOCOL,
    TICKET_QUERY,
    TICKETS,
    Scene,
    Way,
    b64,
    called,
    jwt,
    scene,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

UNKNOWN = "wsk_CANARYbad000_" + "0" * 40
EVERY_WAY = pytest.mark.parametrize("way", [*DIRECT, *TICKETS], ids=called)
EVERY_DIRECT_WAY = pytest.mark.parametrize("way", DIRECT, ids=called)


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    routes = [
        {
            "name": f"closing-{name}",
            "path": f"/closing-{name}",
            "carriers": [carrier],
            "refuse_with": "close",
        }
        for name, carrier in (("subprotocol", "subprotocol"), ("ticket", "ticket"))
    ]
    routes += [
        {
            "name": f"shop-{name}",
            "path": f"/shop-{name}",
            "carriers": [carrier],
            "origins": [ORIGIN],
        }
        for name, carrier in CARRIERS.items()
    ]
    folder = tmp_path_factory.mktemp("gateway")
    with scene(folder, routes=routes, timeouts={"close": "1s"}) as made:
        yield made
        made.leave()
        # Whatever came to pass, nothing of it is left.
        assert wait_until(lambda: not made.api.do("GET", "/connections")["connections"])
        assert handshakes(made.gateway.metrics())["internal_error"] == 0
        shown = made.shown()
    assert "CANARY" not in shown
    assert "raceback" not in shown


@pytest.fixture(autouse=True)
def _clean_up(ways: Scene) -> Iterator[None]:
    yield
    ways.leave()


# Admitted ------------------------------------------------------------------------------------


@EVERY_WAY
def test_credential_opens_its_route_and_is_seen_by_nobody(ways: Scene, way: Way) -> None:
    credential = ways.credential(way)
    client = ways.door.open(way.request(credential))
    connection = ways.served(client)
    assert connection.request is not None
    seen = connection.request.raw + bytes(connection.heard)
    for form in (credential, b64(credential), "wskeeper.", "api_key", "wskeeper_ticket"):
        assert form.encode() not in seen.replace(b"X-Wskeeper-Auth: api_key", b""), form
    assert connection.request.get("X-Wskeeper-Key-Name") == "good"
    assert connection.request.get("X-Wskeeper-Meta-plan") == "gold"
    assert connection.request.get("X-Wskeeper-Auth") == ("ticket" if way in TICKETS else "api_key")
    assert credential not in ways.shown()


@EVERY_DIRECT_WAY
def test_token_stands_wherever_a_key_may(ways: Scene, way: Way) -> None:
    made = jwt(sub="ada")
    connection = ways.served(ways.door.open(way.request(made)))
    assert connection.request is not None
    assert connection.request.get("X-Wskeeper-Auth") == "jwt"
    assert connection.request.get("X-Wskeeper-Subject") == "ada"
    assert connection.request.get("X-Wskeeper-Key-Name") is None
    seen = connection.request.raw + bytes(connection.heard)
    shown = ways.shown()
    for part in made.split("."):
        assert part.encode() not in seen
        assert part not in shown


@EVERY_WAY
def test_unknown_credential_is_refused_and_repeated_nowhere(ways: Scene, way: Way) -> None:
    with ways.upstream.untouched():
        response = ways.door.ask(way.request(UNKNOWN))
    assert response.status == 401
    assert response.code == ("ticket_invalid" if way in TICKETS else "key_unknown")
    assert b"CANARY" not in response.raw + response.body
    assert UNKNOWN not in ways.shown()


@EVERY_DIRECT_WAY
def test_token_of_somebody_else_is_refused(ways: Scene, way: Way) -> None:
    forged = jwt()[:-6] + "AAAAAA"
    response = ways.door.ask(way.request(forged))
    assert (response.status, response.code) == (401, "token_invalid")
    assert forged.rpartition(".")[2].encode() not in response.raw + response.body


@EVERY_WAY
def test_challenge_names_the_way(ways: Scene, way: Way) -> None:
    response = ways.door.ask(upgrade(f"/{way.name}"))
    assert (response.status, response.code) == (401, "key_missing")
    challenge = response.get("WWW-Authenticate")
    assert challenge is not None
    assert len(re.findall(r'realm="wskeeper"', challenge)) == 1
    assert {
        "header": 'header="X-Api-Key"',
        "bearer": "Bearer",
        "query": 'query="api_key"',
        "cookie": 'cookie="api_key"',
        "subprotocol": 'subprotocol="wskeeper.key.<key>"',
        "ticket": 'query="wskeeper_ticket"',
    }[way.name] in challenge


def test_challenge_names_all_ways_of_a_route(ways: Scene) -> None:
    response = ways.door.ask(HEADER.request(UNKNOWN, "every"))
    assert response.code == "key_unknown"
    challenge = response.get("WWW-Authenticate") or ""
    assert len(re.findall(r'realm="wskeeper"', challenge)) == 7


# What is the application's -------------------------------------------------------------------

FOREIGN = "somebody-else-s-session"


@pytest.mark.parametrize(
    ("way", "what"),
    [(BEARER, "Authorization"), (COOKIE, "Cookie"), (QUERY, "query")],
    ids=["bearer", "cookie", "query"],
)
def test_value_that_cannot_be_ours_passes_untouched(ways: Scene, way: Way, what: str) -> None:
    # A key beside it, on the route that takes both.
    request = way.request(FOREIGN, "every", f"X-Api-Key: {KEY}", f"Origin: {ORIGIN}")
    connection = ways.served(ways.door.open(request))
    assert connection.request is not None
    if what == "query":
        assert connection.request.target == f"/every?api_key={FOREIGN}"
    else:
        (sent,) = way.lines(FOREIGN)
        assert connection.request.get(what) == sent.partition(": ")[2]


def test_other_parameters_keep_every_byte(ways: Scene) -> None:
    rest = "a=%7e+b&&=&c&api_keys=1&API_KEY=2&d=%00&api_key=mine;yours&e=%C3%A4"
    target = f"/query?{rest.replace('&d=', f'&api_key={KEY}&d=')}"
    connection = ways.served(ways.door.open(upgrade(target)))
    assert connection.request is not None
    assert connection.request.target == f"/query?{rest}"


@pytest.mark.parametrize(
    ("query", "rest"),
    [(f"?api%5fkey={KEY}", ""), (f"?api_key={KEY.replace('C', '%43')}&x", "?x")],
)
def test_parameter_is_found_however_it_is_written(ways: Scene, query: str, rest: str) -> None:
    connection = ways.served(ways.door.open(upgrade(f"/query{query}")))
    assert connection.request is not None
    assert connection.request.target == f"/query{rest}"


def test_other_cookies_keep_every_byte(ways: Scene) -> None:
    lines = (f'Cookie: a="1, 2";b=;  c ; api_key="{KEY}"; d=e=f; API_KEY=x', "Cookie: last=one")
    connection = ways.served(ways.door.open(upgrade("/cookie", lines=lines)))
    assert connection.request is not None
    assert connection.request.all("Cookie") == ['a="1, 2";b=;  c ; d=e=f; API_KEY=x', "last=one"]


def test_own_subprotocols_reach_the_upstream_and_its_choice_the_client(ways: Scene) -> None:
    with ways.upstream.by_hand():
        client = ways.door.send(
            upgrade(
                "/subprotocol",
                lines=(f"Sec-WebSocket-Protocol: v1.chat, wskeeper.key.{KEY},v2.chat",),
            )
        )
        connection = ways.upstream.connection()
        request = connection.read_request()
        assert request.get("Sec-WebSocket-Protocol") == "v1.chat, v2.chat"
        connection.send(connection.switching("Sec-WebSocket-Protocol: v2.chat"))
        response = client.read_response()
    assert response.get("Sec-WebSocket-Protocol") == "v2.chat"


# Subprotocols --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [SUBPROTOCOL, ENCODED, TICKETS[1]], ids=called)
def test_ours_is_selected_where_the_upstream_selects_none(ways: Scene, way: Way) -> None:
    response = ways.door.send(way.request(ways.credential(way))).read_response()
    assert response.status == 101
    assert response.get("Sec-WebSocket-Protocol") == "wskeeper"


@pytest.mark.parametrize("way", [SUBPROTOCOL, ENCODED, TICKETS[1]], ids=called)
def test_credential_alone_is_told_to_offer_ours(ways: Scene, way: Way) -> None:
    request = way.request(ways.credential(way)).replace(b"wskeeper, ", b"")
    with ways.upstream.untouched():
        response = ways.door.ask(request)
    assert (response.status, response.code) == (400, "bad_request")
    assert "Offer the subprotocol 'wskeeper'" in response.problem["detail"]


def test_ours_is_asked_for_where_the_upstream_selects_none_of_several(ways: Scene) -> None:
    offer = f"Sec-WebSocket-Protocol: v1.chat, wskeeper.key.{KEY}"
    response = ways.door.ask(upgrade("/subprotocol", lines=(offer,)))
    assert (response.status, response.code) == (400, "bad_request")
    assert "Offer the subprotocol 'wskeeper'" in response.problem["detail"]


def test_upstream_cannot_select_the_name_that_carries_the_secret(ways: Scene) -> None:
    with ways.upstream.by_hand():
        client = ways.door.send(SUBPROTOCOL.request(KEY))
        connection = ways.upstream.connection()
        connection.read_request()
        connection.send(connection.switching(f"Sec-WebSocket-Protocol: wskeeper.key.{KEY}"))
        response = client.read_response()
    assert (response.status, response.code) == (502, "upstream_invalid")
    assert KEY.encode() not in response.raw + response.body


@pytest.mark.parametrize("name", ["subprotocol", "ticket"])
@pytest.mark.parametrize(
    ("offer", "selected"),
    [
        ("wskeeper.key.{bad}, wskeeper.ticket.{bad}", None),
        ("wskeeper.key.{bad}, wskeeper.ticket.{bad}, wskeeper", "wskeeper"),
        ("wskeeper.ticket.{bad}, v1, wskeeper.key.{bad}", "v1"),
    ],
)
def test_refusal_by_close_selects_no_secret(
    ways: Scene, name: str, offer: str, selected: str | None
) -> None:
    line = "Sec-WebSocket-Protocol: " + offer.format(bad=UNKNOWN)
    client = ways.door.send(upgrade(f"/closing-{name}", lines=(line,)))
    response = client.read_response()
    assert (response.status, response.get("Sec-WebSocket-Protocol")) == (101, selected)
    client.expect_close(3000, "key_unknown" if name == "subprotocol" else "ticket_invalid")


def test_names_of_ours_are_stripped_on_every_route(ways: Scene) -> None:
    offer = "Sec-WebSocket-Protocol: WSKEEPER, v1, wskeeper.Key.x, WsKeeper.else"
    with ways.upstream.by_hand():
        ways.door.send(upgrade("/header", key=KEY, lines=(offer,)))
        seen = ways.upstream.connection().read_request()
    assert seen.get("Sec-WebSocket-Protocol") == "v1"


# Two credentials -----------------------------------------------------------------------------


def both(one: Way, first: str, other: Way, second: str) -> bytes:
    """A request with two credentials."""
    lines = (*one.lines(first), *other.lines(second), f"Origin: {ORIGIN}")
    query = "&".join(part.lstrip("?") for part in (one.query(first), other.query(second)) if part)
    return upgrade("/every" + (f"?{query}" if query else ""), lines=lines)


PAIRS = [
    (one, other)
    for index, one in enumerate(DIRECT)
    for other in DIRECT[index + 1 :]
    if one.name != other.name
]
PAIR_NAMES = [f"{called(one)}+{called(other)}" for one, other in PAIRS]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=PAIR_NAMES)
def test_same_credential_in_two_places_is_one(ways: Scene, one: Way, other: Way) -> None:
    connection = ways.served(ways.door.open(both(one, KEY, other, KEY)))
    assert connection.request is not None
    assert KEY.encode() not in connection.request.raw
    assert b64(KEY).encode() not in connection.request.raw


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=PAIR_NAMES)
def test_two_credentials_are_refused(ways: Scene, one: Way, other: Way) -> None:
    before = ways.upstream.count
    for pair in ((KEY, OTHER_KEY), (OTHER_KEY, KEY), (KEY, UNKNOWN), (UNKNOWN, KEY)):
        response = ways.door.ask(both(one, pair[0], other, pair[1]))
        assert (response.status, response.code) == (400, "key_ambiguous")
    assert ways.upstream.count == before


@pytest.mark.parametrize(
    "lines",
    [
        (f"X-Api-Key: {KEY}", f"x-api-key: {KEY}"),
        (f"Authorization: Bearer {KEY}", f"Authorization: Bearer {KEY}"),
        (f"Authorization: Bearer {KEY}", "Authorization: Basic eDp5"),
        (f"Cookie: api_key={KEY}; api_key={KEY}",),
        (f"Cookie: api_key={KEY}", f"Cookie: api_key={OTHER_KEY}"),
        (f"Sec-WebSocket-Protocol: wskeeper, wskeeper.key.{KEY}, wskeeper.key.{KEY}",),
        (f"Sec-WebSocket-Protocol: wskeeper, wskeeper.key.{KEY}, wskeeper.key.b64.{b64(KEY)}",),
        ("Sec-WebSocket-Protocol: wskeeper, wskeeper.ticket.a, wskeeper.ticket.b",),
    ],
)
def test_one_carrier_twice_is_refused(ways: Scene, lines: tuple[str, ...]) -> None:
    response = ways.door.ask(upgrade("/every", lines=lines))
    # Twice the same name is no valid offer to begin with (RFC 6455 section 4.1).
    assert response.status == 400
    assert response.code in {"key_ambiguous", "bad_request"}


def test_parameter_twice_is_refused(ways: Scene) -> None:
    for target in (
        f"/every?api_key={KEY}&api_key={OTHER_KEY}",
        f"/every?api_key={KEY}&a=b&api%5Fkey={KEY}",
        "/every?wskeeper_ticket=a&wskeeper_ticket=b",
    ):
        assert ways.door.ask(upgrade(target)).code == "key_ambiguous"


def test_ticket_beside_a_key_is_refused_and_not_used_up(ways: Scene) -> None:
    ticket = ways.ticket()["ticket"]
    response = ways.door.ask(upgrade(f"/every?wskeeper_ticket={ticket}", key=KEY))
    assert (response.status, response.code) == (400, "key_ambiguous")
    ways.served(ways.door.open(TICKET_QUERY.request(ticket)))


# Pages ---------------------------------------------------------------------------------------

STRANGE_ORIGINS = [
    ("null",),
    ("https://good.example.evil",),
    ("https://evilgood.example",),
    ("http://good.example",),
    ("https://good.example:8443",),
    ("https://good.example@evil",),
    (ORIGIN, ORIGIN),
    (ORIGIN, "https://evil.example"),
]


@EVERY_WAY
def test_page_of_another_origin_is_refused(ways: Scene, way: Way) -> None:
    route = f"shop-{way.name}"
    with ways.upstream.untouched():
        for origins in STRANGE_ORIGINS:
            lines = [f"Origin: {origin}" for origin in origins]
            response = ways.door.ask(way.request(KEY, route, *lines))
            assert (response.status, response.code) == (403, "origin_forbidden"), origins


@EVERY_WAY
def test_listed_page_and_no_page_are_served(ways: Scene, way: Way) -> None:
    route = f"shop-{way.name}"
    for lines in ((), (f"Origin: {ORIGIN}",)):
        key = ways.ticket(route=route)["ticket"] if way in TICKETS else KEY
        client = ways.door.open(way.request(key, route, *lines))
        ways.served(client)


def test_cookie_is_taken_from_pages_of_the_same_host_alone(ways: Scene) -> None:
    for origin, status in (
        ("http://gateway.test", 101),
        ("https://gateway.test", 101),
        ("https://other.test", 403),
        ("null", 403),
    ):
        response = ways.door.send(COOKIE.request(KEY, None, f"Origin: {origin}")).read_response()
        assert response.status == status, origin


# Anything at all -----------------------------------------------------------------------------

VALUES = st.binary(min_size=1, max_size=60)
PLACES = ("header", "bearer", "query", "query-raw", "cookie", "key", "b64", "ticket", "message")
# What no string of these tests can hold by chance, in front of what comes.
MARK = b"CANARYx"


def carrying(place: str, value: bytes) -> bytes:
    """An upgrade request with any bytes where a credential may stand."""
    line = {
        "header": b"X-Api-Key: " + value,
        "bearer": b"Authorization: Bearer " + value,
        "cookie": b"Cookie: api_key=" + value,
        "key": b"Sec-WebSocket-Protocol: wskeeper, wskeeper.key." + value,
        "b64": b"Sec-WebSocket-Protocol: wskeeper, wskeeper.key.b64." + value,
        "ticket": b"Sec-WebSocket-Protocol: wskeeper, wskeeper.ticket." + value,
    }.get(place)
    target = b"/every"
    if place == "query":
        target += b"?api_key=" + quote_from_bytes(value).encode()
    if place == "query-raw":
        target += b"?wskeeper_ticket=" + value
    return upgrade(target, lines=() if line is None else (line,))


@settings(
    max_examples=2 * settings.default.max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(place=st.sampled_from(PLACES), value=VALUES, prefix=st.sampled_from([b"", b"wsk_"]))
def test_any_bytes_in_any_place_are_refused_cleanly(
    ways: Scene, place: str, value: bytes, prefix: bytes
) -> None:
    value = prefix + MARK + value
    client = ways.door.send(carrying(place, value))
    try:
        response = client.read_response()
        assert response.status in {101, 400, 401, 414, 431}, response.first_line
        assert MARK not in response.raw + response.body
        if response.status == 101:  # Nothing was claimed: it is to say who it is.
            client.send(frames.masked(frames.TEXT, value))
            # Bytes that are no UTF-8, no JSON, or no credential.
            assert client.read_frame().close_code in {1002, 1007, 1008}
    finally:
        client.close()


def test_places_where_they_wait_are_given_back(ways: Scene) -> None:
    # Behind all of the above: RST in every state, too.
    for way in DIRECT:
        ways.door.send(way.request(KEY)).reset()
    for number in range(10):
        client = ways.door.send(TICKET_QUERY.request(f"no-ticket-{number}"))
        if number % 2:
            client.reset()
    ways.leave()
    assert wait_until(
        lambda: (
            sum(
                metric(ways.gateway.metrics(), "wskeeper_connections", route=route)
                for route in ("header", "bearer", "query", "cookie", "subprotocol", "ticket")
            )
            == 0
        )
    )

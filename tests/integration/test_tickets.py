"""Tickets: bought with a key or a token, used once by a page, and gone with whoever bought them."""

from __future__ import annotations

import gzip
import json
import sqlite3
import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import plain, upgrade
from tests.harness.operators import AdminApi
from tests.harness.process import BUSY, wait_until
from tests.harness.upstream import Upstream
from tests.integration.ways_scene import (
    KEY,
    ORIGIN,
    TICKET_QUERY,
    TICKETS,
    Answer,
    Scene,
    Way,
    ask,
    called,
    configuration,
    jwt,
    listening,
    scene,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TICKET = "/.wskeeper/ticket"
TTL = 20.0
UNKNOWN = "wsk_CANARYbad000_" + "0" * 40
EVERY_WAY = pytest.mark.parametrize("way", TICKETS, ids=called)
SHOP = "https://shop.example"


@pytest.fixture(scope="module")
def sold() -> list[str]:
    """All tickets that were sold: none may ever be seen."""
    return []


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory, sold: list[str]) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("gateway")
    routes = [
        {"name": "shop", "path": "/shop", "carriers": ["ticket"], "origins": [ORIGIN, SHOP]},
        {"name": "plain", "path": "/plain", "carriers": [{"header": "X-Other-Key"}]},
    ]
    with scene(
        folder,
        routes=routes,
        tickets={"ttl": f"{TTL:g}s"},
        store="sqlite:keys.db",
    ) as made:
        yield made
        made.leave()
        shown = made.shown()
        stored = b"".join(file.read_bytes() for file in folder.glob("keys.db*"))
    assert stored, "the store is somewhere else"
    assert sold, "no ticket was sold"
    for ticket in sold:
        assert ticket not in shown
        assert ticket.encode() not in stored
    assert "CANARY" not in shown
    assert b"CANARY" not in stored
    assert "raceback" not in shown


@pytest.fixture(autouse=True)
def _clean_up(ways: Scene) -> Iterator[None]:
    yield
    ways.leave()


@pytest.fixture
def buy(ways: Scene, sold: list[str]) -> Any:
    """Buys a ticket for the route `ticket`."""

    def buy(key: str = KEY, **body: Any) -> dict[str, Any]:
        made = ways.ticket(key, **body)
        sold.append(made["ticket"])
        return made

    return buy


SALE = b'{"route":"ticket"}'


def sale(*lines: str) -> bytes:
    """The head of a request for a ticket."""
    return plain(
        TICKET, f"X-Api-Key: {KEY}", "Content-Type: application/json", *lines, method="POST"
    )


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The problem of a refusal."""
    assert (answer.status, answer.code) == (status, code), answer
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.headers["X-Request-Id"]
    assert answer.headers["Cache-Control"] == "no-store"
    problem = answer.json
    assert (problem["status"], problem["code"]) == (status, code)
    assert len(answer.body) <= 1000
    assert b"CANARY" not in answer.body
    return problem


# Buying and using ----------------------------------------------------------------------------


@EVERY_WAY
def test_ticket_opens_its_route_once(ways: Scene, buy: Any, way: Way) -> None:
    made = buy()
    assert set(made) == {"ticket", "expires_in", "route", "session"}
    assert (made["expires_in"], made["route"]) == (TTL, "ticket")
    client = ways.door.send(way.request(made["ticket"]))
    response = client.read_response()
    assert response.status == 101
    # The session is the one that the buyer was told.
    assert response.get("X-Request-Id") == made["session"]
    connection = ways.served(client)
    assert connection.request is not None
    assert connection.request.get("X-Request-Id") == made["session"]
    assert connection.request.get("X-Wskeeper-Auth") == "ticket"
    assert connection.request.get("X-Wskeeper-Key-Name") == "good"
    assert made["ticket"].encode() not in connection.request.raw + bytes(connection.heard)
    with ways.upstream.untouched():
        for again in TICKETS:
            response = ways.door.ask(again.request(made["ticket"]))
            assert (response.status, response.code) == (401, "ticket_invalid")
            assert made["ticket"].encode() not in response.raw + response.body


@pytest.mark.parametrize(
    ("headers", "auth"),
    [
        ({"X-Api-Key": KEY}, "good"),
        ({"Authorization": f"Bearer {KEY}"}, "good"),
        ({"Authorization": "Bearer JWT"}, None),
    ],
    ids=["header", "bearer", "token"],
)
def test_whoever_may_in_can_buy(
    ways: Scene, sold: list[str], headers: dict[str, str], auth: str | None
) -> None:
    token = jwt(sub="ada")
    headers = {name: value.replace("JWT", token) for name, value in headers.items()}
    answer = ask(ways.gateway, TICKET, {"route": "every"}, headers={**headers, "Origin": ORIGIN})
    if auth is not None:
        assert answer.status == 201, answer
    assert answer.status == 201
    sold.append(answer.json["ticket"])
    request = TICKET_QUERY.request(answer.json["ticket"], "every")
    connection = ways.served(ways.door.open(request))
    assert connection.request is not None
    assert connection.request.get("X-Wskeeper-Key-Name") == auth
    assert connection.request.get("X-Wskeeper-Subject") == (None if auth else "ada")
    assert token.rpartition(".")[2] not in ways.shown()


def test_body_may_be_left_out_where_one_route_takes_tickets(tmp_path: Path) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(listening))
        config = configuration(upstream)
        config["routes"] = [r for r in config["routes"] if r["name"] in {"ticket", "header"}]
        gateway = stack.enter_context(Gateway(tmp_path, config))
        answer = ask(gateway, TICKET, key=KEY)
        assert (answer.status, answer.json["route"]) == (201, "ticket")
        # Nor does it keep anybody from asking for less.
        assert ask(gateway, TICKET, {"ttl": "5s"}, key=KEY).json["expires_in"] == 5


def test_ticket_says_whom_the_session_is_for(ways: Scene, buy: Any) -> None:
    metadata = {"room": "blue", "City": "Zürich", "plan": "platinum"}
    made = buy(subject="ada lovelace", metadata=metadata)
    connection = ways.served(ways.door.open(TICKET_QUERY.request(made["ticket"])))
    request = connection.request
    assert request is not None
    assert request.get("X-Wskeeper-Subject") == "ada lovelace"
    assert request.get("X-Wskeeper-Meta-room") == "blue"
    assert request.get("X-Wskeeper-Meta-City") == "Z%C3%BCrich"
    # The key's own stands.
    assert request.get("X-Wskeeper-Meta-plan") == "gold"
    opened = ways.gateway.wait_for_event("connection_opened", request_id=made["session"])
    assert opened["subject"] == "ada lovelace"
    (shown,) = ways.api.do("GET", "/connections?subject=ada%20lovelace")["connections"]
    assert shown["id"] == made["session"]


def test_request_cannot_say_what_the_ticket_does_not(ways: Scene, buy: Any) -> None:
    lines = ("X-Wskeeper-Subject: root", "X_Wskeeper_Subject: root", "X-Wskeeper-Meta-room: red")
    made = buy(subject="ada")
    connection = ways.served(ways.door.open(TICKET_QUERY.request(made["ticket"], None, *lines)))
    assert connection.request is not None
    assert connection.request.all("X-Wskeeper-Subject") == ["ada"]
    assert b"root" not in connection.request.raw
    assert b"red" not in connection.request.raw


def test_token_buys_for_its_own_subject_alone(ways: Scene, sold: list[str]) -> None:
    headers = {"Authorization": f"Bearer {jwt(sub='ada')}"}
    answer = ask(ways.gateway, TICKET, {"route": "ticket", "subject": "eve"}, headers=headers)
    assert "subject" in refused(answer, 422, "body_invalid")["detail"]
    answer = ask(ways.gateway, TICKET, {"route": "ticket", "subject": "ada"}, headers=headers)
    assert answer.status == 201
    sold.append(answer.json["ticket"])


# Once ----------------------------------------------------------------------------------------


def race(doors: list[Door], requests: list[bytes]) -> Counter[str]:
    """All requests at once, in turn at each door: how often each answer came."""
    answers: Counter[str] = Counter()
    lock = threading.Lock()
    start = threading.Barrier(len(requests))

    def use(door: Door, request: bytes) -> None:
        client = door.connect(timeout=20.0)
        start.wait()
        client.send(request)
        response = client.read_response()
        with lock:
            answers[response.code or str(response.status)] += 1

    threads = [
        threading.Thread(target=use, args=(doors[number % len(doors)], request))
        for number, request in enumerate(requests)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


def test_of_many_who_use_a_ticket_at_once_one_is_let_in(ways: Scene, buy: Any) -> None:
    ticket = buy()["ticket"]
    requests = [TICKETS[number % 2].request(ticket) for number in range(100)]
    answers = race([ways.door], requests)
    # A hundred wait for the store at once, as many as may.
    assert answers == {"101": 1, "ticket_invalid": 99}
    wait_until(lambda: ways.upstream.count > 0)


def test_of_two_gateways_on_one_store_one_takes_the_ticket(tmp_path: Path) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(listening))
        store = f"sqlite:{tmp_path / 'both.db'}"
        gateways = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            config = configuration(upstream, store=store)
            gateways.append(stack.enter_context(Gateway(folder, config)))
        doors = [stack.enter_context(Door(gateway.public)) for gateway in gateways]
        for turn in range(5):
            seller = gateways[turn % 2]
            ticket = ask(seller, TICKET, {"route": "ticket"}, key=KEY).json["ticket"]
            answers = race(doors, [TICKET_QUERY.request(ticket)] * 20)
            assert answers == {"101": 1, "ticket_invalid": 19}
            for door in doors:
                door.close_all()
        # A revocation at one ends what a ticket opened at the other.
        made = AdminApi(gateways[0]).create("bought-elsewhere")
        assert wait_until(
            lambda: ask(gateways[1], TICKET, {"route": "ticket"}, key=made["secret"]).status == 201
        )
        sold = ask(gateways[0], TICKET, {"route": "ticket"}, key=made["secret"]).json["ticket"]
        client = doors[1].open(TICKET_QUERY.request(sold))
        AdminApi(gateways[0]).act("revoke", made["name"])
        client.expect_close(1008, "key_revoked")


# Ends ----------------------------------------------------------------------------------------


def test_ticket_is_good_for_its_time(ways: Scene, buy: Any) -> None:
    made = buy(ttl="1s")
    assert made["expires_in"] == 1
    late = buy(ttl=1)
    ways.served(ways.door.open(TICKET_QUERY.request(made["ticket"])))
    time.sleep(1.1)
    response = ways.door.ask(TICKET_QUERY.request(late["ticket"]))
    assert (response.status, response.code) == (401, "ticket_invalid")


def test_session_ends_when_the_ticket_said_so(ways: Scene, buy: Any) -> None:
    client = ways.door.open(TICKET_QUERY.request(buy(expires_in="2s")["ticket"]))
    began = time.monotonic()
    ways.served(client)
    client.expect_close(3000, "token_expired")
    assert time.monotonic() - began < 3.5 + BUSY


def test_ticket_whose_session_would_have_ended_is_of_no_use(ways: Scene, buy: Any) -> None:
    made = buy(expires_in="100ms")
    time.sleep(0.15)
    response = ways.door.ask(TICKET_QUERY.request(made["ticket"]))
    assert (response.status, response.code) == (401, "ticket_invalid")


def test_session_of_a_ticket_ends_with_the_token_that_bought_it(
    ways: Scene, sold: list[str]
) -> None:
    headers = {"Authorization": f"Bearer {jwt(sub='ada', lasts=2)}"}
    body = {"route": "ticket", "expires_in": "1h"}
    ticket = ask(ways.gateway, TICKET, body, headers=headers).json["ticket"]
    sold.append(ticket)
    client = ways.door.open(TICKET_QUERY.request(ticket))
    client.expect_close(3000, "token_expired")


@pytest.mark.parametrize(
    ("verb", "code"), [("revoke", "key_revoked"), ("suspend", "key_suspended")]
)
def test_sessions_and_tickets_go_with_their_key(
    ways: Scene, sold: list[str], verb: str, code: str
) -> None:
    made = ways.api.create(f"to-{verb}")
    bought = [ways.ticket(made["secret"], subject=f"s{n}")["ticket"] for n in range(3)]
    sold += bought
    clients = [ways.door.open(TICKET_QUERY.request(ticket)) for ticket in bought[:2]]
    ways.api.act(verb, made["name"])
    for client in clients:
        client.expect_close(1008, code)
    with ways.upstream.untouched():
        response = ways.door.ask(TICKET_QUERY.request(bought[2]))
    assert (response.status, response.code) == (401, code)
    assert ask(ways.gateway, TICKET, {"route": "ticket"}, key=made["secret"]).code == code


def test_ticket_of_a_deleted_key_is_of_no_use(ways: Scene, sold: list[str]) -> None:
    made = ways.api.create("to-delete")
    ticket = ways.ticket(made["secret"])["ticket"]
    sold.append(ticket)
    ways.api.act("delete", made["name"])
    response = ways.door.ask(TICKET_QUERY.request(ticket))
    assert (response.status, response.code) == (401, "key_revoked")


def test_ticket_opens_no_more_than_its_key(ways: Scene, sold: list[str]) -> None:
    made = ways.api.create("elsewhere", routes=["header"])
    answer = ask(ways.gateway, TICKET, {"route": "ticket"}, key=made["secret"])
    refused(answer, 403, "route_forbidden")
    narrowed = ways.api.create("narrowed")
    ticket = ways.ticket(narrowed["secret"])["ticket"]
    sold.append(ticket)
    ways.api.update(narrowed["name"], routes=["header"])
    response = ways.door.ask(TICKET_QUERY.request(ticket))
    assert (response.status, response.code) == (403, "route_forbidden")


def test_ticket_counts_among_the_connections_of_its_key(ways: Scene, sold: list[str]) -> None:
    made = ways.api.create("narrow", limits={"connections": 1})
    bought = [ways.ticket(made["secret"])["ticket"] for _ in range(2)]
    sold += bought
    ways.served(ways.door.open(TICKET_QUERY.request(bought[0])))
    response = ways.door.ask(TICKET_QUERY.request(bought[1]))
    assert (response.status, response.code) == (429, "key_connections")


# Where it can be used ------------------------------------------------------------------------


def test_ticket_opens_one_route_alone(ways: Scene, buy: Any) -> None:
    for route in ("every", "shop"):
        response = ways.door.ask(TICKET_QUERY.request(buy()["ticket"], route))
        assert (response.status, response.code) == (401, "ticket_invalid")
    for route in ("header", "subprotocol", "query"):
        response = ways.door.ask(TICKET_QUERY.request(buy()["ticket"], route))
        assert (response.status, response.code) == (401, "key_missing")


def test_ticket_is_no_key(ways: Scene, buy: Any) -> None:
    for line in ("X-Api-Key: {}", "Authorization: Bearer {}"):
        lines = (line.format(buy()["ticket"]), f"Origin: {ORIGIN}")
        response = ways.door.ask(upgrade("/every", lines=lines))
        assert response.code in {"key_unknown", "key_missing"} or response.status == 101
        assert response.status != 101 or line.startswith("Auth")
    bought = buy()["ticket"]
    assert ask(ways.gateway, TICKET, {"route": "ticket"}, key=bought).code == "key_unknown"


def test_ticket_for_one_page_is_good_for_that_page(ways: Scene, buy: Any) -> None:
    for origins, status in (
        ((ORIGIN.replace("good", "GOOD"),), 101),
        ((SHOP,), 401),
        ((), 401),
    ):
        ticket = buy(route="shop", origin=ORIGIN)["ticket"]
        lines = [f"Origin: {origin}" for origin in origins]
        request = TICKET_QUERY.request(ticket, "shop", *lines)
        assert ways.door.send(request).read_response().status == status, origins


# What can be asked for -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "route"),
        ({"route": "nowhere"}, "route"),
        ({"route": "header"}, "route"),
        ({"route": 5}, "route"),
        ({"route": "ticket", "CANARY": 1}, "fields"),
        ({"route": "ticket", "ttl": "21s"}, "ttl"),
        ({"route": "ticket", "ttl": 0}, "ttl"),
        ({"route": "ticket", "ttl": -1}, "ttl"),
        ({"route": "ticket", "ttl": True}, "ttl"),
        ({"route": "ticket", "ttl": "CANARY"}, "ttl"),
        (b'{"route": "ticket", "ttl": NaN}', "ttl"),
        (b'{"route": "ticket", "ttl": Infinity}', "ttl"),
        (b'{"route": "ticket", "expires_in": 1e400}', "expires_in"),
        ({"route": "ticket", "expires_in": []}, "expires_in"),
        ({"route": "ticket", "subject": ""}, "subject"),
        ({"route": "ticket", "subject": " x"}, "subject"),
        ({"route": "ticket", "subject": "a\r\nX-Evil: 1"}, "subject"),
        ({"route": "ticket", "subject": "\ud800"}, "subject"),
        ({"route": "ticket", "subject": "x" * 257}, "subject"),
        ({"route": "ticket", "subject": 7}, "subject"),
        ({"route": "ticket", "metadata": ["a"]}, "metadata"),
        ({"route": "ticket", "metadata": {"a": 1}}, "metadata"),
        ({"route": "ticket", "metadata": {"a b": "c"}}, "metadata"),
        ({"route": "ticket", "metadata": {"a\r\nX": "c"}}, "metadata"),
        ({"route": "ticket", "metadata": {"a": "x" * 257}}, "metadata"),
        ({"route": "ticket", "metadata": {"a": "\ud800"}}, "metadata"),
        ({"route": "ticket", "metadata": {f"k{n}": "" for n in range(17)}}, "metadata"),
        ({"route": "shop", "origin": "https://evil.example"}, "origin"),
        ({"route": "shop", "origin": 1}, "origin"),
        (b"[]", "JSON object"),
        (b'"CANARY"', "JSON object"),
        (b"{", "JSON object"),
        (b"\xff\xfe{}", "JSON object"),
        (b"[" * 15_000, "JSON object"),
        (b"9" * 15_000, "JSON object"),
    ],
)
def test_body_that_is_wrong_is_told_where(ways: Scene, body: Any, named: str) -> None:
    problem = refused(ask(ways.gateway, TICKET, body, key=KEY), 422, "body_invalid")
    assert named in problem["detail"]


def test_body_must_say_that_it_is_json(ways: Scene) -> None:
    answer = ask(
        ways.gateway,
        TICKET,
        b'{"route": "ticket"}',
        key=KEY,
        headers={"Content-Type": "text/plain"},
    )
    assert "application/json" in refused(answer, 422, "body_invalid")["detail"]


def test_body_is_bounded(ways: Scene) -> None:
    body = b'{"route": "ticket"' + b" " * (16 * 1024) + b"}"
    refused(ask(ways.gateway, TICKET, body, key=KEY), 413, "body_too_large")
    padded = b'{"route": "ticket"' + b" " * (16 * 1024 - 19) + b"}"
    assert ask(ways.gateway, TICKET, padded, key=KEY).status == 201


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (("Content-Length: 18, 18",), SALE),
        (("Content-Length: 18", "Transfer-Encoding: chunked"), SALE),
        (("Transfer-Encoding: gzip, chunked",), SALE),
        (("Transfer-Encoding: chunked",), b"zz\r\n"),
        (("Transfer-Encoding: chunked",), b"12\r\n" + SALE + b"\r\nzz\r\n"),
    ],
)
@pytest.mark.parametrize("pause", [0, 0.2], ids=["at once", "in pieces"])
def test_body_that_is_not_framed_is_refused_at_once(
    ways: Scene, lines: tuple[str, ...], body: bytes, pause: float
) -> None:
    client = ways.door.connect()
    client.send(sale(*lines))
    time.sleep(pause)
    client.send(body)
    response = client.read_response()
    assert (response.status, response.code) == (400, "bad_request")


def test_body_that_is_compressed_is_refused(ways: Scene) -> None:
    body = gzip.compress(SALE)
    for coding in ("gzip", "deflate", "none-such"):
        lines = (f"Content-Length: {len(body)}", f"Content-Encoding: {coding}")
        response = ways.door.send(sale(*lines) + body).read_response()
        assert (response.status, response.code) == (422, "body_invalid")


def test_client_that_leaves_within_its_body_is_no_fault_of_ours(ways: Scene) -> None:
    before = len(ways.gateway.events("service_refused"))
    client = ways.door.send(sale("Content-Length: 18") + SALE[:5])
    time.sleep(0.1)
    client.reset()
    assert wait_until(lambda: len(ways.gateway.events("service_refused")) > before)
    assert not ways.gateway.events("internal_error")


def test_client_that_waits_for_the_word_to_go_on_gets_it(ways: Scene, sold: list[str]) -> None:
    client = ways.door.send(sale(f"Content-Length: {len(SALE)}", "Expect: 100-continue"))
    assert client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(SALE)
    response = client.read_response()
    assert response.status == 201
    sold.append(json.loads(response.body)["ticket"])
    client = ways.door.send(sale(f"Content-Length: {1 << 30}", "Expect: 100-continue"))
    assert client.read_response().code == "body_too_large"


@pytest.mark.parametrize("offer", ["h2c", "TLS/1.0", "h2c, foo/2"])
def test_other_protocol_that_is_offered_is_declined(
    ways: Scene, sold: list[str], offer: str
) -> None:
    lines = (f"Upgrade: {offer}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk")
    response = ways.door.send(sale(f"Content-Length: {len(SALE)}", *lines) + SALE).read_response()
    assert response.status == 201
    sold.append(json.loads(response.body)["ticket"])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_tickets_are_asked_for_by_post(ways: Scene, method: str) -> None:
    answer = ask(ways.gateway, TICKET, key=KEY, method=method)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("key", "code"), [(None, "key_missing"), (UNKNOWN, "key_unknown"), (KEY[:-1], "key_unknown")]
)
def test_nobody_buys_without_a_key(ways: Scene, key: str | None, code: str) -> None:
    answer = ask(ways.gateway, TICKET, {"route": "ticket"}, key=key)
    refused(answer, 401, code)
    assert "X-Api-Key" in answer.headers["WWW-Authenticate"]
    assert "Bearer" in answer.headers["WWW-Authenticate"]


def test_upgrade_is_no_way_to_a_service(ways: Scene) -> None:
    response = ways.door.ask(upgrade(TICKET, key=KEY))
    assert (response.status, response.code) == (404, "no_route")


def test_only_so_many_tickets_wait(ways: Scene, sold: list[str]) -> None:
    hoarder, other = ways.api.create("hoarder"), ways.api.create("other-buyer")
    with sqlite3.connect(ways.gateway.config_path.parent / "keys.db", timeout=10) as store:
        until = time.time() + 15
        store.executemany(
            "INSERT INTO tickets (digest, holder, text, until) VALUES (?, ?, '{}', ?)",
            [(number.to_bytes(32, "big"), f"key:{hoarder['id']}", until) for number in range(999)],
        )
    store.close()
    last = ways.ticket(hoarder["secret"])["ticket"]
    sold.append(last)
    answer = ask(ways.gateway, TICKET, {"route": "ticket"}, key=hoarder["secret"])
    refused(answer, 429, "ticket_quota")
    assert answer.headers["Retry-After"]
    # Others buy on, and one that was used makes room.
    sold.append(ways.ticket(other["secret"])["ticket"])
    ways.served(ways.door.open(TICKET_QUERY.request(last)))
    sold.append(ways.ticket(hoarder["secret"])["ticket"])


# Pages ---------------------------------------------------------------------------------------


def preflight(ways: Scene, origin: str) -> Answer:
    return ask(
        ways.gateway,
        TICKET,
        method="OPTIONS",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-api-key",
        },
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway whose tickets are for listed pages alone."""
    folder = tmp_path_factory.mktemp("shop")
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(listening))
        config = configuration(upstream)
        config["routes"] = [
            {"name": "shop", "path": "/shop", "upstream": upstream.url}
            | {"carriers": ["ticket"], "origins": [ORIGIN, SHOP]},
            {"name": "open", "path": "/open", "upstream": upstream.url, "origins": None},
        ]
        gateway = stack.enter_context(Gateway(folder, config))
        door = stack.enter_context(Door(gateway.public))
        yield Scene(gateway, upstream, door, AdminApi(gateway))


@pytest.mark.parametrize("origin", [ORIGIN, SHOP, ORIGIN.upper()])
def test_listed_page_may_ask(shop: Scene, origin: str) -> None:
    answer = preflight(shop, origin)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type,x-api-key"
    assert answer.headers["Access-Control-Allow-Credentials"] is None
    assert answer.headers["Vary"] == "Origin"
    headers = {"Origin": origin}
    for key, status in ((KEY, 201), (UNKNOWN, 401), (None, 401)):
        answer = ask(shop.gateway, TICKET, key=key, headers=headers)
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert "X-Wskeeper-Code" in answer.headers["Access-Control-Expose-Headers"]
        assert answer.headers["Vary"] == "Origin"
    for body, status in ((b"[]", 422), (b" " * 20_000, 413)):
        answer = ask(shop.gateway, TICKET, body, key=KEY, headers=headers)
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == origin


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.example", "http://good.example", f"{ORIGIN}.evil", "*"]
)
def test_other_page_may_not(shop: Scene, origin: str) -> None:
    answer = preflight(shop, origin)
    refused(answer, 403, "origin_forbidden")
    assert answer.headers["Access-Control-Allow-Origin"] is None
    answer = ask(shop.gateway, TICKET, key=KEY, headers={"Origin": origin})
    refused(answer, 403, "origin_forbidden")
    assert answer.headers["Access-Control-Allow-Origin"] is None
    assert answer.headers["Vary"] == "Origin"


def test_no_page_is_told_nothing_of_pages(shop: Scene) -> None:
    answer = ask(shop.gateway, TICKET, key=KEY)
    assert answer.status == 201
    assert answer.headers["Access-Control-Allow-Origin"] is None


def test_services_are_not_there_where_nobody_needs_them(tmp_path: Path) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(listening))
        config = configuration(upstream, jwt=None)
        config["routes"] = [r for r in config["routes"] if r["name"] == "header"]
        gateway = stack.enter_context(Gateway(tmp_path, config))
        for path in (TICKET, "/.wskeeper/renew"):
            assert ask(gateway, path, {}, key=KEY).code == "no_route"

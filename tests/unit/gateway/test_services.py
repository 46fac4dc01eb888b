"""The gateway's own HTTP services on paper: who asks, how long a body may take, who may read."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from proxy.auth.authenticator import Authenticator
from proxy.auth.key_verifier import KeyVerifier
from proxy.auth.question import NotAtOnce
from proxy.auth.ways import ways_of
from proxy.errors import Refused
from proxy.gateway.account import Account
from proxy.gateway.limiter import Counters, Limiter
from proxy.gateway.services import ClientServices, RenewalService, TicketService
from proxy.handshake.client import peer_address
from proxy.keys.key import Key, Secret, digest_of
from proxy.keys.principal import bearer_of, holder_of
from proxy.keys.ring import KeyRing
from proxy.routes import RouteTable
from tests.unit.auth.asked import NoTickets, Trust
from tests.unit.build import config, head, request
from tests.unit.loop import FakeTransport, in_virtual_time
from tests.unit.sessions.scene import House

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

SECRET = "CANARY-key-of-the-buyer"
DIGEST = digest_of(SECRET.encode())
KEY = Key("one", "one", (Secret(DIGEST),), metadata={"plan": "gold"})
PAGE = "https://page.example"
ROUTES = (
    {"name": "chat", "path": "/chat", "carriers": ["ticket"], "origins": [PAGE]},
    {"name": "shop", "path": "/shop", "carriers": ["ticket", "bearer"], "origins": "same"},
    {"name": "app", "path": "/app", "carriers": [{"header": "X-Api-Key"}]},
)


class Office:
    """Sells tickets, and keeps what they stand for."""

    def __init__(self) -> None:
        self.sold: list[tuple[Any, float]] = []

    async def sell(self, ticket: Any, *, ttl: float) -> str:
        self.sold.append((ticket, ttl))
        return "wst_CANARY"


class Asked:
    """A request in aiohttp's hands, as far as a service looks at it."""

    def __init__(self, method: str, pieces: list[bytes], kind: str, wait: float) -> None:
        self.method = method
        self.content_type = kind
        self.content_length = None
        self.content = self
        self._pieces = pieces
        self._wait = wait

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        await asyncio.sleep(self._wait)


class Scene:
    def __init__(self, **changes: Any) -> None:
        self.sessions = House()
        self.log = self.sessions.log
        self.ring = ring = KeyRing()
        ring.put("one", KEY)
        made = config(*ROUTES)
        self.routes = RouteTable.of(made)
        every = {
            route.name: ways_of([*made.carriers_of(route), *made.carriers]) for route in made.routes
        }
        self.buyers = Authenticator(every, KeyVerifier(ring, Trust()), tickets=NoTickets())
        registry = self.sessions.registry
        self.account = Account(registry, self.log)
        limiter = Limiter(made.limits, self.routes, registry.occupancy, Counters())
        self.shared = ClientServices(
            **{
                "routes": self.routes,
                "ticketed": [route for route in self.routes if route.name != "app"],
                "buyers": self.buyers,
                "secure": False,
                "trusted_proxies": (ip_network("192.0.2.1/32"),),
                "address_header": b"x-forwarded-for",
                "limiter": limiter,
                "account": self.account,
                "clock": self.sessions.loop.time,
                "new_id": lambda: "an-id",
                "wall": self.sessions.wall,
                "log": self.log,
                **changes,
            }
        )
        self.office = Office()
        self.tickets = TicketService(self.shared, self.office, 30.0)  # type: ignore[arg-type]
        self.renewal = RenewalService(self.shared, registry)

    async def ask(
        self,
        service: Any,
        body: Any = None,
        *lines: str,
        method: str = "POST",
        kind: str = "application/json",
        wait: float = 0.0,
        key: str | None = SECRET,
    ) -> web.Response:
        pieces = body if isinstance(body, list) else [json.dumps(body).encode()]
        pieces = [] if body is None else pieces
        sent = [*lines, *([] if key is None else [f"X-Api-Key: {key}"])]
        asked: Any = Asked(method, pieces, kind, wait)
        raw = head(f"{method} /.wskeeper/ticket HTTP/1.1", "Host: gateway.test", *sent)
        return await service.answer(asked, request(raw), peer_address(("192.0.2.7", 5)))

    async def buy(self, body: Any = None, *lines: str, **how: Any) -> web.Response:
        return await self.ask(self.tickets, body, *lines, **how)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def code(answer: web.Response) -> tuple[int, str | None]:
    return answer.status, answer.headers.get("X-Wskeeper-Code")


# Tickets -------------------------------------------------------------------------------------


async def test_ticket_is_sold_for_what_was_asked(scene: Scene) -> None:
    body = {
        "route": "chat",
        "subject": "ada",
        "metadata": {"room": "blue", "PLAN": "platinum"},
        "ttl": 5,
        "expires_in": 60,
        "origin": PAGE.upper().replace("HTTPS", "https"),
    }
    answer = await scene.buy(body)
    assert answer.status == 201
    assert json.loads(answer.body) == {  # type: ignore[arg-type]
        "ticket": "wst_CANARY",
        "expires_in": 5,
        "route": "chat",
        "session": "an-id",
    }
    ((ticket, ttl),) = scene.office.sold
    assert ttl == 5
    assert (ticket.key_id, ticket.digest, ticket.route) == ("one", DIGEST, "chat")
    assert (ticket.session, ticket.subject, ticket.origin) == ("an-id", "ada", PAGE.encode())
    # Not the key's own, in any spelling.
    assert ticket.metadata == {"room": "blue"}
    assert ticket.until == scene.sessions.wall() + 60
    (line,) = scene.log.events("ticket_issued")
    assert line == {
        "request_id": "an-id",
        "route": "chat",
        "key_id": "one",
        "subject": "ada",
        "session": "an-id",
    }


async def test_only_route_with_tickets_needs_no_name() -> None:
    scene = Scene()
    scene.shared.ticketed = [route for route in scene.routes if route.name == "chat"]
    assert (await scene.buy()).status == 201
    assert (await scene.buy({})).status == 201
    answer = await scene.buy({"route": "shop"})
    assert code(answer) == (422, "body_invalid")
    scene.shared.ticketed = list(scene.routes)
    assert code(await scene.buy()) == (422, "body_invalid")


@pytest.mark.parametrize(
    ("until", "asked", "sold"), [(50, 60, 50), (50, 40, 40), (50, None, 50), (None, None, None)]
)
async def test_ticket_ends_no_later_than_who_buys_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, until: Any, asked: Any, sold: Any
) -> None:
    now = scene.sessions.wall()
    end = None if until is None else now + until
    caller = bearer_of("jwt", "ada", {"tenant": "good"}, until=end)

    def at_once(*_: Any) -> Any:
        raise NotAtOnce

    async def slowly(*_: Any) -> Any:
        return caller

    monkeypatch.setattr(scene.buyers, "authenticate", at_once)
    monkeypatch.setattr(scene.buyers, "authenticate_slowly", slowly)
    body = {"route": "chat", "expires_in": asked, "metadata": {"Tenant": "evil", "a": "b"}}
    assert (await scene.buy(body)).status == 201
    ((ticket, _),) = scene.office.sold
    assert ticket.until == (None if sold is None else now + sold)
    assert (ticket.key_id, ticket.subject) == (None, "ada")
    assert ticket.metadata == {"a": "b", "tenant": "good"}
    assert code(await scene.buy({"route": "chat", "subject": "eve"})) == (422, "body_invalid")


async def test_page_that_the_route_does_not_serve_is_none_to_bind_a_ticket_to(
    scene: Scene,
) -> None:
    answer = await scene.buy({"route": "chat", "origin": "https://evil.example"})
    assert code(answer) == (422, "body_invalid")
    assert not scene.office.sold


# Bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        ([b"{", b'"route"', b': "chat"}'], 201, None),
        ([b"x" * 9000, b"x" * 9000], 413, "body_too_large"),
        ([b" " * 16_384], 422, "body_invalid"),
        ([b"null"], 422, "body_invalid"),
        ([b"[" * 16_000], 422, "body_invalid"),
        ([b"\xff"], 422, "body_invalid"),
    ],
)
async def test_body_is_an_object_in_bounds(
    scene: Scene, body: list[bytes], status: int, name: str | None
) -> None:
    assert code(await scene.buy(body)) == (status, name)


async def test_body_must_say_what_it_is(scene: Scene) -> None:
    answer = await scene.buy({"route": "chat"}, kind="text/plain")
    assert code(answer) == (422, "body_invalid")


def test_body_has_its_time() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await Scene().buy([b"{"], wait=3600)
        assert code(answer) == (408, "head_timeout")
        assert loop.time() - began == pytest.approx(10)

    in_virtual_time(story())


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_services_are_asked_by_post(scene: Scene, method: str) -> None:
    answer = await scene.buy(method=method)
    assert code(answer) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


# Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "name"), [(None, "key_missing"), ("CANARY-another", "key_unknown")]
)
async def test_refusal_is_told_and_logged_without_what_was_sent(
    scene: Scene, key: str | None, name: str
) -> None:
    answer = await scene.buy({"route": "chat"}, key=key)
    assert code(answer) == (401, name)
    assert "X-Api-Key" in answer.headers["WWW-Authenticate"]
    assert b"upgrade" not in answer.body  # type: ignore[operator]
    assert answer.headers["X-Request-Id"] == "an-id"
    assert b"CANARY" not in answer.body  # type: ignore[operator]
    assert scene.log.lines == [
        (
            "info",
            "service_refused",
            {
                "request_id": "an-id",
                "path": "/.wskeeper/ticket",
                "client": "192.0.2.7",
                "status": 401,
                "code": name,
            },
        )
    ]


async def test_client_is_told_when_to_try_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sell(*_: Any, **__: Any) -> Any:
        raise Refused("ticket_quota")

    monkeypatch.setattr(scene.office, "sell", sell)
    answer = await scene.buy({"route": "chat"})
    assert code(answer) == (429, "ticket_quota")
    assert answer.headers["Retry-After"] == "5"


@pytest.mark.parametrize("service", ["tickets", "renewal"])
async def test_limit_that_a_guesser_meets_is_told_with_its_request(service: str) -> None:
    ids = map(str, itertools.count())
    scene = Scene(new_id=lambda: next(ids))
    session = scene.sessions.session("mine", principal=holder_of(KEY, DIGEST), route="chat")
    session.begin(*_transports())
    asked, body = getattr(scene, service), {"route": "chat"}
    for number in range(30):
        await scene.ask(scene.tickets, body, key=f"CANARY-{number}")
    assert not scene.log.events("limited")
    body = {"session": "mine"} if service == "renewal" else body
    for count in (1, 2):
        answer = await scene.ask(asked, body, "X-Forwarded-For: 192.0.2.9", key="CANARY-another")
        assert code(answer) == (429, "auth_failures")
        limited, refused = (fields for _, _, fields in scene.log.lines[-2:])
        assert limited == {
            "request_id": answer.headers["X-Request-Id"],
            "route": "chat",
            "client": "192.0.2.7",
            "limit": "auth_failures_per_minute",
            "value": 30,
            "set_in": "limits.auth_failures_per_minute",
        }
        assert (refused["request_id"], refused["client"]) == (limited["request_id"], "192.0.2.7")
        assert scene.log.lines[-2][:2] == ("warning", "limited")
        assert scene.account.limited == {("chat", "auth_failures_per_minute"): count}


async def test_limit_is_told_that_keeps_a_weak_key_from_buying(scene: Scene) -> None:
    scene.ring.put("one", dataclasses.replace(KEY, weak=True))
    for number in range(30):
        await scene.buy({"route": "chat"}, key=f"CANARY-{number}")
    assert code(await scene.buy({"route": "chat"})) == (429, "auth_failures")
    (limited,), refused = scene.log.events("limited"), scene.log.events("service_refused")[-1]
    assert (limited["request_id"], limited["client"]) == (refused["request_id"], refused["client"])
    assert scene.account.limited == {("chat", "auth_failures_per_minute"): 1}
    assert not scene.office.sold


# Pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "readable"),
    [
        ((), None),
        ((PAGE,), PAGE),
        ((PAGE.upper(),), PAGE.upper()),
        # The route `shop` serves pages of the gateway's own host.
        (("http://gateway.test",), "http://gateway.test"),
        (("https://evil.example",), None),
        (("null",), None),
        ((PAGE, PAGE), None),
    ],
)
async def test_answer_is_for_pages_that_are_served(
    scene: Scene, origins: tuple[str, ...], readable: str | None
) -> None:
    lines = [f"Origin: {origin}" for origin in origins]
    for how in ({"key": None}, {"method": "GET"}, {"kind": "text/plain", "body": {}}):
        body = how.get("body")
        arguments: Any = {name: value for name, value in how.items() if name != "body"}
        answer = await scene.buy(body, *lines, **arguments)
        assert answer.headers.get("Access-Control-Allow-Origin") == readable
        assert ("Access-Control-Expose-Headers" in answer.headers) is (readable is not None)
        assert answer.headers["Vary"] == "Origin"
    preflight = await scene.buy(None, *lines, method="OPTIONS", key=None)
    assert preflight.status == (403 if readable is None else 204)
    assert preflight.headers.get("Access-Control-Allow-Origin") == readable
    assert "Access-Control-Allow-Credentials" not in preflight.headers


# Renewal -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "until"), [(None, None), ("1h", 3600)])
async def test_session_is_given_a_new_end(scene: Scene, asked: Any, until: Any) -> None:
    session = scene.sessions.session("mine", principal=holder_of(KEY, DIGEST), route="app")
    session.begin(*_transports())
    session.until = 5.0
    answer = await scene.ask(scene.renewal, {"session": "mine", "expires_in": asked})
    assert (answer.status, answer.body) == (204, None)
    assert session.until == (None if until is None else scene.sessions.wall() + until)
    assert scene.log.events("session_renewed") == [{"request_id": "an-id", "session": "mine"}]


async def test_session_whose_route_is_gone_or_that_is_none_is_unknown(scene: Scene) -> None:
    for name, route in (("gone", "nowhere"), ("ended", "app")):
        session = scene.sessions.session(name, principal=holder_of(KEY, DIGEST), route=route)
        session.begin(*_transports())
        if name == "ended":
            for leg in session.legs:
                leg.transport.get_protocol().connection_lost(None)
        answer = await scene.ask(scene.renewal, {"session": name})
        assert code(answer) == (404, "session_unknown")


async def test_session_that_ends_while_its_caller_is_looked_up_is_unknown(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = scene.sessions.session("mine", principal=holder_of(KEY, DIGEST), route="app")
    session.begin(*_transports())

    def at_once(*_: Any) -> Any:
        raise NotAtOnce

    async def slowly(*_: Any) -> Any:
        for leg in session.legs:
            leg.transport.get_protocol().connection_lost(None)
        return holder_of(KEY, DIGEST)

    monkeypatch.setattr(scene.buyers, "authenticate", at_once)
    monkeypatch.setattr(scene.buyers, "authenticate_slowly", slowly)
    answer = await scene.ask(scene.renewal, {"session": "mine"})
    assert code(answer) == (404, "session_unknown")


def _transports() -> tuple[FakeTransport, FakeTransport]:
    return FakeTransport(), FakeTransport()


async def test_failure_of_ours_is_answered_and_told_to_the_log_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_ticket: Any, *, ttl: float) -> str:
        raise RuntimeError(f"no more paper after {ttl}")

    monkeypatch.setattr(scene.office, "sell", fails)
    answer = await scene.ask(scene.tickets, {"route": "chat"})
    assert (answer.status, answer.headers["X-Wskeeper-Code"]) == (500, "internal_error")
    assert b"paper" not in answer.body
    (told,) = scene.log.events("internal_error")
    assert told["request_id"] == "an-id"
    assert isinstance(told["failure"], RuntimeError)

"""Tokens of an issuer that publishes its keys: rotation, outage, scope and end."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest

from proxy.identity.jwks import QUIET
from tests.harness.client import handshakes
from tests.harness.heads import upgrade
from tests.harness.process import BUSY, SLOWNESS, wait_until
from tests.integration.ways_scene import BEARER, DIRECT, KEY, Scene, Way, ask, called, scene
from tests.unit.auth.tokens import jwk, jwks, token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Issuer:
    """Publishes keys on loopback, until it is down."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [jwk("RS256")]
        self.asked = 0
        issuer = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = json.dumps(jwks(*issuer.keys)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/jwks"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.go_down()

    def go_down(self) -> None:
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def configured(issuer: Issuer) -> dict[str, Any]:
    return {
        "issuer": "https://idp.test",
        "audience": "wskeeper",
        "leeway": "1s",
        "jwks_url": issuer.url,
        "routes_claim": "routes",
        "metadata_claims": ["tenant", "Plan"],
    }


def signed(*, lasts: float = 600, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token of the issuer's."""
    said = {"exp": time.time() + lasts, "routes": ["bearer"], **claims}
    return token("RS256", header=header, **said).decode()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("gateway")
    with scene(folder, jwt=configured(issuer)) as made:
        yield made
        made.leave()
        assert handshakes(made.gateway.metrics())["internal_error"] == 0
        assert "raceback" not in made.shown()


@pytest.fixture(autouse=True)
def _clean_up(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "ways" in request.fixturenames:
        request.getfixturevalue("ways").leave()


def test_upstream_is_told_who_it_is(ways: Scene) -> None:
    made = signed(tenant="blue", Plan="gold", plan="iron", email="ada@idp.test")
    connection = ways.served(ways.door.open(BEARER.request(made)))
    request = connection.request
    assert request is not None
    assert request.get("X-Wskeeper-Auth") == "jwt"
    assert request.get("X-Wskeeper-Subject") == "ada"
    assert request.get("X-Wskeeper-Meta-tenant") == "blue"
    assert request.all("X-Wskeeper-Meta-Plan") == ["gold"]
    assert request.get("X-Wskeeper-Key-Id") is None
    assert request.get("Authorization") is None
    assert b"email" not in request.raw
    session = request.get("X-Request-Id")
    opened = ways.gateway.wait_for_event("connection_opened", request_id=session)
    assert opened["subject"] == "ada"
    assert "key_id" not in opened


@pytest.mark.parametrize("way", DIRECT, ids=called)
def test_token_opens_the_routes_that_it_names(ways: Scene, way: Way) -> None:
    ways.served(ways.door.open(way.request(signed(routes=[way.name]))))
    for routes in (["elsewhere"], []):
        response = ways.door.ask(way.request(signed(routes=routes)))
        assert (response.status, response.code) == (403, "route_forbidden")


def test_ticket_opens_no_route_that_its_token_does_not(ways: Scene) -> None:
    for routes, status in ((["ticket"], 201), (["bearer"], 403)):
        headers = {"Authorization": f"Bearer {signed(routes=routes)}"}
        answer = ask(ways.gateway, "/.wskeeper/ticket", {"route": "ticket"}, headers=headers)
        assert answer.status == status


def test_session_ends_with_its_token(ways: Scene) -> None:
    client = ways.door.open(BEARER.request(signed(lasts=1)))
    began = time.monotonic()
    ways.served(client)
    client.expect_close(3000, "token_expired")
    # The issuer's clock may be off by the leeway.
    assert 1.5 <= time.monotonic() - began <= 3.5 + BUSY
    client.close()
    assert wait_until(lambda: not ways.api.do("GET", "/connections")["connections"])


@pytest.mark.parametrize(
    "claims",
    [
        {"lasts": -2},
        {"iss": "https://idp.test/"},
        {"iss": ...},
        {"aud": "another"},
        {"exp": ...},
        {"exp": "tomorrow"},
        {"nbf": time.time() + 3600},
        {"number": 1},
    ],
)
def test_token_that_does_not_hold_is_refused(ways: Scene, claims: dict[str, Any]) -> None:
    with ways.upstream.untouched():
        response = ways.door.ask(BEARER.request(signed(**claims)))
    # A token of another issuer is the application's: it is no credential at all.
    strange = "iss" in claims
    assert (response.status, response.code) == (
        401,
        "key_missing" if strange else "token_invalid",
    )


def test_token_of_the_wrong_algorithm_is_refused(ways: Scene) -> None:
    public = json.dumps(jwk("RS256")).encode()
    for algorithm in ("HS256", "HS512"):
        made = token(algorithm, key=public, exp=time.time() + 600, routes=["bearer"]).decode()
        assert ways.door.ask(BEARER.request(made)).code == "token_invalid"
    head, claims, _ = signed().split(".")
    unsigned = f"{head}.{claims}."
    assert ways.door.ask(BEARER.request(unsigned)).status == 401


def test_new_key_of_the_issuer_is_fetched_when_it_is_first_used(tmp_path: Path) -> None:
    with Issuer() as issuer, scene(tmp_path, jwt=configured(issuer)) as ways:
        ways.served(ways.door.open(BEARER.request(signed())))
        asked = issuer.asked
        issuer.keys.append(jwk("RS256", 1, kid="k2"))
        fresh = signed(number=1, header={"kid": "k2"})
        # Not sooner than QUIET seconds behind the last time, whoever asks how often.
        assert wait_until(
            lambda: ways.door.send(BEARER.request(fresh)).read_response().status == 101,
            QUIET + 2 * SLOWNESS,
            step=0.3,
        )
        clients = [ways.door.send(BEARER.request(fresh)) for _ in range(10)]
        assert {client.read_response().status for client in clients} == {101}
        assert issuer.asked == asked + 1
        # Keys that nobody has are not asked for again and again.
        for number in range(10):
            made = signed(number=2, header={"kid": f"strange-{number}"})
            assert ways.door.ask(BEARER.request(made)).code == "token_invalid"
        assert issuer.asked == asked + 1


def test_issuer_that_is_away_keeps_nobody_out(tmp_path: Path) -> None:
    with Issuer() as issuer, scene(tmp_path, jwt=configured(issuer)) as ways:
        ways.served(ways.door.open(BEARER.request(signed())))
        issuer.go_down()
        for _ in range(3):
            ways.door.open(BEARER.request(signed()))
        # What only the issuer could tell is a refusal in time, not a wait.
        began = time.monotonic()
        made = signed(number=1, header={"kid": "k2"})
        response = ways.door.ask(BEARER.request(made))
        assert response.status in {401, 503}
        assert time.monotonic() - began < 3 + BUSY
        ways.door.open(BEARER.request(signed()))


def test_issuer_that_was_away_at_the_start_keeps_no_key_holder_out(tmp_path: Path) -> None:
    with Issuer() as issuer:
        issuer.go_down()
        with scene(tmp_path, jwt=configured(issuer)) as ways:
            ways.served(ways.door.open(upgrade("/header", key=KEY)))
            response = ways.door.ask(BEARER.request(signed()))
            assert response.status in {401, 503}

"""What a key may take: its places span routes, and every way out gives one back."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import frames
from tests.harness.accounts import log_faults
from tests.harness.heads import upgrade
from tests.harness.process import wait_until
from tests.harness.upstream import Upstream, UpstreamConnection, answers
from tests.integration.key_scene import (
    AT_ONCE,
    STORE,
    Scene,
    asking,
    configuration,
    echoes,
    metric,
    scene,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.client import Client

pytestmark = pytest.mark.timeout(60)

HERE = "192.0.2.7"


def _routes(upstream: Upstream, closed: int) -> list[dict[str, Any]]:
    return [
        *configuration(upstream, Path(STORE))["routes"],
        {"name": "closed", "path": "/closed", "upstream": f"ws://127.0.0.1:{closed}"},
        {
            "name": "impatient",
            "path": "/impatient",
            "upstream": upstream.url,
            "timeouts": {"upstream_handshake": "300ms"},
        },
    ]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with socket.socket() as closed, Upstream() as upstream:
        closed.bind(("127.0.0.1", 0))
        routes = _routes(upstream, closed.getsockname()[1])
        with scene(tmp_path_factory.mktemp("limits"), routes=routes) as made:
            here = made._replace(upstream=upstream)
            yield here
            here.leave()
            assert made.gateway.stop() == 0
            assert not log_faults(made.gateway.log)


@pytest.fixture
def house(everything: Scene) -> Iterator[Scene]:
    yield everything
    everything.leave()


def test_the_limit_of_a_key_spans_routes(house: Scene) -> None:
    made = house.create(limits={"connections": 3})
    secret, bystander = made["secret"], house.create()["secret"]
    series = ("wskeeper_limited_total", "connections")
    before = metric(house.gateway.metrics(), series[0], route="other", limit=series[1])
    clients = [house.open(secret, target) for target in ("/app", "/other", "/app")]
    with house.upstream.untouched():
        answer = house.ask(secret, "/other")
    assert (answer.status, answer.code) == (429, "key_connections")
    assert int(answer.get("Retry-After")) > 0
    after = metric(house.gateway.metrics(), series[0], route="other", limit=series[1])
    assert after == before + 1
    event = house.gateway.events("limited", route="other")[-1]
    assert (event["limit"], event["value"]) == ("connections", 3)
    assert event["set_in"] == f"keys.{made['name']}.limits.connections"
    assert all(echoes(client) for client in [*clients, house.open(bystander, "/other")])
    clients[0].close()
    assert wait_until(lambda: _opens(house, secret), AT_ONCE)
    assert house.ask(secret).code == "key_connections"


def _opens(house: Scene, secret: str) -> bool:
    """Whether a session opens; it stays."""
    return house.door.send(asking(secret)).read_response().status == 101


def test_handshakes_under_way_count(house: Scene) -> None:
    secret = house.create(limits={"connections": 2})["secret"]
    with house.upstream.by_hand():
        waiting = [house.door.send(asking(secret)) for _ in range(2)]
        behind = [house.upstream.connection() for _ in range(2)]
        with house.upstream.untouched():
            assert house.ask(secret).code == "key_connections"
        for connection in behind:
            connection.read_request()
            connection.send(connection.switching())
        assert [client.read_response().status for client in waiting] == [101, 101]
    assert house.ask(secret).code == "key_connections"


def test_a_limit_is_changed_while_sessions_live(house: Scene) -> None:
    made = house.create(limits={"connections": 1})
    clients = [house.open(made["secret"])]
    assert house.ask(made["secret"]).code == "key_connections"
    house.api.update(made["name"], limits={"connections": 2})
    clients.append(house.open(made["secret"]))
    house.api.update(made["name"], limits={"connections": 1})
    assert house.ask(made["secret"]).code == "key_connections"
    assert all(echoes(client) for client in clients)
    clients[0].close()
    live = f"/connections?key={made['name']}"
    assert wait_until(lambda: len(house.api.do("GET", live)["connections"]) == 1, 2)
    assert house.ask(made["secret"]).code == "key_connections"


def _said_close(house: Scene, name: str, client: Client) -> None:
    del house, name
    client.send(frames.masked(frames.CLOSE, frames.close_payload(1000)))
    client.expect_close(1000)


def _left(house: Scene, name: str, client: Client) -> None:
    del house, name
    client.close()


def _reset(house: Scene, name: str, client: Client) -> None:
    del house, name
    client.reset()


def _broke_protocol(house: Scene, name: str, client: Client) -> None:
    del house, name
    client.send(frames.frame(frames.TEXT, b"not masked"))
    client.expect_close(1002)
    client.close()


def _lost_service(house: Scene, name: str, client: Client) -> None:
    del name
    house.upstream.forget()
    client.expect_close(1012, "upstream_lost")
    client.close()


def _closed_by_admin(house: Scene, name: str, client: Client) -> None:
    assert house.api.do("DELETE", f"/connections?key={name}") == {"closed": 1}
    client.expect_close(1008, "closed_by_admin")
    client.close()


def _suspended(house: Scene, name: str, client: Client) -> None:
    house.api.act("suspend", name)
    client.expect_close(1008, "key_suspended")
    client.close()
    house.api.act("resume", name)


def _never_answers(house: Scene, name: str, client: Client) -> None:
    """A client that ignores its Close keeps its place for `timeouts.close` at most."""
    house.api.act("suspend", name)
    client.expect_close(1008, "key_suspended")
    house.api.act("resume", name)


SESSION_ENDS = (
    _said_close,
    _left,
    _reset,
    _broke_protocol,
    _lost_service,
    _closed_by_admin,
    _suspended,
    _never_answers,
)


@pytest.mark.parametrize("end", SESSION_ENDS, ids=lambda end: end.__name__.strip("_"))
def test_every_end_of_a_session_gives_its_place_back(house: Scene, end: Any) -> None:
    made = house.create(limits={"connections": 1})
    client = house.open(made["secret"])
    assert house.ask(made["secret"]).code == "key_connections"
    end(house, made["name"], client)
    assert wait_until(lambda: _opens(house, made["secret"]), 2.5)


FAILING: dict[str, tuple[str, Callable[[UpstreamConnection], None] | None, str]] = {
    "refused by the service": (
        "/app",
        answers(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
        "upstream_refused",
    ),
    "garbage": ("/app", answers(b"garbage\r\n\r\n"), "upstream_invalid"),
    "no switch": ("/app", answers(b"HTTP/1.1 200 OK\r\n\r\n"), "upstream_invalid"),
    "wrong accept": (
        "/app",
        answers(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: eHh4eHh4eHh4eHh4eHh4eHh4eHg=\r\n\r\n"
        ),
        "upstream_invalid",
    ),
    "no service": ("/closed", None, "upstream_unreachable"),
    "no answer": ("/impatient", UpstreamConnection.keep_listening, "upstream_timeout"),
}


@pytest.mark.parametrize("case", FAILING)
def test_every_failed_handshake_gives_its_place_back(house: Scene, case: str) -> None:
    target, script, code = FAILING[case]
    secret = house.create(limits={"connections": 1})["secret"]
    with house.upstream.plays(script):
        for _ in range(3):
            assert house.ask(secret, target).code == code
    assert echoes(house.open(secret))


def test_a_client_that_leaves_before_its_answer_gives_its_place_back(house: Scene) -> None:
    secret = house.create(limits={"connections": 1})["secret"]
    with house.upstream.by_hand():
        for leave in (lambda client: client.close(), lambda client: client.reset()):
            client = house.door.send(asking(secret))
            connection = house.upstream.connection()
            connection.read_request()
            leave(client)
            connection.expect_end(1)
    assert wait_until(lambda: _opens(house, secret), AT_ONCE)


def test_a_key_suspended_during_its_handshake_gives_its_place_back(house: Scene) -> None:
    made = house.create(limits={"connections": 1})
    with house.upstream.by_hand():
        client = house.door.send(asking(made["secret"]))
        connection = house.upstream.connection()
        connection.read_request()
        house.api.act("suspend", made["name"])
        connection.send(connection.switching())
        assert client.read_response().code == "key_suspended"
    house.api.act("resume", made["name"])
    assert echoes(house.open(made["secret"]))


def test_what_is_refused_takes_no_place(house: Scene) -> None:
    made = house.create(limits={"connections": 1}, routes=["app"], addresses={"allow": [HERE]})
    secret = made["secret"]
    for request, code in (
        (asking(secret, "/other", client=HERE), "route_forbidden"),
        (asking(secret), "address_forbidden"),
        (asking(secret, "/nowhere", client=HERE), "no_route"),
        (upgrade("/app", key=secret, changed={"Sec-WebSocket-Key": "x"}), "bad_request"),
        (upgrade("/app", key=secret, lines=(f"X-Api-Key: {secret}",)), "key_ambiguous"),
    ):
        assert house.door.ask(request).code == code
    assert echoes(house.open(secret, client=HERE))


def test_a_service_that_hangs_up_gives_the_place_back(house: Scene) -> None:
    secret = house.create(limits={"connections": 1})["secret"]
    with house.upstream.plays(UpstreamConnection.close):
        for _ in range(3):
            # Whether the request was still unread decides between a reset and an end.
            assert house.ask(secret).code in {"upstream_unreachable", "upstream_invalid"}
    assert echoes(house.open(secret))

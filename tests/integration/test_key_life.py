"""Keys with a whole life: made, imported, limited, kept over restarts, told of to nobody."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import frames
from tests.harness.accounts import log_faults
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.operators import CommandLine
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
    new_name,
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
        with scene(tmp_path_factory.mktemp("life"), routes=routes) as made:
            here = made._replace(upstream=upstream)
            yield here
            here.leave()
            assert made.gateway.stop() == 0
            assert not log_faults(made.gateway.log)


@pytest.fixture
def house(everything: Scene) -> Iterator[Scene]:
    yield everything
    everything.leave()


# On the command line -----------------------------------------------------------------------


def test_a_key_lives_on_the_command_line(house: Scene) -> None:
    name = new_name()
    done = house.line.run("keys", "create", "--name", name, "--metadata", "plan=gold")
    assert done.returncode == 0, done.stderr
    secret = done.stdout.rstrip("\n")
    assert secret.startswith("wsk_")
    assert "\n" not in secret
    assert wait_until(lambda: house.ask(secret).status == 101, AT_ONCE)
    house.upstream.forget()
    with house.open(secret) as client:
        assert echoes(client)
    request = house.upstream.connection().request
    assert request is not None
    shown = house.line.show(name)
    assert request.get("X-Wskeeper-Key-Name") == name
    assert request.get("X-Wskeeper-Key-Id") == shown["id"]
    assert request.get("X-Wskeeper-Meta-plan") == "gold"
    assert request.get("X-Wskeeper-Auth") == "api_key"
    assert secret not in request.raw.decode()

    assert [house.line.act(verb, name)["state"] for verb in ("suspend", "resume", "revoke")] == [
        "suspended",
        "active",
        "revoked",
    ]
    for verb in ("suspend", "resume"):
        refused = house.line.run("keys", verb, name)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert len(refused.stderr.splitlines()) == 1
    house.line.act("delete", name)
    assert house.line.run("keys", "show", name).returncode == 1
    assert wait_until(lambda: house.ask(secret).code == "key_unknown", AT_ONCE)
    again = house.line.create(name)
    house.wait_for("key_created", again)
    assert house.ask(secret).code == "key_unknown"
    assert house.open(again["secret"])


def test_an_existing_key_is_brought_along(house: Scene) -> None:
    secret = "an existing secret, blanks and all"
    made = house.line.bring(new_name(), secret, routes=["app"])
    house.wait_for("key_created", made)
    assert echoes(house.open(secret))
    assert house.ask(secret, "/other").code == "route_forbidden"
    digest = hashlib.sha256(b"another one, known by its digest").hexdigest()
    done = house.line.run("keys", "import", "--name", new_name(), "--sha256", digest)
    assert done.returncode == 0, done.stderr
    assert wait_until(lambda: house.ask("another one, known by its digest").status == 101, AT_ONCE)
    twin = house.line.run("keys", "import", "--name", new_name(), "--sha256", digest)
    assert twin.returncode == 1
    assert digest not in twin.stderr


def test_a_short_secret_is_taken_only_if_it_must_be(house: Scene) -> None:
    words = ("keys", "import", "--name", new_name(), "--secret-stdin")
    refused = house.line.run(*words, typed="hunter2\n")
    assert refused.returncode in {1, 2}
    assert "hunter2" not in refused.stderr + refused.stdout
    assert house.line.run(*words, "--allow-weak", typed="hunter2\n").returncode == 0
    assert wait_until(lambda: house.ask("hunter2").status == 101, AT_ONCE)


def test_keys_move_to_another_store_without_their_secrets(house: Scene, tmp_path: Path) -> None:
    kept, revoked = house.create(), house.create()
    house.api.act("revoke", revoked["name"])
    exported = house.line.run("keys", "export")
    assert exported.returncode == 0, exported.stderr
    for made in (kept, revoked):
        assert made["secret"] not in exported.stdout
    file = tmp_path / "keys.json"
    file.write_text(exported.stdout)
    line = CommandLine(tmp_path / STORE)
    line.create("makes-the-file")
    moved = line.run("keys", "import-file", str(file))
    assert moved.returncode == 0, moved.stderr
    config = configuration(house.upstream, tmp_path / STORE)
    with Gateway(tmp_path, config) as gateway, Door(gateway.public) as door:
        assert echoes(door.open(asking(kept["secret"])))
        assert door.ask(asking(revoked["secret"])).code == "key_revoked"


def test_no_command_makes_a_store_by_accident(house: Scene, tmp_path: Path) -> None:
    del house
    line = CommandLine(tmp_path / "typo.db")
    for words in (
        ("keys", "create", "--name", "x"),
        ("keys", "list"),
        ("keys", "revoke", "x"),
        ("keys", "export"),
        ("usage",),
    ):
        done = line.run(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert str(tmp_path / "typo.db") in done.stderr
    assert not list(tmp_path.iterdir())


def test_keys_and_usage_outlive_the_gateway(tmp_path: Path) -> None:
    with scene(tmp_path) as first:
        active, revoked = first.create(), first.create()
        assert echoes(first.open(active["secret"]))
        first.api.act("revoke", revoked["name"])
        first.leave()
        assert first.gateway.stop() == 0
    with scene(tmp_path) as second:
        assert second.ask(revoked["secret"]).code == "key_revoked"
        assert echoes(second.open(active["secret"]))
        used = second.api.usage(active["name"])
        assert (used["connections"], used["messages_from_client"]) == (1, 1)
        assert second.api.show(active["name"])["last_used_at"] is not None
        second.leave()
        second.gateway.stop()
        assert second.line.usage(active["name"])["connections"] == 2


def test_usage_of_two_gateways_adds_up(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with scene(tmp_path) as first:
        config = configuration(first.upstream, first.store)
        made = first.create()
        secret = made["secret"]
        with Gateway(tmp_path / "b", config) as second, Door(second.public) as door:
            assert wait_until(lambda: door.ask(asking(secret)).status == 101, AT_ONCE)
            for _ in range(3):
                assert echoes(first.open(secret), "here")
                assert echoes(door.open(asking(secret)), "there")
            door.close_all()
            first.leave()
            assert second.stop() == first.gateway.stop() == 0
        used = first.line.usage(made["name"])
        assert used["messages_from_client"] == used["messages_from_upstream"] == 6
        assert used["connections"] >= 7


# Limits ------------------------------------------------------------------------------------


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


# Secrets -----------------------------------------------------------------------------------


def test_no_secret_stays_anywhere(tmp_path: Path) -> None:
    """Not in the file, its log, a copy of it, the log, the metrics, an answer, a report."""
    with scene(tmp_path) as house:
        brought = "CANARY-brought-6b1f0c9d8e7a5432"
        weak = "CANARY-weak"
        house.line.bring(new_name(), brought)
        house.api.bring(new_name(), weak, allow_weak=True)
        made = [house.create(), house.line.create(new_name())]
        secrets = [brought, weak, *(one["secret"] for one in made)]
        assert wait_until(lambda: house.ask(made[1]["secret"]).status == 101, AT_ONCE)
        for secret in (*secrets,):
            assert echoes(house.open(secret))
            assert house.ask(secret + "x").code == "key_unknown"
            house.api.ask("GET", f"/keys/{secret}")
            house.api.ask("POST", f"/keys/{secret}/revoke")
            house.api.ask("GET", f"/usage?key={secret}")
            house.api.ask("POST", "/keys", {"name": new_name(), "secret": secret})
            house.line.run("keys", "show", secret)
            house.line.run("usage", "--key", secret)
        secrets += [house.rotate("api", made[0], "1h")["secret"]]
        secrets += [house.rotate("line", made[1], "0")["secret"]]
        house.api.act("revoke", made[0]["name"])
        house.line.act("delete", made[1]["name"])
        house.line.run("keys", "list")
        exported = house.line.run("keys", "export").stdout
        told = ["\n".join(house.gateway.metrics())]
        while_running = _contents(tmp_path)
        house.leave()
        assert house.gateway.stop() == 0
        told += [*house.line.said, *house.api.said, *house.gateway.log, *house.gateway.output]
    digests = [hashlib.sha256(secret.encode()).hexdigest() for secret in secrets]
    assert not [line for line in told if any(digest in line for digest in digests)]
    said = "\n".join([*told, exported]).encode()
    places = {**while_running, **_contents(tmp_path), "what was said": said}
    assert {STORE, "wskeeper.yaml"} <= places.keys()
    for secret in secrets:
        # Of a made key the id is public.
        private = secret.rpartition("_")[2].encode()
        assert not [place for place, content in places.items() if private in content]


def _contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}

"""Reload: what a changed configuration does to sessions, handshakes under way and those to come."""

from __future__ import annotations

import copy
import os
import signal
import socket
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.harness import frames
from tests.harness.accounts import log_faults
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import DEFAULT_HOST, plain, upgrade
from tests.harness.operators import AdminApi
from tests.harness.process import SLOWNESS, open_files, wait_until
from tests.harness.upstream import Upstream
from tests.integration.key_scene import AT_ONCE, echoes
from tests.unit.auth.tokens import token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.client import Client

pytestmark = pytest.mark.timeout(120)

KEY, OTHER_KEY = "CANARY-reload-4e1f7a2c9b60", "CANARY-reload-8d3b5f1e7a42"
OLD_SECRET, NEW_SECRET = (f"CANARY-{age}-{'secret-of-issuer-and-gateway' * 2}" for age in "on")
PAGE = "https://good.example"
# How many sessions one route's change is not to disturb.
SESSIONS = int(os.environ.get("WSKEEPER_TEST_SESSIONS", "200"))


def jwt_section(secret: str) -> dict[str, Any]:
    return {"audience": "wskeeper", "algorithms": ["HS256"], "secret": secret}


def jwt(secret: str) -> str:
    claims = {"exp": time.time() + 600, "sub": "somebody", "iss": "any"}
    return token("HS256", key=secret.encode(), **claims).decode()


class Scene:
    """One gateway, two services, and the file that says what the gateway is to do."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.upstream = stack.enter_context(Upstream())
        self.other = stack.enter_context(Upstream())
        self.base: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "admin": {"listen": "127.0.0.1:0"},
            "log": {"level": "debug", "format": "json"},
            "drain": {"spread": "0s"},
            "store": "memory:",
            "timeouts": {"close": "1s"},
            "trusted_proxies": ["127.0.0.0/8"],
            "keys": [{"name": "one", "secret": KEY}, {"name": "two", "secret": OTHER_KEY}],
            "jwt": jwt_section(OLD_SECRET),
            "carriers": [{"header": "X-Api-Key"}, "bearer"],
            "limits": {"auth_failures_per_minute": None},
            "routes": [
                {"name": "app", "path": "/app", "upstream": self.upstream.url},
                {"name": "side", "path": "/side", "upstream": self.upstream.url},
                {"name": "open", "path": "/open", "upstream": self.upstream.url, "auth": "none"},
            ],
        }
        self.gateway = stack.enter_context(Gateway(folder, self.base))
        self.door = stack.enter_context(Door(self.gateway.public))
        self.api = AdminApi(self.gateway)

    # The file ----------------------------------------------------------------------------------

    def changed(self, *changes: tuple[str, Any], without: str | None = None) -> dict[str, Any]:
        """The base configuration, changed at places such as `routes.0.auth`."""
        data = copy.deepcopy(self.base)
        for place, value in changes:
            *parents, last = (int(s) if s.isdigit() else s for s in place.split("."))
            holder: Any = data
            for parent in parents:
                holder = holder[parent]
            if isinstance(holder, list) and last == len(holder):
                holder.append(value)
            else:
                holder[last] = value
        data["routes"] = [route for route in data["routes"] if route["name"] != without]
        return data

    def write(self, data: Any) -> None:
        text = data if isinstance(data, str) else yaml.safe_dump(data)
        self.gateway.config_path.write_text(text)

    def reload(self, *changes: tuple[str, Any], without: str | None = None) -> dict[str, Any]:
        """Changes the file and reloads; what was answered."""
        self.write(self.changed(*changes, without=without))
        answer: dict[str, Any] = self.api.do("POST", "/reload")
        return answer

    # Clients -----------------------------------------------------------------------------------

    def open(self, target: str = "/app", key: str | None = KEY, *lines: str) -> Client:
        return self.door.open(upgrade(target, key=key, lines=lines))

    def ask(self, target: str = "/app", key: str | None = KEY, *lines: str) -> tuple[int, Any]:
        answer = self.door.ask(upgrade(target, key=key, lines=lines))
        return answer.status, answer.code

    @contextmanager
    def in_flight(self, target: str = "/app", key: str | None = KEY, *lines: str) -> Iterator[Any]:
        """A client whose upstream was asked, and has yet to answer; then it answers."""
        with self.upstream.by_hand():
            client = self.door.send(upgrade(target, key=key, lines=lines))
            connection = self.upstream.connection()
            connection.read_request()
        yield client
        connection.send(connection.switching())

    def is_well(self, path: str) -> bool:
        """Whether a health check there is answered 200."""
        with socket.create_connection(self.gateway.public, timeout=5) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            return sock.recv(100).startswith(b"HTTP/1.1 200")

    def leave(self) -> None:
        """All clients go, and the file is as it was."""
        self.door.close_all()
        for upstream in (self.upstream, self.other):
            upstream.forget()
        self.reload()

    def loaded(self) -> int:
        """How many reloads and rejections the log knows of."""
        return len(self.gateway.events("config_reloaded") + self.gateway.events("config_rejected"))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        made = Scene(tmp_path_factory.mktemp("reload"), stack)
        yield made
        made.leave()
        assert made.gateway.stop() == 0
        lines = [line for line in made.gateway.log if not line.startswith("warning: ")]
        assert not log_faults(lines)
        assert "CANARY" not in "\n".join([*made.gateway.log, *made.api.said])


@pytest.fixture
def scene(everything: Scene) -> Iterator[Scene]:
    yield everything
    everything.leave()


def closes(client: Client, code: int, reason: str) -> None:
    client.expect_close(code, reason)
    client.send(frames.masked(frames.CLOSE, frames.close_payload(code)))
    client.expect_end(1)


# Routes ----------------------------------------------------------------------------------------


def test_nothing_changed_changes_nothing(scene: Scene) -> None:
    client = scene.open()
    answer = scene.reload()
    warnings = answer.pop("warnings")
    assert answer == {"changed": [], "needs_restart": [], "closed": 0}
    assert any("routes[2].auth" in warning for warning in warnings)
    assert echoes(client)


def test_route_that_is_added_serves_and_one_that_is_removed_ends(scene: Scene) -> None:
    staying, going = scene.open("/app"), scene.open("/side")
    new = {"name": "new", "path": "/new", "upstream": scene.other.url}
    answer = scene.reload(("routes.3", new), without="side")
    assert answer["changed"] == ["routes.side (removed)", "routes.new (added)"]
    assert answer["closed"] == 1
    closes(going, 1001, "route_removed")
    assert scene.ask("/side") == (404, "no_route")
    assert echoes(scene.open("/new"))
    assert scene.other.count
    assert echoes(staying)
    closed = scene.gateway.wait_for_event("connection_closed", reason="route_removed")
    assert (closed["route"], closed["initiator"], closed["code"]) == ("side", "gateway", 1001)


def test_requests_that_wait_for_their_answer_hear_of_other_rules(scene: Scene) -> None:
    pages = {"name": "pages", "path": "/pages", "upstream": scene.upstream.url}
    scene.reload(("routes.3", {**pages, "http": "passthrough"}))
    asking = (f"Origin: {PAGE}", "Access-Control-Request-Method: PUT")
    with scene.upstream.by_hand():
        preflight = scene.door.send(plain("/pages", *asking, method="OPTIONS"))
        service = scene.upstream.connection()
        service.read_request()
        reader = scene.door.send(plain("/pages", f"X-Api-Key: {KEY}"))
        scene.upstream.connection().read_request()
        # A preflight came without a key, and needs none now.
        assert scene.reload(("routes.3", {**pages, "http": "passthrough"}))["closed"] == 0
        service.send(b"HTTP/1.1 204 Yes\r\n\r\n")
        assert preflight.read_head().startswith(b"HTTP/1.1 204 ")
        assert scene.reload()["closed"] == 1
        answer = reader.read_response()
    assert (answer.status, answer.code) == (404, "no_route")


def test_another_upstream_gets_the_next_session_and_no_live_one(scene: Scene) -> None:
    before = scene.other.count
    client = scene.open()
    answer = scene.reload(("routes.0.upstream", scene.other.url))
    assert (answer["changed"], answer["closed"]) == (["routes.app.upstream.targets"], 0)
    assert echoes(client)
    assert scene.other.count == before
    assert echoes(scene.open())
    assert scene.other.count == before + 1
    assert echoes(client)


RULES = {
    "auth": (("auth", "required"), "/open", None, (), 1008, "key_missing"),
    "addresses": (
        ("addresses", {"deny": ["192.0.2.0/24"]}),
        "/app",
        KEY,
        ("X-Forwarded-For: 192.0.2.7",),
        1008,
        "address_forbidden",
    ),
    "origins": (
        ("origins", [PAGE]),
        "/app",
        KEY,
        ("Origin: https://other.example",),
        1008,
        "origin_forbidden",
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_session_that_a_rule_no_longer_admits_ends(scene: Scene, case: str) -> None:
    (field, value), target, key, lines, code, reason = RULES[case]
    hit = scene.open(target, key, *lines)
    spared = [scene.open("/side", KEY, *lines)]
    if case != "auth":
        spared.append(scene.open(target, KEY, "X-Forwarded-For: 198.51.100.7", f"Origin: {PAGE}"))
    index = {"/app": 0, "/open": 2}[target]
    answer = scene.reload((f"routes.{index}.{field}", value))
    assert answer["closed"] == 1
    closes(hit, code, reason)
    assert all(echoes(client) for client in spared)
    assert scene.ask(target, key, *lines)[1] == reason


def test_page_of_the_same_host_stays_where_it_is_asked_for(scene: Scene) -> None:
    own = scene.open("/app", KEY, f"Origin: https://{DEFAULT_HOST}")
    other = scene.open("/app", KEY, f"Origin: {PAGE}")
    assert scene.reload(("routes.0.origins", "same"))["closed"] == 1
    closes(other, 1008, "origin_forbidden")
    assert echoes(own)


# Keys and tokens -------------------------------------------------------------------------------


def test_key_that_is_removed_takes_its_sessions_with_it(scene: Scene) -> None:
    hit, spared = scene.open(), scene.open(key=OTHER_KEY)
    answer = scene.reload(("keys", scene.base["keys"][1:]))
    assert (answer["changed"], answer["closed"]) == (["keys: -1"], 1)
    closes(hit, 1008, "key_revoked")
    assert echoes(spared)
    assert scene.ask() == (401, "key_unknown")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"routes": ["side"]}, "route_forbidden"),
        ({"addresses": {"deny": ["192.0.2.0/24"]}}, "address_forbidden"),
        ({"origins": ["https://other.example"]}, "origin_forbidden"),
        ({"suspended_at": "2020-01-01T00:00:00Z"}, "key_suspended"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "key_expired"),
        ({"secret": "CANARY-another-secret-0123456789"}, "key_revoked"),
    ],
)
def test_key_that_is_narrowed_ends_what_it_no_longer_carries(
    scene: Scene, fields: dict[str, Any], reason: str
) -> None:
    hit = scene.open("/app", KEY, "X-Forwarded-For: 192.0.2.7", f"Origin: {PAGE}")
    spared = scene.open(key=OTHER_KEY)
    answer = scene.reload(("keys.0", {**scene.base["keys"][0], **fields}))
    assert (answer["changed"], answer["closed"]) == (["keys: ~1"], 1)
    closes(hit, 1008, reason)
    assert echoes(spared)


def test_key_that_is_widened_closes_nothing(scene: Scene) -> None:
    client = scene.open()
    answer = scene.reload(("keys.0", {**scene.base["keys"][0], "metadata": {"plan": "gold"}}))
    assert answer["closed"] == 0
    assert echoes(client)


def test_sessions_of_tokens_end_with_the_trust_in_their_issuer(scene: Scene) -> None:
    lines = (f"Authorization: Bearer {jwt(OLD_SECRET)}",)
    hit, spared = scene.open("/app", None, *lines), scene.open()
    wider = {**jwt_section(OLD_SECRET), "leeway": "5s", "algorithms": ["HS256", "HS512"]}
    assert scene.reload(("jwt", wider))["closed"] == 0
    assert echoes(hit)
    answer = scene.reload(("jwt", jwt_section(NEW_SECRET)))
    assert answer["closed"] == 1
    assert "jwt.secret" in answer["changed"]
    closes(hit, 1008, "token_invalid")
    assert echoes(spared)
    assert scene.ask("/app", None, *lines) == (401, "token_invalid")
    assert echoes(scene.open("/app", None, f"Authorization: Bearer {jwt(NEW_SECRET)}"))


def test_other_carriers_hold_for_those_to_come(scene: Scene) -> None:
    client = scene.open()
    assert scene.reload(("carriers", [{"query": "key"}]))["closed"] == 0
    assert echoes(client)
    assert scene.ask() == (401, "key_missing")
    assert echoes(scene.open(f"/app?key={KEY}", None))


# Handshakes under way --------------------------------------------------------------------------

IN_FLIGHT = {
    "route removed": ((), "app", (404, "no_route")),
    "key removed": ((("keys", []),), None, (401, "key_revoked")),
    "key narrowed": (
        (("keys.0", {"name": "one", "secret": KEY, "routes": ["side"]}),),
        None,
        (403, "route_forbidden"),
    ),
    "address shut out": (
        (("routes.0.addresses", {"deny": ["127.0.0.0/8"]}),),
        None,
        (403, "address_forbidden"),
    ),
    "another route there": (
        (("routes.3", {"name": "deep", "path": "/app/x", "upstream": "ws://127.0.0.1:1"}),),
        None,
        (404, "no_route"),
    ),
}


@pytest.mark.parametrize("case", IN_FLIGHT)
def test_no_handshake_in_flight_slips_through(scene: Scene, case: str) -> None:
    changes, without, refusal = IN_FLIGHT[case]
    with scene.in_flight("/app/x") as client:
        scene.reload(*changes, without=without)
    answer = client.read_response()
    assert (answer.status, answer.code) == refusal


def test_handshake_in_flight_that_the_new_rules_admit_becomes_a_session(scene: Scene) -> None:
    """Its upstream is the one that was asked, as for a session that was open already."""
    with scene.in_flight() as client:
        scene.reload(("routes.0.upstream", scene.other.url), ("carriers", ["bearer"]))
    assert client.read_response().status == 101
    assert scene.gateway.metrics()['wskeeper_connections{route="app"}'] == 1


def test_token_in_flight_is_refused_with_its_issuer(scene: Scene) -> None:
    lines = (f"Authorization: Bearer {jwt(OLD_SECRET)}",)
    with scene.in_flight("/app", None, *lines) as client:
        scene.reload(("jwt", jwt_section(NEW_SECRET)))
        scene.reload()
    answer = client.read_response()
    assert (answer.status, answer.code) == (401, "token_invalid")
    assert "bearer" in (answer.get("WWW-Authenticate") or "").lower()


# What cannot be taken --------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["signal", "api"])
def test_invalid_file_changes_nothing(scene: Scene, way: str) -> None:
    client = scene.open()
    data = scene.changed(("keys", []), without="side")
    data["routes"][0]["path"] = "no-slash"
    data["colour"] = "red"
    scene.write(data)
    before = scene.loaded()
    if way == "signal":
        scene.gateway.signal(signal.SIGHUP)
    else:
        status, problem = scene.api.ask("POST", "/reload")
        assert (status, problem["code"]) == (422, "config_rejected")
        assert {error["field"] for error in problem["errors"]} == {"colour", "routes[0].path"}
    assert wait_until(lambda: scene.loaded() > before, AT_ONCE)
    event = scene.gateway.events("config_rejected")[-1]
    assert event["by"] == ("signal" if way == "signal" else "admin:local")
    assert event["faults"] == 2
    assert any("routes[0].path" in text for text in event["errors"])
    assert echoes(client)
    assert echoes(scene.open())
    assert echoes(scene.open("/side", OTHER_KEY))
    # Mended, it is taken.
    assert scene.reload(("health_path", "/ready"))["changed"] == ["health_path"]


@pytest.mark.parametrize("text", ["routes: [", "", "\x00", "just text"])
def test_file_that_is_no_configuration_changes_nothing(scene: Scene, text: str) -> None:
    client = scene.open()
    scene.write(text)
    status, problem = scene.api.ask("POST", "/reload")
    assert (status, problem["code"]) == (422, "config_rejected")
    assert echoes(client)
    assert echoes(scene.open())


def test_file_that_is_gone_changes_nothing(scene: Scene) -> None:
    scene.gateway.config_path.unlink()
    status, problem = scene.api.ask("POST", "/reload")
    assert (status, problem["code"]) == (422, "config_rejected")
    assert "No such file" in problem["errors"][0]["problem"]
    assert echoes(scene.open())


def test_plugin_that_cannot_be_loaded_changes_nothing(scene: Scene) -> None:
    scene.write(scene.changed(("plugins", ["no_such_module:plugin"]), ("keys", [])))
    status, problem = scene.api.ask("POST", "/reload")
    assert (status, problem["code"]) == (422, "config_rejected")
    assert "no_such_module" in problem["errors"][0]["problem"]
    assert problem["errors"][0]["field"] == "plugins[0]"
    assert echoes(scene.open())


def test_what_needs_a_restart_is_named_and_stays(scene: Scene) -> None:
    client = scene.open()
    answer = scene.reload(
        ("listen", "127.0.0.1:1"),
        ("admin", {"listen": "127.0.0.1:2", "token": "CANARY-admin-token"}),
        ("store", "sqlite:other.db"),
        ("health_path", "/ready"),
    )
    assert answer["changed"] == ["health_path"]
    assert answer["needs_restart"] == ["listen", "store", "admin.listen", "admin.token"]
    event = scene.gateway.events("config_reloaded")[-1]
    assert event["needs_restart"] == answer["needs_restart"]
    assert echoes(client)
    assert echoes(scene.open())
    assert scene.api.ask("GET", "/status")[0] == 200


# The rest of the document ----------------------------------------------------------------------


def test_signal_is_told_as_what_it_is(scene: Scene) -> None:
    before = scene.loaded()
    scene.write(scene.changed(("health_path", "/ready")))
    scene.gateway.signal(signal.SIGHUP)
    assert wait_until(lambda: scene.loaded() > before, AT_ONCE)
    event = scene.gateway.events("config_reloaded")[-1]
    assert (event["by"], event["changed"]) == ("signal", ["health_path"])
    assert scene.is_well("/ready")


def test_small_settings_hold_at_once(scene: Scene) -> None:
    client = scene.open()
    scene.reload(
        ("limits", {"head_size": "1KiB", "total_connections": 2}),
        ("log.level", "warning"),
    )
    assert scene.ask("/app", KEY, f"X-Big: {'x' * 2000}") == (431, "head_too_large")
    assert scene.api.do("GET", "/status")["connections_limit"] == 2
    second = scene.open()
    assert scene.ask()[1] == "gateway_connections"
    opened = len(scene.gateway.events("connection_opened"))
    second.close()
    client.close()
    assert wait_until(lambda: scene.api.do("GET", "/status")["connections"] == 0)
    assert echoes(scene.open())
    assert len(scene.gateway.events("connection_opened")) == opened


def test_admins_tokens_are_exchanged(scene: Scene) -> None:
    scene.reload(
        ("admin", {**scene.base["admin"], "token": "CANARY-admin", "public_metrics": False})
    )
    assert scene.api.ask("POST", "/reload")[0] == 401
    with pytest.raises(Exception, match="401"):
        scene.gateway.metrics()
    before = scene.loaded()
    scene.write(scene.base)
    scene.gateway.signal(signal.SIGHUP)
    assert wait_until(lambda: scene.loaded() > before, AT_ONCE)
    assert scene.api.ask("POST", "/reload")[0] == 200


def test_changes_of_one_route_concern_its_sessions_alone(scene: Scene) -> None:
    """Many sessions, of which each knows its sockets: those of one route end, no other notices."""
    few, before = SESSIONS // 10, len(scene.gateway.events("connection_closed", route="app"))
    many = [scene.open("/app") for _ in range(SESSIONS - few)]
    hit = [scene.open("/side") for _ in range(few)]
    answer = scene.reload(("routes.1.addresses", {"deny": ["127.0.0.0/8"]}))
    assert answer["changed"] == ["routes.side.addresses.deny"]
    assert answer["closed"] == few
    for client in hit:
        client.expect_close(1008, "address_forbidden")
    assert all(echoes(client, str(number)) for number, client in enumerate(many))
    assert len(scene.gateway.events("connection_closed", route="app")) == before


def test_storm_of_signals_leaves_nothing_behind(scene: Scene) -> None:
    client = scene.open()
    before, files = scene.loaded(), open_files(scene.gateway.pid)
    for number in range(50):
        scene.write(scene.changed(("health_path", f"/ready{number}")))
        scene.gateway.signal(signal.SIGHUP)
    # Signals that wait are as one; the last is never lost, and sees the last file.
    assert wait_until(lambda: scene.is_well("/ready49"), 5 * SLOWNESS)
    assert 1 <= scene.loaded() - before <= 50
    assert scene.api.do("POST", "/reload")["changed"] == []
    assert echoes(client)
    assert wait_until(lambda: open_files(scene.gateway.pid) <= files)

"""Who did what when, as a running gateway's log and its admin API tell it with the same words."""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
import time
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml

from proxy.keys.secret import make_secret
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.operators import AdminApi
from tests.harness.upstream import Upstream
from tests.integration.conftest import KEY, asking

if TYPE_CHECKING:
    from collections.abc import Iterator


class Scene:
    """One gateway in front of one service, for all tests of the file."""

    def __init__(self, gateway: Gateway, upstream: Upstream, door: Door) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.door = door
        self.api = AdminApi(gateway)

    def open(self):
        """A session: its client, its id as the client and as the service were told it."""
        client = self.door.send(asking())
        told = client.read_response().get("X-Request-Id")
        request = self.upstream.connection().request
        assert request is not None
        return client, told, request.get("X-Request-Id")

    def events(self, query=""):
        return self.api.do("GET", f"/events?format=json{query}")["events"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Upstream() as upstream:
        config = {
            "keys": [{"name": "test", "secret": KEY}],
            "log": {"level": "info", "format": "json"},
            "timeouts": {"close": "1s"},
            "routes": [{"name": "app", "path": "/app", "upstream": upstream.url}],
        }
        folder = tmp_path_factory.mktemp("gateway")
        with Gateway(folder, config) as gateway, Door(gateway.public) as door:
            yield Scene(gateway, upstream, door)


class TestOneRequestId:
    def test_client_service_log_and_events_know_a_session_by_one_id(self, scene):
        client, told, heard = scene.open()
        assert told
        assert told == heard
        assert scene.api.do("GET", f"/connections/{told}")["id"] == told
        scene.api.do("DELETE", f"/connections/{told}")
        client.expect_close(1008, "closed_by_admin")
        client.close()
        scene.gateway.wait_for_event("connection_closed", request_id=told)
        lines = scene.gateway.events(request_id=told)
        assert [line["event"] for line in lines] == [
            "connection_opened",
            "admin_closed",
            "connection_closed",
        ]
        shown = scene.events(f"&request_id={told}")[::-1]
        for event, line in zip(shown, lines, strict=True):
            assert event.pop("id")
            event.pop("ts")
            line.pop("ts")
            assert event == line

    def test_a_refusal_is_found_by_the_id_that_its_client_was_told(self, scene):
        refused = scene.door.ask(upgrade("/app", key="wrong-key-of-somebody"))
        told = refused.get("X-Request-Id")
        (event,) = scene.events(f"&request_id={told}")
        assert (event["event"], event["code"]) == ("handshake_refused", "key_unknown")
        assert event["client"] == "127.0.0.1"
        assert scene.gateway.wait_for_event("handshake_refused", request_id=told)


class TestAudit:
    def test_every_change_of_a_key_says_by_whom(self, scene):
        api = scene.api
        made = api.create("audited")
        api.update("audited", routes=["app"])
        api.rotate("audited", "1h")
        for verb in ("suspend", "resume", "revoke", "delete"):
            api.act(verb, "audited")
        events = scene.events(f"&key={made['id']}")[::-1]
        assert [event["event"] for event in events] == [
            "key_created",
            "key_updated",
            "key_rotated",
            "key_suspended",
            "key_resumed",
            "key_revoked",
            "key_deleted",
        ]
        assert {event["by"] for event in events} == {"admin:local"}

    def test_a_reload_says_by_whom(self, scene):
        scene.api.do("POST", "/reload")
        assert scene.events("&event=config_reloaded")[0]["by"] == "admin:local"

    def test_no_secret_is_among_the_events(self, scene):
        made = scene.api.create("canary")
        mine = make_secret(lambda below: below // 3).text
        scene.api.bring("brought", mine)
        new = scene.api.rotate("canary", "1h")["secret"]
        secrets = [made["secret"], mine, new, "CANARY-unknown-secret-5e1f"]
        for secret in secrets:
            scene.door.ask(upgrade(f"/nowhere?api_key={secret}", key=secret))
            scene.door.ask(upgrade(f"/app/%zz{secret}", key=secret))
            scene.door.send(upgrade("/app", key=secret)).read_response()
            scene.api.ask("DELETE", f"/connections?key={secret}")
            scene.api.ask("DELETE", f"/keys/{secret}")
            scene.api.ask("GET", f"/events?format=json&key={secret}")
        said = json.dumps(scene.events("&limit=1000"))
        assert len(said) > 1000
        for secret in secrets:
            assert secret not in said
            assert hashlib.sha256(secret.encode()).hexdigest() not in said


class Stream:
    """The frames of `/events`, read off a connection."""

    def __init__(self, gateway: Gateway, **headers: str) -> None:
        self._connection = http.client.HTTPConnection("localhost", gateway.admin[1], timeout=10)
        self._connection.request("GET", "/api/v1/events?recent=0", headers=headers)
        self._answer = self._connection.getresponse()

    def __enter__(self) -> Self:
        assert self._answer.headers["Content-Type"] == "text/event-stream"
        assert self.frame() == {"retry": "2000"}
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._answer.close()
        self._connection.close()

    def frame(self):
        """The next frame; None at the end."""
        fields = {}
        while line := self._answer.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        return fields or None

    def rest(self):
        """The names of what still comes until the end."""
        return [frame.get("event") for frame in iter(self.frame, None)]


class TestStream:
    def test_events_arrive_as_they_happen_and_go_on_where_a_reader_stopped(self, scene):
        with Stream(scene.gateway) as stream:
            _, told, _ = scene.open()
            frame = stream.frame()
            assert frame["event"] == "connection_opened"
            assert json.loads(frame["data"])["request_id"] == told
        scene.door.ask(upgrade("/nowhere"))
        with Stream(scene.gateway, **{"Last-Event-ID": frame["id"]}) as again:
            missed = again.frame()
        assert json.loads(missed["data"])["code"] == "no_route"
        assert int(missed["id"]) == int(frame["id"]) + 1

    def test_who_follows_is_sent_away_with_its_token_and_stops_nobody(self, start):
        leaving, staying = "a-token-that-leaves", "a-token-that-stays"
        gateway = start(admin=admitting(leaving, staying))
        with Stream(gateway, Authorization=f"Bearer {leaving}") as stream:
            config = yaml.safe_load(gateway.config_path.read_text())
            gateway.config_path.write_text(
                yaml.safe_dump({**config, "admin": admitting(staying)}),
            )
            gateway.signal(signal.SIGHUP)
            stream.rest()
        headers = {"Authorization": f"Bearer {staying}"}
        with Stream(gateway, **headers) as stream, Stream(gateway, **headers):
            began = time.monotonic()
            assert gateway.stop() == 0
            assert time.monotonic() - began < 3
            assert "draining" in stream.rest()


def admitting(*tokens: str) -> dict[str, Any]:
    """An admin listener for these tokens."""
    return {
        "listen": "127.0.0.1:0",
        "tokens": [
            {"name": token, "role": "viewer", "sha256": hashlib.sha256(token.encode()).hexdigest()}
            for token in tokens
        ],
    }

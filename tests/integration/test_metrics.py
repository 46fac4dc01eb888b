"""Metrics of a running gateway: a listener for them alone, each key's own, both text formats."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.harness import frames
from tests.harness.client import LABEL, Door
from tests.harness.gateway import Gateway
from tests.harness.operators import AdminApi
from tests.harness.process import wait_until
from tests.harness.upstream import Upstream
from tests.integration.key_scene import asking, echoes, new_name

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(60)

TOKEN = "CANARY-admin-token-0d9b6c1e"
FIXED = "CANARY-fixed-key-7a1c5e3b"


class Scene:
    """One gateway with everything about metrics switched on."""

    def __init__(self, gateway: Gateway, door: Door, upstream: Upstream) -> None:
        self.gateway = gateway
        self.door = door
        self.upstream = upstream
        self.api = AdminApi(gateway)
        heard = gateway.wait_for_event("listening", listener="metrics")
        self.port = int(heard["address"].rpartition(":")[2])

    def ask(
        self, path: str, method: str = "GET", port: int | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """What the metrics listener answers: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=5)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def of_key(self, name: str) -> dict[tuple[str, str | None], float]:
        """The series of a key, by metric and direction."""
        found = {}
        for series, value in self.gateway.metrics().items():
            metric, _, labels = series.partition("{")
            given = dict(LABEL.findall(labels))
            if given.get("key") == name:
                found[metric, given.get("direction")] = value
        return found

    def reload(self, **metrics: bool) -> None:
        """Has the gateway take another `metrics` section."""
        before = len(self.gateway.events("config_reloaded"))
        file = self.gateway.config_path
        config = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump({**config, "metrics": {**config["metrics"], **metrics}}))
        self.gateway.signal(signal.SIGHUP)
        self.gateway.wait_for_events(before + 1, "config_reloaded")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        config = {
            "store": "memory:",
            "keys": [{"name": "fixed", "secret": FIXED}],
            "timeouts": {"close": "1s"},
            "metrics": {"per_key": True, "listen": "127.0.0.1:0"},
            "routes": [
                {"name": "app", "path": "/app", "upstream": upstream.url},
                {
                    "name": "pinged",
                    "path": "/pinged",
                    "upstream": upstream.url,
                    "keepalive": {"interval": "50ms"},
                },
            ],
        }
        gateway = stack.enter_context(Gateway(tmp_path_factory.mktemp("metrics"), config))
        door = stack.enter_context(Door(gateway.public))
        yield Scene(gateway, door, upstream)


# The listener --------------------------------------------------------------------------------


def test_the_metrics_listener_answers_machines_and_no_one_else(scene: Scene) -> None:
    assert scene.ask("/livez")[::2] == (200, "alive\n")
    assert scene.ask("/readyz")[::2] == (200, "ready\n")
    status, headers, body = scene.ask("/metrics", Host="gateway.example:9464")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["Server"] == "wskeeper"
    assert headers["Cache-Control"] == "no-store"
    assert "wskeeper_connections{" in body
    for path in ("/", "/api/v1/status", "/api/v1/keys", "/console", "/metrics/", "/app"):
        status, headers, body = scene.ask(path)
        assert (status, json.loads(body)["code"]) == (404, "no_such_path")
        assert headers["Content-Type"] == "application/problem+json"
    for method in ("POST", "DELETE"):
        status, headers, body = scene.ask("/metrics", method)
        assert (status, json.loads(body)["code"]) == (405, "method_not_allowed")
        assert headers["Allow"] == "GET,HEAD"


def test_the_metrics_listener_needs_no_admin_listener_and_goes_with_the_gateway(
    tmp_path, upstream: Upstream
) -> None:
    config = {
        "store": "memory:",
        "admin": {"listen": "127.0.0.1:0", "token": TOKEN, "public_metrics": False},
        "metrics": {"listen": "127.0.0.1:0"},
        "drain": {"delay": "30s", "timeout": "41s"},
        "routes": [{"name": "app", "path": "/app", "upstream": upstream.url}],
    }
    with Gateway(tmp_path, config) as gateway:
        scene = Scene(gateway, Door(gateway.public), upstream)
        assert scene.ask("/metrics", port=gateway.admin[1])[0] == 401
        assert scene.ask("/metrics")[0] == 200
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_event("draining")
        assert scene.ask("/readyz")[::2] == (503, "draining\n")
        assert scene.ask("/livez")[0] == 200
        assert "wskeeper_draining 1" in scene.ask("/metrics")[2]
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        with pytest.raises(OSError):
            scene.ask("/livez")
        assert TOKEN not in "\n".join(gateway.log)


# Numbers -------------------------------------------------------------------------------------


def test_a_key_has_its_numbers_and_they_outlive_its_sessions(scene: Scene) -> None:
    made = scene.api.create(new_name())
    name = made["name"]
    assert set(scene.of_key(name).values()) == {0}
    clients = [scene.door.open(asking(made["secret"])) for _ in range(2)]
    assert all(echoes(client, "hello") for client in clients)
    up, down = "client_to_upstream", "upstream_to_client"
    live = scene.of_key(name)
    assert live == {
        ("wskeeper_key_connections", None): 2,
        ("wskeeper_key_messages_total", up): 2,
        ("wskeeper_key_messages_total", down): 2,
        ("wskeeper_key_bytes_total", up): 2 * len(frames.masked(frames.TEXT, b"hello")),
        ("wskeeper_key_bytes_total", down): 2 * len(frames.frame(frames.TEXT, b"hello")),
    }
    for client in clients:
        client.reset()
    assert wait_until(lambda: scene.of_key(name)["wskeeper_key_connections", None] == 0)
    assert scene.of_key(name) == {**live, ("wskeeper_key_connections", None): 0}
    scene.api.act("delete", name)
    assert scene.of_key(name) == {}
    text = scene.ask("/metrics")[2]
    assert made["secret"] not in text
    assert made["id"] not in text


def test_a_reload_switches_the_metrics_of_keys(scene: Scene) -> None:
    scene.door.open(asking(FIXED)).close()
    assert scene.of_key("fixed")
    scene.reload(per_key=False)
    assert scene.of_key("fixed") == {}
    scene.reload(per_key=True)
    assert set(scene.of_key("fixed").values()) == {0}
    assert scene.gateway.metrics()["wskeeper_config_last_reload_successful"] == 1


def test_pings_of_the_gateway_are_timed_by_leg(scene: Scene) -> None:
    client = scene.door.open(asking(FIXED, "/pinged"))
    ping = client.read_frame()
    assert ping.opcode == frames.PING
    client.send(frames.masked(frames.PONG, ping.payload))
    name = 'wskeeper_ping_rtt_seconds_count{leg="client"}'
    assert wait_until(lambda: scene.gateway.metrics()[name] >= 1)
    client.close()


def test_a_configuration_that_cannot_be_taken_shows(scene: Scene) -> None:
    succeeded = "wskeeper_config_last_reload_success_timestamp_seconds"
    before = scene.gateway.metrics()[succeeded]
    file = scene.gateway.config_path
    good = file.read_text()
    file.write_text("routes: 7\n")
    scene.gateway.signal(signal.SIGHUP)
    scene.gateway.wait_for_event("config_rejected")
    metrics = scene.gateway.metrics()
    assert metrics["wskeeper_config_last_reload_successful"] == 0
    assert metrics[succeeded] == before
    file.write_text(good)
    scene.reload()
    metrics = scene.gateway.metrics()
    assert metrics["wskeeper_config_last_reload_successful"] == 1
    assert metrics[succeeded] > before


# Form ----------------------------------------------------------------------------------------


def test_openmetrics_of_a_busy_gateway_is_well_formed(scene: Scene) -> None:
    _, headers, body = scene.ask("/metrics", Accept="application/openmetrics-text;version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in text_string_to_metric_families(body)}
    assert {"process_open_fds", "wskeeper_key_bytes", "wskeeper_ping_rtt_seconds"} <= names
    assert body.endswith("# EOF\n")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here (prometheus)")
def test_promtool_finds_nothing_to_mend_in_a_busy_gateway(scene: Scene) -> None:
    ran = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scene.ask("/metrics")[2],
        text=True,
        capture_output=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")

"""socket.io at both ends: it starts with ordinary requests that poll, and goes on by WebSocket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.gateway import Gateway
from tests.interop.conftest import SECRET
from tests.interop.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCES = Path(__file__).parent / "node"


class Service:
    """The socket.io service, and what it says that happens to it."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.url = f"ws://{json.loads(program.line())}"

    def until(self, event: str) -> list[dict[str, Any]]:
        """What happened up to and with that event."""
        said = [json.loads(self._program.line())]
        while said[-1]["event"] != event:
            said.append(json.loads(self._program.line()))
        return said


@pytest.fixture
def service(environment: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    command = ["node", str(SOURCES / "socketio_server.cjs")]
    with Program(tmp_path / "server.stderr", command, environment=environment) as program:
        yield Service(program)


@pytest.fixture
def gateway(service: Service, tmp_path: Path) -> Iterator[Gateway]:
    route = {"name": "chat", "path": "/", "upstream": service.url, "http": "passthrough"}
    config = {"keys": [{"name": "test", "secret": SECRET}], "routes": [route]}
    with Gateway(tmp_path, config) as gateway:
        yield gateway
    assert SECRET not in "\n".join(gateway.log)


@pytest.fixture
def run(
    environment: dict[str, str], tmp_path: Path, gateway: Gateway
) -> Callable[..., dict[str, Any]]:
    """Runs the client with a key and transports; gives what it says about them."""

    def run(key: str, *transports: str) -> dict[str, Any]:
        url = gateway.url.replace("ws:", "http:")
        command = ["node", str(SOURCES / "socketio_client.cjs"), url, key, *transports]
        with Program(tmp_path / "client.stderr", command, environment=environment) as client:
            (line,) = client.finish()
        return json.loads(line)

    return run


def test_client_polls_and_upgrades(run, service, gateway) -> None:
    said = run(SECRET, "polling", "websocket")
    assert said["error"] is None
    assert said["transports"] == ["polling", "websocket"]
    assert said["echoes"] == [[True, "websocket"], [True, "websocket"]]
    happened = service.until("disconnected")
    requests = [each for each in happened if each["event"] == "request"]
    assert {each["transport"] for each in requests} == {"polling"}
    assert {each["method"] for each in requests} >= {"GET", "POST"}
    assert {(each["name"], each["key"]) for each in requests} == {("test", None)}
    assert {"event": "upgraded", "transport": "websocket"} in happened
    metrics = gateway.metrics()
    assert metrics['wskeeper_http_requests_total{outcome="answered",route="chat"}'] >= 3
    assert metrics['wskeeper_handshakes_total{outcome="accepted",route="chat"}'] == 1


def test_client_that_polls_alone_is_served_as_well(run, service) -> None:
    said = run(SECRET, "polling")
    assert said["transports"] == ["polling"]
    assert said["echoes"] == [[True, "polling"], [True, "polling"]]
    assert service.until("disconnected")[-1]["reason"] == "client namespace disconnect"


def test_client_with_a_wrong_key_hears_it(run) -> None:
    assert run("not-the-key-of-anybody", "polling", "websocket")["error"] == 401

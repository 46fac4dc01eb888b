"""The harness's own claims about processes: what is told of them is all that was said."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness import gateway as gateways
from tests.harness import programs
from tests.harness.client import Door
from tests.harness.gateway import Gateway, GatewayFailed
from tests.harness.heads import upgrade
from tests.harness.ports import reserved_port
from tests.harness.process import BUSY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = {
    "keys": [{"name": "test", "secret": "harness-key-7d1c3b5a9e8f2046"}],
    "routes": [{"name": "app", "path": "/app", "upstream": "ws://127.0.0.1:9"}],
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway"), CONFIG) as gateway:
        yield gateway


@pytest.fixture
def door(gateway: Gateway) -> Iterator[Door]:
    with Door(gateway.public) as door:
        yield door


def test_events_are_those_of_all_that_was_seen_before(gateway: Gateway, door: Door) -> None:
    for _ in range(10):
        answer = door.ask(upgrade("/app"))
        [event] = gateway.events("handshake_refused", request_id=answer.get("X-Request-Id"))
        assert event["code"] == "key_missing"


def test_as_many_events_are_waited_for_as_are_asked_for(gateway: Gateway, door: Door) -> None:
    before = len(gateway.events("handshake_refused"))
    for _ in range(3):
        door.ask(upgrade("/app"))
    assert len(gateway.wait_for_events(before + 3, "handshake_refused")) == before + 3
    with pytest.raises(GatewayFailed, match=f"{before + 3} of {before + 4} events"):
        gateway.wait_for_events(before + 4, "handshake_refused", timeout=0.05)


def test_gateway_that_stands_still_or_is_gone_still_has_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "SETTLE_DEADLINE", 0.1)
    with Gateway(tmp_path, CONFIG) as gateway:
        gateway.signal(signal.SIGSTOP)
        began = time.monotonic()
        assert gateway.events("listening")
        assert time.monotonic() - began < 1 + BUSY
        gateway.signal(signal.SIGCONT)
        assert gateway.stop() == 0
        assert gateway.events("stopped")
        assert gateway.output[-1].startswith("keys in ")
    assert gateway.events("stopped")


def test_a_command_ends_as_it_does_for_an_operator(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path}/keys.db"
    assert programs.run("keys", "create", "--name", "a", "--init", "--store", store).stdout
    words = ("keys", "import", "--name", "b", "--secret-stdin", "--store", store)
    done = programs.run(*words, typed="the-secret-of-a-partner-0123\n")
    assert done.returncode == 0, done.stderr
    again = programs.run(*words, typed="another-secret-of-theirs-4567\n")
    assert again.returncode == 1
    assert again.stderr.startswith("Error: ")
    assert programs.run("no-such-command").returncode == 2


def test_a_command_runs_in_its_folder_with_its_variables(tmp_path: Path) -> None:
    (tmp_path / "wskeeper.yaml").write_text("routes: []\nlisten: ${PLACE}\n")
    done = programs.run("check", folder=tmp_path, environment={"PLACE": "nowhere-at-all"})
    assert done.returncode == 1
    assert "it comes from `PLACE`" in done.stdout


def test_a_command_that_does_not_end_is_killed(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        programs.run("serve", "--upstream", "ws://127.0.0.1:9", folder=tmp_path, timeout=0.01)


def test_whoever_is_killed_says_by_what(tmp_path: Path) -> None:
    with Gateway(tmp_path, CONFIG) as gateway:
        gateway.signal(signal.SIGKILL)
        assert gateway.wait() == -signal.SIGKILL


def test_a_reserved_port_is_one_servers_own() -> None:
    with reserved_port() as port, reserved_port() as other, socket.socket() as server:
        assert port != other
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", other))

"""Node's ws at both ends, with permessage-deflate on both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.program import Program
from tests.interop.tap import Tap

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).parent / "node"


class Server:
    """The echo server, and what it says that happens to it."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.url = f"ws://{json.loads(program.line())}"

    def next_event(self, event: str) -> dict[str, Any]:
        said = json.loads(self._program.line())
        assert said.pop("event") == event
        return said


@pytest.fixture
def server(environment: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    command = ["node", str(SOURCES / "server.cjs")]
    with Program(tmp_path / "server.stderr", command, environment=environment) as program:
        yield Server(program)


@pytest.fixture
def tap(server: Server) -> Iterator[Tap]:
    with Tap(server.url) as hop:
        yield hop


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path):
    """Run one scenario of the client against a URL; gives what it says about it."""

    def run(scenario: str, *arguments: str) -> dict[str, Any]:
        command = ["node", str(SOURCES / "client.cjs"), scenario, *arguments]
        with Program(tmp_path / "client.stderr", command, environment=environment) as client:
            (line,) = client.finish()
        return json.loads(line)

    return run


def test_messages_pass_compressed_end_to_end(run, server, tap, in_front_of, key):
    said = run("echo", in_front_of(tap.url), key[1])
    assert (said["text"], said["bytes"]) == (True, True)
    assert said["protocol"] == "v2.chat"
    assert "permessage-deflate" in said["extensions"]
    opened = server.next_event("opened")
    assert "permessage-deflate" in opened["extensions"]
    # 1,040,000 bytes of text and 100,000 others went each way.
    assert tap.to_target < 50_000
    assert tap.to_client < 50_000
    # 1005: the client's Close carried no code.
    assert server.next_event("closed") == {"code": 1005, "reason": ""}


def test_server_sees_the_name_of_the_key_and_not_the_key(run, server, gateway_to, key):
    run("close", gateway_to(server.url), key[1])
    opened = server.next_event("opened")
    assert (opened["key"], opened["name"]) == (None, "test")


def test_server_sees_the_close_code_and_reason_of_the_client(run, server, in_front_of, key):
    answered = run("close", in_front_of(server.url), key[1])
    server.next_event("opened")
    assert server.next_event("closed") == answered == {"code": 4001, "reason": "bye"}


def test_client_sees_the_close_code_and_reason_of_the_server(run, server, in_front_of, key):
    assert run("closed", in_front_of(server.url), key[1]) == {"code": 4002, "reason": "so long"}
    server.next_event("opened")
    assert server.next_event("closed") == {"code": 4002, "reason": "so long"}


def test_server_answers_the_ping_of_the_client(run, server, in_front_of, key):
    assert run("ping", in_front_of(server.url), key[1]) == {"pong": "from client"}
    server.next_event("opened")
    assert server.next_event("ping") == {"payload": "from client"}


def test_client_without_the_key_gets_an_unexpected_response(run, server, gateway_to, key):
    gateway = gateway_to(server.url)
    said = run("refused", gateway)
    assert (said["status"], said["headers"]["x-wskeeper-code"]) == (401, "key_missing")
    assert json.loads(said["body"])["code"] == "key_missing"
    # Nothing of it reached the server: the first that it sees is the client with the key.
    run("ping", gateway, key[1])
    assert server.next_event("opened")["name"] == "test"

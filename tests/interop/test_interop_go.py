"""The question this project answers, with the asker's own tools: Go and gorilla/websocket.

His server has no authentication. His client sends its key with a plain GET and then dials without
it. Through the gateway both are refused, with an answer that says what to do instead, and the
client that does it works.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).parent / "go"
GORILLA = Path("src/github.com/gorilla/websocket")
BUILD_DEADLINE = 240  # seconds; the first build compiles Go's standard library too


def gopath_with_gorilla(go: str) -> str | None:
    """The first GOPATH that holds gorilla/websocket: the user's own, or the distribution's."""
    own = subprocess.run([go, "env", "GOPATH"], check=True, capture_output=True, text=True).stdout
    candidates = [*own.strip().split(os.pathsep), "/usr/share/gocode", "/usr/local/share/gocode"]
    return next((each for each in candidates if each and (Path(each) / GORILLA).is_dir()), None)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built programs: server, asker, fixed."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed (Debian: golang-go)")
    gopath = gopath_with_gorilla(go)
    if gopath is None:
        pytest.skip("no GOPATH has gorilla/websocket (Debian: golang-github-gorilla-websocket-dev)")
    built = tmp_path_factory.mktemp("go")
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": gopath,
        "GOFLAGS": "",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    if not cache_is_writable():
        environment["GOCACHE"] = str(tmp_path_factory.mktemp("go-cache"))
    for name in ("server", "asker", "fixed"):
        build = subprocess.run(
            [go, "build", "-o", str(built / name), str(SOURCES / name / "main.go")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_DEADLINE,
            check=False,
        )
        assert build.returncode == 0, build.stderr
    return built


def cache_is_writable() -> bool:
    """Whether Go finds a home for its build cache."""
    if "GOCACHE" in os.environ:
        return True
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME")
    return home is not None and os.access(home, os.W_OK)


class Server:
    """The echo server without authentication, and the requests that reached it."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.address: str = json.loads(program.line())
        self.url = f"ws://{self.address}"

    def next_request(self) -> dict[str, str]:
        return json.loads(self._program.line())


@pytest.fixture
def server(programs: Path, tmp_path: Path) -> Iterator[Server]:
    with Program(tmp_path / "server.stderr", [str(programs / "server")]) as program:
        yield Server(program)


@pytest.fixture
def run(programs: Path, tmp_path: Path, key: tuple[str, str]):
    """Run one of the clients against a URL; gives its lines of output, each parsed."""

    def run(name: str, url: str) -> list[dict[str, Any]]:
        command = [str(programs / name), url.removeprefix("ws://"), key[1]]
        with Program(tmp_path / f"{name}.stderr", command) as client:
            return [json.loads(line) for line in client.finish()]

    return run


def test_without_a_gateway_the_server_lets_in_who_brings_no_key(run, server):
    plain_get, dial = run("asker", server.url)
    assert (plain_get["status"], dial["status"]) == (400, 101)
    refused = server.next_request()["refused"]
    assert "the client is not using the websocket protocol: 'upgrade' token not found" in refused
    assert server.next_request()["refused"] == ""


def test_plain_get_with_the_key_is_told_to_send_it_on_the_upgrade_request(run, server, gateway_to):
    plain_get, _ = run("asker", gateway_to(server.url))
    assert plain_get["status"] == 426
    assert plain_get["header"]["X-Wskeeper-Code"] == ["upgrade_required"]
    assert plain_get["header"]["Upgrade"] == ["websocket"]
    assert plain_get["header"]["Content-Type"] == ["application/problem+json"]
    problem = json.loads(plain_get["body"])
    assert (problem["status"], problem["code"]) == (426, "upgrade_required")
    assert re.search(r"key on (the|that) upgrade request itself", problem["detail"])


def test_dial_without_the_key_is_refused(run, server, gateway_to):
    _, dial = run("asker", gateway_to(server.url))
    assert dial["status"] == 401
    assert dial["header"]["X-Wskeeper-Code"] == ["key_missing"]
    assert dial["error"] == "websocket: bad handshake"
    problem = json.loads(dial["body"])
    assert (problem["status"], problem["code"]) == (401, "key_missing")


def test_dial_with_the_key_works_and_nothing_refused_reached_the_server(run, server, gateway_to):
    gateway = gateway_to(server.url)
    run("asker", gateway)
    (said,) = run("fixed", gateway)
    assert (said["heard"], said["closed"]) == ("hello", 4001)
    assert "permessage-deflate" in said["extensions"]
    # The first request that the server saw is the good one, and the key is not in it.
    request = server.next_request()
    assert (request["refused"], request["key"], request["name"]) == ("", "", "test")
    assert "permessage-deflate" in request["extensions"]


def test_the_mended_client_works_without_a_gateway_too(run, server, key):
    (said,) = run("fixed", server.url)
    assert (said["heard"], said["closed"]) == ("hello", 4001)
    assert server.next_request()["key"] == key[1]

"""What the documents show, done: transcripts, clients and proxies before a running gateway."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.docs.markdown import PROJECT, code, page
from tests.harness.gateway import Gateway
from tests.harness.ports import reserved_port
from tests.harness.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docs.markdown import Block, Page

README = page("README.md")
OPERATIONS = page("docs/operations.md")
CLIENTS = page("docs/clients.md")

KEY = "a-key-for-the-documents-0123456789"
# What the documents call the gateway.
PRINTED_ADDRESS = "127.0.0.1:8080"
DEADLINE = 20.0
BUILD_DEADLINE = 240.0  # seconds; a first build compiles Go's standard library too


@contextmanager
def running(command: list[str], **options) -> Iterator[subprocess.Popen[str]]:
    """A program, ended with the block."""
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway of the documents before the example echo service."""
    with ExitStack() as stack:
        echo = stack.enter_context(
            running(
                [sys.executable, "-m", "backends.echo", "--listen", "127.0.0.1:0"],
                cwd=PROJECT,
                stdout=subprocess.PIPE,
            )
        )
        assert echo.stdout is not None
        upstream = echo.stdout.readline().rpartition(" ")[2].strip()
        config = {
            "trusted_proxies": ["127.0.0.1"],
            "health_path": "/.wskeeper/ready",
            "keys": [{"name": "alice", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}],
            "routes": [
                {"name": "chat", "path": "/ws", "upstream": upstream},
                {
                    "name": "echo",
                    "path": "/echo",
                    "upstream": upstream,
                    # As in the demo, which the README talks of.
                    "carriers": [{"header": "X-Api-Key"}, "bearer", "subprotocol"],
                },
            ],
        }
        yield stack.enter_context(Gateway(tmp_path_factory.mktemp("gateway"), config))


@pytest.fixture
def public(gateway: Gateway) -> str:
    return "{}:{}".format(*gateway.public)


def run(command: list[str], *, key: str = KEY, **options) -> subprocess.CompletedProcess[str]:
    """Runs a client that reads its key from the environment."""
    environment = {**os.environ, "WSKEEPER_KEY": key, **options.pop("environment", {})}
    return subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        **options,
    )


def gopath_with(library: str) -> str:
    """A GOPATH that holds a library of GitHub; without one the test is skipped."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed (Debian: golang-go)")
    own = subprocess.run([go, "env", "GOPATH"], check=True, capture_output=True, text=True)
    for folder in (*own.stdout.strip().split(os.pathsep), "/usr/share/gocode"):
        if folder and (Path(folder) / "src/github.com" / library).is_dir():
            return folder
    pytest.skip(f"no {library} (Debian: golang-github-{library.replace('/', '-')}-dev)")


def build_go(text: str, gopath: str, folder: Path) -> Path:
    """Builds a program of one file."""
    source = folder / "main.go"
    source.write_text(text)
    environment = {
        "GO111MODULE": "off",
        "GOPATH": gopath,
        "GOFLAGS": "",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    built = subprocess.run(
        ["go", "build", "-o", str(folder / "client"), str(source)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=BUILD_DEADLINE,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder / "client"


class TestTranscripts:
    @staticmethod
    def normal(text: str) -> list[str]:
        """The lines, without what differs from run to run."""
        masked = re.sub(r"(?m)^X-Request-Id: [0-9a-f]{32}$", "X-Request-Id: …", text)
        return masked.replace("\r", "").strip().splitlines()

    @pytest.mark.parametrize(
        "block", README.blocks_in("console"), ids=lambda block: f"line-{block.line}"
    )
    def test_curl_hears_what_the_readme_shows(self, block: Block, public: str):
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed (Debian: curl)")
        command, shown = re.fullmatch(r"\$ ((?:.*\\\n)*.*\n)([\s\S]*)", block.text).groups()
        ran = run(["bash", "-c", command.replace(PRINTED_ADDRESS, public)])
        heard, expected = self.normal(ran.stdout), self.normal(shown)
        if "101" in expected[0]:  # curl then waits; the rest is the service's
            heard = heard[: len(expected)]
        assert heard == expected

    @pytest.mark.parametrize("document", [README, OPERATIONS], ids=lambda document: document.name)
    def test_log_lines_are_of_the_kind_that_is_written(self, document: Page):
        table = OPERATIONS.table(under="The log", first_column="event")
        fields = dict(zip(map(code, table.column("event")), table.column("fields"), strict=True))
        [block] = document.blocks_in("json")
        for line in block.text.splitlines():
            event = json.loads(line)
            named = fields[event["event"]]
            if "as `connection_opened`" in named:
                named += fields["connection_opened"]
            assert event.keys() - {"ts", "level", "event"} <= set(re.findall(r"`(\w+)`", named))


class TestPython:
    def test_client_of_the_readme_gets_its_echo(self, public: str):
        [block] = README.blocks_in("python")
        ran = run([sys.executable, "-c", block.text.replace(PRINTED_ADDRESS, public)])
        assert ran.stdout == "hello\n", ran.stderr

    def test_reconnecting_client_gives_up_on_a_wrong_key(self, public: str):
        [block] = CLIENTS.blocks_in("python")
        program = block.text.replace(PRINTED_ADDRESS, public)
        ran = run([sys.executable, "-c", program], key="wrong")
        assert ran.stdout == "401 key_unknown\n", ran.stderr
        assert ran.returncode != 0


class TestGo:
    def test_client_of_the_readme_gets_its_echo(self, public: str, tmp_path: Path):
        [block] = [b for b in README.blocks_in("go") if b.text.startswith("package main")]
        gopath = gopath_with("gorilla/websocket")
        client = str(build_go(block.text.replace(PRINTED_ADDRESS, public), gopath, tmp_path))
        assert run([client]).stdout == "hello <nil>\n"
        refused = run([client], key="wrong")
        assert refused.stderr.endswith("401 Unauthorized key_unknown\n")


class TestNode:
    @pytest.fixture(scope="class")
    @classmethod
    def modules(cls) -> Path:
        if shutil.which("node") is None:
            pytest.skip("Node is not installed (Debian: nodejs)")
        if not (PROJECT / "node_modules/ws").is_dir():
            pytest.skip("ws is not installed (npm install)")
        return PROJECT / "node_modules"

    def test_client_of_the_readme_gets_its_echo(self, modules: Path, public: str):
        [block] = README.blocks_in("js")
        command = ["node", "-e", block.text.replace(PRINTED_ADDRESS, public)]
        ran = run(command, environment={"NODE_PATH": str(modules)})
        assert ran.stdout == "hello\n", ran.stderr
        refused = run(command, key="wrong", environment={"NODE_PATH": str(modules)})
        assert refused.stderr == "401 key_unknown\n"


def listens(port: int) -> bool:
    """Whether somebody does; proxies do not say when they are ready."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def nginx(folder: Path, location: str) -> Iterator[int]:
    """nginx with the location of the documents; yields its port."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    file = folder / "nginx.conf"
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    with reserved_port() as port:
        file.write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
            f"http {{ access_log off; {places}"
            f"server {{ listen 127.0.0.1:{port}; {location} }} }}"
        )
        with running([program, "-p", str(folder), "-c", str(file)], stderr=subprocess.DEVNULL):
            assert wait_until(lambda: listens(port), DEADLINE)
            yield port


def speak(port: int) -> str | bytes:
    headers = {"X-Api-Key": KEY, "X-Forwarded-For": "203.0.113.9"}
    with connect(f"ws://127.0.0.1:{port}/ws", additional_headers=headers) as client:
        client.send("through")
        return client.recv()


class TestNginx:
    @pytest.fixture
    def location(self, public: str) -> str:
        [block] = OPERATIONS.blocks_in("nginx")
        return block.text.replace(PRINTED_ADDRESS, public)

    def test_location_of_the_documents_lets_websockets_through(self, location, tmp_path, gateway):
        earlier = len(gateway.events("connection_opened"))
        with nginx(tmp_path, location) as port:
            assert speak(port) == "through"
        opened = gateway.wait_for_events(earlier + 1, "connection_opened")
        # Not the address that the client claimed.
        assert opened[-1]["client"] == "127.0.0.1"

    def test_without_the_three_lines_the_client_is_told_what_is_missing(self, location, tmp_path):
        [lines] = README.blocks_in("nginx")
        for line in lines.text.strip().splitlines():
            assert line in location
            location = location.replace(line, "")
        with nginx(tmp_path, location) as port, pytest.raises(InvalidStatus) as refused:
            speak(port)
        answer = refused.value.response
        assert answer.status_code == 426
        assert answer.headers["X-Wskeeper-Code"] == "upgrade_stripped"


def test_haproxy_of_the_documents_lets_websockets_through(public: str, tmp_path: Path):
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("HAProxy is not installed (Debian: haproxy)")
    [block] = OPERATIONS.blocks_in("haproxy")
    file = tmp_path / "haproxy.cfg"
    with reserved_port() as port:
        file.write_text(
            block.text.replace(PRINTED_ADDRESS, public).replace(
                ":443 ssl crt /etc/haproxy/site.pem", f"127.0.0.1:{port}"
            )
        )
        with running([program, "-db", "-f", str(file)], stderr=subprocess.DEVNULL):
            assert wait_until(lambda: listens(port), DEADLINE)
            assert speak(port) == "through"

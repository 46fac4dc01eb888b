"""The commands of the documents, typed in the order in which they stand, beside a gateway."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
import yaml
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.sync.client import connect

from proxy.stores.open import open_store
from tests.docs.markdown import PROJECT, page
from tests.harness.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

README = page("README.md")
KEYS = page("docs/keys.md")
API = page("docs/api.md")
OPERATIONS = page("docs/operations.md")

KEY = "a-key-for-the-documents-0123456789"
DEADLINE = 60.0


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The example echo service's URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "backends.echo", "--listen", "127.0.0.1:0"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().rpartition(" ")[2].strip()
        process.terminate()


class Terminal:
    """A shell in the gateway's folder, where `wskeeper` is what is tested."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self._folder = folder
        self._variables = variables
        self._before = f'wskeeper() {{ {shlex.quote(sys.executable)} -m proxy "$@"; }}\n'

    def type(self, text: str, **variables: str) -> str:
        """Runs lines, of which none may fail; returns what they print."""
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._before + text],
            cwd=self._folder,
            env={**os.environ, **self._variables, **variables},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout


@contextmanager
def connected(gateway: Gateway, key: str, path: str = "/ws") -> Iterator[ClientConnection]:
    with connect(gateway.url + path, additional_headers={"X-Api-Key": key}) as client:
        client.send("hello")
        assert client.recv(timeout=5) == "hello"
        yield client


def closed(client: ClientConnection) -> Close | None:
    with pytest.raises(ConnectionClosed) as ended:
        client.recv(timeout=5)
    return ended.value.rcvd


class TestTwoMinutes:
    """What the README has a newcomer type."""

    @pytest.fixture
    @staticmethod
    def blocks() -> list[str]:
        start = README.text.index("## Protect your service")
        end = README.text.index("## Clients that do it right")
        line = README.text.count("\n", 0, start), README.text.count("\n", 0, end)
        return [
            block.text for block in README.blocks_in("sh", "text") if line[0] < block.line < line[1]
        ]

    def test_a_key_is_made_opens_the_service_and_is_taken_away(self, blocks, service, tmp_path):
        _, written, printed, making, taking = blocks
        document = re.search(r"<<END\n(.*)END\n", written, re.DOTALL)
        assert document is not None
        config = yaml.safe_load(document[1])
        config["routes"][0]["upstream"] = service
        with Gateway(tmp_path, config) as gateway:
            gateway.wait_for_event("started")
            terminal = Terminal(tmp_path)
            key = terminal.type(making + 'echo "$WSKEEPER_KEY"').strip()
            gateway.wait_for_event("key_created")
            with connected(gateway, key) as client:
                terminal.type(taking)
                assert closed(client) == Close(1008, "key_revoked")
            self.assert_printed(printed, gateway, service)
            gateway.wait_for_event("connection_closed")
            kinds = [event["event"] for event in gateway.events() if event["level"] == "info"]
        [block] = README.blocks_in("json")
        shown = [json.loads(line)["event"] for line in block.text.splitlines()]
        assert [kind for kind in kinds if kind in shown] == shown[:-1]  # Nobody came again.

    @staticmethod
    def assert_printed(printed: str, gateway: Gateway, service: str) -> None:
        folder = str(gateway.config_path.parent)
        said = "\n".join(gateway.output) + "\n"
        said = said.replace(service, "ws://127.0.0.1:9000")
        # The test names the file, the newcomer does not.
        said = said.replace(f"-c {gateway.config_path}", "-c wskeeper.yaml")
        assert said.replace(folder, "/home/you") == printed


class TestKeys:
    def test_every_command_of_the_page_works_in_its_turn(self, service, tmp_path):
        routes = [
            {"name": "chat", "path": "/ws", "upstream": service},
            {"name": "echo", "path": "/echo", "upstream": service},
        ]
        (tmp_path / "partner.key").write_text(secrets.token_hex(32) + "\n")
        (tmp_path / "legacy.sha256").write_text(hashlib.sha256(os.urandom(32)).hexdigest() + "\n")
        open_store(f"sqlite:{tmp_path}/new.db", create=True).close()
        with Gateway(tmp_path, {"routes": routes}) as gateway:
            terminal = Terminal(tmp_path)
            blocks = [block.text for block in KEYS.blocks_in("sh")]
            assert len(blocks) >= 5
            for block in blocks:
                terminal.type(block.replace("/srv/new/wskeeper.db", f"{tmp_path}/new.db"))
            for event in ("key_created", "key_rotated"):
                gateway.wait_for_event(event)
        copied = json.loads(
            terminal.type(f"wskeeper keys list --json --store sqlite:{tmp_path}/new.db")
        )
        assert {key["name"] for key in copied["keys"]} == {"alice", "partner", "legacy"}


class TestLeak:
    def test_what_is_to_be_done_at_3_am_is_done(self, service, tmp_path):
        start = OPERATIONS.text.index("### A key has leaked")
        block = next(
            block
            for block in OPERATIONS.blocks_in("sh")
            if block.line > OPERATIONS.text.count("\n", 0, start)
        )
        routes = [{"name": "chat", "path": "/ws", "upstream": service}]
        with Gateway(tmp_path, {"routes": routes}) as gateway, ExitStack() as stack:
            terminal = Terminal(tmp_path)
            keys = [
                terminal.type(f"wskeeper keys create --name {name}").strip()
                for name in ("alice", "bob")
            ]
            for name in ("alice", "bob"):
                gateway.wait_for_event("key_created", key_name=name)
            leaked, other = (stack.enter_context(connected(gateway, key)) for key in keys)
            terminal.type(block.text)
            assert closed(leaked) == Close(1008, "key_revoked")
            other.send("still here")
            assert other.recv(timeout=5) == "still here"


class TestAdminApi:
    @pytest.fixture
    @staticmethod
    def gateway(service: str, tmp_path: Path) -> Iterator[Gateway]:
        config = {
            "keys": [{"name": "fixed", "secret": KEY}],
            "routes": [{"name": "chat", "path": "/ws", "upstream": service}],
        }
        with Gateway(tmp_path, config) as gateway:
            yield gateway

    def test_every_call_of_the_page_succeeds_in_its_turn(self, gateway: Gateway, tmp_path: Path):
        terminal = Terminal(
            tmp_path,
            API=f"{gateway.admin_url}/api/v1",
            WSKEEPER_ADMIN_TOKEN="none-is-needed",
            OLD_KEY=secrets.token_hex(32),
        )
        with connected(gateway, KEY) as client:
            live = gateway.wait_for_event("connection_opened")["request_id"]
            for block in API.blocks_in("sh"):
                text = re.sub(r"^export API=.*$", "", block.text, flags=re.MULTILINE)
                # -f: what is refused fails.
                text = text.replace("curl ", "curl -sSf ").replace(
                    "connections/ID", f"connections/{live}"
                )
                terminal.type(text)
            assert closed(client) == Close(4001, "bye")

    def test_a_key_looks_as_it_is_shown(self, gateway: Gateway, tmp_path: Path):
        [block] = API.blocks_in("json")
        made = Terminal(tmp_path).type(
            f"curl -sSf -X POST {gateway.admin_url}/api/v1/keys"
            """ -H 'Content-Type: application/json' -d '{"name": "partner"}'"""
        )
        assert list(json.loads(made)) == [*json.loads(block.text), "secret"]

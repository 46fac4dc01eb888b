"""Every client of `docs/ways-in.md`, in every way, before a gateway configured as it says."""

from __future__ import annotations

import shutil
import sys
import threading
from typing import TYPE_CHECKING

import jwt
import pytest
import yaml
from websockets.sync.server import serve

from tests.docs.markdown import PROJECT, page
from tests.docs.test_docs_run import PRINTED_ADDRESS, build_go, gopath_with, run
from tests.harness.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from websockets.sync.server import ServerConnection
    from websockets.typing import Subprotocol

PAGE = page("docs/ways-in.md")
KEY = "a-key-for-the-documents-0123456789"
JWT_SECRET = "a-shared-secret-for-the-documents-0123456789"
WAYS = ("header", "bearer", "query", "cookie", "subprotocol", "ticket", "first_message")
EVERY = (*WAYS, "graphql_ws")
IN_A_PAGE = ("ticket", "cookie", "subprotocol", "query", "first_message", "graphql_ws")


class Service:
    """An echo that speaks GraphQL's greeting, and keeps what its handshakes held."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.seen.append(f"{socket.request.path}\n{socket.request.headers}")
        for message in socket:
            greets = isinstance(message, str) and "connection_init" in message
            socket.send('{"type": "connection_ack"}' if greets else message)


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[Service, str]]:
    told = Service()
    protocols = ["graphql-transport-ws"]

    def chosen(_: object, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next((each for each in offered if each in protocols), None)

    with serve(told, "127.0.0.1", 0, subprotocols=protocols, select_subprotocol=chosen) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield told, f"ws://127.0.0.1:{server.socket.getsockname()[1]}"


@pytest.fixture(scope="module")
def gateway(
    service: tuple[Service, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """The gateway of the page's first block, with a key and a secret for tokens."""
    config = yaml.safe_load(PAGE.blocks_in("yaml")[0].text)
    for route in config["routes"]:
        route["upstream"] = service[1]
    config["keys"] = [{"name": "alice", "secret": KEY}]
    config["jwt"] = {"audience": "wskeeper", "algorithms": ["HS256"], "secret": JWT_SECRET}
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as gateway:
        yield gateway


@pytest.fixture
def public(gateway: Gateway) -> str:
    return "{}:{}".format(*gateway.public)


@pytest.fixture(autouse=True)
def assert_service_sees_no_credential(service: tuple[Service, str]) -> Iterator[None]:
    service[0].seen.clear()
    yield
    for seen in service[0].seen:
        assert KEY not in seen
        assert "wskeeper_ticket" not in seen
        assert "X-Wskeeper-Auth" in seen


def token() -> str:
    claims = {"aud": "wskeeper", "sub": "ada", "exp": 4_102_444_800}
    return jwt.encode(claims, JWT_SECRET, "HS256")


class TestPython:
    @staticmethod
    def speak(way: str, public: str, key: str = KEY) -> str:
        [block] = PAGE.blocks_in("python")
        ran = run(
            [sys.executable, "-W", "error", "-c", block.text.replace(PRINTED_ADDRESS, public), way],
            key=key,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.splitlines()[-1]

    @pytest.mark.parametrize("way", EVERY)
    def test_every_way_leads_in(self, way: str, public: str) -> None:
        assert self.speak(way, public) == "hello"

    @pytest.mark.parametrize("way", EVERY)
    def test_a_token_stands_where_a_key_may(
        self, way: str, public: str, service: tuple[Service, str]
    ) -> None:
        assert self.speak(way, public, key=token()) == "hello"
        assert "X-Wskeeper-Subject: ada" in service[0].seen[-1]


class TestNode:
    @pytest.fixture(scope="class")
    @classmethod
    def modules(cls) -> Path:
        if shutil.which("node") is None:
            pytest.skip("Node is not installed (Debian: nodejs)")
        if not (PROJECT / "node_modules/ws").is_dir():
            pytest.skip("ws is not installed (npm install)")
        return PROJECT / "node_modules"

    SPEAK = """
    (async () => {
      const socket = await ways[process.argv[1]](process.env.WSKEEPER_KEY);
      if (socket.readyState !== 1) await new Promise((open) => { socket.onopen = open; });
      socket.onmessage = (event) => { console.log(String(event.data)); socket.close(); };
      socket.send("hello");
    })();
    """
    # What a browser does by itself, and the server that sells tickets to its pages.
    BROWSER = """
    const login = { Cookie: "api_key=" + process.env.WSKEEPER_KEY };
    const cookie = process.argv[1] === "cookie" ? login : {};
    globalThis.WebSocket = class extends require("ws") {
      constructor(url, protocols) {
        super(url, protocols, { headers: { Origin: "http://127.0.0.1:8080", ...cookie } });
      }
    };
    const real = fetch;
    globalThis.fetch = (path, options) => real("http://127.0.0.1:8080/.wskeeper/ticket", {
      method: options.method,
      headers: { "X-Api-Key": process.env.WSKEEPER_KEY, "Content-Type": "application/json" },
      body: JSON.stringify({ route: "chat" }),
    });
    """

    def speak(self, modules: Path, public: str, program: str, way: str) -> str:
        program = (program + self.SPEAK).replace(PRINTED_ADDRESS, public)
        ran = run(["node", "-e", program, way], key=KEY, environment={"NODE_PATH": str(modules)})
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    @pytest.mark.parametrize("way", IN_A_PAGE)
    def test_every_way_of_a_page_leads_in(self, modules: Path, public: str, way: str) -> None:
        browser, _ = PAGE.blocks_in("js")
        assert self.speak(modules, public, self.BROWSER + browser.text, way) == "hello\n"

    @pytest.mark.parametrize("way", ["header", "bearer", "cookie", "ticket"])
    def test_every_further_way_of_node_leads_in(self, modules: Path, public: str, way: str) -> None:
        _, node = PAGE.blocks_in("js")
        assert self.speak(modules, public, node.text, way) == "hello\n"


class TestGo:
    @pytest.fixture(scope="class")
    @classmethod
    def program(cls, gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Path:
        [block] = PAGE.blocks_in("go")
        text = block.text.replace(PRINTED_ADDRESS, "{}:{}".format(*gateway.public))
        return build_go(text, gopath_with("gorilla/websocket"), tmp_path_factory.mktemp("go"))

    @pytest.mark.parametrize("way", EVERY)
    def test_every_way_leads_in(self, way: str, program: Path) -> None:
        ran = run([str(program), way], key=KEY)
        assert ran.stdout == "hello <nil>\n", ran.stderr


def test_the_page_names_every_carrier() -> None:
    spans = {span.partition(":")[0] for span in PAGE.spans}
    assert {*WAYS} <= spans

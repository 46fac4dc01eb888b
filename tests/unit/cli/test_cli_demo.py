"""`wskeeper demo`: the services, the key and the store that its text names are real."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from proxy.cli import demo as demo_module
from proxy.keys.key import Key, digest_of
from proxy.keys.secret import id_in
from proxy.listeners import CannotListen
from proxy.stores.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from proxy.admin.try_page.page import TryPage
    from proxy.config.model import Config


class Run:
    """Stands in for the gateway, and looks around while the demo is up."""

    def __init__(self) -> None:
        self.config: Config
        self.page: TryPage
        self.keys: list[Key] = []
        self.ticks: list[str] = []
        self.failure: Exception | None = None

    async def __call__(
        self, config: Config, *, started: Callable[[Any], None], try_page: TryPage
    ) -> None:
        if self.failure is not None:
            raise self.failure
        started(None)
        self.config = config
        self.page = try_page
        store = open_store(config.store, create=False)
        self.keys = store.keys()
        store.close()
        target = {route.name: route.upstream.target for route in config.routes}["echo"]
        url = f"ws://{target.host}:{target.port}/echo"
        async with aiohttp.ClientSession() as client, client.ws_connect(url) as ws:
            await ws.send_str("hello")
            self.ticks.append(await ws.receive_str(timeout=5))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run()
    monkeypatch.setattr(demo_module, "run", run)
    return run


def test_what_the_demo_says_is_so(run: Run, wskeeper: Callable[..., Result]) -> None:
    result = wskeeper("demo")
    assert result.exit_code == 0, result.output
    (secret,) = set(re.findall(r"wsk_\w+", result.stdout))
    (key,) = run.keys
    assert (key.id, key.name) == (id_in(secret), "demo")
    assert [each.digest for each in key.secrets] == [digest_of(secret.encode())]
    assert (key.routes, key.expires_at, key.revoked_at) == (None, None, None)
    assert f"ws://{run.config.listen}/chat/room1" in result.stdout
    assert f"http://{run.config.admin.listen}/try#key={secret}" in result.stdout
    assert f"--admin http://{run.config.admin.listen}" in result.stdout
    assert f"keys revoke demo --store {run.config.store}" in result.stdout
    assert {route.name for route in run.config.routes} == {"echo", "chat", "clock"}
    assert run.ticks == ["hello"]
    # Gone when it stops.
    folder = Path(run.config.store.removeprefix("sqlite:")).parent
    assert folder.name.startswith("wskeeper-demo-")
    assert not folder.exists()


def test_commands_of_the_demo_are_those_of_its_installation(
    run: Run, wskeeper: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines() -> str:
        return wskeeper("demo").stdout

    monkeypatch.setattr(sys, "executable", str(Path.cwd() / "env/bin/python"))
    assert "\n  env/bin/wskeeper connections list" in lines()
    assert "\n  env/bin/python -m websockets " in lines()
    assert "pip install" not in lines()
    monkeypatch.setattr(sys, "executable", "/opt/my tools/python")
    monkeypatch.setattr(demo_module, "find_spec", lambda _: None)
    assert "\n  '/opt/my tools/'wskeeper keys revoke" in lines()
    assert "`'/opt/my tools/'python -m pip install websockets` first):\n" in lines()


def test_explanations_of_the_demo_stand_below_each_other(
    run: Run, wskeeper: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_module, "_free", lambda wanted: wanted)
    lines = wskeeper("demo").stdout.splitlines()
    explained = [re.match(r"  \w+ +\w+://\S+ +(?=\w)", line) for line in lines]
    ends = {found.end() for found in explained if found}
    assert sum(map(bool, explained)) == 4
    assert len(ends) == 1


def test_chat_of_the_demo_serves_its_page_alone(run: Run, wskeeper: Callable[..., Result]) -> None:
    wskeeper("demo")
    routes = {f"/{route.name}": route for route in run.config.routes}
    chat, plain = routes["/chat"], routes[run.page.plain]
    port = run.config.admin.listen.port
    assert chat.origins == (f"http://127.0.0.1:{port}", f"http://localhost:{port}")
    assert run.page.gateway == str(run.config.listen)
    assert run.page.chat.startswith("/chat/")
    taken = {carrier.kind for carrier in run.config.carriers_of(chat)}
    assert taken == {"header", "bearer", "subprotocol", "ticket", "first_message"}
    assert (chat.refuse_with, plain.refuse_with) == ("auto", "http")
    assert "subprotocol" in {carrier.kind for carrier in run.config.carriers_of(plain)}


def test_demo_takes_other_ports_when_its_own_are_taken(
    run: Run, wskeeper: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(demo_module, "_PUBLIC", taken.getsockname()[1])
        assert wskeeper("demo").exit_code == 0
        assert str(run.config.listen) != f"127.0.0.1:{taken.getsockname()[1]}"


def test_demo_that_cannot_listen_says_why(run: Run, wskeeper: Callable[..., Result]) -> None:
    run.failure = CannotListen("cannot listen on 127.0.0.1:8080; free the address")
    result = wskeeper("demo")
    assert result.exit_code == 1
    assert "Error: cannot listen on 127.0.0.1:8080" in result.stderr

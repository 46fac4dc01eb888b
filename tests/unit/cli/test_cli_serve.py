"""`wskeeper serve`: what it says before it serves, and why it does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from proxy.cli import serve as serve_module
from proxy.cli.serve import _tell_of_keys, worked_lines
from proxy.keys.key import Key, Secret
from proxy.keys.ring import KeyRing
from proxy.listeners import CannotListen
from proxy.stores.store import StoreUnavailable
from tests.unit.build import config

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from proxy.config.model import Config

CONFIG = "routes: [{name: chat, path: /chat, upstream: 'ws://127.0.0.1:9/ws'}]\n"


class Run:
    """Stands in for a gateway that starts, or cannot."""

    def __init__(self, place: str = "sqlite:/here.db", *keys: Key) -> None:
        self.configs: list[Config] = []
        self.failure: Exception | None = None
        self.reread: object = None
        self._gateway: Any = SimpleNamespace(
            keeper=SimpleNamespace(place=place), ring=KeyRing(keys)
        )

    async def __call__(
        self, config: Config, *, started: Callable[[Any], None], reread: object
    ) -> None:
        self.configs.append(config)
        self.reread = reread
        if self.failure is not None:
            raise self.failure
        started(self._gateway)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run()
    monkeypatch.setattr(serve_module, "run", run)
    return run


# What goes where -----------------------------------------------------------------------------


def test_each_route_is_shown_by_an_example() -> None:
    made = config(
        {"name": "chat", "path": "/chat", "upstream": "ws://chat:9000/ws"},
        {"name": "echo", "path": "/", "upstream": "ws://echo:9000"},
        {"name": "hosted", "path": "/x", "host": "a.test", "upstream": "wss://h/deep/"},
        {"name": "local", "path": "/l", "upstream": "ws+unix:/run/l.sock:/ws"},
    )
    assert worked_lines(made) == [
        "chat    /chat/room1 → ws://chat:9000/ws/room1",
        "echo    /room1 → ws://echo:9000/room1",
        "hosted  a.test/x/room1 → wss://h/deep/room1",
        "local   /l/room1 → ws+unix:/run/l.sock:/ws/room1",
    ]


def test_every_target_of_a_route_is_shown() -> None:
    made = config({"path": "/c", "upstream": {"targets": ["ws://one:9000/ws", "ws://two:9000"]}})
    assert worked_lines(made) == ["chat  /c/room1 → ws://one:9000/ws/room1, ws://two:9000/c/room1"]


def test_socket_without_a_path_is_shown_with_that_of_the_request() -> None:
    made = config({"path": "/l", "upstream": "ws+unix:/run/l.sock"})
    assert worked_lines(made) == ["chat  /l/room1 → ws+unix:/run/l.sock:/l/room1"]


# Keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "path", "mend"),
    [
        (
            "sqlite:/var/lib/keys.db",
            None,
            "make one: wskeeper keys create --name NAME --store sqlite:/var/lib/keys.db",
        ),
        (
            "sqlite:/my keys.db",
            None,
            "make one: wskeeper keys create --name NAME --store 'sqlite:/my keys.db'",
        ),
        (
            "sqlite:/var/lib/keys.db",
            Path("/etc/my conf.yaml"),
            "make one: wskeeper keys create --name NAME -c '/etc/my conf.yaml'",
        ),
        (
            "memory:",
            Path("/etc/conf.yaml"),
            "this store forgets: write `store: sqlite:PATH`, or put a key under `keys:`",
        ),
    ],
)
def test_operator_without_keys_is_told_how_to_make_the_first(
    place: str, path: Path | None, mend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway: Any = SimpleNamespace(keeper=SimpleNamespace(place=place), ring=KeyRing())
    _tell_of_keys(gateway, path=path)
    assert capsys.readouterr().out.splitlines() == [
        f"keys in {place}",
        f"there is no key yet, so every client is refused; {mend}",
    ]


def test_operator_with_keys_is_told_where_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    ring = KeyRing([Key("a", "a", (Secret(b"a"),))])
    gateway: Any = SimpleNamespace(keeper=SimpleNamespace(place="memory:"), ring=ring)
    _tell_of_keys(gateway, path=None)
    assert capsys.readouterr().out == "keys in memory:\n"


# The command ---------------------------------------------------------------------------------


def test_configuration_is_served(run: Run, wskeeper: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(CONFIG)
    result = wskeeper("serve", "-c", "my.yaml", "--listen", "127.0.0.1:7777")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:2] == [
        "chat  /chat/room1 → ws://127.0.0.1:9/ws/room1",
        "keys in sqlite:/here.db",
    ]
    assert "keys create --name NAME -c" in result.stdout
    (config,) = run.configs
    assert str(config.listen) == "127.0.0.1:7777"
    assert callable(run.reread), "a file can be read again"


def test_one_service_is_served_without_a_file(run: Run, wskeeper: Callable[..., Result]) -> None:
    result = wskeeper("serve", "--upstream", "ws://127.0.0.1:9/ws")
    assert result.exit_code == 0, result.output
    assert "keys create --name NAME --store sqlite:/here.db" in result.stdout
    assert len(run.configs) == 1


@pytest.mark.parametrize(
    "failure",
    [
        CannotListen("cannot listen on 127.0.0.1:80; free the address"),
        StoreUnavailable("sqlite:/here.db", "is locked", "end what keeps it locked"),
    ],
)
def test_gateway_that_cannot_start_says_why_without_a_traceback(
    run: Run, wskeeper: Callable[..., Result], failure: Exception
) -> None:
    run.failure = failure
    result = wskeeper("serve", "--upstream", "ws://127.0.0.1:9")
    assert result.exit_code == 1
    assert result.stderr.strip().endswith(f"Error: {failure}")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("routes: [{name: chat}]", "the configuration has faults"),
        (CONFIG + "tls: {certificate: missing.pem, private_key: missing.pem}", "missing.pem"),
    ],
)
def test_faulty_configuration_is_not_served(
    run: Run, wskeeper: Callable[..., Result], tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "my.yaml").write_text(text)
    result = wskeeper("serve", "-c", "my.yaml")
    assert result.exit_code == 1
    assert said in result.stderr
    assert not run.configs

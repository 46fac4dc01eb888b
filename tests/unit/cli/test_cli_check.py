"""`wskeeper check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

GOOD = f"""\
keys: [{{name: app, sha256: {"ab" * 32}}}]
routes:
  - {{name: echo, path: /echo, upstream: "ws://127.0.0.1:9001"}}
  - {{name: chat, host: "*.example.com", path: /chat, upstream: "wss://chat-1:9002/ws"}}
  - {{name: local, path: /local, upstream: "ws+unix:/run/x.sock"}}
"""
BAD = """\
listen: 127.0.0.1
rutes: []
trusted_proxies: ["0.0.0.0/0"]
routes:
  - {name: echo, path: /echo, upstream: "http://127.0.0.1:9001"}
"""


def write(text: str, name: str = "wskeeper.yaml") -> None:
    Path(name).write_text(text)


def test_a_good_configuration_shows_where_each_route_leads(
    wskeeper: Callable[..., Result],
) -> None:
    write(GOOD)
    result = wskeeper("check")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "echo  /echo → ws://127.0.0.1:9001/echo",
        "chat  *.example.com/chat → wss://chat-1:9002/ws",
        "local  /local → ws+unix:/run/x.sock:/local",
    ]


def test_every_fault_and_warning_is_shown_with_its_place(wskeeper: Callable[..., Result]) -> None:
    write(BAD, "other.yaml")
    result = wskeeper("check", "-c", "other.yaml")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [
        ["error", "other.yaml:1", "listen"],
        ["error", "other.yaml:2", "rutes"],
        ["warning", "other.yaml:3", "trusted_proxies"],
        ["error", "other.yaml:5", "routes[0].upstream"],
    ]
    assert all("; " in line for line in lines)
    assert result.stderr == "Error: the configuration has 3 faults\n"


def test_warnings_alone_are_no_failure(wskeeper: Callable[..., Result]) -> None:
    write(GOOD + 'trusted_proxies: ["0.0.0.0/0"]\n')
    result = wskeeper("check")
    assert result.exit_code == 0
    assert result.stdout.startswith("warning: wskeeper.yaml:6: trusted_proxies: ")
    assert "echo  /echo →" in result.stdout


def test_one_fault_is_one_fault(wskeeper: Callable[..., Result]) -> None:
    write(GOOD + "listen: x\n")
    assert wskeeper("check").stderr == "Error: the configuration has 1 fault\n"


def test_the_files_for_tls_are_looked_at(wskeeper: Callable[..., Result]) -> None:
    write(GOOD + "tls: {certificate: a.pem, private_key: b.pem}\n")
    result = wskeeper("check")
    assert result.exit_code == 1
    assert result.stdout.count("cannot be read") == 2
    assert "echo" not in result.stdout


def test_plugins_are_imported(wskeeper: Callable[..., Result]) -> None:
    write(GOOD + "plugins:\n  - no_such_module_of_anybody:x\n")
    result = wskeeper("check")
    assert result.exit_code == 1
    assert result.stdout == (
        "error: wskeeper.yaml:7: plugins[0]: names no_such_module_of_anybody:x, which cannot be"
        " loaded: ModuleNotFoundError: No module named 'no_such_module_of_anybody'; put its folder"
        " into PYTHONPATH\n"
    )


def test_without_a_file_both_ways_are_told(wskeeper: Callable[..., Result]) -> None:
    result = wskeeper("check")
    assert result.exit_code == 1
    assert "-c FILE" in result.stdout


def test_the_file_may_be_named_by_the_environment(wskeeper: Callable[..., Result]) -> None:
    write(GOOD, "other.yaml")
    assert wskeeper("check", WSKEEPER_CONFIG="other.yaml").exit_code == 0


def test_a_good_configuration_as_json(wskeeper: Callable[..., Result]) -> None:
    write(GOOD)
    report = json.loads(wskeeper("check", "--json").stdout)
    assert report["valid"] is True
    assert report["faults"] == []
    assert report["routes"][1] == {
        "name": "chat",
        "host": "*.example.com",
        "path": "/chat",
        "upstream": "wss://chat-1:9002/ws",
    }


def test_faults_as_json(wskeeper: Callable[..., Result]) -> None:
    write(BAD)
    result = wskeeper("check", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["valid"] is False
    assert report["routes"] == []
    assert report["faults"][0] == {
        "file": "wskeeper.yaml",
        "line": 1,
        "path": "listen",
        "problem": "names no port",
        "mend": "write address and port, as in `127.0.0.1:8080`, or `unix:/run/wskeeper.sock`",
        "severity": "error",
    }

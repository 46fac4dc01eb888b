"""The group of commands: help, usage, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import proxy
from proxy.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result


def every_command() -> Iterator[tuple[str, ...]]:
    for name in sorted(main.commands):
        yield (name,)
        command = main.commands[name]
        if isinstance(command, click.Group):
            yield from ((name, below) for below in sorted(command.commands))


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_every_command_has_help(wskeeper: Callable[..., Result], words: tuple[str, ...]) -> None:
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    assert command.help
    for option in (
        parameter for parameter in command.params if parameter.param_type_name == "option"
    ):
        assert option.help, option.name
    result = wskeeper(*words, "--help")
    assert result.exit_code == 0
    assert f"{' '.join(words)} [OPTIONS]" in result.output


def test_the_list_of_commands_says_what_their_own_help_says(
    wskeeper: Callable[..., Result],
) -> None:
    shown = " ".join(wskeeper("--help").output.split())
    for name, command in main.commands.items():
        assert command.help
        assert f" {name} {command.help.splitlines()[0]}" in shown


@pytest.mark.parametrize("words", [["check"], ["serve"], ["keys", "list"]])
def test_a_configuration_without_its_option_is_told_where_it_belongs(
    wskeeper: Callable[..., Result], words: list[str]
) -> None:
    behind = wskeeper(*words, "wskeeper.yaml")
    assert behind.exit_code == 2
    assert (
        "extra argument (wskeeper.yaml); a configuration is named with `-c FILE`" in behind.stderr
    )
    before = wskeeper("-c", "wskeeper.yaml", *words)
    assert before.exit_code == 2
    assert (
        "'-c'. Options stand behind the command, as in `wskeeper serve -c FILE`." in before.stderr
    )
    assert "-c FILE" not in wskeeper("version", "wskeeper.yaml").stderr
    assert "-c FILE" not in wskeeper("stert").stderr


@pytest.mark.parametrize("group", [[], ["keys"], ["connections"]])
def test_no_summary_is_cut(wskeeper: Callable[..., Result], group: list[str]) -> None:
    _, summaries = wskeeper(*group, "--help").output.split("\nCommands:\n")
    assert "..." not in summaries


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_what_may_be_repeated_says_so(words: tuple[str, ...]) -> None:
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.multiple:
            assert "(may be repeated)" in (parameter.help or ""), parameter.name


def test_an_argument_that_may_be_left_out_is_shown_so(wskeeper: Callable[..., Result]) -> None:
    usage = wskeeper("connections", "close", "--help").output.splitlines()[0]
    assert usage.endswith(" connections close [OPTIONS] [ID]")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["check", "--nonsense"], ["check", "extra"], ["keys", "nonsense"]]
)
def test_wrong_usage_exits_2(wskeeper: Callable[..., Result], arguments: list[str]) -> None:
    result = wskeeper(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_a_slip_is_told_what_may_have_been_meant(wskeeper: Callable[..., Result]) -> None:
    assert "'version'" in wskeeper("versoin").stderr


def test_the_group_tells_its_version(wskeeper: Callable[..., Result]) -> None:
    result = wskeeper("--version")
    assert result.exit_code == 0
    assert result.output.startswith("wskeeper ")


def test_the_package_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("wskeeper ")


@pytest.mark.parametrize(
    ("arguments", "spared"),
    [
        ("['version']", "aiohttp, pydantic, yaml, sqlite3, cryptography, asyncio"),
        ("['--help']", "aiohttp, pydantic, yaml, sqlite3, cryptography, asyncio"),
        (
            "['healthcheck', '--admin', 'http://127.0.0.1:1']",
            "aiohttp, pydantic, yaml, sqlite3, cryptography, asyncio",
        ),
        ("['keys', 'list']", "aiohttp, uvloop, prometheus_client"),
        ("['check']", "aiohttp, sqlite3, prometheus_client"),
    ],
)
def test_a_command_imports_no_more_than_it_needs(
    arguments: str, spared: str, tmp_path: Path
) -> None:
    program = (
        "import sys; from proxy.cli.main import main\n"
        f"try: main({arguments})\n"
        "except SystemExit: pass\n"
        f"found = set('{spared}'.split(', ')) & set(sys.modules); assert not found, found"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(proxy.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

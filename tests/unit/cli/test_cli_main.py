"""The group of commands: help, usage, exit codes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from proxy.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_help(wskeeper: Callable[..., Result], name: str) -> None:
    command = main.commands[name]
    assert command.help
    for option in (
        parameter for parameter in command.params if parameter.param_type_name == "option"
    ):
        assert option.help, option.name
    result = wskeeper(name, "--help")
    assert result.exit_code == 0
    assert f"wskeeper {name}" in result.output or f"main {name}" in result.output


@pytest.mark.parametrize("arguments", [["nonsense"], ["check", "--nonsense"], ["check", "extra"]])
def test_wrong_usage_exits_2(wskeeper: Callable[..., Result], arguments: list[str]) -> None:
    result = wskeeper(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_the_group_tells_its_version(wskeeper: Callable[..., Result]) -> None:
    result = wskeeper("--version")
    assert result.exit_code == 0
    assert result.output.startswith("wskeeper ")


def test_the_package_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("wskeeper ")

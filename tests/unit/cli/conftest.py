"""The `wskeeper` command, run in this process, in a folder of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from proxy.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def wskeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command with its arguments, `stdin` and, by keyword, environment variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WSKEEPER_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, stdin: bytes | None = None, **environ: str) -> Result:
        return CliRunner().invoke(main, arguments, input=stdin, env=environ)

    return run

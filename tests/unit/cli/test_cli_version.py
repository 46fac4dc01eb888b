"""`wskeeper version`."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from click.testing import Result


def test_versions_are_printed(wskeeper: Callable[..., Result]) -> None:
    lines = wskeeper("version").output.splitlines()
    assert lines[0] == f"wskeeper {metadata.version('wskeeper')}"
    assert f"python {platform.python_version()}" in lines
    assert f"aiohttp {metadata.version('aiohttp')}" in lines


def test_versions_are_printed_as_json(wskeeper: Callable[..., Result]) -> None:
    versions = json.loads(wskeeper("version", "--json").output)
    assert set(versions) == {"wskeeper", "python", "aiohttp", "uvloop"}
    assert versions["aiohttp"] == metadata.version("aiohttp")


def test_what_is_not_installed_is_said(
    wskeeper: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == "uvloop":
            raise metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    assert "uvloop not installed" in wskeeper("version").output
    assert json.loads(wskeeper("version", "--json").output)["uvloop"] is None

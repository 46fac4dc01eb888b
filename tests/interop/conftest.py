"""Fixtures of the interop tests: a gateway before whatever upstream a test brings."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "interop-secret-that-is-long-enough"
PROJECT = Path(__file__).parents[2]
INSTALL_DEADLINE = 60  # seconds


@pytest.fixture(scope="session")
def key() -> tuple[str, str]:
    """The header that opens every gateway of these tests."""
    return "X-Api-Key", SECRET


@pytest.fixture(scope="module")
def gateway_to(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Start a gateway before an upstream, once for each; takes its URL, gives the gateway's."""
    with ExitStack() as gateways:

        @functools.cache
        def start(upstream: str) -> str:
            config = {
                "keys": [{"name": "test", "secret": SECRET}],
                "routes": [{"name": "interop", "path": "/", "upstream": upstream}],
            }
            gateway = Gateway(tmp_path_factory.mktemp("gateway"), config)
            return gateways.enter_context(gateway).url

        yield start


@pytest.fixture(scope="module", params=["direct", "gateway"])
def in_front_of(
    request: pytest.FixtureRequest,
) -> Callable[[str], str]:
    """Gives the URL at which a client reaches an upstream: its own, or a gateway's.

    Each test runs both ways: what it expects holds without the gateway, so that a failure through
    the gateway alone is the gateway's.
    """
    if request.param == "direct":
        return lambda upstream: upstream
    return request.getfixturevalue("gateway_to")


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the JavaScript peers: `node_modules`, filled by npm where one is missing."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed (Debian: nodejs)")
    installed = PROJECT / "node_modules"
    peers = json.loads((PROJECT / "package.json").read_text())["devDependencies"]
    if all((installed / peer).is_dir() for peer in peers):
        return installed
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("peers are not installed, and neither is npm (Debian: npm)")
    folder = PROJECT
    if not os.access(PROJECT, os.W_OK):
        folder = tmp_path_factory.mktemp("npm")
        shutil.copy(PROJECT / "package.json", folder)
    install = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    patience = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    try:
        installing = subprocess.run(
            [*install, *patience],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_DEADLINE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm could not install peers within {INSTALL_DEADLINE} s (offline?)")
    if installing.returncode != 0:
        reason = next(iter(installing.stderr.splitlines()), "it does not say why")
        pytest.skip(f"npm could not install peers (offline?): {reason}")
    return folder / "node_modules"


@pytest.fixture(scope="module")
def environment(modules: Path) -> dict[str, str]:
    return {**os.environ, "NODE_PATH": str(modules)}

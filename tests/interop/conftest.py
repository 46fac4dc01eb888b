"""Fixtures of the interop tests: a gateway before whatever upstream a test brings."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.harness.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "interop-secret-that-is-long-enough"


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

"""Gateways made to measure, and a client that has the key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.certificates import Certificates
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.upstream import Upstream

if TYPE_CHECKING:
    from pathlib import Path

KEY = "integration-key-5f1c9a7e3b2d4860"
Start = Callable[..., Gateway]


def asking(target: str = "/app", **parts: Any) -> bytes:
    """An upgrade request with the key."""
    return upgrade(target, **{"key": KEY, **parts})


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def start(tmp_path: Path, upstream: Upstream) -> Iterator[Start]:
    """Starts a gateway in front of `upstream`; `route` and further fields change the rest."""
    with ExitStack() as stack:

        def start(
            route: dict[str, Any] | None = None,
            environment: dict[str, str] | None = None,
            **fields: Any,
        ) -> Gateway:
            config = {
                "keys": [{"name": "test", "secret": KEY}],
                "timeouts": {"close": "1s"},
                "routes": [
                    {"name": "app", "path": "/app", "upstream": upstream.url, **(route or {})}
                ],
                **fields,
            }
            return stack.enter_context(Gateway(tmp_path, config, environment=environment))

        yield start


@pytest.fixture
def connect() -> Iterator[Callable[..., Door]]:
    """Makes the way to a gateway's public listener."""
    with ExitStack() as stack:

        def connect(gateway: Gateway, **options: Any) -> Door:
            return stack.enter_context(Door(gateway.public, **options))

        yield connect

"""One gateway per module, with its accounts checked when the module is through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import configuration, good, refusing_port
from tests.harness.accounts import Accounts, log_faults
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.process import wait_until
from tests.harness.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds; leave out by -m 'not slow'")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """The service behind the routes `app`, `bearer`, `shop`, `impatient`, `sized` and `named`."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def other() -> Iterator[Upstream]:
    """The service behind the routes `other` and `admin`."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory,
    upstream: Upstream,
    other: Upstream,
) -> Iterator[Gateway]:
    with refusing_port() as closed:
        config = configuration(upstream, other, closed.getsockname()[1])
        folder = tmp_path_factory.mktemp("gateway")
        with Gateway(folder, config) as gateway:
            yield gateway
        faults = log_faults(gateway.log)
    assert not faults, "\n".join(faults[:20])


@pytest.fixture(scope="module")
def door(gateway: Gateway, upstream: Upstream) -> Iterator[Door]:
    """Clients of the module's gateway; at the end everything must be as it was."""
    with Door(gateway.public) as door:
        warm_up(door, upstream)
        accounts = Accounts(gateway, door.books)
        yield door
        door.close_all()
        upstream.forget()
        faults = accounts.faults()
    assert not faults, "\n".join(faults)


def warm_up(door: Door, upstream: Upstream) -> None:
    """One session there and back, so that what is loaded lazily is loaded."""
    with door.open(good()) as client:
        client.send_text("warm")
        assert client.read_frame().payload == b"warm"
    connection = upstream.connection()
    assert wait_until(connection.done.is_set), "the upstream's connection stayed open"


@pytest.fixture(autouse=True)
def _clean_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test leaves its clients and upstream connections closed, its scripts unbroken."""
    yield
    if "door" in request.fixturenames:
        request.getfixturevalue("door").close_all()
    for name in ("upstream", "other"):
        if name in request.fixturenames:
            upstream = request.getfixturevalue(name)
            upstream.forget()
            errors, upstream.errors = upstream.errors, []
            assert not errors, errors

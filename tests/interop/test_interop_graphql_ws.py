"""graphql-ws at both ends, its first message checked in between (`first_message: graphql-ws`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.gateway import Gateway
from tests.interop.conftest import SECRET
from tests.interop.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCES = Path(__file__).parent / "node"
HELLO = {"data": {"hello": "world"}}


class Service:
    """The GraphQL service, and what it says that happens to it."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.url = f"ws://{json.loads(program.line())}"

    def next_event(self, event: str) -> dict[str, Any]:
        said = json.loads(self._program.line())
        assert said.pop("event") == event
        return said


@pytest.fixture
def service(environment: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    command = ["node", str(SOURCES / "graphql_server.cjs")]
    with Program(tmp_path / "server.stderr", command, environment=environment) as program:
        yield Service(program)


@pytest.fixture
def gateway(service: Service, tmp_path: Path) -> Iterator[Gateway]:
    route = {
        "name": "graphql",
        "path": "/",
        "upstream": service.url,
        "carriers": [{"first_message": "graphql-ws"}],
        "subprotocols": ["graphql-transport-ws"],
    }
    config = {"keys": [{"name": "test", "secret": SECRET}], "routes": [route]}
    with Gateway(tmp_path, config) as gateway:
        yield gateway
    assert SECRET not in "\n".join(gateway.log)


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs one scenario of the client; gives what it says about it."""

    def run(scenario: str, *arguments: str) -> dict[str, Any]:
        command = ["node", str(SOURCES / "graphql_client.cjs"), scenario, *arguments]
        with Program(tmp_path / "client.stderr", command, environment=environment) as client:
            (line,) = client.finish()
        return json.loads(line)

    return run


@pytest.mark.parametrize(
    ("scenario", "results"),
    [
        ("query", [HELLO]),
        ("subscription", [{"data": {"countTo": number}} for number in range(1, 501)]),
        ("idle", [HELLO, *({"data": {"countTo": number}} for number in (1, 2))]),
    ],
)
def test_client_with_the_key_is_served(
    run: Any, service: Service, gateway: Gateway, scenario: str, results: list[Any]
) -> None:
    assert run(scenario, gateway.url, SECRET)["results"] == results
    # The service hears of the key's name and of all that the client said to it.
    assert service.next_event("connected") == {
        "name": "test",
        "protocol": "graphql-transport-ws",
        "locale": "en",
    }


def test_client_is_served_alike_without_a_gateway(run: Any, service: Service) -> None:
    assert run("query", service.url, SECRET)["results"] == [HELLO]


@pytest.mark.parametrize(
    ("key", "code"), [(("wrong-key-of-somebody",), "key_unknown"), ((), "key_missing")]
)
def test_client_without_the_key_is_closed(
    run: Any, service: Service, gateway: Gateway, key: tuple[str, ...], code: str
) -> None:
    said = run("query", gateway.url, *key)
    assert said["refused"] == {"code": 1008, "reason": code}
    # Nothing of it reached the service: the first that it sees has the key.
    run("query", gateway.url, SECRET)
    assert service.next_event("connected")["name"] == "test"

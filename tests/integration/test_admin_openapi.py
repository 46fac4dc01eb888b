"""Whatever the API's description allows is asked of a running gateway, which answers as described.

And much that it does not allow. The questions are the same in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from proxy.admin.openapi import document
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.operators import AdminApi
from tests.harness.upstream import Upstream
from tests.integration.conftest import KEY, asking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case

EXAMPLES = 15
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DOCUMENT = document("0")
OPERATIONS = [
    (method.upper(), path)
    for path, item in DOCUMENT["paths"].items()
    for method in item
    if method != "parameters"
]


class House:
    """A gateway with whatever a question may be about."""

    def __init__(self, gateway: Gateway, door: Door, session: requests.Session) -> None:
        self.gateway = gateway
        self.session = session
        self._door = door
        self._api = AdminApi(gateway)
        self._made = 0

    def make_real(self, case: Case, *, method: str, path: str) -> None:
        """Turns a question into one that can be answered with what was asked for."""
        if method != "GET":
            case.headers = {"Content-Type": "application/json"}
        if method == "POST":
            self._made += 1
            case.body = {"name": f"made-{self._made}"} if path.endswith("/keys") else {}
        if "{key}" in path:
            self._api.ask("DELETE", "/keys/partner")
            self._api.create("partner")
            if method == "PATCH":
                case.body = {"metadata": {"team": "red"}}
            if path.endswith("/resume"):
                self._api.act("suspend", "partner")
            case.path_parameters["key"] = "partner"
        if "connections" in path:
            self._door.open(asking())
            case.query = {} if method == "GET" or "{" in path else {"route": "app"}
        if "{connection}" in path:
            live = self._api.do("GET", "/connections")["connections"]
            case.path_parameters["connection"] = live[0]["id"]

    def ask(self, case: Case) -> int:
        """The status of an answer, which was as described."""
        answer = case.call_and_validate(
            base_url=self.gateway.admin_url, session=self.session, checks=CHECKS, timeout=10
        )
        return int(answer.status_code)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("gateway")
    with Upstream() as upstream:
        config = {
            "keys": [{"name": "test", "secret": KEY}],
            "routes": [{"name": "app", "path": "/app", "upstream": upstream.url}],
        }
        with (
            Gateway(folder, config) as gateway,
            Door(gateway.public) as door,
            requests.Session() as session,
        ):
            session.trust_env = False
            yield House(gateway, door, session)
        assert gateway.events("internal_error") == []
        assert gateway.events("unhandled") == []


@pytest.fixture(scope="module")
def schema() -> Any:
    return schemathesis.openapi.from_dict(DOCUMENT)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=map(" ".join, OPERATIONS))
def test_an_answer_is_as_described(house, schema, method, path):
    operation = schema[path][method]
    statuses: set[int] = set()

    @given(
        case=st.one_of(operation.as_strategy(generation_mode=mode) for mode in GenerationMode),
        real=st.booleans(),
    )
    @seed(0)
    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Case, *, real: bool) -> None:
        if real:
            house.make_real(case, method=method, path=path)
        if path.endswith("/events"):
            case.query = {**(case.query or {}), "format": "json"}  # A stream has no end.
        statuses.add(house.ask(case))

    ask()
    assert min(statuses) < 300

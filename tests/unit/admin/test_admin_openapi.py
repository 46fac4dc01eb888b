"""The API's description: whole, in step with the code, and what is served."""

from __future__ import annotations

import json
import re

import jsonschema_rs
import pytest

from proxy.admin.openapi import document
from proxy.admin.problems import PROBLEMS
from proxy.admin.server import ENDPOINTS

DOCUMENT = document("1.2.3")
OPERATIONS = {
    (method.upper(), path): operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}


def test_every_endpoint_is_described_and_no_other():
    described = {where: operation["x-role"] for where, operation in OPERATIONS.items()}
    assert described == {(method, path): role for method, path, role, _ in ENDPOINTS}


def test_it_is_served(scene):
    answer = scene.ask("GET", "/api/v1/openapi.json")
    assert answer.data == DOCUMENT
    assert answer.data["info"]["version"] == "1.2.3"
    assert scene.ask("GET", "/api/v1/openapi.json?x=1").code == "400 bad_parameter"


def test_it_refers_to_nothing_that_is_not_there_and_describes_nothing_unused():
    text = json.dumps(DOCUMENT)
    named = set(re.findall(r'"\$ref": "#/components/(\w+/\w+)"', text))
    parts = DOCUMENT["components"]
    there = {
        f"{kind}/{name}" for kind in parts if kind != "securitySchemes" for name in parts[kind]
    }
    assert named == there


@pytest.mark.parametrize("where", OPERATIONS, ids=" ".join)
def test_an_operation_says_what_it_is_for_and_that_it_may_fail(where):
    method, path = where
    operation = OPERATIONS[where]
    assert operation["summary"]
    assert {"4XX", "5XX"} < operation["responses"].keys()
    inherited = DOCUMENT["paths"][path].get("parameters", [])
    known = [
        DOCUMENT["components"]["parameters"][one["$ref"].rpartition("/")[2]]
        if "$ref" in one
        else one
        for one in [*inherited, *operation.get("parameters", [])]
    ]
    assert {one["name"] for one in known if one["in"] == "path"} == set(
        re.findall(r"\{(\w+)\}", path)
    )
    says_json = any(one["name"] == "Content-Type" for one in known)
    assert says_json or "requestBody" in operation or method == "GET"


def test_names_of_operations_are_unique():
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)


def test_every_problem_is_named():
    assert DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == sorted(
        PROBLEMS
    )


def test_what_the_api_takes_as_a_key_is_what_the_description_takes():
    schemas = DOCUMENT["components"]["schemas"]
    root = {"$ref": "#/components/schemas/NewKey", "components": {"schemas": schemas}}
    assert jsonschema_rs.is_valid(root, {"name": "a", "expires_in": "90d", "limits": {}})
    assert not jsonschema_rs.is_valid(root, {"routes": ["chat"]})
    assert not jsonschema_rs.is_valid(root, {"name": "a", "colour": "red"})
    # A body that leaves a field out leaves it as it is.
    assert "default" not in json.dumps(schemas["KeyChanges"])

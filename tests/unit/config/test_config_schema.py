"""The JSON Schema, and that it speaks of the same fields and defaults as the model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.config.model import Config
from proxy.config.schema import schema


def section(name: str) -> dict[str, Any]:
    found: dict[str, Any] = schema()["$defs"][name]
    return found


def test_the_schema_is_json_and_names_its_dialect() -> None:
    generated = schema()
    assert json.loads(json.dumps(generated)) == generated
    assert generated["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert list(generated["properties"]) == list(Config.model_fields)


def test_no_section_takes_unknown_fields() -> None:
    generated = schema()
    sections = [generated, *generated["$defs"].values()]
    closed = [entry for entry in sections if "properties" in entry]
    assert len(closed) == len(sections) - 1, "an upstream alone is a URL or a mapping"
    assert all(entry["additionalProperties"] is False for entry in closed)


def test_defaults_are_written_as_in_the_file() -> None:
    properties = schema()["properties"]
    assert properties["listen"]["default"] == "127.0.0.1:8080"
    assert properties["carriers"]["default"] == [{"header": "X-Api-Key"}]
    assert properties["log"]["default"] == {}
    assert section("Admin")["properties"]["listen"]["default"] == "127.0.0.1:8081"


def test_the_schemas_defaults_make_the_defaults() -> None:
    defaults = {
        name: field["default"]
        for name, field in schema()["properties"].items()
        if "default" in field
    }
    assert Config.model_validate(defaults) == Config()


def test_an_upstream_is_a_url_or_a_mapping_with_one_target() -> None:
    url, mapping = section("Upstream")["anyOf"]
    assert url["type"] == "string"
    assert mapping["properties"]["targets"]["items"] == url
    assert mapping["required"] == ["targets"]


def test_a_carrier_is_a_word_or_a_mapping() -> None:
    word, mapping = schema()["properties"]["carriers"]["items"]["anyOf"]
    assert word["const"] == "bearer"
    assert mapping["required"] == ["header"]


def test_a_route_needs_name_path_and_upstream() -> None:
    assert section("Route")["required"] == ["name", "path", "upstream"]


@pytest.mark.parametrize("name", ["Route", "FixedKey", "Timeouts"])
def test_descriptions_are_one_paragraph(name: str) -> None:
    assert "\n" not in section(name)["description"]
    assert "Args:" not in section(name)["description"]

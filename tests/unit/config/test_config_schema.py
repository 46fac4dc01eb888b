"""The JSON Schema, and that it speaks of the same fields and defaults as the model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.config.limit_fields import SharedLimits
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
    open_sections = [name for name, entry in generated["$defs"].items() if entry not in closed]
    assert sorted(open_sections) == ["Addresses", "Carrier", "MessageSize", "Upstream"], (
        "a short form, or a mapping"
    )
    assert all(entry["additionalProperties"] is False for entry in closed)


def test_defaults_are_written_as_in_the_file() -> None:
    properties = schema()["properties"]
    assert properties["listen"]["default"] == "127.0.0.1:8080"
    assert properties["carriers"]["default"] == [{"header": "X-Api-Key"}]
    assert properties["log"]["default"] == {}
    assert properties["store"]["default"] == "sqlite:wskeeper.db"
    assert section("Admin")["properties"]["listen"]["default"] == "127.0.0.1:8081"


def test_the_schemas_defaults_make_the_defaults() -> None:
    defaults = {
        name: field["default"]
        for name, field in schema()["properties"].items()
        if "default" in field
    }
    assert Config.model_validate(defaults) == Config()


def test_an_upstream_is_a_url_or_a_mapping_with_targets() -> None:
    url, mapping = section("Upstream")["anyOf"]
    assert url["type"] == "string"
    targets = mapping["properties"]["targets"]
    assert (targets["type"], targets["items"], targets["minItems"]) == ("array", url, 1)
    assert mapping["required"] == ["targets"]
    assert mapping["properties"]["headers"]["additionalProperties"] == {"type": ["string", "null"]}
    assert mapping["properties"]["balance"]["default"] == "round_robin"


def test_addresses_are_a_list_a_mapping_or_null() -> None:
    bare, mapping, nothing = section("Addresses")["anyOf"]
    assert (bare["type"], bare["items"]) == ("array", {"type": "string"})
    assert list(mapping["properties"]) == ["allow", "deny"]
    assert mapping["additionalProperties"] is False
    assert nothing == {"type": "null"}


def test_a_keys_fields_are_described_as_they_are_written() -> None:
    properties = section("FixedKey")["properties"]
    assert properties["expires_at"]["anyOf"][0]["type"] == ["string", "number"]
    assert properties["origins"]["anyOf"][0]["items"] == {"type": "string"}
    assert section("FixedKey")["required"] == ["name"]


def test_a_key_has_the_limits_that_can_be_shared() -> None:
    properties = section("KeyLimitFields")["properties"]
    assert list(properties) == list(SharedLimits.model_fields)
    assert properties["bytes_per_second"]["anyOf"][0]["type"] == ["string", "integer"]
    assert properties["messages_per_second"]["anyOf"][0]["minimum"] == 1e-6
    assert properties["on_exceed"]["anyOf"][0]["enum"] == ["throttle", "close"]
    assert all(limit["default"] is None for limit in properties.values())
    size, both = section("MessageSize")["anyOf"]
    assert size["type"] == ["string", "integer"]
    assert list(both["properties"]) == ["client_to_upstream", "upstream_to_client"]


def test_a_carrier_is_a_word_or_a_mapping() -> None:
    word, mapping = section("Carrier")["anyOf"]
    assert word["enum"] == ["bearer", "subprotocol", "ticket", "first_message"]
    assert list(mapping["properties"]) == ["header", "query", "cookie", "first_message"]
    assert mapping["additionalProperties"] is False
    assert schema()["properties"]["carriers"]["items"] == {"$ref": "#/$defs/Carrier"}


def test_a_first_message_is_a_mapping_a_word_or_nothing() -> None:
    message = section("Carrier")["anyOf"][1]["properties"]["first_message"]
    assert message["anyOf"] == [
        {"$ref": "#/$defs/FirstMessage"},
        {"enum": ["graphql-ws"]},
        {"type": "null"},
    ]
    assert section("FirstMessage")["properties"]["reply"]["default"] == {"type": "auth_ok"}


def test_a_route_needs_name_path_and_upstream() -> None:
    assert section("Route")["required"] == ["name", "path", "upstream"]


@pytest.mark.parametrize("name", ["Route", "FixedKey", "Timeouts"])
def test_descriptions_are_one_paragraph(name: str) -> None:
    assert "\n" not in section(name)["description"]
    assert "Args:" not in section(name)["description"]

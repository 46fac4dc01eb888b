"""Short forms and exceptions of the document, turned into what the model's fields expect.

Called by pydantic before its own checks: plain data in, plain data out, or a `Wrong`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.config import names
from proxy.config.faults import Wrong, each
from proxy.config.planned import not_built

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

ORIGINS_SCHEMA = {
    "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
    "description": "exact origins; null is any",
    "examples": [["https://app.example.com"]],
}


def upstream(value: Any) -> Any:
    """`upstream: URL` as the mapping it is short for."""
    return {"targets": [value]} if isinstance(value, str) else value


def target_list(value: Any) -> Any:
    """A list with something in it."""
    if not isinstance(value, list | tuple) or not value:
        raise Wrong("is not a list with a target", "write `targets: [ws://127.0.0.1:9000]`")
    return value


def upstream_schema(schema: JsonSchemaValue, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """The JSON Schema of an upstream as it is written: a URL, or a mapping."""
    targets = handler.resolve_ref_schema(schema)["properties"]["targets"]
    targets["minItems"] = 1
    return {"anyOf": [targets["items"], schema]}


def addresses(value: Any) -> Any:
    """A bare list of networks as the mapping it is short for: those that are served."""
    if value is None:
        return {}
    return {"allow": value} if isinstance(value, list | tuple) else value


def addresses_schema(schema: JsonSchemaValue, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """The JSON Schema of addresses as they are written: a list, a mapping, or null."""
    networks = handler.resolve_ref_schema(schema)["properties"]["deny"]
    bare = {name: value for name, value in networks.items() if name not in {"default", "title"}}
    return {"anyOf": [bare, schema, {"type": "null"}]}


def workers(value: Any) -> Any:
    """Refuses the processes that later versions have."""
    if isinstance(value, int) and value > 1:
        raise not_built("workers", "write `1`, or run several gateways on one store")
    return value


def false_as_off(value: Any) -> Any:
    """YAML 1.1 reads a bare `off` as false."""
    return "off" if value is False else value


def lower_case(value: Any) -> Any:
    """`INFO` as `info`: levels are often written in capitals."""
    return value.lower() if isinstance(value, str) else value


def not_null(value: Any) -> Any:
    """Refuses a null where a limit must stand."""
    if value is None:
        raise Wrong("cannot be `null`", "write a duration: it protects the gateway")
    return value


def origins(value: Any) -> Any:
    """`null`, `same` or a list of exact origins, each in its canonical form."""
    if value is None or value == "same":
        return value
    if not isinstance(value, list | tuple):
        raise Wrong("is neither `null`, `same` nor a list", "write `[https://example.com]`")
    return _exact(value)


def exact_origins(value: Any) -> Any:
    """`null` or a list of exact origins, each in its canonical form."""
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise Wrong("is neither `null` nor a list", "write `[https://example.com]`")
    return _exact(value)


def _exact(entries: Sequence[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each(_origin, dict(enumerate(entries)))))


def _origin(entry: Any) -> str:
    # YAML has a null of its own where the origin `null` is meant.
    if entry is None:
        return "null"
    if not isinstance(entry, str):
        raise Wrong("is not text", "write an origin such as `https://example.com`")
    return names.origin(entry)

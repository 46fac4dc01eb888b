"""Short forms and exceptions of the document, turned into what the model's fields expect.

Called by pydantic before its own checks: plain data in, plain data out, or a `Wrong`.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NoReturn

from proxy.config import names
from proxy.config.faults import Wrong, each
from proxy.config.planned import CARRIERS, not_built

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

_CARRIER_EXAMPLE = "write `- header: X-Api-Key`, or `- bearer`"
# Headers that the handshake, the forwarding or HTTP itself needs: no place for a credential.
_TAKEN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "forwarded",
        "host",
        "keep-alive",
        "origin",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-real-ip",
        "x-request-id",
    }
)
CARRIER_SCHEMA = {
    "title": "Carrier",
    "anyOf": [
        {"const": "bearer", "description": "Authorization: Bearer …"},
        {
            "type": "object",
            "properties": {"header": {"type": "string", "description": "a header's name"}},
            "required": ["header"],
            "additionalProperties": False,
        },
    ],
}
_TAKEN_PREFIXES = ("sec-websocket-", "x-forwarded-", "x-wskeeper-")


def carrier(value: Any) -> dict[str, Any]:
    """`- bearer` or `- header: NAME` as the fields of a Carrier.

    Raises:
        Wrong: anything else.
    """
    if isinstance(value, str) and value not in {"header", "bearer"}:
        return _refuse_carrier(value)
    if value in ("bearer", {"bearer": None}):
        return {"kind": "bearer", "header": None}
    if not isinstance(value, dict) or len(value) != 1:
        raise Wrong("is not a carrier", _CARRIER_EXAMPLE)
    [(kind, name)] = value.items()
    if kind != "header":
        return _refuse_carrier(str(kind))
    if not isinstance(name, str):
        raise Wrong("names no header", _CARRIER_EXAMPLE)
    _refuse_taken(name.lower())
    return {"kind": "header", "header": names.header_name(name)}


def _refuse_carrier(kind: str) -> NoReturn:
    if kind in CARRIERS:
        raise not_built(kind, "use `header` or `bearer`")
    if near := difflib.get_close_matches(kind.lower(), ["bearer", "header"], n=1):
        raise Wrong("is not a carrier", f"did you mean `{near[0]}`?")
    raise Wrong("is not a carrier", _CARRIER_EXAMPLE)


def _refuse_taken(name: str) -> None:
    if name == "cookie":
        raise not_built("cookie", "use `header` or `bearer`")
    if name in _TAKEN_HEADERS or name.startswith(_TAKEN_PREFIXES):
        raise Wrong("names a header with a meaning of its own", "choose one such as `X-Api-Key`")


def upstream(value: Any) -> Any:
    """`upstream: URL` as the mapping it is short for."""
    return {"targets": [value]} if isinstance(value, str) else value


def only_target(value: Any) -> Any:
    """The one entry of `targets`."""
    if not isinstance(value, list | tuple) or not value:
        raise Wrong("is not a list with a target", "write `targets: [ws://127.0.0.1:9000]`")
    if len(value) > 1:
        raise not_built("targets with several entries", "keep one")
    return value[0]


def upstream_schema(schema: JsonSchemaValue, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """The JSON Schema of an upstream as it is written: a URL, or a mapping."""
    mapping = handler.resolve_ref_schema(schema)
    target = mapping["properties"]["targets"]
    mapping["properties"]["targets"] = {
        "type": "array",
        "items": target,
        "minItems": 1,
        "maxItems": 1,
    }
    return {"anyOf": [target, schema]}


def auth(value: Any) -> Any:
    """Refuses the modes of `auth` that later versions have."""
    if value in {"report_only", "none"}:
        raise not_built(f"auth: {value}", "write `required`, or remove it")
    return value


def http(value: Any) -> Any:
    """Refuses the mode of `http` that later versions have."""
    if value == "passthrough":
        raise not_built("http: passthrough", "write `refuse`, or remove it")
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
    return tuple(dict.fromkeys(each(_origin, dict(enumerate(value)))))


def _origin(entry: Any) -> str:
    # YAML has a null of its own where the origin `null` is meant.
    if entry is None:
        return "null"
    if not isinstance(entry, str):
        raise Wrong("is not text", "write an origin such as `https://example.com`")
    return names.origin(entry)

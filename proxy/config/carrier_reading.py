"""A carrier as it is written (`bearer`, `header: X-Api-Key`), turned into what the model expects.

Plain data in, plain data out, or a `Wrong`.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from proxy.config import names
from proxy.config.faults import Wrong

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

BARE: Final = ("bearer", "subprotocol", "ticket")
NAMED: Final = ("header", "query", "cookie")
FIRST_MESSAGE: Final = "first_message"
# In which a ticket travels.
TICKET_PARAMETER: Final = "wskeeper_ticket"

_EXAMPLE = "write `- header: X-Api-Key`, or `- bearer`"
_EXAMPLES = {"header": "X-Api-Key", "query": "api_key", "cookie": "api_key"}
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
_TAKEN_PREFIXES = ("sec-websocket-", "x-forwarded-", "x-wskeeper-")
# Headers that are read piece by piece, and the carrier that does.
_CARRIERS_OF_HEADERS = {
    "cookie": "- cookie: NAME",
    "sec-websocket-protocol": "- subprotocol",
}
# RFC 3986 2.3: what no client ever percent-encodes.
_PARAMETER = re.compile(r"[A-Za-z0-9._~-]{1,64}")
# RFC 6265 4.1.1.
_COOKIE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_DOTTED = re.compile(r"[^.\x00-\x1f\x7f]+(?:\.[^.\x00-\x1f\x7f]+){0,7}")
_LONGEST_TOKEN_PATH = 256

_MESSAGES: Final[dict[str, dict[str, Any]]] = {
    # https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
    "graphql-ws": {
        "match": {"type": "connection_init"},
        "token": "payload.apiKey",
        "reply": None,
        "forward": True,
    },
}


def carrier(value: Any) -> Any:
    """An entry of `carriers` as the fields of a Carrier.

    Raises:
        Wrong: it is none.
    """
    if isinstance(value, BaseModel):
        return value
    if isinstance(value, str):
        kind, argument = value, None
    elif isinstance(value, dict) and len(value) == 1:
        [(kind, argument)] = value.items()
    else:
        raise Wrong("is not a carrier", _EXAMPLE)
    if kind == FIRST_MESSAGE:
        return {"kind": kind, kind: _first_message(argument)}
    if kind in BARE:
        if argument is not None:
            raise Wrong("takes no value", f"write `- {kind}`")
        return {"kind": kind}
    if kind not in NAMED:
        near = difflib.get_close_matches(kind.lower(), [*BARE, *NAMED, FIRST_MESSAGE], n=1)
        raise Wrong("is not a carrier", f"did you mean `{near[0]}`?" if near else _EXAMPLE)
    if argument is None:
        raise Wrong("names no place", f"write `- {kind}: {_EXAMPLES[kind]}`")
    return {"kind": kind, kind: argument}


def _first_message(value: Any) -> Any:
    if value is None:
        return {}
    if not isinstance(value, str):
        return value
    if value not in _MESSAGES:
        raise Wrong(
            "names a protocol that is not known",
            "write `graphql-ws`, or a mapping such as `{match: {type: auth}, token: token}`",
        )
    return _MESSAGES[value]


def header(name: str) -> str:
    """The name of a header that may carry a credential.

    Raises:
        Wrong: it is no name, or the header has a meaning of its own.
    """
    lowered = name.lower()
    if lowered in _CARRIERS_OF_HEADERS:
        raise Wrong(
            "names a header that holds more than a key", f"write `{_CARRIERS_OF_HEADERS[lowered]}`"
        )
    if lowered in _TAKEN_HEADERS or lowered.startswith(_TAKEN_PREFIXES):
        raise Wrong("names a header with a meaning of its own", "choose one such as `X-Api-Key`")
    return names.header_name(name)


def parameter(name: str) -> str:
    """The name of a query parameter.

    Raises:
        Wrong: clients would have to percent-encode it, or tickets travel there.
    """
    if not _PARAMETER.fullmatch(name):
        raise Wrong(
            "is not a parameter's name", "use 1 to 64 letters, digits or `._~-`, as in `api_key`"
        )
    if name == TICKET_PARAMETER:
        raise Wrong("is kept for tickets", "write `- ticket`, or choose another name")
    return name


def cookie(name: str) -> str:
    """The name of a cookie.

    Raises:
        Wrong: it is none (RFC 6265 section 4.1.1).
    """
    if not _COOKIE.fullmatch(name):
        raise Wrong("is not a cookie's name", "use 1 to 64 letters, digits, `-` or `_`")
    return name


def token_path(text: str) -> str:
    """Where in a message the token stands: `payload.apiKey`.

    Raises:
        Wrong: it is no dotted path.
    """
    if len(text) > _LONGEST_TOKEN_PATH or not _DOTTED.fullmatch(text):
        raise Wrong(
            "is not a dotted path", "write up to 8 names with dots between, as in `payload.token`"
        )
    return text


def json_object(value: dict[str, Any]) -> dict[str, Any]:
    """`value` itself, if JSON can say it.

    Raises:
        Wrong: it holds what JSON has no word for.
    """
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        raise Wrong("holds a value that JSON does not have", "write text or numbers") from None
    return value


def schema(generated: JsonSchemaValue) -> JsonSchemaValue:
    """The JSON Schema of a carrier as it is written: a word, or a mapping with one entry."""
    properties = generated["properties"]
    written = {kind: properties[kind]["anyOf"][0] for kind in (*NAMED, FIRST_MESSAGE)}
    message = written[FIRST_MESSAGE]
    written[FIRST_MESSAGE] = {"anyOf": [message, {"enum": [*_MESSAGES]}, {"type": "null"}]}
    return {
        "description": generated["description"],
        "anyOf": [
            {"enum": [*BARE, FIRST_MESSAGE]},
            {
                "type": "object",
                "properties": written,
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
            },
        ],
    }

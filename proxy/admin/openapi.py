"""The admin API described for programs (OpenAPI 3.1).

The document is written by hand in `openapi.yaml`; the bodies that it names are described by what
reads them.
"""

from __future__ import annotations

import asyncio
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import yaml

from proxy.admin.answers import shown
from proxy.admin.desk import DESK
from proxy.admin.key_bodies import KeyChanges, NewKey, Nothing, Rotation
from proxy.admin.problems import PROBLEMS
from proxy.admin.reading import parameters

if TYPE_CHECKING:
    from aiohttp import web

_BODIES: Final = (NewKey, KeyChanges, Rotation, Nothing)
_PLACE: Final = "#/components/schemas/{model}"


async def show_description(request: web.Request) -> web.Response:
    parameters(request, ())
    # In a thread, as reading it takes a while, once.
    return shown(await asyncio.to_thread(document, request.app[DESK].version))


@cache
def document(version: str) -> dict[str, Any]:
    """The document.

    Args:
        version: of the gateway.
    """
    text = resources.files("proxy.admin").joinpath("openapi.yaml").read_text("utf-8")
    described: dict[str, Any] = yaml.safe_load(text)
    del described["x-problems"]  # It stands for what is written once.
    described["info"]["version"] = version
    schemas = described["components"]["schemas"]
    schemas["Problem"]["properties"]["code"]["enum"] = sorted(PROBLEMS)
    for model in _BODIES:
        body = model.model_json_schema(ref_template=_PLACE)
        parts = body.pop("$defs", {})
        for name, schema in {**parts, model.__name__: body}.items():
            schemas[name] = _plain(schema)
    return described


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Without titles that repeat names, and with the first sentence of each docstring only.

    Without defaults too: what a change does not name stays.
    """
    plain: dict[str, Any] = {}
    for name, value in schema.items():
        if name in {"title", "default"}:
            continue
        if name == "description":
            plain[name] = " ".join(value.partition("\n\n")[0].split())
        elif isinstance(value, dict):
            plain[name] = _plain(value)
        elif isinstance(value, list):
            plain[name] = [_plain(one) if isinstance(one, dict) else one for one in value]
        else:
            plain[name] = value
    return plain

"""The JSON Schema of the configuration, for editors and CI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from proxy.config.model import Carrier, Config
from proxy.config.values import TcpAddress, UnixAddress

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Generator(GenerateJsonSchema):
    """Shows defaults as they would be written in the file."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, TcpAddress | UnixAddress):
            return str(dft)
        if isinstance(dft, Carrier):
            return {"header": dft.header} if dft.kind == "header" else dft.kind
        if isinstance(dft, BaseModel):
            # The section's own fields have the defaults.
            return {}
        if isinstance(dft, tuple):
            return [self.encode_default(entry) for entry in dft]
        return super().encode_default(dft)


def schema() -> dict[str, Any]:
    """The schema of a document whose `${NAME}` are already replaced (draft 2020-12)."""
    generated = _tidy(Config.model_json_schema(schema_generator=_Generator))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wskeeper configuration",
        **generated,
    }


def _tidy(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Without titles that repeat names, and with the first sentence of each docstring only."""
    tidied: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "title" and isinstance(value, str):
            continue
        if name == "description" and isinstance(value, str):
            tidied[name] = " ".join(value.partition("\n\n")[0].split())
        elif isinstance(value, dict) and name != "default":
            tidied[name] = _tidy(value)
        elif isinstance(value, list):
            tidied[name] = [_tidy(item) if isinstance(item, dict) else item for item in value]
        else:
            tidied[name] = value
    return tidied

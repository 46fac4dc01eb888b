"""The fields of a key: the same in the configuration, in the API and on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from proxy.config import fields, reading, translation
from proxy.config.faults import Finding, path_text
from proxy.config.limit_fields import SharedLimits
from proxy.config.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


class Addresses(Section):
    """Which client addresses are served: those in `allow` (None: all) and not in `deny`."""

    allow: fields.Networks | None = None
    deny: Annotated[fields.Networks, fields.NullAsEmpty] = ()

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return reading.addresses(value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        return reading.addresses_schema(
            super().__get_pydantic_json_schema__(core_schema, handler), handler
        )


class KeyLimitFields(SharedLimits):
    """What a key may take, on all routes together; null takes every limit away."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return dict.fromkeys(cls.model_fields) if value is None else value


class KeyFields(Section):
    """What can be said about a key, its secret apart; `model_fields_set` tells what was.

    Args:
        name: unique among the keys; empty when it was not given.
        routes: names of the routes it opens; None for all.
        expires_at: in seconds since the epoch; None for never.
        limits: its `model_fields_set` tells which of them were given.
        origins: pages that may use it; None for any.
        addresses: of the clients that may use it.
        metadata: sent to the upstream as `X-Wskeeper-Meta-<key>`.
    """

    name: fields.KeyName = ""
    routes: fields.RouteNames | None = None
    expires_at: fields.Moment | None = None
    limits: KeyLimitFields = KeyLimitFields()
    origins: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(reading.exact_origins),
        WithJsonSchema(reading.ORIGINS_SCHEMA),
    ] = None
    addresses: Addresses = Addresses()
    metadata: Annotated[fields.Metadata, fields.NullAsNothing] = Field(default={})


class FieldFault(NamedTuple):
    """What is wrong with one field.

    Args:
        path: such as `limits.connections`; empty for all of them.
        problem: as the end of the sentence "`path` …".
        mend: what to write instead.
    """

    path: str
    problem: str
    mend: str

    def __str__(self) -> str:
        subject = f"{self.path}: " if self.path else ""
        return f"{subject}{self.problem}; {self.mend}"


class FieldsInvalid(ValueError):
    """Fields of a key that cannot be taken; `faults` holds everything that is wrong with them."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.faults = [
            FieldFault(path_text(finding.where), finding.problem, finding.mend)
            for finding in findings
        ]
        super().__init__("\n".join(map(str, self.faults)))


def read_key_fields(data: Mapping[str, Any], *, partial: bool) -> KeyFields:
    """The fields of a key out of plain data, as JSON, YAML or the command line gives it.

    Args:
        data: by the names that the configuration uses.
        partial: a change of some fields: the name may be left out.

    Raises:
        FieldsInvalid: with every fault; none repeats a value that could be a secret.
    """
    given = dict(data)
    found: list[Finding] = []
    read = KeyFields()
    try:
        read = KeyFields.model_validate(given)
    except ValidationError as error:
        found += translation.findings(error, given, KeyFields, within=("keys",))
    if not partial and "name" not in given:
        found.insert(0, Finding(("name",), "is missing", translation.MISSING["name"]))
    if found:
        raise FieldsInvalid(found)
    return read

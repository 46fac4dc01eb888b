"""How much, how fast and for how long: limits, timeouts and keepalive, as the document has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from proxy.config import fields, reading, values
from proxy.config.faults import Wrong
from proxy.config.section import Section

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

# A second; nothing is faster, and who is to wait for months is to be refused by something else.
_FASTEST = 1e9
_SLOWEST = 1e-6


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong("is not a number", "write how many a second, such as `10` or `0.5`")
    if not _SLOWEST <= value <= _FASTEST:  # So is what is no number at all.
        raise Wrong("is out of range", "write a number from 0.000001, such as `10` or `0.5`")
    return float(value)


def _byte_rate(value: object) -> float:
    return float(values.size(value))


_SIZE_SCHEMA = {
    "type": ["string", "integer"],
    "description": "64KiB, 1MiB, or bytes",
    "examples": ["64KiB"],
}
Rate = Annotated[
    float,
    BeforeValidator(_rate),
    WithJsonSchema({"type": "number", "minimum": _SLOWEST, "examples": [10, 0.5]}),
]
ByteRate = Annotated[float, BeforeValidator(_byte_rate), WithJsonSchema(_SIZE_SCHEMA)]
Size = Annotated[int, BeforeValidator(values.size), WithJsonSchema(_SIZE_SCHEMA)]
OnExceed = Literal["throttle", "close"]


class MessageSize(Section):
    """Wire bytes of one message over all its fragments; a bare size is the client's limit."""

    client_to_upstream: Size | None = None
    upstream_to_client: Size | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str | int) and not isinstance(value, bool):
            return {"client_to_upstream": value}
        if not isinstance(value, dict | MessageSize):
            raise Wrong(
                "is not a size",
                "write `64KiB`, or `{client_to_upstream: …, upstream_to_client: …}`",
            )
        return value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        return {"anyOf": [_SIZE_SCHEMA, super().__get_pydantic_json_schema__(core_schema, handler)]}


class SharedLimits(Section):
    """Limits that may stand at the top level, on a route and on a key; None is no limit.

    Args:
        connections: live sessions of a route, or of a key.
        connections_per_address: live sessions of a client address (IPv6: /64).
        connections_per_subject: live sessions of a subject.
        handshakes_per_second: of a client address, with twice as many at once.
        message_size: of one message.
        messages_per_second: from client to upstream.
        bytes_per_second: from client to upstream.
        on_exceed: what happens to a client that sends faster; None is what the level above says.
    """

    connections: fields.Count | None = None
    connections_per_address: fields.Count | None = None
    connections_per_subject: fields.Count | None = None
    handshakes_per_second: Rate | None = None
    message_size: MessageSize | None = None
    messages_per_second: Rate | None = None
    bytes_per_second: ByteRate | None = None
    on_exceed: OnExceed | None = None


class RouteLimits(SharedLimits):
    """Limits of one route, beside those of the whole gateway.

    Args:
        auth_failures_per_minute: different failed credentials of a client address.
    """

    auth_failures_per_minute: fields.Count | None = None


class Limits(SharedLimits):
    """Limits of the whole gateway; None is no limit. `head_size` is in bytes.

    Args:
        total_connections: sessions and handshakes at a time.
        unauthenticated: sockets whose caller is not known.
        auth_failures_per_minute: different failed credentials of a client address.
    """

    total_connections: fields.Count | None = 10_000
    unauthenticated: fields.Count | None = 100
    auth_failures_per_minute: fields.Count | None = 30
    head_size: fields.HeadSize = 65_536


class Timeouts(Section):
    """How long things may take, in seconds.

    None is no limit. `handshake`, `first_message` and `close` always have one: without the first
    two a silent client, without the last a peer that does not read would hold its socket for ever.
    """

    handshake: fields.Duration = 10.0
    upstream_connect: fields.Duration | None = 5.0
    upstream_handshake: fields.Duration | None = 10.0
    first_message: fields.Duration = 5.0
    close: fields.Duration = 5.0
    write: fields.Duration | None = 30.0
    idle: fields.Duration | None = None


class RouteTimeouts(Section):
    """What one route sets for itself; fields that are not set follow the top level."""

    upstream_connect: fields.Duration | None = None
    upstream_handshake: fields.Duration | None = None
    first_message: Annotated[fields.Duration | None, BeforeValidator(reading.not_null)] = None
    close: Annotated[fields.Duration | None, BeforeValidator(reading.not_null)] = None
    write: fields.Duration | None = None
    idle: fields.Duration | None = None


class Keepalive(Section):
    """When the gateway pings a leg by itself, and when it gives it up, in seconds.

    Args:
        interval: without a byte from it, after which a leg is pinged.
        timeout: for which it may then stay silent.
        strict: whether that also holds for a leg that has never answered a ping.
    """

    interval: fields.Duration = 20.0
    timeout: fields.Duration = 20.0
    strict: bool = False

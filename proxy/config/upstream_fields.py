"""The services behind a route, as the document has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from proxy.config import fields, reading
from proxy.config.section import Section

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

    from proxy.config.values import Target


class UpstreamTls(Section):
    """How a `wss://` target is verified, and what we show it.

    Args:
        ca: PEM bundle in place of the system's.
        certificate: ours, shown to the upstream; may hold the private key too.
        private_key: of `certificate`.
        verify: False accepts any certificate.
        server_name: in place of the target's host, for SNI and verification.
    """

    ca: fields.File | None = None
    certificate: fields.File | None = None
    private_key: fields.File | None = None
    verify: bool = True
    server_name: str | None = None


class Health(Section):
    """How targets are asked whether they are well.

    Args:
        path: asked for with a GET that is to be answered 2xx; None opens and closes a WebSocket.
        interval: from the begin of one check to the next, in seconds.
        timeout: for a whole check, in seconds.
        unhealthy_after: checks in a row that fail before a target is left alone.
        healthy_after: checks in a row that pass before it is back.
    """

    path: fields.RequestPath | None = None
    interval: fields.CheckInterval = 10.0
    timeout: fields.Duration = 2.0
    unhealthy_after: fields.Count = 3
    healthy_after: fields.Count = 2


class Upstream(Section):
    """The service behind a route: a URL, or a mapping with its targets and how they are asked.

    Args:
        targets: at least one, each another.
        balance: which of them is asked first.
        health: None believes what connecting shows.
        headers: set on the handshake, by name; None removes.
        preserve_host: True sends the client's Host, False the target's authority.
    """

    targets: Annotated[tuple[fields.Target, ...], BeforeValidator(reading.target_list)]
    balance: Literal["round_robin", "least_connections", "key_hash", "address_hash"] = "round_robin"
    health: Health | None = None
    tls: UpstreamTls = UpstreamTls()
    headers: Annotated[fields.UpstreamHeaders, fields.NullAsNothing] = Field(default={}, repr=False)
    preserve_host: bool = True

    @property
    def target(self) -> Target:
        """The first target, which stands for all where one is shown."""
        return self.targets[0]

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return reading.upstream(value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        return reading.upstream_schema(
            super().__get_pydantic_json_schema__(core_schema, handler), handler
        )

"""The configuration as frozen values: the contract's names, one class per section.

`load.load` makes a whole one. `Config.model_validate` takes plain data as YAML gives it, but does
not look at the rules that span several fields (`rules.py`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from proxy.config import fields, reading
from proxy.config.values import TcpAddress

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


class Section(BaseModel):
    """What every section has in common: immutable, strict about names, silent about values."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ListenerTls(Section):
    """The certificate of the public listener: PEM files, absolute once loaded."""

    certificate: fields.File
    private_key: fields.File


class Log(Section):
    """How much is logged, and in which form; `auto` is pretty on a terminal, else JSON lines."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(reading.lower_case)
    ] = "info"
    format: Literal["auto", "json", "pretty"] = "auto"


class Admin(Section):
    """The admin listener; `listen: null` switches it off."""

    listen: fields.Address | None = TcpAddress("127.0.0.1", 8081)
    token: fields.Secret | None = None
    public_metrics: bool = True


class Carrier(Section):
    """One place where a client may carry its credential: `header: X-Api-Key`, or `bearer`.

    Args:
        kind: which.
        header: the header's name, for `header` only.
    """

    kind: Literal["header", "bearer"]
    header: fields.HeaderName | None = None


Carriers = tuple[
    Annotated[
        Carrier,
        BeforeValidator(lambda value: Carrier.model_construct(**reading.carrier(value))),
        WithJsonSchema(reading.CARRIER_SCHEMA),
    ],
    ...,
]


class FixedKey(Section):
    """A key that stands in the configuration, as its secret or as the secret's digest.

    Args:
        name: unique among the keys.
        secret: what the client sends; None when `sha256` is given.
        sha256: 64 lower-case hexadecimal digits; None when `secret` is given.
        routes: names of the routes it opens; None for all.
        metadata: sent to the upstream as `X-Wskeeper-Meta-<key>`.
    """

    name: fields.KeyName
    secret: fields.Secret | None = None
    sha256: fields.Sha256 | None = None
    routes: tuple[str, ...] | None = None
    metadata: fields.Metadata = {}

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the secret: 32 bytes, whichever way the key was given."""
        if self.secret is None:
            return bytes.fromhex(self.sha256 or "")
        return hashlib.sha256(self.secret.get_secret_value().encode()).digest()


class Limits(Section):
    """Limits of the whole gateway; None is no limit. `head_size` is in bytes."""

    total_connections: fields.Count | None = 10_000
    unauthenticated: fields.Count | None = 100
    head_size: fields.HeadSize = 65_536


class Timeouts(Section):
    """How long things may take, in seconds.

    None is no limit. `handshake` and `close` always have one: without the first a silent client,
    without the second a peer that does not read would hold its socket for ever.
    """

    handshake: fields.Duration = 10.0
    upstream_connect: fields.Duration | None = 5.0
    upstream_handshake: fields.Duration | None = 10.0
    close: fields.Duration = 5.0
    write: fields.Duration | None = 30.0


class RouteTimeouts(Section):
    """What one route sets for itself; fields that are not set follow the top level."""

    upstream_connect: fields.Duration | None = None
    upstream_handshake: fields.Duration | None = None
    close: Annotated[fields.Duration | None, BeforeValidator(reading.not_null)] = None
    write: fields.Duration | None = None


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


class Upstream(Section):
    """The service behind a route: a URL, or a mapping with one URL in `targets` and `tls`."""

    target: Annotated[fields.Target, BeforeValidator(reading.only_target)] = Field(
        validation_alias="targets"
    )
    tls: UpstreamTls = UpstreamTls()

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


class Addresses(Section):
    """Which client addresses a route serves: those in `allow` (None: all) and not in `deny`."""

    allow: fields.Networks | None = None
    deny: Annotated[fields.Networks, fields.NullAsEmpty] = ()


class Route(Section):
    """A path, and the service behind it.

    Args:
        host: lower case, `*.` in front stands for every subdomain; None for every host.
        origins: None for any; `same`; or exact origins in lower case without default port.
        carriers: None for the top level's.
    """

    name: fields.Name
    host: fields.Host | None = None
    path: fields.RoutePath
    upstream: Upstream
    auth: Annotated[Literal["required"], BeforeValidator(reading.auth)] = "required"
    carriers: Carriers | None = None
    refuse_with: Literal["http", "close", "auto"] = "http"
    origins: Annotated[
        Literal["same"] | tuple[str, ...] | None, BeforeValidator(reading.origins)
    ] = None
    addresses: Addresses = Addresses()
    compression: Annotated[Literal["passthrough", "off"], BeforeValidator(reading.false_as_off)] = (
        "passthrough"
    )
    http: Annotated[Literal["refuse"], BeforeValidator(reading.http)] = "refuse"
    timeouts: RouteTimeouts | None = None


class Config(Section):
    """Everything `wskeeper serve` needs to know."""

    listen: fields.Address = TcpAddress("127.0.0.1", 8080)
    tls: ListenerTls | None = None
    trusted_proxies: Annotated[fields.Networks, fields.NullAsEmpty] = ()
    client_address_header: fields.ClientAddressHeader = "X-Forwarded-For"
    health_path: fields.RequestPath | None = None
    log: Log = Log()
    admin: Admin = Admin()
    carriers: Carriers = (Carrier(kind="header", header="X-Api-Key"),)
    keys: Annotated[tuple[FixedKey, ...], fields.NullAsEmpty] = ()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    routes: Annotated[tuple[Route, ...], fields.NullAsEmpty] = ()

    def timeouts_of(self, route: Route) -> Timeouts:
        """The timeouts that apply on a route: its own where it sets them, else the top level's."""
        if route.timeouts is None:
            return self.timeouts
        own: dict[str, Any] = {
            name: getattr(route.timeouts, name) for name in route.timeouts.model_fields_set
        }
        return self.timeouts.model_copy(update=own)

    def carriers_of(self, route: Route) -> tuple[Carrier, ...]:
        """The carriers that a route accepts."""
        return self.carriers if route.carriers is None else route.carriers

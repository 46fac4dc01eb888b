"""The configuration as frozen values: the contract's names, one class per section.

`load.load` makes a whole one. `Config.model_validate` takes plain data as YAML gives it, but does
not look at the rules that span several fields (`rules.py`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from proxy.config import carrier_reading, fields, reading
from proxy.config.jwt_fields import Jwt  # noqa: TC001 - pydantic resolves it
from proxy.config.key_fields import Addresses, KeyFields
from proxy.config.section import Section
from proxy.config.values import TcpAddress

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

    from proxy.config.values import Target


class ListenerTls(Section):
    """The certificate of a listener: PEM files, absolute once loaded."""

    certificate: fields.File
    private_key: fields.File


class PublicTls(ListenerTls):
    """The certificate of the public listener, and whose certificates its clients must have.

    Args:
        client_ca: PEM bundle of the authorities; None asks clients for no certificate.
    """

    client_ca: fields.File | None = None


class Log(Section):
    """How much is logged, and in which form; `auto` is pretty on a terminal, else JSON lines."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(reading.lower_case)
    ] = "info"
    format: Literal["auto", "json", "pretty"] = "auto"


class AdminToken(Section):
    """Somebody who may speak to the admin listener.

    Args:
        name: unique; stands in the log beside what its holder changes.
        role: a viewer reads; an operator also closes, suspends, revokes; an admin also makes keys.
        sha256: of the token, 64 lower-case hexadecimal digits.
    """

    name: fields.KeyName
    role: Literal["viewer", "operator", "admin"]
    sha256: fields.Sha256


class Admin(Section):
    """The admin listener; `listen: null` switches it off.

    Args:
        token: short for one of `tokens` named `admin` with role `admin`.
    """

    listen: fields.Address | None = TcpAddress("127.0.0.1", 8081)
    tls: ListenerTls | None = None
    token: fields.Secret | None = None
    tokens: Annotated[tuple[AdminToken, ...], fields.NullAsEmpty] = ()
    public_metrics: bool = True


class FirstMessage(Section):
    """How the first message of a client looks that carries its credential.

    Args:
        match: what the message must hold, as a JSON object.
        token: where in it the credential stands, as a dotted path.
        reply: sent to the client when it is accepted; None for nothing.
        forward: whether the upstream gets the message too.
        max_size: in bytes.
    """

    match: Annotated[fields.JsonObject, fields.NullAsNothing] = Field(default={"type": "auth"})
    token: fields.TokenPath = "token"  # noqa: S105 - a place, not a token
    reply: fields.JsonObject | None = Field(default={"type": "auth_ok"})
    forward: bool = False
    max_size: fields.HeadSize = 16_384


class Carrier(Section):
    """One place where a client may carry its credential: `header: X-Api-Key`, or `bearer`.

    Args:
        kind: which; the field of that name, if there is one, is set.
        header: the header's name.
        query: the query parameter's name.
        cookie: the cookie's name.
        first_message: how it looks.
    """

    kind: Literal["header", "bearer", "query", "cookie", "subprotocol", "ticket", "first_message"]
    header: fields.HeaderName | None = None
    query: fields.Parameter | None = None
    cookie: fields.CookieName | None = None
    first_message: FirstMessage | None = None

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        generated = super().__get_pydantic_json_schema__(core_schema, handler)
        return carrier_reading.schema(handler.resolve_ref_schema(generated))


Carriers = tuple[Annotated[Carrier, BeforeValidator(carrier_reading.carrier)], ...]


class Tickets(Section):
    """Tickets that browsers buy with a key; `ttl` is in seconds."""

    ttl: fields.TicketLife = 30.0


class FixedKey(KeyFields):
    """A key that stands in the configuration, as its secret or as the secret's digest.

    Args:
        secret: what the client sends; None when `sha256` is given.
        sha256: 64 lower-case hexadecimal digits; None when `secret` is given.
        suspended_at: in seconds since the epoch; None when it is not.
        revoked_at: in seconds since the epoch; None when it is not.
    """

    name: fields.KeyName
    secret: fields.Secret | None = None
    sha256: fields.Sha256 | None = None
    suspended_at: fields.Moment | None = None
    revoked_at: fields.Moment | None = None

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

    None is no limit. `handshake`, `first_message` and `close` always have one: without the first
    two a silent client, without the last a peer that does not read would hold its socket for ever.
    """

    handshake: fields.Duration = 10.0
    upstream_connect: fields.Duration | None = 5.0
    upstream_handshake: fields.Duration | None = 10.0
    first_message: fields.Duration = 5.0
    close: fields.Duration = 5.0
    write: fields.Duration | None = 30.0


class Drain(Section):
    """How a stop goes, in seconds.

    Args:
        delay: before the listener closes; health checks fail from the begin.
        spread: over which live sessions are told to go.
        timeout: from the begin until what is left is dropped.
    """

    delay: fields.Delay = 0.0
    spread: fields.Delay = 10.0
    timeout: fields.Duration = 25.0


class RouteTimeouts(Section):
    """What one route sets for itself; fields that are not set follow the top level."""

    upstream_connect: fields.Duration | None = None
    upstream_handshake: fields.Duration | None = None
    first_message: Annotated[fields.Duration | None, BeforeValidator(reading.not_null)] = None
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


class Route(Section):
    """A path, and the service behind it.

    Args:
        host: lower case, `*.` in front stands for every subdomain; None for every host.
        origins: None for any; `same`; or exact origins in lower case without default port.
        carriers: None for the top level's.
        subprotocols: what the gateway may select itself, where it waits for a first message.
    """

    name: fields.Name
    host: fields.Host | None = None
    path: fields.RoutePath
    upstream: Upstream
    auth: Literal["required", "report_only", "none"] = "required"
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
    subprotocols: Annotated[fields.Subprotocols, fields.NullAsEmpty] = ()
    timeouts: RouteTimeouts | None = None


class Config(Section):
    """Everything `wskeeper serve` needs to know.

    Args:
        store: `memory:` or `sqlite:PATH`, absolute once loaded.
        store_grace: for how many seconds cached keys serve while the store is away.
    """

    listen: fields.Address = TcpAddress("127.0.0.1", 8080)
    tls: PublicTls | None = None
    trusted_proxies: Annotated[fields.Networks, fields.NullAsEmpty] = ()
    client_address_header: fields.ClientAddressHeader = "X-Forwarded-For"
    proxy_protocol: bool = False
    health_path: fields.RequestPath | None = None
    store: fields.Store = Field(default="sqlite:wskeeper.db", validate_default=True)
    store_grace: fields.Delay = 60.0
    log: Log = Log()
    admin: Admin = Admin()
    carriers: Carriers = (Carrier(kind="header", header="X-Api-Key"),)
    keys: Annotated[tuple[FixedKey, ...], fields.NullAsEmpty] = ()
    tickets: Tickets = Tickets()
    jwt: Jwt | None = None
    plugins: Annotated[fields.Plugins, fields.NullAsEmpty] = ()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    drain: Drain = Drain()
    routes: Annotated[tuple[Route, ...], fields.NullAsEmpty] = ()

    @field_validator("routes")
    @classmethod
    def _guard_cookies(cls, routes: tuple[Route, ...], info: ValidationInfo) -> tuple[Route, ...]:
        """Browsers send cookies along from any page, so `same` is the default beside them."""
        shared: tuple[Carrier, ...] = info.data.get("carriers", ())

        def guarded(route: Route) -> Route:
            carriers = shared if route.carriers is None else route.carriers
            by_cookie = route.auth != "none" and any(c.kind == "cookie" for c in carriers)
            if not by_cookie or "origins" in route.model_fields_set:
                return route
            return route.model_copy(update={"origins": "same"})

        return tuple(map(guarded, routes))

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

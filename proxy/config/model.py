"""The configuration as frozen values: the names of docs/configuration.md, one class per section.

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
)

from proxy.config import carrier_reading, fields, reading
from proxy.config.jwt_fields import Jwt  # noqa: TC001 - pydantic resolves it
from proxy.config.key_fields import Addresses, KeyFields
from proxy.config.limit_fields import Keepalive, Limits, RouteLimits, RouteTimeouts, Timeouts
from proxy.config.section import Section
from proxy.config.upstream_fields import Upstream  # noqa: TC001 - pydantic resolves it
from proxy.config.values import TcpAddress

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


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


class Metrics(Section):
    """What is measured, and where else it is told.

    Args:
        per_key: whether each key has series of its own.
        listen: a further address for metrics and health alone.
    """

    per_key: bool = False
    listen: fields.Address | None = None


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


class Route(Section):
    """A path, and the service behind it.

    Args:
        host: lower case, `*.` in front stands for every subdomain; None for every host.
        origins: None for any; `same`; or exact origins in lower case without default port.
        carriers: None for the top level's.
        subprotocols: what the gateway may select itself, where it waits for a first message.
        close_codes: in place of the gateway's own, by close reason.
        limits: beside the top level's; the strictest holds.
        timeouts, keepalive, max_lifetime: in place of the top level's, where set.
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
    http: Literal["refuse", "passthrough"] = "refuse"
    subprotocols: Annotated[fields.Subprotocols, fields.NullAsEmpty] = ()
    close_codes: Annotated[fields.CloseCodes, fields.NullAsNothing] = Field(default={})
    limits: Annotated[RouteLimits, fields.NullAsNothing] = RouteLimits()
    timeouts: RouteTimeouts | None = None
    keepalive: Keepalive | None = None
    max_lifetime: fields.Duration | None = None


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
    workers: Annotated[Literal[1], BeforeValidator(reading.workers)] = 1
    store: fields.Store = Field(default="sqlite:wskeeper.db", validate_default=True)
    store_grace: fields.Delay = 60.0
    log: Log = Log()
    metrics: Annotated[Metrics, fields.NullAsNothing] = Metrics()
    admin: Admin = Admin()
    carriers: Carriers = (Carrier(kind="header", header="X-Api-Key"),)
    keys: Annotated[tuple[FixedKey, ...], fields.NullAsEmpty] = ()
    tickets: Tickets = Tickets()
    jwt: Jwt | None = None
    plugins: Annotated[fields.Plugins, fields.NullAsEmpty] = ()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    keepalive: Keepalive | None = Keepalive()
    max_lifetime: fields.Duration | None = None
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
        return self.timeouts.model_copy(update=_set_in(route.timeouts))

    def keepalive_of(self, route: Route) -> Keepalive | None:
        """The keepalive of a route: the top level's but for what the route sets; None is off."""
        if "keepalive" not in route.model_fields_set:
            return self.keepalive
        if route.keepalive is None:
            return None
        return (self.keepalive or Keepalive()).model_copy(update=_set_in(route.keepalive))

    def max_lifetime_of(self, route: Route) -> float | None:
        """Seconds that a session of a route may last; None is for ever."""
        own = "max_lifetime" in route.model_fields_set
        return route.max_lifetime if own else self.max_lifetime

    def carriers_of(self, route: Route) -> tuple[Carrier, ...]:
        """The carriers that a route accepts."""
        return self.carriers if route.carriers is None else route.carriers


def _set_in(section: Section) -> dict[str, Any]:
    """What the document says of a section, its defaults left out."""
    return {name: getattr(section, name) for name in section.model_fields_set}

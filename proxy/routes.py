"""Routes, ready for use: which one serves a request, and what it asks of the upstream."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from proxy.errors import Refused
from proxy.handshake.client import within
from proxy.handshake.settings import HeaderSettings
from proxy.relay.liveness import Keepalive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from proxy.config.limit_fields import RouteLimits, Timeouts
    from proxy.config.model import Config
    from proxy.config.model import Route as RouteConfig
    from proxy.config.upstream_fields import Health, UpstreamTls
    from proxy.config.values import IpAddress, Target
    from proxy.handshake.client import Client, Network
    from proxy.handshake.head import Headers

# The metrics' label before a route is known.
NO_ROUTE = "none"

# As numbers, which are found in bytes ten times faster than bytes are.
_PERCENT: Final = ord("%")
_SEMICOLON: Final = ord(";")
# Parameters of a path's segment, and a segment of nothing else: some servers drop them.
_PARAMETERS: Final = re.compile(rb";[^/]*")
_SLASHES: Final = re.compile(rb"//+")
_TWO_ROUTES: Final = "Send the path of the route you mean without percent-encoding and ';'."


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One route of the configuration, with what the top level sets for it."""

    name: str
    host: str | None
    path: bytes
    targets: tuple[Target, ...]
    # The targets as text, for the log where none of them was chosen.
    upstream: str
    upstream_tls: UpstreamTls
    balance: str
    health: Health | None
    # None where nothing is set.
    settings: HeaderSettings | None
    preserve_host: bool
    auth: str
    refuse_with: str
    origins: str | frozenset[bytes] | None
    allow: tuple[Network, ...] | None
    deny: tuple[Network, ...]
    compression: bool
    subprotocols: tuple[bytes, ...]
    http: str
    close_codes: Mapping[str, int]
    limits: RouteLimits
    timeouts: Timeouts
    # None where nobody is pinged.
    keepalive: Keepalive | None
    # In seconds; None where sessions may last for ever.
    max_lifetime: float | None
    # Seconds after which the kernel gives up a host that acknowledges nothing; None for its own.
    user_timeout: float | None
    # What the path of everything under it begins with.
    below: bytes = field(init=False)
    # Whether it serves every address, and pages of every origin.
    serves_all: bool = field(init=False)
    # That tells the upstream which route it is.
    header_line: bytes = field(init=False)

    def __post_init__(self) -> None:
        below = self.path if self.path.endswith(b"/") else self.path + b"/"
        object.__setattr__(self, "below", below)
        serves_all = self.origins is None and self.allow is None and not self.deny
        object.__setattr__(self, "serves_all", serves_all)
        object.__setattr__(self, "header_line", b"X-Wskeeper-Route: " + self.name.encode())

    @classmethod
    def of(cls, config: Config, route: RouteConfig) -> Route:
        """Makes the route that a configuration describes."""
        origins, upstream, pings = route.origins, route.upstream, config.keepalive_of(route)
        timeouts = config.timeouts_of(route)
        return cls(
            name=route.name,
            host=route.host,
            path=route.path.encode("ascii"),
            targets=upstream.targets,
            upstream=", ".join(map(str, upstream.targets)),
            upstream_tls=upstream.tls,
            balance=upstream.balance,
            health=upstream.health,
            settings=HeaderSettings(upstream.headers) if upstream.headers else None,
            preserve_host=upstream.preserve_host,
            auth=route.auth,
            refuse_with=route.refuse_with,
            origins=(
                frozenset(origin.encode() for origin in origins)
                if isinstance(origins, tuple)
                else origins
            ),
            allow=route.addresses.allow,
            deny=route.addresses.deny,
            compression=route.compression == "passthrough",
            subprotocols=tuple(name.encode() for name in route.subprotocols),
            http=route.http,
            close_codes=route.close_codes,
            limits=route.limits,
            timeouts=timeouts,
            keepalive=None if pings is None else Keepalive(**dict(pings)),
            max_lifetime=config.max_lifetime_of(route),
            # It also ends a peer that is alive and reads nothing, so it is never shorter than the
            # write deadline; where that is off, slow readers may take for ever, and it is off too.
            user_timeout=(
                None
                if pings is None or timeouts.write is None
                else max(timeouts.write, pings.interval + pings.timeout)
            ),
        )

    @property
    def target(self) -> Target:
        """The first target, which stands for all where one is shown."""
        return self.targets[0]

    def upstream_target(self, path: bytes, query: bytes, target: Target | None = None) -> bytes:
        """The raw target to ask the upstream for.

        A target without a path of its own gets the request's; else its path stands in place of
        the route's, joined with one `/`.

        Args:
            target: which of the route's is asked; None for the first.
        """
        own = (target or self.targets[0]).path
        if own in {b"", b"/"}:
            return path + query
        rest = path[len(self.path) :].lstrip(b"/")
        if path == self.path:
            return own + query
        return own.rstrip(b"/") + b"/" + rest + query

    def check_client(self, client: Client, headers: Headers) -> None:
        """What needs no secret: the client's address and the page it comes from (RFC 6454).

        Raises:
            Refused: `address_forbidden` or `origin_forbidden`.
        """
        if self.serves_all:
            return
        if not self._serves(client.address):
            raise Refused("address_forbidden", "This route does not serve your address.")
        if self.origins is None:
            return
        sent = headers.all(b"origin")
        if sent and (len(sent) > 1 or not self.admits(sent[0].lower(), client, headers)):
            raise Refused(
                "origin_forbidden",
                "This route does not serve pages of that origin; its operator lists the allowed "
                "ones under 'origins'.",
            )

    def admits(self, origin: bytes, client: Client, headers: Headers) -> bool:
        """Whether the route serves pages of an origin.

        Args:
            origin: as sent, in lower case.
        """
        if self.origins is None:
            return True
        if isinstance(self.origins, frozenset):
            return origin in self.origins
        return is_same_origin(origin, client, headers)

    def objection(
        self, address: IpAddress, origin: bytes | None, *, same_origin: bool
    ) -> str | None:
        """Why a caller would not be let in now, as far as that needs no secret; None if it would.

        Args:
            address: of the client.
            origin: of the page it came from, lower case; None when there was none.
            same_origin: whether that page was of the host that was asked.
        """
        if not self._serves(address):
            return "address_forbidden"
        if origin is None or self.origins is None:
            return None
        listed = origin in self.origins if isinstance(self.origins, frozenset) else same_origin
        return None if listed else "origin_forbidden"

    def _serves(self, address: IpAddress) -> bool:
        allowed = self.allow is None or within(address, self.allow)
        return allowed and not within(address, self.deny)


def is_same_origin(origin: bytes | None, client: Client, headers: Headers) -> bool:
    """Whether a page is of the very host that a request asks (RFC 6454 section 4).

    Args:
        origin: as sent, in lower case; None when there was none.
    """
    if origin is None:
        return False
    host = (headers.one(b"host") or b"").lower()
    schemes = (b"https",) if client.scheme == "https" else (b"http", b"https")
    return any(origin == scheme + b"://" + host for scheme in schemes)


class RouteTable:
    """All routes, found by host and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        # A route for the very host comes before one for a wildcard, that before one for any;
        # among equals the longer path wins.
        self._ordered = sorted(routes, key=_precedence)
        self._by_name = {route.name: route for route in self._ordered}

    @classmethod
    def of(cls, config: Config, before: RouteTable | None = None) -> RouteTable:
        """Makes the table that a configuration describes.

        Args:
            before: the one in force; of it the routes stay of which nothing has changed.
        """
        made = (Route.of(config, route) for route in config.routes)
        if before is None:
            return cls(made)
        return cls(_kept(before.get(route.name), route) for route in made)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._ordered)

    def get(self, name: str) -> Route | None:
        """The route with that name."""
        return self._by_name.get(name)

    def find(self, host: str, path: bytes) -> Route | None:
        """The route that serves a request.

        Args:
            host: lower case, without port.
            path: raw, as it stands in the request line.

        Raises:
            Refused: `bad_path`: a service may read it as a path of another route.
        """
        # Its own path is under a route, too; a route's path has no slash at its end.
        under = path + b"/"
        for route in self._ordered:
            if under.startswith(route.below) and (route.host is None or _serves(route.host, host)):
                if _PERCENT in path or _SEMICOLON in path:
                    self._check_readings(route, host, under)
                return route
        return None

    def _check_readings(self, found: Route, host: str, under: bytes) -> None:
        """Checks that `/%61dmin` or `/admin;x` is not let in by the rules of `/` (RFC 3986 6.2.2).

        Raises:
            Refused: `bad_path`.
        """
        for read in (unquote_to_bytes, _without_parameters):
            reading = read(under)
            # There is one: who was found serves every reading.
            first = next(
                route
                for route in self._ordered
                if reading.startswith(read(route.below))
                and (route.host is None or _serves(route.host, host))
            )
            if first is not found:
                raise Refused("bad_path", _TWO_ROUTES)


def _without_parameters(path: bytes) -> bytes:
    """A path as a server reads it that drops the parameters of its segments."""
    return _SLASHES.sub(b"/", _PARAMETERS.sub(b"", unquote_to_bytes(path)))


def _kept(before: Route | None, after: Route) -> Route:
    """The route before, if the one after is no other."""
    if before is None:
        return after
    same = all(getattr(before, part.name) == getattr(after, part.name) for part in fields(Route))
    return before if same else after


def _precedence(route: Route) -> tuple[int, int, int]:
    if route.host is None:
        rank = 2
    elif route.host.startswith("*."):
        rank = 1
    else:
        rank = 0
    return rank, -len(route.host or ""), -len(route.path)


def _serves(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == pattern

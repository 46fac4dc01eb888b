"""The limits of one route, made ready: what the top level and the route say, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.limits.limit import Limit, strictest
from proxy.sessions.rules import UNLIMITED, SessionLimits, SessionRules

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.config.limit_fields import Limits
    from proxy.config.limit_fields import RouteLimits as RouteLimitFields
    from proxy.keys.key import Key
    from proxy.routes import Route
    from proxy.sessions.rules import MeteredRate

# The directions of a session, as `message_size` has them.
CLIENT_TO_UPSTREAM: Final = 0
UPSTREAM_TO_CLIENT: Final = 1


class Level(NamedTuple):
    """Limits that stand in one place: at the top level, on a route or on a key.

    Args:
        scope: what keeps its counts apart from those of other places.
        place: in the configuration, such as `routes.chat.limits`.
        message_size: bytes from client to upstream, and from upstream to client.
    """

    scope: str
    place: str
    connections: float | None
    connections_per_address: float | None
    connections_per_subject: float | None
    handshakes_per_second: float | None
    auth_failures_per_minute: float | None
    message_size: tuple[int | None, int | None]
    messages_per_second: float | None
    bytes_per_second: float | None

    def limit(self, name: str) -> Limit | None:
        """One of them by its name, if it is set."""
        value: float | None = getattr(self, name)
        return None if value is None else Limit(name, value, f"{self.place}.{name}")

    def message_limit(self, direction: int) -> Limit | None:
        """What one message may have."""
        value = self.message_size[direction]
        if value is None:
            return None
        return Limit("message_size", value, f"{self.place}.message_size")


def level_of(limits: Limits | RouteLimitFields, *, scope: str, place: str) -> Level:
    """What the configuration says in one place."""
    sizes = limits.message_size
    return Level(
        scope=scope,
        place=place,
        connections=limits.connections,
        connections_per_address=limits.connections_per_address,
        connections_per_subject=limits.connections_per_subject,
        handshakes_per_second=limits.handshakes_per_second,
        auth_failures_per_minute=limits.auth_failures_per_minute,
        message_size=(
            (None, None) if sizes is None else (sizes.client_to_upstream, sizes.upstream_to_client)
        ),
        messages_per_second=limits.messages_per_second,
        bytes_per_second=limits.bytes_per_second,
    )


def key_level(key: Key) -> Level:
    """What a key says."""
    limits = key.limits
    return Level(
        scope=f"key {key.id}",
        place=f"keys.{key.name}.limits",
        connections=limits.connections,
        connections_per_address=limits.connections_per_address,
        connections_per_subject=limits.connections_per_subject,
        handshakes_per_second=limits.handshakes_per_second,
        auth_failures_per_minute=None,
        message_size=limits.message_size,
        messages_per_second=limits.messages_per_second,
        bytes_per_second=limits.bytes_per_second,
    )


class RouteLimits:
    """What holds on a route, so that a handshake only looks at what is set.

    Args:
        route: its settings.
        levels: the top level's limits, and its own.
        closes: whether sessions that send faster than they may are closed, unless keys say other.
    """

    def __init__(self, route: Route, levels: tuple[Level, Level], *, closes: bool) -> None:
        self.route = route.name
        self.connections = strictest(*(level.limit("connections") for level in levels))
        self.per_address = _set(levels, "connections_per_address")
        self.per_subject = _set(levels, "connections_per_subject")
        # Whether any of these counts sessions.
        self.counts = bool(self.connections or self.per_address or self.per_subject)
        self.handshakes = _set(levels, "handshakes_per_second")
        self.failures = _set(levels, "auth_failures_per_minute")
        self.message_sizes = (
            strictest(*(level.message_limit(CLIENT_TO_UPSTREAM) for level in levels)),
            strictest(*(level.message_limit(UPSTREAM_TO_CLIENT) for level in levels)),
        )
        self.messages = strictest(*(level.limit("messages_per_second") for level in levels))
        self.bytes = strictest(*(level.limit("bytes_per_second") for level in levels))
        self.closes = closes
        # What its sessions may do whose keys set no limits; None where each has counts of its own.
        self.of_all: SessionLimits | None = None
        if self.messages is None and self.bytes is None:
            self.of_all = limits_for(self.message_sizes, (), closes=closes)
        timeouts = route.timeouts
        self.rules = SessionRules(
            close_timeout=timeouts.close,
            write_timeout=timeouts.write,
            idle_timeout=timeouts.idle,
            max_lifetime=route.max_lifetime,
            keepalive=route.keepalive,
            close_codes=route.close_codes,
        )


def limits_for(
    message_sizes: tuple[Limit | None, Limit | None],
    rates: Iterable[MeteredRate],
    *,
    closes: bool,
) -> SessionLimits:
    """What a session may do; `UNLIMITED` itself where that is everything."""
    rates = tuple(rates)
    if message_sizes == (None, None) and not rates:
        return UNLIMITED
    return SessionLimits(message_sizes, rates, closes)


def _set(levels: Iterable[Level], name: str) -> tuple[tuple[str, Limit], ...]:
    """The places that set a limit, each with the scope it counts in."""
    found = ((level.scope, level.limit(name)) for level in levels)
    return tuple((scope, limit) for scope, limit in found if limit is not None)

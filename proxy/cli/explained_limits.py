"""Which limits hold for a request, in words; how far they are used only the gateway knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.gateway.route_limits import (
    CLIENT_TO_UPSTREAM,
    UPSTREAM_TO_CLIENT,
    key_level,
    level_of,
)
from proxy.limits.limit import strictest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.limit_fields import Limits
    from proxy.gateway.route_limits import Level
    from proxy.keys.key import Key
    from proxy.limits.limit import Limit
    from proxy.routes import Route

_SHARED: Final = (
    "connections_per_address",
    "connections_per_subject",
    "handshakes_per_second",
    "messages_per_second",
    "bytes_per_second",
)


def of_handshake(top: Limits, route: Route, key: Key | None) -> str:
    """The limits that hold for a handshake and its session; empty without any.

    Args:
        top: those of the whole gateway.
        key: that was shown; None where it was none.
    """
    return _counted(_of_handshake(top, route, key))


def of_ordinary(top: Limits, route: Route) -> str:
    """The limits that hold for an ordinary HTTP request; empty without any."""
    failures = strictest(
        *(level.limit("auth_failures_per_minute") for level in _levels(top, route, None))
    )
    found = []
    if top.total_connections is not None:
        found.append(f"total_connections ≤ {top.total_connections} with the requests under way")
    if failures is not None:
        found.append(_shown(failures))
    return _counted(found)


def _of_handshake(top: Limits, route: Route, key: Key | None) -> Iterator[str]:
    levels = _levels(top, route, key)
    if key is not None and key.limits.connections is not None:
        yield f"connections of the key ≤ {key.limits.connections}"
    of_route = strictest(*(level.limit("connections") for level in levels[:2]))
    if of_route is not None:
        yield f"connections of the route ≤ {of_route.value:g}{_place_of(of_route)}"
    for name in _SHARED:
        limit = strictest(*(level.limit(name) for level in levels))
        if limit is not None:
            yield _shown(limit)
    for direction, sender in (CLIENT_TO_UPSTREAM, "client"), (UPSTREAM_TO_CLIENT, "upstream"):
        size = strictest(*(level.message_limit(direction) for level in levels))
        if size is not None:
            yield f"message_size ≤ {size.value:.0f} from the {sender}{_place_of(size)}"
    if top.total_connections is not None:
        yield f"total_connections ≤ {top.total_connections}"


def _levels(top: Limits, route: Route, key: Key | None) -> tuple[Level, ...]:
    """The places that may set limits: top level, route, key."""
    own = () if key is None else (key_level(key),)
    return (
        level_of(top, scope="", place="limits"),
        level_of(route.limits, scope="", place=f"routes.{route.name}.limits"),
        *own,
    )


def _shown(limit: Limit) -> str:
    return f"{limit.name} ≤ {limit.value:.12g}{_place_of(limit)}"


def _place_of(limit: Limit) -> str:
    """Where a limit is set: it can be at the top level, on the route and on the key."""
    return f" ({limit.set_in.removesuffix(f'.{limit.name}')})"


def _counted(limits: Iterator[str] | list[str]) -> str:
    shown = ", ".join(limits)
    return shown and f"{shown}; how far they are used only the gateway knows"

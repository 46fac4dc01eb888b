"""What a new configuration changes, by place in the document, and what of it needs a restart.

Places alone are told, never values: some of them are secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.config.limit_fields import Keepalive, RouteTimeouts
from proxy.config.model import Config, Route
from proxy.config.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What a route takes from the top level unless it is set, so that set to its default is a change.
_INHERITED: Final = frozenset({"keepalive", "max_lifetime"})

# Changes that are told one by one.
MOST: Final = 50


class Change(NamedTuple):
    """A new configuration as far as it can be taken.

    Args:
        config: it, with the values in force where others need a restart.
        changed: places of which the new value holds.
        needs_restart: places of which the value in force stays.
    """

    config: Config
    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


def change(before: Config, after: Config) -> Change:
    """What becomes of one configuration when it is to be replaced by another while it serves."""
    taken = _takeable(before, after)
    wanted = tuple(_differences(before, after, ""))
    changed = tuple(_differences(before, taken, ""))
    return Change(taken, changed, tuple(place for place in wanted if place not in changed))


def told(places: Sequence[str], most: int = MOST) -> list[str]:
    """Places as they are logged and answered: so many of them, and how many more there are."""
    rest = len(places) - most
    return list(places) if rest <= 0 else [*places[:most], f"and {rest} more"]


def _takeable(before: Config, after: Config) -> Config:
    """The new configuration, but for what sockets and the store were opened with."""
    kept: dict[str, Any] = {
        "listen": before.listen,
        "store": before.store,
        "log": after.log.model_copy(update={"format": before.log.format}),
        "metrics": after.metrics.model_copy(update={"listen": before.metrics.listen}),
    }
    if (before.tls is None) is not (after.tls is None):
        kept["tls"] = before.tls
    if before.proxy_protocol is not after.proxy_protocol:
        # Who is trusted to speak for clients depends on whether that is how they do.
        kept["proxy_protocol"] = before.proxy_protocol
        kept["trusted_proxies"] = before.trusted_proxies
        kept["client_address_header"] = before.client_address_header
    tls_differs = (before.admin.tls is None) is not (after.admin.tls is None)
    if before.admin.listen != after.admin.listen or tls_differs:
        # Fewer tokens may do for the new place than for the one that is open.
        kept["admin"] = before.admin
    return after.model_copy(update=kept)


def _differences(before: Section, after: Section, place: str) -> Iterator[str]:
    """The places below a section where two of them differ."""
    for name in type(after).model_fields:
        here = f"{place}.{name}" if place else name
        one, other = getattr(before, name), getattr(after, name)
        if here == "routes":
            yield from _routes(one, other)
        elif here in {"keys", "admin.tokens"}:
            yield from _counted(one, other, here)
        elif isinstance(one, Section) and isinstance(other, Section):
            yield from _differences(one, other, here)
        elif one != other or _set_in_one(before, after, name, place):
            yield here


def _set_in_one(before: Section, after: Section, name: str, place: str) -> bool:
    """Whether only one of two parts of a route sets a field that is inherited where it is not."""
    inherits = (isinstance(after, Route) and name in _INHERITED) or (
        isinstance(after, RouteTimeouts | Keepalive) and place.startswith("routes.")
    )
    return inherits and (name in before.model_fields_set) is not (name in after.model_fields_set)


def _routes(before: Sequence[Route], after: Sequence[Route]) -> Iterator[str]:
    """Routes are what they are called; their order means nothing."""
    old = {route.name: route for route in before}
    new = {route.name: route for route in after}
    for name in dict.fromkeys((*old, *new)):
        if name not in new:
            yield f"routes.{name} (removed)"
        elif name not in old:
            yield f"routes.{name} (added)"
        else:
            yield from _differences(old[name], new[name], f"routes.{name}")


def _counted(before: Sequence[Any], after: Sequence[Any], place: str) -> Iterator[str]:
    """How many entries came, went and changed: `keys: +2 -1 ~1`."""
    old = {entry.name: entry for entry in before}
    new = {entry.name: entry for entry in after}
    counts = {
        "+": len(new.keys() - old.keys()),
        "-": len(old.keys() - new.keys()),
        "~": sum(old[name] != new[name] for name in old.keys() & new.keys()),
    }
    text = " ".join(f"{sign}{count}" for sign, count in counts.items() if count)
    if text:
        yield f"{place}: {text}"

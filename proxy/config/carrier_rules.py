"""Rules about carriers, and about what routes need because of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.config.carrier_reading import FIRST_MESSAGE
from proxy.config.faults import Finding
from proxy.config.rules import entries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.faults import Where
    from proxy.config.rules import Data

# With these a key travels in an address, which pages of any site can open and pass on.
_IN_THE_URL = ("query", "ticket")


def findings(data: Data) -> Iterator[Finding]:
    """Every breach of these rules, and what deserves a warning."""
    yield from _carriers(data.get("carriers"), ())
    for index, route in entries(data, "routes"):
        where = ("routes", index)
        yield from _carriers(route.get("carriers"), where)
        own = route.get("carriers")
        kinds = _kinds(data.get("carriers") if own is None else own)
        if route.get("auth") == "none":
            kinds = set()
        yield from _origins(route, where, kinds)
        if route.get("subprotocols") and FIRST_MESSAGE not in kinds:
            yield Finding(
                (*where, "subprotocols"),
                "has no effect without the carrier `first_message`: the service chooses",
                "remove it",
            )


def _kind(entry: Any) -> str | None:
    """`bearer` of `bearer`, `header` of `{header: X-Api-Key}`."""
    if isinstance(entry, dict) and len(entry) == 1:
        [entry] = entry
    return entry if isinstance(entry, str) else None


def _kinds(listed: Any) -> set[str | None]:
    return {_kind(entry) for entry in listed} if isinstance(listed, list | tuple) else set()


def _carriers(listed: Any, where: Where) -> Iterator[Finding]:
    if not isinstance(listed, list):
        return
    if not listed:
        yield Finding(
            (*where, "carriers"),
            "is empty, so no client could show its key",
            "name one, or remove the line",
        )
    seen: set[tuple[str, str]] = set()
    for index, entry in enumerate(listed):
        place = (*where, "carriers", index)
        kind = _kind(entry)
        if kind is None:
            continue
        argument = entry[kind] if isinstance(entry, dict) else None
        name = argument if isinstance(argument, str) and kind != FIRST_MESSAGE else ""
        identity = (kind, name.lower() if kind == "header" else name)
        if identity in seen:
            yield Finding(place, "stands here twice", "keep one")
        seen.add(identity)
        if identity == ("header", "authorization"):
            yield Finding(
                place,
                "takes the whole value as the key, the word `Bearer` included",
                "write `- bearer` for `Authorization: Bearer …`",
                "warning",
            )


def _origins(route: Data, where: Where, kinds: set[str | None]) -> Iterator[Finding]:
    origins = route.get("origins")
    place = (*where, "origins")
    if "cookie" in kinds:
        # Without the line it is `same` (see `model.Config`).
        if "origins" in route and origins is None:
            yield Finding(
                place,
                "lets pages of any site use the cookie of whoever looks at them",
                "write `same`, or a list of origins",
            )
        elif isinstance(origins, list) and any(entry in (None, "null") for entry in origins):
            yield Finding(
                place,
                "holds `null`, which a page of any site can make its origin, beside a cookie",
                "remove it from the list",
                "warning",
            )
    elif "origins" not in route and (carrier := _first(_IN_THE_URL, kinds)) is not None:
        yield Finding(
            place,
            f"is missing beside the carrier `{carrier}`: pages of any site can use an address "
            "that holds a key (cross-site WebSocket hijacking)",
            "write `same` or a list of origins; `null` if any page may",
            "warning",
        )


def _first(words: tuple[str, ...], kinds: set[str | None]) -> str | None:
    return next((word for word in words if word in kinds), None)

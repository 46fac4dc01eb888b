"""Rules that span several fields of the document.

They look at plain data, and pass over what is no valid value (the model says that), so that one
run shows every fault.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from proxy.config import names
from proxy.config.faults import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from proxy.config.faults import Where

    Data = Mapping[str, Any]

_T = TypeVar("_T")

# Paths at which the gateway itself answers, now or in a later version.
_OWN_PATHS = ("/.wskeeper/ticket", "/.wskeeper/renew")
# A segment that a router of pages would match with anything: `*`, `*.json`, `:room`.
_PATTERN = re.compile(r"/([^/]*\*[^/]*|:[^/]+)")
# As for keys that are imported.
SHORT_SECRET = 20


def findings(data: Data) -> Iterator[Finding]:
    """Every breach of these rules, and what deserves a warning."""
    yield from _routes(data)
    yield from _health_path(data)
    for index, route in entries(data, "routes"):
        yield from _auth(route, ("routes", index))


def entries(data: Data, name: str) -> Iterator[tuple[int, Data]]:
    """The mappings in a list, with their positions; nothing when it is no list."""
    listed = data.get(name)
    if isinstance(listed, list | tuple):
        for index, entry in enumerate(listed):
            if isinstance(entry, dict):
                yield index, entry


def section(data: Data, name: str) -> Data:
    """A mapping within a mapping; empty when it is none."""
    found = data.get(name)
    return found if isinstance(found, dict) else {}


def read(reader: Callable[[Any], _T], value: Any) -> _T | None:
    """What `reader` makes of a value, or None when it refuses it."""
    try:
        return reader(value)
    except (ValueError, TypeError):
        return None


def short(where: Where) -> Finding:
    """The warning about a secret that is too short."""
    return Finding(
        where,
        f"is shorter than {SHORT_SECRET} characters, and can be guessed",
        "use a longer one: `openssl rand -hex 32` makes it",
        "warning",
    )


def _auth(route: Data, where: Where) -> Iterator[Finding]:
    auth = route.get("auth")
    if auth == "none":
        yield Finding(
            (*where, "auth"),
            "admits everybody, without a key",
            "write `required`, unless everybody may reach this service",
            "warning",
        )
    if auth == "none" and route.get("carriers") is not None:
        yield Finding(
            (*where, "carriers"), "has no effect beside `auth: none`", "remove it", "warning"
        )
    if auth == "report_only":
        yield Finding(
            (*where, "auth"),
            "refuses nobody: who would be refused is only counted and logged",
            "write `required` when `wskeeper_would_refuse_total` no longer grows",
            "warning",
        )


def _routes(data: Data) -> Iterator[Finding]:
    if not data.get("routes") and isinstance(data.get("routes", []), list | None):
        yield Finding(
            ("routes",),
            "names no route",
            "add `- {name: echo, path: /echo, upstream: ws://127.0.0.1:9000}`",
        )
    by_name: dict[str, int] = {}
    by_place: dict[tuple[str | None, str], int] = {}
    for index, route in entries(data, "routes"):
        name, host, path = route.get("name"), route.get("host"), route.get("path")
        if isinstance(name, str):
            first = by_name.setdefault(name, index)
            if first != index:
                yield Finding(
                    ("routes", index, "name"),
                    f"is also the name of `routes[{first}]`",
                    "give each route its own",
                )
        if isinstance(host, str):
            host = read(names.host_pattern, host) or host
        if isinstance(path, str) and (pattern := _PATTERN.search(path)):
            yield Finding(
                ("routes", index, "path"),
                f"holds `{pattern[1]}`, which stands for itself: paths are no patterns",
                f"write `{path[: pattern.start()] or '/'}`, which also matches everything under it",
                "warning",
            )
        if isinstance(path, str) and isinstance(host, str | None):
            first = by_place.setdefault((host, path), index)
            if first != index:
                yield Finding(
                    ("routes", index, "path"),
                    f"is also the path of `routes[{first}]`, for the same host",
                    "change path or host, or remove one of the two",
                )


def _health_path(data: Data) -> Iterator[Finding]:
    health = data.get("health_path")
    if not isinstance(health, str):
        return
    if health in _OWN_PATHS:
        yield Finding(
            ("health_path",), "is kept for the gateway", "choose such as `/.wskeeper/ready`"
        )
    for index, route in entries(data, "routes"):
        path = route.get("path")
        if path == health:
            yield Finding(
                ("health_path",),
                f"is also the path of `routes[{index}]`",
                "choose one that no route has, such as `/.wskeeper/ready`",
            )
        elif isinstance(path, str) and path != "/" and health.startswith(f"{path}/"):
            yield Finding(
                ("health_path",),
                f"lies under the path of `routes[{index}]`, which will not see it",
                "choose one outside, such as `/.wskeeper/ready`",
                "warning",
            )

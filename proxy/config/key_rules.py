"""Rules about `keys` that span several fields, and warnings about secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config import fields
from proxy.config.digests import digest_of
from proxy.config.faults import Finding
from proxy.config.rules import SHORT_SECRET, entries, read, section, short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.config.faults import Where
    from proxy.config.rules import Data


def findings(data: Data, is_literal: Callable[[Where], bool]) -> Iterator[Finding]:
    """Every breach of these rules, and what deserves a warning.

    Args:
        data: the document.
        is_literal: whether the value at a place stands in the file itself.
    """
    yield from _repeated(data)
    named = (route.get("name") for _, route in entries(data, "routes"))
    route_names = list(dict.fromkeys(name for name in named if isinstance(name, str)))
    for index, key in entries(data, "keys"):
        where = ("keys", index)
        yield from _one_secret(key, where)
        yield from _unknown_routes(key, where, route_names)
        if isinstance(key.get("secret"), str) and is_literal((*where, "secret")):
            yield _in_the_open((*where, "secret"), "keep its `sha256` here instead, or `${NAME}`")
    if isinstance(section(data, "admin").get("token"), str) and is_literal(("admin", "token")):
        yield _in_the_open(("admin", "token"), "set `WSKEEPER_ADMIN_TOKEN`, or write `${NAME}`")
    if isinstance(section(data, "jwt").get("secret"), str) and is_literal(("jwt", "secret")):
        yield _in_the_open(("jwt", "secret"), "write `${NAME}`")


def _in_the_open(where: Where, mend: str) -> Finding:
    return Finding(where, "stands here for everybody who may read this file", mend, "warning")


def _one_secret(key: Data, where: Where) -> Iterator[Finding]:
    secret = key.get("secret")
    sha256 = key.get("sha256")
    if secret is not None and sha256 is not None:
        yield Finding(where, "has both `secret` and `sha256`", "keep one of them")
    if secret is None and sha256 is None:
        yield Finding(
            where,
            "has neither `secret` nor `sha256`",
            "add `sha256:` with the digest of the key (`printf %s KEY | sha256sum`)",
        )
    if isinstance(secret, str) and 0 < len(secret) < SHORT_SECRET:
        yield short((*where, "secret"))


def _unknown_routes(key: Data, where: Where, route_names: list[str]) -> Iterator[Finding]:
    routes = key.get("routes")
    for index, name in enumerate(routes if isinstance(routes, list) else ()):
        if name not in route_names and read(fields.name, name) is not None:
            known = ", ".join(f"`{route}`" for route in route_names)
            yield Finding(
                (*where, "routes", index),
                "is not the name of a route",
                f"write one of {known}" if known else "add the route",
            )


def _repeated(data: Data) -> Iterator[Finding]:
    by_name: dict[str, int] = {}
    by_digest: dict[str, int] = {}
    for index, key in entries(data, "keys"):
        name = key.get("name")
        digest = digest_of(key.get("secret"), key.get("sha256"))
        if isinstance(name, str) and (first := by_name.setdefault(name, index)) != index:
            yield Finding(
                ("keys", index, "name"),
                f"is also the name of `keys[{first}]`",
                "give each key its own",
            )
        if digest and (first := by_digest.setdefault(digest, index)) != index:
            yield Finding(
                ("keys", index),
                f"has the same secret as `keys[{first}]`",
                "give each key its own, or remove one",
            )

"""Rules about `upstream` that span several of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.config import targets, values
from proxy.config.faults import Finding
from proxy.config.rules import entries, read, section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.faults import Where
    from proxy.config.rules import Data
    from proxy.config.values import Target

# The defaults of `model.Health`, in seconds.
_INTERVAL = 10.0
_TIMEOUT = 2.0


def findings(data: Data) -> Iterator[Finding]:
    """Every breach of these rules, and what deserves a warning."""
    for index, route in entries(data, "routes"):
        upstream, where = section(route, "upstream"), ("routes", index, "upstream")
        listed = upstream.get("targets")
        found = [read(targets.target, each) for each in listed] if isinstance(listed, list) else []
        yield from _targets(found, (*where, "targets"))
        if len(found) == 1 and upstream.get("balance") is not None:
            yield Finding(
                (*where, "balance"),
                "has no effect on one target",
                "add one, or remove it",
                "warning",
            )
        yield from _health(section(upstream, "health"), (*where, "health"))
        yield from _tls(section(upstream, "tls"), found, (*where, "tls"))


def _targets(found: list[Target | None], where: Where) -> Iterator[Finding]:
    for index, target in enumerate(found):
        first = found.index(target)
        if target is not None and first != index:
            yield Finding(
                (*where, index), f"is also `targets[{first}]`", "keep one: none counts for two"
            )


def _health(health: Data, where: Where) -> Iterator[Finding]:
    interval = _duration(health.get("interval", _INTERVAL))
    timeout = _duration(health.get("timeout", _TIMEOUT))
    if interval is not None and timeout is not None and timeout > interval:
        yield Finding(
            (*where, "timeout") if "timeout" in health else (*where, "interval"),
            "lets a check begin before the last one is over",
            "write a `timeout` that is not longer than `interval`",
        )


def _duration(value: Any) -> float | None:
    return read(values.duration, value)


def _tls(tls: Data, found: list[Target | None], where: Where) -> Iterator[Finding]:
    if not tls:
        return
    schemes = {target.scheme for target in found if target is not None}
    if schemes and None not in found and "wss" not in schemes:
        yield Finding(
            where,
            f"has no effect on a `{min(schemes)}` target",
            "write `wss://`, or remove it",
            "warning",
        )
    if tls.get("private_key") is not None and tls.get("certificate") is None:
        yield Finding(
            (*where, "certificate"),
            "is missing beside `private_key`",
            "name the certificate, or remove the key",
        )
    if tls.get("verify") is False:
        yield Finding(
            (*where, "verify"),
            "accepts any certificate: whoever is in between can read and change everything",
            "name the upstream's certificate authority in `ca`",
            "warning",
        )

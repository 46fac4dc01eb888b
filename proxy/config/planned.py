"""Fields of the contract that this version does not build: naming one is a fault that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.faults import Wrong

if TYPE_CHECKING:
    from proxy.config.faults import Where

# Places in the document, list positions left out.
_LIMITS = (
    "auth_failures_per_minute",
    "connections",
    "connections_per_address",
    "connections_per_subject",
    "handshakes_per_second",
    "message_size",
    "messages_per_second",
    "bytes_per_second",
    "on_exceed",
)
_FIELDS: dict[tuple[str, ...], tuple[str, ...]] = {
    (): (
        "workers",
        "metrics",
        "keepalive",
        "max_lifetime",
    ),
    ("limits",): _LIMITS,
    ("timeouts",): ("idle",),
    ("keys", "limits"): tuple(limit for limit in _LIMITS if limit != "connections"),
    ("routes",): ("limits", "keepalive", "max_lifetime", "close_codes"),
    ("routes", "limits"): _LIMITS,
    ("routes", "timeouts"): ("idle",),
}


def is_planned(where: Where) -> bool:
    """Whether a later version has the field at this place in the document."""
    *parents, name = (step for step in where if isinstance(step, str))
    return name in _FIELDS.get(tuple(parents), ())


def not_built(what: str, mend: str = "remove it") -> Wrong:
    """The fault for `what`: a field, or a value of a field that is built."""
    return Wrong(f"`{what}` is not built in this version of wskeeper", mend)

"""Every way the gateway says no, in two tables.

`REFUSALS` has one row for each cause that ends a handshake: the status before the 101, the close
code where `refuse_with: close` answers instead, the metric label (the code itself), the level of
its log line. `ENDINGS` has one row for each reason for which the gateway ends a live session.
The names are the public contract; add a row here before raising anything new.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Level = Literal["debug", "info", "warning", "error"]

# Close codes (RFC 6455 section 7.4 and IANA's registry).
NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013
UNAUTHORIZED = 3000
FORBIDDEN = 3003
NOT_FOUND = 4404


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """One cause for which a handshake is refused."""

    code: str
    status: int
    title: str
    level: Level = "info"
    # Seconds for Retry-After; None sends no such header.
    retry_after: int | None = None


def close_code_for(status: int) -> int:
    """The close code with which `refuse_with: close` says an HTTP status."""
    if status >= 500:
        return TRY_AGAIN_LATER
    return _CLOSE_CODES.get(status, POLICY_VIOLATION)


_CLOSE_CODES = {
    401: UNAUTHORIZED,
    403: FORBIDDEN,
    404: NOT_FOUND,
    429: TRY_AGAIN_LATER,
}


def _by_code(rows: Iterable[RefusalRow]) -> Mapping[str, RefusalRow]:
    return MappingProxyType({row.code: row for row in rows})


REFUSALS = _by_code(
    (
        RefusalRow("bad_request", 400, "The request is not a valid WebSocket handshake"),
        RefusalRow("bad_path", 400, "The request target is ambiguous"),
        RefusalRow("key_ambiguous", 400, "More than one credential was sent"),
        RefusalRow("key_missing", 401, "A key is required"),
        RefusalRow("key_unknown", 401, "The key is not known"),
        RefusalRow("route_forbidden", 403, "The key does not open this route"),
        RefusalRow("origin_forbidden", 403, "This origin may not connect"),
        RefusalRow("address_forbidden", 403, "This address may not connect"),
        RefusalRow("no_route", 404, "There is nothing at this path"),
        RefusalRow("method_not_allowed", 405, "Only GET can open a WebSocket"),
        RefusalRow("head_timeout", 408, "The request head did not arrive in time"),
        RefusalRow("target_too_long", 414, "The request target is too long"),
        RefusalRow("upgrade_required", 426, "This path speaks WebSocket"),
        RefusalRow("upgrade_stripped", 426, "The Upgrade header was lost on the way here"),
        RefusalRow("unsupported_version", 426, "Only WebSocket version 13 is spoken here"),
        RefusalRow("head_too_large", 431, "The request head is too large"),
        RefusalRow("internal_error", 500, "The gateway failed", "error"),
        RefusalRow("upstream_unreachable", 502, "The service cannot be reached", "warning"),
        RefusalRow("upstream_invalid", 502, "The service gave an invalid answer", "warning"),
        RefusalRow("gateway_connections", 503, "The gateway is full", "warning", retry_after=5),
        RefusalRow("draining", 503, "The gateway is going away", retry_after=5),
        RefusalRow("upstream_timeout", 504, "The service did not answer in time", "warning"),
    )
)

# Outcomes of a handshake that are no refusal of ours.
ACCEPTED = "accepted"
CLIENT_GONE = "client_gone"
UPSTREAM_REFUSED = "upstream_refused"
OUTCOMES = (*REFUSALS, ACCEPTED, CLIENT_GONE, UPSTREAM_REFUSED)


class Refused(Exception):
    """A handshake that is not admitted.

    Args:
        code: a row of `REFUSALS`.
        detail: one sentence for the client: what is wrong and the mend. Never echoes the request.
        headers: further header lines of the answer.
        cause: for the log alone; may name addresses, never a credential.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        cause: str | None = None,
    ) -> None:
        super().__init__(code)
        self.row = REFUSALS[code]
        self.detail = detail
        self.headers = headers
        self.cause = cause

    @property
    def code(self) -> str:
        return self.row.code


@dataclass(frozen=True, slots=True)
class Ending:
    """A reason for which the gateway ends a live session.

    `to_client` and `to_upstream` are (close code, reason on the wire); None ends that leg's
    socket without a Close frame of ours.
    """

    reason: str
    to_client: tuple[int, str] | None
    to_upstream: tuple[int, str] | None
    # Under which the close is counted and logged.
    code: int
    level: Level = "info"


def _both(code: int, reason: str, level: Level = "info") -> Ending:
    return Ending(reason, (code, reason), (code, reason), code, level)


def _client_only(code: int, reason: str, level: Level = "info") -> Ending:
    return Ending(reason, (code, reason), None, code, level)


DRAINING = _both(GOING_AWAY, "draining")
CLIENT_BROKE_PROTOCOL = Ending(
    "protocol_error",
    to_client=(PROTOCOL_ERROR, "protocol_error"),
    to_upstream=(GOING_AWAY, "peer_error"),
    code=PROTOCOL_ERROR,
    level="warning",
)
UPSTREAM_BROKE_PROTOCOL = Ending(
    "protocol_error",
    to_client=(GOING_AWAY, "peer_error"),
    to_upstream=(PROTOCOL_ERROR, "protocol_error"),
    code=PROTOCOL_ERROR,
    level="warning",
)
UPSTREAM_LOST = _client_only(SERVICE_RESTART, "upstream_lost", "warning")
UPSTREAM_STALLED = _client_only(SERVICE_RESTART, "upstream_stalled", "warning")
CLIENT_STALLED = Ending(
    "client_stalled",
    to_client=None,
    to_upstream=(GOING_AWAY, "client_stalled"),
    code=GOING_AWAY,
    level="warning",
)
FAILED = _both(INTERNAL_ERROR, "internal_error", "error")

ENDINGS: Mapping[str, Ending] = MappingProxyType(
    {
        ending.reason: ending
        for ending in (
            DRAINING,
            CLIENT_BROKE_PROTOCOL,
            UPSTREAM_LOST,
            UPSTREAM_STALLED,
            CLIENT_STALLED,
            FAILED,
        )
    }
)

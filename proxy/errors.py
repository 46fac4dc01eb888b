"""Every way the gateway says no, in two tables.

`REFUSALS` has one row for each cause that ends a handshake: the status before the 101, the close
code where `refuse_with: close` answers instead, the metric label (the code itself), the level of
its log line. `ENDINGS` has one row for each reason for which the gateway ends a live session.
The names are the public contract; add a row here before raising anything new.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
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
MESSAGE_TOO_BIG = 1009
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
        RefusalRow("bad_request", 400, "The request is not valid"),
        RefusalRow("bad_path", 400, "The request target is ambiguous"),
        RefusalRow("key_ambiguous", 400, "More than one credential was sent"),
        RefusalRow("key_missing", 401, "A key is required"),
        RefusalRow("key_unknown", 401, "The key is not known"),
        RefusalRow("key_revoked", 401, "The key was revoked"),
        RefusalRow("key_expired", 401, "The key has expired"),
        RefusalRow("key_suspended", 401, "The key is suspended"),
        RefusalRow("token_invalid", 401, "The token is not valid"),
        RefusalRow("ticket_invalid", 401, "The ticket is not valid"),
        RefusalRow("plugin_refused", 403, "The caller was refused"),
        RefusalRow("route_forbidden", 403, "The key does not open this route"),
        RefusalRow("origin_forbidden", 403, "This origin may not connect"),
        RefusalRow("address_forbidden", 403, "This address may not connect"),
        RefusalRow("no_route", 404, "There is nothing at this path"),
        RefusalRow("method_not_allowed", 405, "The method is not allowed here"),
        RefusalRow("head_timeout", 408, "The request head did not arrive in time"),
        RefusalRow("first_message_timeout", 408, "The first message did not come in time"),
        RefusalRow("target_too_long", 414, "The request target is too long"),
        RefusalRow("upgrade_required", 426, "This path speaks WebSocket"),
        RefusalRow("upgrade_stripped", 426, "The Upgrade header was lost on the way here"),
        RefusalRow("unsupported_version", 426, "Only WebSocket version 13 is spoken here"),
        RefusalRow("key_connections", 429, "The key has too many connections", retry_after=5),
        RefusalRow(
            "address_connections", 429, "This address has too many connections", retry_after=5
        ),
        RefusalRow(
            "subject_connections", 429, "The subject has too many connections", retry_after=5
        ),
        RefusalRow("handshake_rate", 429, "This address connects too often", retry_after=1),
        RefusalRow(
            "auth_failures", 429, "This address showed too many wrong credentials", retry_after=60
        ),
        RefusalRow("head_too_large", 431, "The request head is too large"),
        RefusalRow("internal_error", 500, "The gateway failed", "error"),
        RefusalRow("upstream_unreachable", 502, "The service cannot be reached", "warning"),
        RefusalRow("upstream_invalid", 502, "The service gave an invalid answer", "warning"),
        RefusalRow("gateway_connections", 503, "The gateway is full", "warning", retry_after=5),
        RefusalRow(
            "store_unavailable", 503, "Keys cannot be checked now", "warning", retry_after=5
        ),
        RefusalRow("upstream_unhealthy", 503, "The service is not well", "warning", retry_after=5),
        RefusalRow("draining", 503, "The gateway is going away", retry_after=5),
        RefusalRow("upstream_timeout", 504, "The service did not answer in time", "warning"),
    )
)

# What the gateway's own HTTP services refuse besides; no outcome of a handshake.
SERVICE_REFUSALS = _by_code(
    (
        RefusalRow("session_unknown", 404, "There is no such session"),
        RefusalRow("body_too_large", 413, "The body is too large"),
        RefusalRow("body_invalid", 422, "The body cannot be used"),
        RefusalRow("ticket_quota", 429, "Too many tickets are waiting", retry_after=5),
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
        code: a row of `REFUSALS` or `SERVICE_REFUSALS`.
        detail: one sentence for the client: what is wrong and the mend. Never echoes the request.
        headers: further header lines of the answer.
        cause: for the log alone; may name addresses, never a credential.
        retry_after: seconds for Retry-After, in place of the row's.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        cause: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code)
        self.row = REFUSALS.get(code) or SERVICE_REFUSALS[code]
        self.detail = detail
        self.headers = headers
        self.cause = cause
        self.retry_after = self.row.retry_after if retry_after is None else ceil(retry_after)
        # Whose key was shown, for the log alone; set by whoever knows.
        self.key_id: str | None = None
        # Whether that key is one that can be guessed; set by whoever knows.
        self.weak = False
        # The digest of the credential that was shown and is not good; set by whoever knows.
        self.shown: bytes | None = None

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
CLIENT_MESSAGE_TOO_BIG = Ending(
    "message_too_big",
    to_client=(MESSAGE_TOO_BIG, "message_too_big"),
    to_upstream=(GOING_AWAY, "peer_error"),
    code=MESSAGE_TOO_BIG,
)
UPSTREAM_MESSAGE_TOO_BIG = Ending(
    "message_too_big",
    to_client=(GOING_AWAY, "peer_error"),
    to_upstream=(MESSAGE_TOO_BIG, "message_too_big"),
    code=MESSAGE_TOO_BIG,
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
CLIENT_TIMEOUT = Ending(
    "client_timeout",
    to_client=(POLICY_VIOLATION, "client_timeout"),
    to_upstream=(GOING_AWAY, "peer_error"),
    code=POLICY_VIOLATION,
)
UPSTREAM_TIMED_OUT = _client_only(SERVICE_RESTART, "upstream_timeout", "warning")
MESSAGE_RATE = Ending(
    "message_rate",
    to_client=(POLICY_VIOLATION, "message_rate"),
    to_upstream=(GOING_AWAY, "peer_error"),
    code=POLICY_VIOLATION,
)
IDLE_TIMEOUT = _both(GOING_AWAY, "idle_timeout")
MAX_LIFETIME = _both(GOING_AWAY, "max_lifetime")
FAILED = _both(INTERNAL_ERROR, "internal_error", "error")
TOKEN_EXPIRED = _both(UNAUTHORIZED, "token_expired")
ROUTE_REMOVED = _both(GOING_AWAY, "route_removed")
CLOSED_BY_ADMIN = _both(POLICY_VIOLATION, "closed_by_admin")


def closed_by_admin(code: int = POLICY_VIOLATION, reason: str = "closed_by_admin") -> Ending:
    """The ending of sessions that an operator closes.

    Args:
        code: a close code that may travel.
        reason: on the wire; at most 123 bytes of UTF-8.
    """
    said = (code, reason)
    return Ending(CLOSED_BY_ADMIN.reason, said, said, code)


# Codes of what a known key may not do, or not any more.
KEY_OBJECTIONS = (
    "key_revoked",
    "key_suspended",
    "key_expired",
    "route_forbidden",
    "origin_forbidden",
    "address_forbidden",
)

# What ends sessions whose key, or the rules, no longer admit them, by the code of the refusal.
OBJECTIONS: Mapping[str, Ending] = MappingProxyType(
    {
        code: _both(POLICY_VIOLATION, code)
        for code in (
            *KEY_OBJECTIONS,
            "key_missing",
            "token_invalid",
            "ticket_invalid",
            "plugin_refused",
        )
    }
)

ENDINGS: Mapping[str, Ending] = MappingProxyType(
    {
        ending.reason: ending
        for ending in (
            DRAINING,
            CLIENT_BROKE_PROTOCOL,
            CLIENT_MESSAGE_TOO_BIG,
            UPSTREAM_LOST,
            UPSTREAM_STALLED,
            CLIENT_STALLED,
            CLIENT_TIMEOUT,
            UPSTREAM_TIMED_OUT,
            MESSAGE_RATE,
            IDLE_TIMEOUT,
            MAX_LIFETIME,
            FAILED,
            CLOSED_BY_ADMIN,
            TOKEN_EXPIRED,
            ROUTE_REMOVED,
            *OBJECTIONS.values(),
        )
    }
)

# Every reason that a Close frame of the gateway's may carry.
CLOSE_REASONS = frozenset({*ENDINGS, *REFUSALS, UPSTREAM_REFUSED, "peer_error"})

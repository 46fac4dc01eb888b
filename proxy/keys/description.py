"""What is told of a key, in the words of the API and of `--json`: everything but its digests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from proxy.keys.key import Key, KeyLimits

Source = Literal["store", "configuration"]


def moment(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 text in UTC, exact to the microsecond."""
    at = datetime.fromtimestamp(seconds, UTC)
    precision = "microseconds" if at.microsecond % 1000 else "milliseconds"
    return at.isoformat(timespec=precision if at.microsecond else "seconds").replace("+00:00", "Z")


def moment_or_none(seconds: float | None) -> str | None:
    """As `moment`; None stays None."""
    return None if seconds is None else moment(seconds)


def described(
    key: Key, *, now: float, last_used_at: float | None, source: Source
) -> dict[str, Any]:
    """A key as JSON; `read_key_fields` takes back what can be changed of it.

    Args:
        key: it.
        now: seconds since the epoch, which its state depends on.
        last_used_at: when a session with it last began; None when none did.
        source: what holds it.
    """
    return {
        "id": key.id,
        "name": key.name,
        "state": key.state(now),
        **scope_of(key),
        "created_at": moment_or_none(key.created_at),
        "expires_at": moment_or_none(key.expires_at),
        "suspended_at": moment_or_none(key.suspended_at),
        "revoked_at": moment_or_none(key.revoked_at),
        "last_used_at": moment_or_none(last_used_at),
        "weak": key.weak,
        "source": source,
        "secrets": [{"valid_until": moment_or_none(secret.until)} for secret in key.secrets],
    }


def scope_of(key: Key) -> dict[str, Any]:
    """What a key opens, and to whom, by the names that the configuration uses."""
    allow = None if key.allow is None else [str(network) for network in key.allow]
    origins = (
        None if key.origins is None else sorted(origin.decode("ascii") for origin in key.origins)
    )
    return {
        "routes": None if key.routes is None else sorted(key.routes),
        "limits": _limits_of(key.limits),
        "origins": origins,
        "addresses": {"allow": allow, "deny": [str(network) for network in key.deny]},
        "metadata": dict(key.metadata),
    }


def _limits_of(limits: KeyLimits) -> dict[str, Any]:
    to_upstream, to_client = limits.message_size
    size = {"client_to_upstream": to_upstream, "upstream_to_client": to_client}
    told = limits._asdict() | {
        "message_size": None if limits.message_size == (None, None) else size
    }
    return {name: _plain(value) for name, value in told.items()}


def _plain(value: Any) -> Any:
    """A whole number without a fraction: `10` is what was written, not `10.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value

"""A key: what the gateway knows of a credential, which is everything but the secret."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import quote

from proxy.config.values import within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.config.values import IpAddress, Network

State = Literal["active", "suspended", "expired", "revoked"]
STATES: Final[tuple[State, ...]] = ("active", "suspended", "expired", "revoked")

# What an objection to a key that is not active is called.
_INACTIVE: Final = {
    "suspended": "key_suspended",
    "expired": "key_expired",
    "revoked": "key_revoked",
}


# To be copied: OpenSSL looks an algorithm up anew for each that is made.
_SHA256: Final = hashlib.sha256()


def digest_of(secret: bytes) -> bytes:
    """The SHA-256 of a secret: all that is kept, compared and looked up."""
    digest = _SHA256.copy()
    digest.update(secret)
    return digest.digest()


class Secret(NamedTuple):
    """One secret of a key.

    Args:
        digest: its SHA-256, 32 bytes.
        until: when it stops to open anything, in seconds since the epoch; None for as long as its
            key does. A rotated secret has such an end.
    """

    digest: bytes
    until: float | None = None


class KeyLimits(NamedTuple):
    """What a key may take; None is no limit.

    Args:
        connections: live sessions of the key at a time, on all routes together.
        connections_per_address: of them, those from one client address (IPv6: /64).
        connections_per_subject: of them, those of one subject.
        handshakes_per_second: with the key, from one client address.
        message_size: bytes of one message on the wire, client to upstream and upstream to client.
        messages_per_second: client to upstream, of all sessions of the key together.
        bytes_per_second: client to upstream, of all sessions of the key together.
        on_exceed: what becomes of a session above one of the last two; None for what its route
            says.
    """

    connections: int | None = None
    connections_per_address: int | None = None
    connections_per_subject: int | None = None
    handshakes_per_second: float | None = None
    message_size: tuple[int | None, int | None] = (None, None)
    messages_per_second: float | None = None
    bytes_per_second: float | None = None
    on_exceed: Literal["throttle", "close"] | None = None


UNLIMITED: Final = KeyLimits()

_NOTHING_SET: Final = (None, None, None)


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Moments are seconds since the epoch.

    Args:
        id: public, stable.
        name: unique; what logs, metrics and upstreams call it.
        secrets: newest first; more than one while a rotation's overlap lasts.
        routes: names of the routes it opens; None for all.
        limits: `UNLIMITED` itself where none is set.
        origins: pages that may use it, as exact lower-case origins; None for any.
        allow: networks of clients that may use it; None for any.
        deny: networks that may not.
        metadata: sent to the upstream as `X-Wskeeper-Meta-<name>`.
        weak: imported although its secret is short.
    """

    id: str
    name: str
    secrets: tuple[Secret, ...]
    routes: frozenset[str] | None = None
    created_at: float | None = None
    expires_at: float | None = None
    suspended_at: float | None = None
    revoked_at: float | None = None
    limits: KeyLimits = UNLIMITED
    origins: frozenset[bytes] | None = None
    allow: tuple[Network, ...] | None = None
    deny: tuple[Network, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    weak: bool = False
    # Whether its newest secret opens everything, for everybody and for good, as most keys' does.
    _opens_all: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.limits == UNLIMITED:
            object.__setattr__(self, "limits", UNLIMITED)
        ends = (self.revoked_at, self.suspended_at, self.expires_at)
        scope = (self.routes, self.origins, self.allow)
        opens_all = (
            ends == scope == _NOTHING_SET
            and not self.deny
            and bool(self.secrets)
            and self.secrets[0].until is None
        )
        object.__setattr__(self, "_opens_all", opens_all)

    def state(self, now: float) -> State:
        """What the key is good for; of several the strongest."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active" if self.suspended_at is None else "suspended"

    def secret(self, digest: bytes) -> Secret | None:
        """The secret with that digest, valid or past."""
        return next((secret for secret in self.secrets if secret.digest == digest), None)

    def objection(
        self, digest: bytes, now: float, *, route: str, origin: bytes | None, address: IpAddress
    ) -> str | None:
        """Why the key does not carry a session; None when it does.

        Handshakes and, whenever the key changes, live sessions are judged by this alone.

        Args:
            digest: of the secret that was shown.
            now: seconds since the epoch.
            route: the name of the session's route.
            origin: the page's, lower case; None when there is none.
            address: of the client.

        Returns:
            A code of the table of refusals.
        """
        if self._opens_all and digest == self.secrets[0].digest:
            return None
        state = self.state(now)
        if state != "active":
            return _INACTIVE[state]
        secret = self.secret(digest)
        if secret is None:
            return "key_revoked"
        if secret.until is not None and secret.until <= now:
            return "key_expired"
        if self.routes is not None and route not in self.routes:
            return "route_forbidden"
        if self.origins is not None and origin is not None and origin not in self.origins:
            return "origin_forbidden"
        allowed = self.allow is None or within(address, self.allow)
        if not allowed or (self.deny and within(address, self.deny)):
            return "address_forbidden"
        return None

    def next_end(self, now: float) -> float | None:
        """The next moment at which time alone changes what the key opens."""
        ends = [secret.until for secret in self.secrets if secret.until is not None]
        if self.expires_at is not None:
            ends.append(self.expires_at)
        # Most keys have no end at all, and a store may hold many of them.
        return min((end for end in ends if end > now), default=None) if ends else None


def identity_headers(key: Key) -> tuple[bytes, ...]:
    """The header lines that tell the upstream whose key this is."""
    pairs = [("Key-Id", key.id), ("Key-Name", key.name)]
    return tuple(header_line(name, value) for name, value in pairs) + metadata_headers(key.metadata)


def metadata_headers(metadata: Mapping[str, str]) -> tuple[bytes, ...]:
    """The header lines of a caller's metadata."""
    return tuple(header_line(f"Meta-{name}", value) for name, value in metadata.items())


def header_line(name: str, value: str) -> bytes:
    """An `X-Wskeeper-` line; what is not printable ASCII is percent-encoded as UTF-8."""
    text = "".join(c if " " <= c <= "~" and c != "%" else quote(c, safe="") for c in value)
    return f"X-Wskeeper-{name}: {text}".encode()

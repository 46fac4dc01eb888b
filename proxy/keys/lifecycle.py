"""What may be done with a key, as functions from the key before to the key after.

The command line and the admin API do nothing else; a store only keeps the outcome.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from proxy.keys.key import Key, Secret

# An imported secret below this length is weak.
SHORT_SECRET: Final = 20

# Secrets that a key may have at a time: rotations faster than their overlaps end.
MAX_SECRETS: Final = 5


class NotPossible(ValueError):
    """The key's state does not allow it; the message names the mend."""


def rotated(key: Key, digest: bytes, now: float, overlap: float) -> Key:
    """The key with a new secret; the ones before stay valid for the overlap.

    Args:
        digest: of the new secret.
        overlap: seconds; 0 ends the secrets before at once.

    Raises:
        NotPossible: it is revoked or expired, or rotated too often.
    """
    state = key.state(now)
    if state == "revoked":
        raise NotPossible("the key is revoked; create a new one (deleting this one frees its name)")
    if state == "expired":
        raise NotPossible("the key is expired; give it a later end first, or create a new one")
    until = now + overlap
    # Past secrets are kept until the key is gone: whoever still shows one is told what happened.
    before = tuple(
        secret._replace(until=until if secret.until is None else min(secret.until, until))
        for secret in key.secrets
    )
    valid = sum(secret.until is None or secret.until > now for secret in before)
    if valid >= MAX_SECRETS:
        raise NotPossible(f"{valid} secrets of the key are still valid; wait for an overlap to end")
    return replace(key, secrets=(Secret(digest), *before)[: 2 * MAX_SECRETS])


def revoked(key: Key, now: float) -> Key:
    """The key, revoked for good; revoking it twice changes nothing."""
    return key if key.revoked_at is not None else replace(key, revoked_at=now)


def suspended(key: Key, now: float) -> Key:
    """The key, put aside until it is resumed; suspending it twice changes nothing.

    Raises:
        NotPossible: it is revoked.
    """
    if key.revoked_at is not None:
        raise NotPossible("the key is revoked, and a revoked key stays so")
    return key if key.suspended_at is not None else replace(key, suspended_at=now)


def resumed(key: Key) -> Key:
    """The key, back from being suspended; resuming an active one changes nothing.

    Raises:
        NotPossible: it is revoked.
    """
    if key.revoked_at is not None:
        raise NotPossible(
            "the key is revoked, and a revoked key stays so; create a new one (deleting this one"
            " frees its name)"
        )
    return key if key.suspended_at is None else replace(key, suspended_at=None)


def event_of(before: Key | None, after: Key | None) -> str:
    """The name under which a change of a key is logged."""
    if before is None:
        return "key_created"
    if after is None:
        return "key_deleted"
    if before.revoked_at is None and after.revoked_at is not None:
        return "key_revoked"
    if after.secrets[0].digest != before.secrets[0].digest:
        return "key_rotated"
    if (before.suspended_at is None) != (after.suspended_at is None):
        return "key_resumed" if after.suspended_at is None else "key_suspended"
    return "key_updated"

"""Keys checked: known, in good state, and good for this caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from proxy.errors import Refused
from proxy.keys.key import digest_of
from proxy.keys.principal import Principal, holder_of
from proxy.keys.secret import PREFIX

if TYPE_CHECKING:
    from proxy.auth.question import Question
    from proxy.config.values import IpAddress
    from proxy.keys.key import Key
    from proxy.keys.ring import KeyRing

_OURS: Final = PREFIX.encode()

# Principals that are remembered: making the header lines of one costs more than all checks.
_REMEMBERED: Final = 4096

# What a client is told beside the code.
_DETAILS: Final = {
    "key_revoked": "The key you sent was revoked; ask for a new one.",
    "key_expired": "The key you sent is past its end; ask for a new one, or send the one that "
    "replaced it.",
    "key_suspended": "The key you sent is suspended; ask whoever gave it to you.",
    "route_forbidden": "Your key is valid, but not for this route.",
    "origin_forbidden": "Your key is valid, but not for pages of that origin.",
    "address_forbidden": "Your key is valid, but not from your address.",
}
_AWAY: Final = "The gateway cannot look keys up at the moment; try again later."


class Trust(Protocol):
    """How far the keys in memory may be believed; an attribute each, since handshakes ask."""

    @property
    def up(self) -> bool:
        """Whether the store answers: an unknown key is unknown."""

    @property
    def fresh(self) -> bool:
        """Whether the store answered not too long ago: a known key is still good."""


class KeyVerifier:
    """Checks keys by the digest of what was sent.

    Args:
        keys: all there are.
        trust: how far they may be believed.
    """

    def __init__(self, keys: KeyRing, trust: Trust) -> None:
        # Its revision grows when what was admitted may have to be judged anew.
        self.ring = keys
        self._trust = trust
        self._principals: dict[bytes, Principal] = {}

    def is_ours(self, value: bytes) -> bool:
        """Whether a value can be a key: ours by its form, or one that is known."""
        return value.startswith(_OURS) or self.ring.find(digest_of(value)) is not None

    def knows(self, credential: bytes) -> bool:
        """Whether a key has, or had, that secret."""
        return self.ring.find(digest_of(credential)) is not None

    def verify(self, credential: bytes, question: Question) -> Principal:
        """Checks a key, and that it opens the route to this caller.

        Raises:
            Refused: `key_unknown`, `key_revoked`, `key_expired`, `key_suspended`,
                `route_forbidden`, `origin_forbidden`, `address_forbidden` or `store_unavailable`.
        """
        digest = digest_of(credential)
        key = self.ring.find(digest)
        if key is None:
            if not self._trust.up:
                raise Refused("store_unavailable", _AWAY)
            raise Refused("key_unknown", "The key you sent is not known here.")
        if not self._trust.fresh and not self.ring.is_fixed(key.id):
            raise Refused("store_unavailable", _AWAY)
        objection = key.objection(
            digest,
            question.now,
            route=question.route,
            origin=question.origin,
            address=question.address,
        )
        if objection is not None:
            raise _refusal(objection, key.id, weak=key.weak)
        known = self._principals.get(digest)
        return known if known is not None and known.key is key else self._principal(key, digest)

    def check_again(self, principal: Principal, question: Question) -> None:
        """Checks a principal that was admitted, as the keys are now.

        Raises:
            Refused: as `verify` does.
        """
        objection = self.objection(
            principal,
            question.now,
            route=question.route,
            origin=question.origin,
            address=question.address,
        )
        if objection is not None:
            raise _refusal(objection, principal.key_id)

    def objection(
        self,
        principal: Principal,
        now: float,
        *,
        route: str,
        origin: bytes | None,
        address: IpAddress,
    ) -> str | None:
        """Why a principal that was admitted is not any more; None while it is."""
        if principal.key is None:
            return None
        key = self.ring.get(principal.key.id)
        if key is None:
            return "key_revoked"
        return key.objection(principal.digest, now, route=route, origin=origin, address=address)

    def _principal(self, key: Key, digest: bytes) -> Principal:
        if len(self._principals) >= _REMEMBERED:
            self._principals.clear()
        known = self._principals[digest] = holder_of(key, digest)
        return known


def _refusal(objection: str, key_id: str | None, *, weak: bool = False) -> Refused:
    refused = Refused(objection, _DETAILS[objection])
    refused.key_id = key_id
    refused.weak = weak
    return refused

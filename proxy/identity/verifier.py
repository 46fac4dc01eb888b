"""Tokens checked with whatever keys their issuer has now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.auth import jwt
from proxy.auth.jwk import KeySet, UnknownKey
from proxy.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.auth.jwt import Claims, TokenRules
    from proxy.identity.jwks import JwksKeeper

# Before the first fetch: what is wrong under any key is refused, the rest is in want of one.
_NONE: Final = KeySet((), published=True)


class JwtVerifier:
    """Verifies tokens, with keys that stay or keys that are kept fresh.

    Args:
        rules: for tokens.
        keys: of the issuer.
        clock: seconds since the epoch.
    """

    def __init__(
        self, rules: TokenRules, keys: JwksKeeper | KeySet, clock: Callable[[], float]
    ) -> None:
        self._rules = rules
        self._keys = keys
        self._clock = clock

    def is_ours(self, token: bytes) -> bool:
        """Whether a value is a token of our issuer, by its looks."""
        return jwt.is_ours(token, self._rules)

    def verify_now(self, token: bytes) -> Claims:
        """Checks a token with the keys that are at hand.

        Raises:
            Refused: `token_invalid`.
            UnknownKey: they do not suffice: `verify` may know more.
        """
        keys = self._keys if isinstance(self._keys, KeySet) else self._keys.keys
        return jwt.verify(token, self._rules, _NONE if keys is None else keys, self._clock())

    async def verify(self, token: bytes) -> Claims:
        """Checks a token; fetches the keys once if those at hand do not suffice.

        Raises:
            Refused: `token_invalid`; `store_unavailable` where keys are wanting that cannot be
                fetched.
        """
        try:
            return self.verify_now(token)
        except UnknownKey:
            if isinstance(self._keys, KeySet):
                raise _not_published() from None
        await self._keys.refreshed()
        try:
            return self.verify_now(token)
        except UnknownKey:
            wanting = self._keys.failing or self._keys.keys is None
            raise (_out_of_reach() if wanting else _not_published()) from None


def _not_published() -> Refused:
    return Refused("token_invalid", "The token is signed with a key that its issuer does not have.")


def _out_of_reach() -> Refused:
    return Refused("store_unavailable", "The keys of the identity provider cannot be fetched.")

"""Who is calling? The one place where a request turns into a principal, or is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy.auth.carriers import AMBIGUOUS
from proxy.errors import Refused
from proxy.keys.key import digest_of
from proxy.keys.secret import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.auth.carriers import Carrier
    from proxy.handshake.head import Headers
    from proxy.keys.fixed import FixedKeys
    from proxy.keys.key import Key
    from proxy.routes import Route


_OURS = PREFIX.encode()


class Principal(NamedTuple):
    """A caller who proved to be somebody.

    Args:
        key: the key that was shown.
        credential_headers: the headers that carried it, to be kept from the upstream.
    """

    key: Key
    credential_headers: frozenset[bytes]


class Authenticator:
    """Finds a request's credential and checks it.

    Args:
        keys: where keys are looked up, by digest.
        carriers: those each route accepts, by the route's name. A route that is missing here
            admits nobody.
    """

    def __init__(self, keys: FixedKeys, carriers: Mapping[str, Sequence[Carrier]]) -> None:
        self._keys = keys
        self._carriers = carriers
        self._challenges = {
            route: (("WWW-Authenticate", ", ".join(carrier.challenge for carrier in accepted)),)
            for route, accepted in carriers.items()
        }
        self._strips = {
            # A header carrier's line never travels, with or without a credential in it.
            route: frozenset(
                carrier.header for carrier in accepted if carrier.header != b"authorization"
            )
            for route, accepted in carriers.items()
        }

    def authenticate(self, headers: Headers, route: Route) -> Principal:
        """Checks the credential of a request and that it opens the route.

        Raises:
            Refused: `key_ambiguous`, `key_missing`, `key_unknown` or `route_forbidden`.
        """
        found = {}
        strips = self._strips.get(route.name, frozenset())
        for carrier in self._carriers.get(route.name, ()):
            credential = carrier.claim(headers, self._is_ours)
            if credential is not None:
                found[credential] = carrier
                if carrier.header not in strips:
                    strips |= {carrier.header}
        if len(found) > 1:
            raise Refused("key_ambiguous", AMBIGUOUS)
        challenge = self._challenges.get(route.name, ())
        if not found:
            raise Refused(
                "key_missing",
                "Send your key on this upgrade request, in the way WWW-Authenticate names.",
                challenge,
            )
        key = self._keys.find(digest_of(next(iter(found))))
        if key is None:
            raise Refused("key_unknown", "The key you sent is not known here.", challenge)
        if not key.opens(route.name):
            raise Refused("route_forbidden", "Your key is valid, but not for this route.")
        return Principal(key, strips)

    def _is_ours(self, value: bytes) -> bool:
        return value.startswith(_OURS) or self._keys.find(digest_of(value)) is not None

"""Whether those whom other rules let in are welcome by the rules in force.

Live sessions are asked about when a configuration is taken, handshakes under way right before
they would become sessions. Credentials are not kept, so what vouched for a caller is judged: its
key as it is now, and for tokens and plugins whether the gateway trusts what it trusted then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.keys.principal import PREFLIGHT

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.auth.key_verifier import KeyVerifier
    from proxy.config.values import IpAddress
    from proxy.keys.principal import Principal
    from proxy.routes import RouteTable

ROUTE_REMOVED: Final = "route_removed"

# What callers are told whom nothing vouches for any more, by `Principal.auth`.
_UNVOUCHED: Final = {
    "jwt": "token_invalid",
    "plugin": "plugin_refused",
    "ticket": "ticket_invalid",
}


class Standing:
    """Judges by the rules in force those who came under others.

    Args:
        keys: checks keys.
        routes: in force.
    """

    def __init__(self, keys: KeyVerifier, routes: RouteTable) -> None:
        self._keys = keys
        self._routes = routes
        self._generation = 0
        # Of each way in that lost its trust, the generation of rules that took it.
        self._distrusted: dict[str, int] = {}

    def adopt(self, routes: RouteTable, *, generation: int, distrusted: Collection[str]) -> None:
        """Takes new rules.

        Args:
            generation: theirs, one above that before.
            distrusted: the values of `Principal.auth` that nothing vouches for any more.
        """
        self._routes = routes
        self._generation = generation
        self._distrusted.update(dict.fromkeys(distrusted, generation))

    def objection(
        self,
        principal: Principal,
        now: float,
        *,
        route: str,
        origin: bytes | None,
        same_origin: bool,
        address: IpAddress,
        since: int | None = None,
    ) -> str | None:
        """Why a caller is not welcome any more; None while it is.

        Args:
            now: seconds since the epoch.
            route: by its name.
            origin: of the page it came from, lower case; None when there was none.
            same_origin: whether that page was of the host that was asked.
            since: the generation that let it in; None for one that was let in, or asked about,
                under the generation before.

        Returns:
            `route_removed`, or a code of the table of refusals.
        """
        rules = self._routes.get(route)
        if rules is None:
            return ROUTE_REMOVED
        objection = rules.objection(address, origin, same_origin=same_origin)
        if objection is not None or rules.auth != "required" or principal is PREFLIGHT:
            return objection
        if principal.key is not None:
            return self._keys.objection(principal, now, route=route, origin=origin, address=address)
        if principal.auth not in _UNVOUCHED:
            return "key_missing"
        before = self._generation - 1 if since is None else since
        if self._distrusted.get(principal.auth, 0) > before:
            return _UNVOUCHED[principal.auth]
        return None

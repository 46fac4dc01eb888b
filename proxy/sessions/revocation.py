"""Ends the sessions that a key no longer carries, whatever became of the key."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from proxy.errors import OBJECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from proxy.handshake.client import Address
    from proxy.keys.principal import Principal
    from proxy.sessions.live import LiveSession
    from proxy.sessions.registry import Registry


class Judge(Protocol):
    """Who says whether a principal is still admitted."""

    def objection(
        self,
        principal: Principal,
        now: float,
        *,
        route: str,
        origin: bytes | None,
        address: Address,
    ) -> str | None:
        """A code of the table of refusals; None while there is nothing against it."""


class Revocation:
    """Judges live sessions again when their keys have changed.

    Args:
        registry: of live sessions.
        judge: the one that admitted them.
        binding: whether a route, by its name, refuses anybody at all.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        registry: Registry,
        judge: Judge,
        binding: Callable[[str], bool],
        wall: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._judge = judge
        self._binding = binding
        self._wall = wall

    def reconsider(self, key_ids: Collection[str]) -> int:
        """Ends the sessions of these keys that would not be admitted now; returns how many."""
        now = self._wall()
        ending: defaultdict[str, list[LiveSession]] = defaultdict(list)
        for session in self._registry:
            key_id = session.principal.key_id
            if key_id is None or key_id not in key_ids or not self._binding(session.route):
                continue
            objection = self._judge.objection(
                session.principal,
                now,
                route=session.route,
                origin=session.origin,
                address=session.address,
            )
            if objection is not None:
                ending[objection].append(session)
        return sum(
            self._registry.end(sessions, OBJECTIONS[objection])
            for objection, sessions in ending.items()
        )

"""A route's targets: which are worth asking now, and in which order."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxy.config.values import Target
    from proxy.routes import Route

    # Hears of a member whose `up` changed, and why it is down; None for one that is up again.
    Changed = Callable[["Member", str | None], None]

# Seconds for which a target is left alone that could not be connected to.
COOLING: Final = 5.0

_LONG_AGO: Final = float("-inf")


class Member:
    """One target of a pool, and what is known of it.

    Args:
        route: the name of the pool's route.
        changed: hears when it goes down or comes back.
    """

    __slots__ = (
        "_changed",
        "cooling_until",
        "failing",
        "healthy",
        "plain",
        "route",
        "target",
        "text",
    )

    def __init__(self, route: str, target: Target, changed: Changed) -> None:
        self.route = route
        self.target = target
        # Whether it speaks TCP without TLS.
        self.plain = target.socket_path is None and not target.secure
        # For logs and metrics.
        self.text = str(target)
        # What its checks say; without any it is.
        self.healthy = True
        # Whether the last connection to it failed.
        self.failing = False
        # On the loop's clock.
        self.cooling_until = _LONG_AGO
        self._changed = changed

    @property
    def up(self) -> bool:
        """Whether nothing speaks against it."""
        return self.healthy and not self.failing

    def reached(self) -> None:
        """A connection to it came about."""
        if self.failing:
            self.failing = False
            self.cooling_until = _LONG_AGO
            if self.healthy:
                self._changed(self, None)

    def missed(self, now: float, cause: str) -> None:
        """A connection to it failed."""
        was_up = self.up
        self.failing = True
        self.cooling_until = now + COOLING
        if was_up:
            self._changed(self, cause)

    def judged(self, *, healthy: bool, cause: str | None) -> None:
        """What its checks say.

        Args:
            cause: of the last check's failure; None when it passed.
        """
        was_up = self.up
        self.healthy = healthy
        if self.up is not was_up:
            self._changed(self, cause)


class Pool:
    """Chooses among the targets of one route.

    Args:
        members: at least one.
        balance: `round_robin`, `least_connections`, `key_hash` or `address_hash`.
        load: how many connections a target has.
    """

    def __init__(
        self, members: Sequence[Member], balance: str, load: Callable[[Target], int]
    ) -> None:
        self.members = tuple(members)
        # The only member there is; most routes have no more.
        self.only = self.members[0] if len(self.members) == 1 else None
        self._balance = balance
        self._load = load
        # How often somebody was chosen.
        self._turn = 0

    def order(self, now: float, affinity: bytes) -> list[Member]:
        """Whom to ask for one handshake: the first, and whom else if that cannot be reached.

        Those that failed a moment ago come last. What checks found unhealthy is not asked at all.

        Args:
            now: on the loop's clock.
            affinity: what equal choices are made for, where the balance is by hash.
        """
        healthy = [member for member in self.members if member.healthy]
        ready = [member for member in healthy if member.cooling_until <= now]
        cooling = [member for member in healthy if member.cooling_until > now]
        order = self._balanced(ready, affinity) + self._balanced(cooling, affinity)
        self._turn += 1
        if ready and order[0].failing:
            # One handshake finds out whether it is back; the others do not wait for that.
            order[0].cooling_until = now + COOLING
        return order

    def _balanced(self, members: list[Member], affinity: bytes) -> list[Member]:
        if self._balance in {"key_hash", "address_hash"}:
            # Rendezvous hashing: who loses its first choice goes to its second; nobody else moves.
            return sorted(members, key=lambda member: _weight(member, affinity), reverse=True)
        at = self._turn % len(members) if members else 0
        rotated = members[at:] + members[:at]
        if self._balance == "least_connections":
            rotated.sort(key=lambda member: self._load(member.target))
        return rotated


def pools_of(
    routes: Iterable[Route],
    *,
    load: Callable[[Target], int],
    changed: Changed,
    known: Iterable[Member] = (),
) -> dict[str, Pool]:
    """The pools of all routes, by their names.

    Args:
        known: members that stay what they are where a route still has their target.
    """
    places = {(member.route, member.target): member for member in known}

    def member(route: Route, target: Target) -> Member:
        return places.get((route.name, target)) or Member(route.name, target, changed)

    return {
        route.name: Pool([member(route, target) for target in route.targets], route.balance, load)
        for route in routes
    }


def _weight(member: Member, affinity: bytes) -> bytes:
    return blake2b(member.text.encode() + b"\0" + affinity, digest_size=8).digest()

"""Who takes how much: every limit that a handshake can meet (docs/configuration.md)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from proxy.config.values import Target
from proxy.gateway.limit_met import LimitMet
from proxy.gateway.route_limits import (
    CLIENT_TO_UPSTREAM,
    UPSTREAM_TO_CLIENT,
    RouteLimits,
    key_level,
    level_of,
    limits_for,
)
from proxy.keys.key import UNLIMITED as UNLIMITED_KEY
from proxy.limits.addresses import counted_as
from proxy.limits.buckets import HandshakeRate, TokenBucket
from proxy.limits.failures import AuthFailures
from proxy.limits.limit import Limit, strictest
from proxy.sessions.rules import MeteredRate

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable
    from typing import Literal

    from proxy.config.limit_fields import Limits
    from proxy.errors import Refused
    from proxy.handshake.client import Address
    from proxy.keys.key import Key
    from proxy.keys.principal import Principal
    from proxy.routes import Route, RouteTable
    from proxy.sessions.live import LiveSession
    from proxy.sessions.occupancy import Occupancy
    from proxy.sessions.rules import SessionLimits, SessionRules

# What a guesser is refused with: for want of the right credential.
_GUESSES: Final = frozenset({"key_missing", "key_unknown", "token_invalid", "ticket_invalid"})

_FULL_ROUTE: Final = "This service has as many connections as it may; try again later."
_FULL_KEY: Final = "Your key has as many connections as it may; close one of them first."
_FULL_ADDRESS: Final = "Your address has as many connections as it may; close one of them first."
_FULL_SUBJECT: Final = "There are as many connections for you as may be; close one of them first."
_TOO_OFTEN: Final = "Your address connects too often; wait as long as Retry-After says."
_GUESSING: Final = "Your address showed too many wrong credentials; wait, then use the right one."


class Counters:
    """What is counted over time; a new configuration counts on, where its limits are the same.

    Each is kept by the scope in which its limit counts, and the limit's value.
    """

    def __init__(self) -> None:
        self.rates: dict[tuple[str, float], HandshakeRate] = {}
        self.failures: dict[tuple[str, float], AuthFailures] = {}
        # Shared by the sessions of a key; by what is counted, too.
        self.buckets: OrderedDict[tuple[str, str, float], TokenBucket] = OrderedDict()

    def keep(self, kept: Collection[tuple[str, float]]) -> None:
        """Forgets what no limit of the configuration counts any more; keys come back by need."""
        for table in (self.rates, self.failures):
            for name in set(table).difference(kept):
                del table[name]

    def bucket(
        self, key_id: str, kind: str, rate: float, now: float, occupancy: Occupancy
    ) -> TokenBucket:
        """What the sessions of a key share, whether there are any now or were a moment ago.

        Args:
            kind: what is counted.
            rate: tokens a second.
            now: seconds on the loop's clock.
            occupancy: says which keys have sessions.
        """
        name, buckets = (key_id, kind, rate), self.buckets
        bucket = buckets.get(name)
        if bucket is None:
            # Two go for each that comes, if nobody would notice: the table shrinks.
            for _ in range(min(2, len(buckets))):
                oldest, other = buckets.popitem(last=False)
                if occupancy.of(oldest[0]) or other.level(now) < other.burst:
                    buckets[oldest] = other
            bucket = buckets[name] = TokenBucket(rate)
        return bucket


class Limiter:
    """Counts what clients, subjects, routes and keys take, and refuses what is too much.

    Args:
        top: the limits of the whole gateway.
        routes: all routes.
        occupancy: of live sessions, and of handshakes that are about to become one.
        counters: outlive the configuration.
    """

    def __init__(
        self, top: Limits, routes: RouteTable, occupancy: Occupancy, counters: Counters
    ) -> None:
        self._occupancy = occupancy
        general = level_of(top, scope="", place="limits")
        self._routes = {
            route.name: RouteLimits(
                route,
                (
                    general,
                    level_of(
                        route.limits,
                        scope=f"route {route.name}",
                        place=f"routes.{route.name}.limits",
                    ),
                ),
                closes=(route.limits.on_exceed or top.on_exceed) == "close",
            )
            for route in routes
        }
        self._counters = counters
        counters.keep(
            {
                (scope, limit.value)
                for limits in self._routes.values()
                for scope, limit in (*limits.handshakes, *limits.failures)
            }
        )

    # A handshake -------------------------------------------------------------------------------

    def check_client(self, route: Route, address: Address, now: float) -> None:
        """What needs no secret: how often a client comes, and how many sessions there are.

        Args:
            now: seconds on any steady clock.

        Raises:
            LimitMet: `handshake_rate`, `address_connections` or `gateway_connections`.
        """
        limits = self._routes[route.name]
        if limits.handshakes:
            self._check_rates(limits.handshakes, address, now)
        if limits.counts:
            self._check_places(limits, address)

    def check_caller(
        self, route: Route, address: Address, principal: Principal, now: float
    ) -> None:
        """How much the caller may take, now that it is known who it is.

        Raises:
            LimitMet: `handshake_rate`, `key_connections`, `address_connections` or
                `subject_connections`.
        """
        for scope, limit in self._routes[route.name].per_subject:
            self._check_subject(scope, limit, principal)
        key = principal.key
        if key is None or key.limits is UNLIMITED_KEY:
            return
        level = key_level(key)
        rate = level.limit("handshakes_per_second")
        if rate is not None:
            self._check_rates(((level.scope, rate),), address, now)
        cap = level.limit("connections")
        if cap is not None and self._is_full(key.id, cap):
            raise LimitMet("key_connections", _FULL_KEY, cap)
        cap = level.limit("connections_per_address")
        if cap is not None:
            self._check_address(level.scope, cap, address)
        cap = level.limit("connections_per_subject")
        if cap is not None:
            self._check_subject(level.scope, cap, principal)

    def seat(self, route: Route, address: Address, principal: Principal) -> tuple[Hashable, ...]:
        """Takes the places of a caller that is let in; returns who holds them.

        Raises:
            LimitMet: `address_connections` or `gateway_connections`.
        """
        limits, key = self._routes[route.name], principal.key
        if limits.counts:
            self._check_places(limits, address)
        holders: tuple[Hashable, ...]
        if key is not None and key.limits is UNLIMITED_KEY and not limits.counts:
            holders = (key.id,)
        else:
            holders = self._holders_of(limits, address, principal)
        self._occupancy.take(holders)
        return holders

    def recount(self, sessions: Iterable[LiveSession]) -> None:
        """Counts sessions that began under other limits for these, too."""
        for session in sessions:
            limits = self._routes.get(session.route)
            if limits is not None:  # Else it is about to end.
                before = session.holders
                session.holders = (
                    *self._holders_of(limits, session.address, session.principal),
                    # The place at its target is the balancing's, whatever the limits are.
                    *(holder for holder in before if isinstance(holder, Target)),
                )
                self._occupancy.take(session.holders)
                self._occupancy.release(before)

    def _holders_of(
        self, limits: RouteLimits, address: Address, principal: Principal
    ) -> tuple[Hashable, ...]:
        """Who has a place taken for a session, as far as there are limits to count for."""
        holders: list[Hashable] = []
        if limits.connections is not None:
            holders.append(("route", limits.route))
        for scope, _ in limits.per_address:
            holders.append(("address", scope, counted_as(address)))
        subject, key = principal.subject, principal.key
        if subject is not None:
            holders += [("subject", scope, subject) for scope, _ in limits.per_subject]
        if key is not None:
            holders.append(key.id)
            if key.limits.connections_per_address is not None:
                holders.append(("address", f"key {key.id}", counted_as(address)))
            if key.limits.connections_per_subject is not None and subject is not None:
                holders.append(("subject", f"key {key.id}", subject))
        return tuple(holders)

    # Guessing ----------------------------------------------------------------------------------

    def refusal(self, refused: Refused, route: Route, address: Address, now: float) -> Refused:
        """What a caller is refused with whose credential failed; counts the failure.

        Args:
            refused: as found out; `shown` is the digest of the credential, if there was one.
        """
        is_guess = refused.code in _GUESSES
        if not (is_guess or refused.weak):
            return refused
        client, wait = counted_as(address), self._exhausted(route, address, now)
        if wait is not None:
            return wait  # Also where a weak key was right: what else is wrong would tell so.
        if is_guess and refused.shown is not None:
            for scope, limit in self._routes[route.name].failures:
                self._failures_of(scope, limit).note(client, refused.shown, now)
        return refused

    def check_weak(self, principal: Principal, route: Route, address: Address, now: float) -> None:
        """Keeps a key that can be guessed from whoever is guessing; others always pass.

        Raises:
            LimitMet: `auth_failures`.
        """
        if principal.key is not None and principal.key.weak:
            refused = self._exhausted(route, address, now)
            if refused is not None:
                raise refused

    def _exhausted(self, route: Route, address: Address, now: float) -> LimitMet | None:
        for scope, limit in self._routes[route.name].failures:
            wait = self._failures_of(scope, limit).exhausted(counted_as(address), now)
            if wait is not None:
                return LimitMet("auth_failures", _GUESSING, limit, retry_after=max(wait, 1))
        return None

    # A session ---------------------------------------------------------------------------------

    def rules_of(self, route: Route) -> SessionRules:
        """What holds for every session of a route."""
        return self._routes[route.name].rules

    def limits_of(self, route: Route, principal: Principal, now: float) -> SessionLimits:
        """What one session may do.

        Args:
            now: seconds on the loop's clock.
        """
        plan, key = self._routes[route.name], principal.key
        limited = key is not None and key.limits is not UNLIMITED_KEY
        if plan.of_all is not None and not limited:
            return plan.of_all
        up, down = plan.message_sizes
        rates: list[MeteredRate] = []
        if plan.messages is not None:
            rates.append(MeteredRate("messages", plan.messages, TokenBucket(plan.messages.value)))
        if plan.bytes is not None:
            rates.append(MeteredRate("bytes", plan.bytes, TokenBucket(plan.bytes.value)))
        closes = plan.closes
        if key is not None and limited:
            level = key_level(key)
            up = strictest(up, level.message_limit(CLIENT_TO_UPSTREAM))
            down = strictest(down, level.message_limit(UPSTREAM_TO_CLIENT))
            rates += self._shared(key, "messages", level.limit("messages_per_second"), now)
            rates += self._shared(key, "bytes", level.limit("bytes_per_second"), now)
            if key.limits.on_exceed is not None:
                closes = key.limits.on_exceed == "close"
        return limits_for((up, down), rates, closes=closes)

    def _shared(
        self, key: Key, kind: Literal["messages", "bytes"], limit: Limit | None, now: float
    ) -> list[MeteredRate]:
        """A rate that all sessions of a key share."""
        if limit is None:
            return []
        bucket = self._counters.bucket(key.id, kind, limit.value, now, self._occupancy)
        return [MeteredRate(kind, limit, bucket)]

    # -------------------------------------------------------------------------------------------

    def _check_rates(
        self, limits: Iterable[tuple[str, Limit]], address: Address, now: float
    ) -> None:
        """Takes note of a handshake in all rates, or in none where one of them refuses it."""
        client, rates = counted_as(address), []
        for scope, limit in limits:
            rate = self._rate_of(scope, limit)
            wait = rate.wait(client, now)
            if wait is not None:
                raise LimitMet("handshake_rate", _TOO_OFTEN, limit, retry_after=max(wait, 1))
            rates.append(rate)
        for rate in rates:
            rate.take(client, now)

    def _rate_of(self, scope: str, limit: Limit) -> HandshakeRate:
        name = (scope, limit.value)
        rate = self._counters.rates.get(name)
        if rate is None:
            rate = self._counters.rates[name] = HandshakeRate(limit.value)
        return rate

    def _check_places(self, limits: RouteLimits, address: Address) -> None:
        cap = limits.connections
        if cap is not None and self._is_full(("route", limits.route), cap):
            raise LimitMet("gateway_connections", _FULL_ROUTE, cap)
        for scope, limit in limits.per_address:
            self._check_address(scope, limit, address)

    def _check_address(self, scope: str, limit: Limit, address: Address) -> None:
        if self._is_full(("address", scope, counted_as(address)), limit):
            raise LimitMet("address_connections", _FULL_ADDRESS, limit)

    def _check_subject(self, scope: str, limit: Limit, principal: Principal) -> None:
        subject = principal.subject
        if subject is not None and self._is_full(("subject", scope, subject), limit):
            raise LimitMet("subject_connections", _FULL_SUBJECT, limit)

    def _is_full(self, holder: Hashable, limit: Limit) -> bool:
        return self._occupancy.of(holder) >= limit.value

    def _failures_of(self, scope: str, limit: Limit) -> AuthFailures:
        name = (scope, limit.value)
        failures = self._counters.failures.get(name)
        if failures is None:
            failures = self._counters.failures[name] = AuthFailures(int(limit.value))
        return failures

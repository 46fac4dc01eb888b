"""A live session: the pure `Session` and the two sockets on which its decisions are carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.errors import ENDINGS, FAILED
from proxy.relay.commands import OTHER, Close, Command, Deadline, Divert, Finish, Later, Send, Side
from proxy.relay.liveness import IdleClock, lifetime_of
from proxy.relay.session import Session
from proxy.sessions.leg import Leg
from proxy.sessions.metered_leg import MeteredLeg

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Sequence

    from proxy.deadlines import DeadlineQueue, Deadlines
    from proxy.errors import Ending
    from proxy.handshake.client import Address
    from proxy.keys.principal import Principal
    from proxy.limits.limit import Limit
    from proxy.logs import Logger
    from proxy.relay.scanner import Cut, Scanner
    from proxy.sessions.ledger import Settled
    from proxy.sessions.registry import Registry
    from proxy.sessions.rules import SessionLimits, SessionRules

# Found at once: an enum looks for its members each time.
_CLIENT: Final = Side.CLIENT
_UPSTREAM: Final = Side.UPSTREAM


class LiveSession:
    """Two legs under one decision.

    Args:
        id: the request id of its handshake; unique among live sessions.
        route: name of its route.
        principal: who opened it.
        origin: the page it was opened from, lower case; None when there was none.
        same_origin: whether that page was of the host that was asked.
        address: of the client.
        client: the same as text.
        holders: who has a place taken for it.
        upstream: the target, for the log.
        scanners: of what the client and the upstream send.
        rules: of its route.
        limits: of its route and its key.
        mask: four unpredictable bytes, see `Session`.
        chance: a random number, at least 0 and below 1, by which its lifetime varies.
        now: seconds on the loop's clock.
        user_agent: what the client calls itself; None when it does not.
        subprotocol: that the upstream chose; None when it chose none.
    """

    __slots__ = (
        "_deadlines",
        "_due",
        "_log",
        "_loop",
        "_registry",
        "address",
        "client",
        "ends_at",
        "holders",
        "id",
        "idle",
        "legs",
        "limits",
        "opened_at",
        "origin",
        "principal",
        "route",
        "rules",
        "same_origin",
        "settled",
        "state",
        "subprotocol",
        "until",
        "upstream",
        "user_agent",
    )

    def __init__(
        self,
        *,
        id: str,
        route: str,
        principal: Principal,
        origin: bytes | None,
        same_origin: bool,
        address: Address,
        client: str,
        holders: tuple[Hashable, ...],
        upstream: str,
        scanners: tuple[Scanner, Scanner],
        rules: SessionRules,
        limits: SessionLimits,
        mask: bytes,
        chance: float,
        now: float,
        user_agent: bytes | None = None,
        subprotocol: bytes | None = None,
        registry: Registry,
        deadlines: Deadlines,
        log: Logger,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.id, self.route = id, route
        self.principal = principal
        self.origin = origin
        self.same_origin = same_origin
        self.address, self.client = address, client
        self.holders, self.upstream = holders, upstream
        self.user_agent, self.subprotocol = user_agent, subprotocol
        self.rules, self.limits = rules, limits
        one, other = scanners
        self.state = Session(
            one,
            other,
            close_timeout=rules.close_timeout,
            mask=mask,
            close_codes=rules.close_codes,
        )
        client_leg = MeteredLeg if limits.rates else Leg
        self.legs: tuple[Leg, ...] = (
            client_leg(self, _CLIENT, one),
            Leg(self, _UPSTREAM, other),
        )
        self._registry, self._log, self._loop = registry, log, loop
        # On the loop's clock, as `ends_at`; None where it may last for ever.
        self.opened_at = now
        self.ends_at: float | None = None
        # None where it may be idle for ever.
        self.idle: IdleClock | None = None
        self._wind_clocks(now, chance)
        # When its credential ends, in seconds since the epoch; None for never.
        self.until = principal.until
        # What of it is in the ledger of usage; None while nothing is.
        self.settled: Settled | None = None
        self._deadlines = deadlines
        # Where its deadline is, while it has one.
        self._due: DeadlineQueue | None = None

    # Life --------------------------------------------------------------------------------------

    def begin(self, client: asyncio.Transport, upstream: asyncio.Transport) -> None:
        """Takes over both sockets and registers the session; bytes flow from now on."""
        first, second = self.legs
        first.begin(client, upstream)
        second.begin(upstream, client)
        self._registry.add(self)
        self._log.info("connection_opened", **self._described())

    def _wind_clocks(self, now: float, chance: float) -> None:
        """Begins what its rules measure: its life and its idle time."""
        rules = self.rules
        if rules.max_lifetime is not None:
            self.ends_at = now + lifetime_of(rules.max_lifetime, chance)
        if rules.idle_timeout is not None:
            self.idle = IdleClock(rules.idle_timeout, now)

    def end(self, ending: Ending) -> None:
        """Ends the session for a reason of the gateway's."""
        self.apply(self.state.end(ending))

    def abort(self) -> None:
        """Drops both sockets at once."""
        if self.legs:
            self.apply(self.state.overdue())

    def lost(self, side: Side, failure: Exception | None) -> None:
        """A leg's socket is gone."""
        leg, other = self.legs[side], self.legs[OTHER[side]]
        if failure is not None and not isinstance(failure, OSError):
            # No socket fails like this: the loop closed it because one of us raised.
            self._log.error("internal_error", **self._described(), failure=failure)
            self.apply(self.state.end(FAILED))
        leg.gone = True
        if other.paused_at is not None:
            leg.resume_writing()  # Nobody waits for a socket that is gone.
        if other.gone:
            self._ended()
        else:
            self.apply(self.state.lost(side, reset=failure is not None))

    def _ended(self) -> None:
        state = self.state
        state.gone()
        if self._due is not None:
            self._due.discard(self)
        for leg in self.legs:
            leg.let_go()
        self.legs = ()  # The legs hold the session: without this cycle it is freed at once.
        duration = self._loop.time() - self.opened_at
        self._registry.remove(self, duration)
        sent, received = state.scanners
        fields: dict[str, Any] = {
            **self._described(),
            "duration_s": round(duration, 3),
            "initiator": state.initiator,
            "code": state.code,
            "reason": state.reason,
            "messages_from_client": sent.messages,
            "messages_from_upstream": received.messages,
            "bytes_from_client": sent.bytes,
            "bytes_from_upstream": received.bytes,
        }
        if state.violation is not None:
            fields["rule"] = state.violation
        tell = self._log.info
        if state.initiator == "gateway" and state.reason in ENDINGS:
            tell = getattr(self._log, ENDINGS[state.reason].level)
        tell("connection_closed", **fields)

    def _described(self) -> dict[str, str]:
        fields = {"request_id": self.id, "route": self.route}
        principal = self.principal
        if principal.key is not None:
            fields["key_id"] = principal.key.id
        if principal.subject is not None:
            fields["subject"] = principal.subject
        fields["client"] = self.client
        fields["upstream"] = self.upstream
        return fields

    # What the legs report ----------------------------------------------------------------------

    def paused(self, leg: Leg, now: float) -> None:
        """Reading from a leg has been paused until now, and is or goes on."""
        seconds = now - leg.pause_counted
        leg.pause_counted = now
        self._registry.totals[self.route].backpressure[leg.side] += seconds
        if leg.liveness is not None:
            leg.liveness.stood_still(seconds)

    def cut(self, side: Side, cut: Cut) -> None:
        """The scanner of `side` wants the last chunk treated as `cut` says."""
        if cut.forward:
            self._send(OTHER[side], cut.forward)
        if cut.answered:
            self._answered(side)
        elif cut.too_big is not None:
            limit = self.limits.message_sizes[side]
            assert limit is not None
            self.note_limit(limit)
        self.apply(self.state.cut(side, cut))
        if side is _UPSTREAM and self.state.scanners[side].close is not None:
            self.legs[_CLIENT].hurry()

    def _answered(self, side: Side) -> None:
        """A leg has answered a ping of ours."""
        liveness = self.legs[side].liveness
        assert liveness is not None
        seconds = liveness.answered(self._loop.time())
        if seconds is not None:
            self._registry.ping_rtt[side].observe(seconds)

    def note_limit(self, limit: Limit) -> None:
        """The session met a limit."""
        self._registry.limited[self.route, limit.name] += 1
        self._log.warning(
            "limited",
            **self._described(),
            limit=limit.name,
            value=limit.value,
            set_in=limit.set_in,
        )

    def apply(self, commands: Sequence[Command]) -> None:
        """Carries out what the session decided."""
        for command in commands:
            if isinstance(command, Deadline):
                self._arm(command.seconds)
            elif isinstance(command, Close):
                self.legs[command.side].transport.close()
            elif isinstance(command, Divert):
                for leg in self.legs:
                    leg.divert()
            elif isinstance(command, Send):
                self._send(command.side, command.data)
            elif isinstance(command, Finish):
                self._finish(self.legs[command.side].transport)
            elif isinstance(command, Later):
                self.legs[command.side].put_off(command.data)
            else:
                self.legs[command.side].transport.abort()

    def _send(self, side: Side, data: bytes) -> None:
        transport = self.legs[side].transport
        if not transport.is_closing():  # Reset, and not reported yet.
            transport.write(data)

    @staticmethod
    def _finish(transport: asyncio.Transport) -> None:
        if transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()

    def _arm(self, seconds: float) -> None:
        if self._due is not None:
            self._due.discard(self)
        due = self._due = self._deadlines.lasting(seconds)
        due.add(self)

    def overdue(self) -> None:
        """The deadline that the session asked for has passed."""
        self._due = None
        self.apply(self.state.overdue())

"""What each metric is at the moment; nothing is pushed while bytes flow."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from proxy.errors import OUTCOMES
from proxy.metrics import families
from proxy.metrics.counting import SOON_DAYS, count
from proxy.metrics.exposition import header_of, histogram_lines_of, lines_of
from proxy.relay.commands import Side
from proxy.relay.frames import Opcode
from proxy.routes import NO_ROUTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from proxy.gateway.admission import Admission
    from proxy.gateway.rules import ReloadRecord
    from proxy.keys.ring import KeyRing
    from proxy.metrics.counting import Count, Figures, KeyFigures
    from proxy.metrics.exposition import Form, HistogramRow, Row
    from proxy.metrics.families import Family
    from proxy.sessions.totals import Histogram, RouteTotals

DIRECTIONS: Final = ("client_to_upstream", "upstream_to_client")
LEGS: Final = ("client", "upstream")

# Exponents of two: 64 B, 256 B, … 64 MiB.
_SIZE_EXPONENTS: Final = range(6, 27, 2)


class GatewayCollector:
    """Reads the metrics off the registry and the routes' totals.

    Args:
        routes: names of those that have metrics: each has its series from the start.
        admission: whose registry and limits are shown.
        lag: seconds by which the event loop was late when last looked at.
        certificate_expiry: seconds since the epoch, by listener.
        leaving: whether the gateway is going away.
        keys: all that are known.
        store_up: whether their store answers.
        upstreams: every target, as (route, target, whether it is up).
        reloads: how reading the configuration again went.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        routes: Sequence[str],
        admission: Admission,
        lag: Callable[[], float],
        certificate_expiry: Callable[[], dict[str, float]],
        *,
        leaving: Callable[[], bool],
        keys: KeyRing,
        store_up: Callable[[], bool],
        upstreams: Callable[[], Iterable[tuple[str, str, bool]]],
        reloads: ReloadRecord,
        wall: Callable[[], float],
    ) -> None:
        self._routes = routes
        self._admission = admission
        self._lag = lag
        self._certificate_expiry = certificate_expiry
        self._leaving = leaving
        self._keys = keys
        self._store_up = store_up
        self._upstreams = upstreams
        self._reloads = reloads
        self._wall = wall

    async def lines(self, form: Form) -> Iterator[str]:
        """All series; the few that are of one moment come as one piece."""
        registry = self._admission.registry
        counted = await count(tuple(self._routes), registry, self._keys, self._wall())
        return self._lines(counted, form)

    def _lines(self, counted: Count, form: Form) -> Iterator[str]:
        for family, rows in self._numbers(counted):
            yield header_of(family, form)
            yield from lines_of(family, rows)
        for family, buckets in self._histograms(counted.totals):
            yield header_of(family, form)
            yield from histogram_lines_of(family, buckets)

    def _numbers(self, counted: Count) -> Iterator[tuple[Family, Iterable[Row]]]:
        """All counters and gauges."""
        registry, account = self._admission.registry, self._admission.account
        totals = counted.totals
        yield families.HANDSHAKES, _outcomes({NO_ROUTE: registry.totals[NO_ROUTE], **totals})
        yield (
            families.HTTP_REQUESTS,
            _by_pair(
                ((route, outcome), number)
                for route, one in totals.items()
                for outcome, number in one.http_outcomes.items()
            ),
        )
        yield families.WOULD_REFUSE, _by_pair(account.would_refuse.items())
        yield families.LIMITED, _by_pair(account.limited.items())
        yield (
            families.UPSTREAM_UP,
            (((route, target), int(is_up)) for route, target, is_up in self._upstreams()),
        )
        yield from _relayed(counted)
        limit = self._admission.total_connections
        yield _single(families.CONNECTIONS_LIMIT, float("inf") if limit is None else limit)
        yield from _key_numbers(counted.keys)
        yield from self._states()

    def _states(self) -> Iterator[tuple[Family, Iterable[Row]]]:
        """What there is one of."""
        yield _single(families.STORE_UP, int(self._store_up()))
        yield _single(families.DRAINING, int(self._leaving()))
        yield _single(families.RELOAD_SUCCESSFUL, int(self._reloads.successful))
        yield _single(families.RELOAD_SUCCESS_TIME, self._reloads.succeeded_at)
        yield _single(families.EVENT_LOOP_LAG, self._lag())
        yield (
            families.CERTIFICATE_EXPIRY,
            (((listener,), moment) for listener, moment in self._certificate_expiry().items()),
        )
        python = ".".join(map(str, sys.version_info[:3]))
        yield families.BUILD_INFO, [((version("wskeeper"), python), 1)]

    def _histograms(
        self, totals: dict[str, RouteTotals]
    ) -> Iterator[tuple[Family, Iterable[HistogramRow]]]:
        yield (
            families.HANDSHAKE_DURATION,
            (_histogram((route,), one.handshake_duration) for route, one in totals.items()),
        )
        yield (
            families.UPSTREAM_CONNECT_DURATION,
            (_histogram((route,), one.connect_duration) for route, one in totals.items()),
        )
        yield (
            families.CONNECTION_DURATION,
            (_histogram((route,), one.connection_duration) for route, one in totals.items()),
        )
        pings = zip(LEGS, self._admission.registry.ping_rtt, strict=True)
        yield families.PING_RTT, (_histogram((leg,), pongs) for leg, pongs in pings)
        yield families.MESSAGE_SIZE, _sizes(totals)


def _single(family: Family, value: float) -> tuple[Family, Iterable[Row]]:
    return family, [((), value)]


def _by_pair(counted: Iterable[tuple[tuple[str, str], int]]) -> Iterable[Row]:
    return sorted(counted)


def _outcomes(totals: dict[str, RouteTotals]) -> Iterator[Row]:
    for route, one in totals.items():
        # Most outcomes need a route.
        for outcome in OUTCOMES if route != NO_ROUTE else sorted(one.outcomes):
            yield (route, outcome), one.outcomes[outcome]


def _relayed(counted: Count) -> Iterator[tuple[Family, Iterable[Row]]]:
    routes, totals = counted.routes, counted.totals
    yield families.CONNECTIONS, (((route,), one.connections) for route, one in routes.items())
    yield families.MESSAGES, _both_ways(routes, lambda figures: figures.messages)
    yield families.BYTES, _both_ways(routes, lambda figures: figures.bytes)
    yield (
        families.FRAMES,
        (
            ((route, direction, opcode.name.lower()), one.traffic[side].opcodes[opcode])
            for route, one in totals.items()
            for side, direction in zip(Side, DIRECTIONS, strict=True)
            for opcode in Opcode
        ),
    )
    yield (
        families.BACKPRESSURE,
        (
            ((route, direction), seconds)
            for route, one in totals.items()
            for direction, seconds in zip(DIRECTIONS, one.backpressure, strict=True)
        ),
    )
    yield (
        families.CLOSES,
        (
            ((route, initiator, code), number)
            for route, one in totals.items()
            for (initiator, code), number in sorted(one.closes.items())
        ),
    )


def _key_numbers(counted: KeyFigures) -> Iterator[tuple[Family, Iterable[Row]]]:
    yield families.KEYS, (((state,), number) for state, number in counted.by_state.items())
    yield families.KEYS_EXPIRING, (((f"{days}d",), counted.ending[days]) for days in SOON_DAYS)
    if counted.used is not None:
        used = counted.used
        yield families.KEY_CONNECTIONS, (((key,), one.connections) for key, one in used.items())
        yield families.KEY_MESSAGES, _both_ways(used, lambda figures: figures.messages)
        yield families.KEY_BYTES, _both_ways(used, lambda figures: figures.bytes)


def _both_ways(
    figures: dict[str, Figures], of: Callable[[Figures], Sequence[int]]
) -> Iterator[Row]:
    for name, one in figures.items():
        for direction, number in zip(DIRECTIONS, of(one), strict=True):
            yield (name, direction), number


def _histogram(labels: tuple[str, ...], histogram: Histogram) -> HistogramRow:
    return labels, histogram.cumulative(), histogram.sum


def _sizes(totals: dict[str, RouteTotals]) -> Iterator[HistogramRow]:
    for route, one in totals.items():
        for direction, traffic in zip(DIRECTIONS, one.traffic, strict=True):
            by_size = traffic.messages_by_size
            rows = [(str(float(1 << n)), sum(by_size[: n + 1])) for n in _SIZE_EXPONENTS]
            yield (route, direction), [*rows, ("+Inf", sum(by_size))], traffic.message_bytes

"""The metrics, computed when somebody asks; nothing is pushed while bytes flow."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from proxy.errors import OUTCOMES
from proxy.relay.frames import Opcode
from proxy.relay.session import Side
from proxy.routes import NO_ROUTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from proxy.gateway.admission import Admission
    from proxy.keys.ring import KeyRing
    from proxy.sessions.totals import Histogram, RouteTotals

DIRECTIONS: Final = ("client_to_upstream", "upstream_to_client")

# Days ahead in which keys that end are counted.
_SOON_DAYS: Final = (1, 7, 30)

# Exponents of two: 64 B, 256 B, … 64 MiB.
_SIZE_EXPONENTS: Final = range(6, 27, 2)


class GatewayCollector(Collector):
    """Reads the metrics off the registry and the routes' totals.

    Args:
        routes: names of the configured routes, so that each has its series from the start.
        admission: whose registry and limits are shown.
        lag: seconds by which the event loop was late when last looked at.
        certificate_expiry: seconds since the epoch, by listener.
        leaving: whether the gateway is going away.
        keys: all that are known.
        store_up: whether their store answers.
        upstreams: every target, as (route, target, whether it is up).
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
        self._wall = wall

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance; registering must not scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metric families."""
        yield from self._handshakes()
        yield from self._sessions()
        yield from self._traffic()
        yield from self._key_figures()
        yield from self._process()

    def _of(self, route: str) -> RouteTotals:
        return self._admission.registry.totals[route]

    def _handshakes(self) -> Iterator[Metric]:
        outcomes = CounterMetricFamily(
            "wskeeper_handshakes", "Handshakes by how they ended.", labels=("route", "outcome")
        )
        for route in (NO_ROUTE, *self._routes):
            counted = self._of(route).outcomes
            for outcome in OUTCOMES if route != NO_ROUTE else sorted(counted):
                outcomes.add_metric((route, outcome), counted[outcome])
        yield outcomes
        would = CounterMetricFamily(
            "wskeeper_would_refuse",
            "Handshakes admitted by auth: report_only, by the code that would have refused them.",
            labels=("route", "outcome"),
        )
        for (route, code), count in sorted(self._admission.account.would_refuse.items()):
            would.add_metric((route, code), count)
        yield would
        yield self._histogram(
            "wskeeper_handshake_duration_seconds",
            "From the connection to the 101.",
            lambda totals: totals.handshake_duration,
        )
        yield self._histogram(
            "wskeeper_upstream_connect_duration_seconds",
            "Name, TCP and TLS towards the upstream.",
            lambda totals: totals.connect_duration,
        )
        limited = CounterMetricFamily(
            "wskeeper_limited", "How often a limit was met.", labels=("route", "limit")
        )
        for (route, limit), count in sorted(self._admission.account.limited.items()):
            limited.add_metric((route, limit), count)
        yield limited
        up = GaugeMetricFamily(
            "wskeeper_upstream_up",
            "1 while nothing speaks against a target.",
            labels=("route", "target"),
        )
        for route, target, is_up in self._upstreams():
            up.add_metric((route, target), int(is_up))
        yield up

    def _sessions(self) -> Iterator[Metric]:
        live = dict.fromkeys(self._routes, 0)
        for session in self._admission.registry:
            live[session.route] = live.get(session.route, 0) + 1
        connections = GaugeMetricFamily("wskeeper_connections", "Live sessions.", labels=("route",))
        for route, count in live.items():
            connections.add_metric((route,), count)
        yield connections
        limit = self._admission.total_connections
        yield GaugeMetricFamily(
            "wskeeper_connections_limit",
            "Sessions the gateway takes at most.",
            value=float("inf") if limit is None else limit,
        )
        yield self._histogram(
            "wskeeper_connection_duration_seconds",
            "How long sessions lived.",
            lambda totals: totals.connection_duration,
        )
        closes = CounterMetricFamily(
            "wskeeper_closes",
            "Ended sessions by who ended them, and with which close code.",
            labels=("route", "initiator", "code"),
        )
        for route in self._routes:
            for (initiator, code), count in sorted(self._of(route).closes.items()):
                closes.add_metric((route, initiator, code), count)
        yield closes

    def _traffic(self) -> Iterator[Metric]:
        labels = ("route", "direction")
        messages = CounterMetricFamily("wskeeper_messages", "Messages relayed.", labels=labels)
        received = CounterMetricFamily("wskeeper_bytes", "Bytes of frames relayed.", labels=labels)
        paused = CounterMetricFamily(
            "wskeeper_backpressure_seconds",
            "Time for which a sender was not read because its reader was slow.",
            labels=labels,
        )
        frames = CounterMetricFamily(
            "wskeeper_frames", "Frames relayed.", labels=(*labels, "opcode")
        )
        sizes = HistogramMetricFamily(
            "wskeeper_message_size_bytes", "Wire bytes of a message's payload.", labels=labels
        )
        live = self._live_counts()
        for route in self._routes:
            totals = self._of(route)
            for side, direction in enumerate(DIRECTIONS):
                alive_messages, alive_bytes = live.get((route, side), (0, 0))
                messages.add_metric((route, direction), totals.messages[side] + alive_messages)
                received.add_metric((route, direction), totals.bytes[side] + alive_bytes)
                paused.add_metric((route, direction), totals.backpressure[side])
                traffic = totals.traffic[side]
                for opcode in Opcode:
                    frames.add_metric(
                        (route, direction, opcode.name.lower()), traffic.opcodes[opcode]
                    )
                by_size = traffic.messages_by_size
                rows = [(str(float(1 << n)), sum(by_size[: n + 1])) for n in _SIZE_EXPONENTS]
                sizes.add_metric(
                    (route, direction), [*rows, ("+Inf", sum(by_size))], traffic.message_bytes
                )
        yield from (messages, received, frames, sizes, paused)

    def _live_counts(self) -> dict[tuple[str, int], tuple[int, int]]:
        """(messages, bytes) of live sessions by route and direction."""
        counts: dict[tuple[str, int], tuple[int, int]] = {}
        for session in self._admission.registry:
            for side in Side:
                scanner = session.state.scanners[side]
                messages, received = counts.get((session.route, side), (0, 0))
                counts[session.route, side] = (
                    messages + scanner.messages,
                    received + scanner.bytes,
                )
        return counts

    def _key_figures(self) -> Iterator[Metric]:
        now = self._wall()
        keys = GaugeMetricFamily("wskeeper_keys", "Keys by state.", labels=("state",))
        for state, count in self._keys.by_state(now).items():
            keys.add_metric((state,), count)
        yield keys
        expiring = GaugeMetricFamily(
            "wskeeper_keys_expiring", "Active keys that end within this time.", labels=("within",)
        )
        for days in _SOON_DAYS:
            expiring.add_metric((f"{days}d",), self._keys.expiring(now, days * 86_400.0))
        yield expiring
        yield GaugeMetricFamily(
            "wskeeper_store_up", "1 while the key store answers.", value=int(self._store_up())
        )

    def _process(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "wskeeper_draining",
            "1 while the gateway is going away.",
            value=int(self._leaving()),
        )
        yield GaugeMetricFamily(
            "wskeeper_event_loop_lag_seconds",
            "How late the event loop was when last looked at.",
            value=self._lag(),
        )
        expiry = GaugeMetricFamily(
            "wskeeper_tls_certificate_expiry_timestamp_seconds",
            "When a listener's certificate ends.",
            labels=("listener",),
        )
        for listener, moment in self._certificate_expiry().items():
            expiry.add_metric((listener,), moment)
        yield expiry
        build = GaugeMetricFamily("wskeeper_build_info", "Versions.", labels=("version", "python"))
        python = ".".join(map(str, sys.version_info[:3]))
        build.add_metric((version("wskeeper"), python), 1)
        yield build

    def _histogram(
        self, name: str, text: str, of: Callable[[RouteTotals], Histogram]
    ) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, text, labels=("route",))
        for route in self._routes:
            histogram = of(self._of(route))
            family.add_metric((route,), histogram.cumulative(), histogram.sum)
        return family

"""What a route has seen since the start: the part of the metrics that outlives sessions."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from proxy.relay.scanner import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.sessions.live import LiveSession

CONNECTION_BUCKETS: Final = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
HANDSHAKE_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
PING_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Histogram:
    """Counts by upper bound, as Prometheus wants them; one bisection per observation."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        # One more than bounds: the last counts what is above all of them.
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, observations up to it), `+Inf` last."""
        total = 0
        rows: list[tuple[str, float]] = []
        for bound, count in zip((*map(float, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((str(bound), float(total)))
        return rows


class RouteTotals:
    """The totals of one route; pairs are (client to upstream, upstream to client)."""

    __slots__ = (
        "backpressure",
        "bytes",
        "closes",
        "connect_duration",
        "connection_duration",
        "handshake_duration",
        "http_outcomes",
        "messages",
        "outcomes",
        "traffic",
    )

    def __init__(self) -> None:
        # Of ended sessions; those of live ones are added at scrape.
        self.messages = [0, 0]
        self.bytes = [0, 0]
        self.traffic = (Traffic(), Traffic())
        # Seconds for which the reading of a direction was paused.
        self.backpressure = [0.0, 0.0]
        # By (initiator, code label).
        self.closes: Counter[tuple[str, str]] = Counter()
        self.outcomes: Counter[str] = Counter()
        # Of ordinary requests.
        self.http_outcomes: Counter[str] = Counter()
        self.handshake_duration = Histogram(HANDSHAKE_BUCKETS)
        self.connect_duration = Histogram(HANDSHAKE_BUCKETS)
        self.connection_duration = Histogram(CONNECTION_BUCKETS)

    def take_over(self, ended: LiveSession, duration: float) -> None:
        """Adds what an ended session counted."""
        state = ended.state
        sent, received = state.scanners
        messages, passed = self.messages, self.bytes
        messages[0] += sent.messages
        messages[1] += received.messages
        passed[0] += sent.bytes
        passed[1] += received.bytes
        self.closes[state.initiator or "gateway", code_label(state.code)] += 1
        self.connection_duration.observe(duration)


@lru_cache(maxsize=64)
def code_label(code: int | None) -> str:
    """A close code as a label with a bounded number of values."""
    if code is None:
        return "none"
    if 1000 <= code <= 1014:
        return str(code)
    return {3: "3xxx", 4: "4xxx"}.get(code // 1000, "other")

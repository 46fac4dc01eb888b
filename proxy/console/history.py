"""The last quarter of an hour: what the gateway counted, and how fast."""

from __future__ import annotations

from collections import Counter, deque
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Seconds between two samples, and how many are kept: 15 minutes.
INTERVAL: Final = 2.0
SAMPLES: Final = 450

# Seconds over which handshakes are counted: there are few, and each of them whole.
MINUTE: Final = 60.0


class Sample(NamedTuple):
    """The counters of the gateway at one moment; pairs are (from clients, from upstreams).

    Args:
        at: in seconds since the epoch.
        clock: seconds of a clock that never jumps.
        messages, bytes: of whole messages.
        refused: handshakes by the code they were refused with.
    """

    at: float
    clock: float
    sessions: int
    messages: tuple[int, int]
    bytes: tuple[int, int]
    accepted: int
    refused: Mapping[str, int]


class Point(NamedTuple):
    """What a chart shows of a moment.

    Args:
        at: in seconds since the epoch.
        messages, bytes: in a second, (from clients, from upstreams).
        accepted, refused: handshakes in the minute before.
    """

    at: float
    sessions: int
    messages: tuple[float, float]
    bytes: tuple[float, float]
    accepted: int
    refused: int


class History:
    """Samples, the oldest of which make way for new ones."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES + 1)
        # Of the same samples but the first.
        self._points: deque[Point] = deque(maxlen=SAMPLES)

    def note(self, sample: Sample) -> None:
        """Takes the next sample; one of the same moment as the last tells nothing."""
        if self._samples and sample.clock <= self._samples[-1].clock:
            return
        self._samples.append(sample)
        if len(self._samples) > 1:
            self._points.append(self._point())

    def since(self, at: float) -> list[Point]:
        """The points after a moment, in seconds since the epoch; oldest first."""
        return [point for point in self._points if point.at > at]

    @property
    def latest(self) -> Point | None:
        """The last point; None until there are two samples."""
        return self._points[-1] if self._points else None

    def refused(self) -> Counter[str]:
        """Handshakes refused in the time of all samples, by code."""
        if not self._samples:
            return Counter()
        return _more(self._samples[0].refused, self._samples[-1].refused)

    def by_minute(self) -> list[Point]:
        """About one point a minute, the latest first."""
        found: list[Point] = []
        for point in reversed(self._points):
            if not found or found[-1].at - point.at >= MINUTE - INTERVAL / 2:
                found.append(point)
        return found

    def _point(self) -> Point:
        before, now = self._samples[-2], self._samples[-1]
        seconds = now.clock - before.clock
        first = self._a_minute_ago()
        return Point(
            now.at,
            now.sessions,
            _rates(before.messages, now.messages, seconds),
            _rates(before.bytes, now.bytes, seconds),
            max(0, now.accepted - first.accepted),
            _more(first.refused, now.refused).total(),
        )

    def _a_minute_ago(self) -> Sample:
        """The oldest sample that is not older than that."""
        now = self._samples[-1].clock
        for after, before in pairwise(reversed(self._samples)):
            if now - before.clock > MINUTE:
                return after
        return self._samples[0]


def _rates(before: tuple[int, int], now: tuple[int, int], seconds: float) -> tuple[float, float]:
    one, other = _grown(before, now)
    return one / seconds, other / seconds


def _grown(before: tuple[int, int], now: tuple[int, int]) -> Iterator[int]:
    """How much more there is; what was reset has nothing more."""
    return (max(0, new - old) for old, new in zip(before, now, strict=True))


def _more(before: Mapping[str, int], now: Mapping[str, int]) -> Counter[str]:
    return +Counter({code: count - before.get(code, 0) for code, count in now.items()})

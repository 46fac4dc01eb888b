"""What of a session is written down while somebody watches it, and costs nothing otherwise."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.relay.commands import Side
from proxy.relay.frame_record import FrameRecorder

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.deadlines import Deadlines
    from proxy.relay.frame_record import FrameHeader
    from proxy.sessions.live import LiveSession

# Seconds for which a session is recorded after somebody last looked at it.
WATCHED_FOR: Final = 30.0

# Sessions recorded at a time: who opens more pages takes the place of the first.
MOST_WATCHED: Final = 20

# Seconds between two samples at least, and for how long they are kept.
_SAMPLE_EVERY: Final = 0.9
_KEPT_FOR: Final = 60.0

# Seconds over which a rate is told: long enough to stand still, short enough to be now.
_RATE_OVER: Final = 5.0


class Sample(NamedTuple):
    """The counters of a session at one moment; pairs are (from the client, from the upstream)."""

    at: float
    messages: tuple[int, int]
    bytes: tuple[int, int]


class Rates(NamedTuple):
    """What passes in a second; pairs are (from the client, from the upstream)."""

    messages: tuple[float, float]
    bytes: tuple[float, float]


class Recorder:
    """The record of one session.

    Args:
        session: that has begun.
        loop: whose clock it goes by.
        unwatched: is told when nobody looks at it any more.
    """

    def __init__(
        self,
        session: LiveSession,
        loop: asyncio.AbstractEventLoop,
        unwatched: Callable[[Recorder], None],
    ) -> None:
        self.session = session
        self._loop = loop
        self._unwatched = unwatched
        self._samples: deque[Sample] = deque()
        self._frames = tuple(
            FrameRecorder(scanner, loop.time) for scanner in session.state.scanners
        )
        for leg, frames in zip(session.legs, self._frames, strict=False):  # None once it ended.
            leg.feed_by(frames.feed)

    def stop(self) -> None:
        """Records no more frames."""
        for leg, scanner in zip(self.session.legs, self.session.state.scanners, strict=False):
            leg.feed_by(scanner.feed)

    def overdue(self) -> None:
        """Nobody has looked for `WATCHED_FOR` seconds."""
        self._unwatched(self)

    def frames(self) -> list[tuple[Side, FrameHeader]]:
        """The last frames of both directions and who sent them, the latest first."""
        both = [
            (side, frame)
            for side, recorder in zip(Side, self._frames, strict=True)
            for frame in recorder.frames
        ]
        return sorted(both, key=lambda entry: entry[1].at)[::-1]

    def sample(self) -> None:
        """Takes down the counters, unless that was done just now."""
        now = self._loop.time()
        if self._samples and now - self._samples[-1].at < _SAMPLE_EVERY:
            return
        sent, received = self.session.state.scanners
        self._samples.append(
            Sample(now, (sent.messages, received.messages), (sent.bytes, received.bytes))
        )
        while now - self._samples[0].at > _KEPT_FOR:
            self._samples.popleft()

    def rates(self) -> Rates | None:
        """What passed in a second lately; None until there are two samples."""
        if len(self._samples) < 2:
            return None
        last = self._samples[-1]
        lately = [one for one in self._samples if last.at - one.at <= _RATE_OVER]
        first = lately[0] if len(lately) > 1 else self._samples[-2]
        return _between(first, last)

    def history(self) -> list[tuple[float, Rates]]:
        """What passed in a second between each two samples, by the end of that time."""
        return [(after.at, _between(before, after)) for before, after in pairwise(self._samples)]


def _between(before: Sample, after: Sample) -> Rates:
    seconds = after.at - before.at
    return Rates(
        _each_second(before.messages, after.messages, seconds),
        _each_second(before.bytes, after.bytes, seconds),
    )


def _each_second(
    before: tuple[int, int], after: tuple[int, int], seconds: float
) -> tuple[float, float]:
    one, other = ((late - early) / seconds for early, late in zip(before, after, strict=True))
    return one, other


class Recorders:
    """The records of the sessions that are being watched.

    Args:
        deadlines: tell when nobody has looked for a while.
        loop: whose clock they go by.
    """

    def __init__(self, deadlines: Deadlines, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._unwatched = deadlines.lasting(WATCHED_FOR)
        # By session id; who was looked at last stands last.
        self._recorders: dict[str, Recorder] = {}

    def __len__(self) -> int:
        """How many sessions are recorded."""
        return len(self._recorders)

    def look(self, session: LiveSession) -> Recorder:
        """The record of a session, which begins now unless it has begun."""
        recorder = self._recorders.pop(session.id, None)
        if recorder is not None and recorder.session is not session:
            self._end(recorder)  # Ids may come again once their session has ended.
            recorder = None
        if recorder is None:
            if len(self._recorders) >= MOST_WATCHED:
                self._end(self._recorders.pop(next(iter(self._recorders))))
            recorder = Recorder(session, self._loop, self._forget)
        self._recorders[session.id] = recorder
        self._unwatched.discard(recorder)
        self._unwatched.add(recorder)
        recorder.sample()
        return recorder

    def _end(self, recorder: Recorder) -> None:
        self._unwatched.discard(recorder)
        recorder.stop()

    def _forget(self, recorder: Recorder) -> None:
        del self._recorders[recorder.session.id]
        recorder.stop()

"""A loop whose clock stands still until it is told to go on, and sockets on paper."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")


class FakeHandle:
    """A call that is still to come."""

    def __init__(self, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._call = call
        self._args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def run(self) -> None:
        if not self.cancelled:
            self._call(*self._args)


class FakeLoop:
    """What of an event loop our timers use."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, FakeHandle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[..., Any], *args: Any) -> FakeHandle:
        handle = FakeHandle(call, args)
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def call_later(self, delay: float, call: Callable[..., Any], *args: Any) -> FakeHandle:
        return self.call_at(self.now + delay, call, *args)

    def call_soon(self, call: Callable[..., Any], *args: Any) -> FakeHandle:
        return self.call_at(self.now, call, *args)

    @property
    def timers(self) -> int:
        """How many calls are still to come."""
        return sum(not handle.cancelled for _, _, handle in self._timers)

    def turn(self) -> None:
        """One round: what is due now, not what that brings about."""
        due = [timer for timer in self._timers if timer[0] <= self.now]
        self._timers = [timer for timer in self._timers if timer[0] > self.now]
        heapq.heapify(self._timers)
        for _, _, handle in sorted(due):
            handle.run()

    def advance(self, seconds: float = 0.0) -> None:
        """Lets time pass and what is due happen, each at its time."""
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            when, _, handle = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            handle.run()
        self.now = until


class _Skipping(selectors.DefaultSelector):
    """Where nothing happens but timers, lets the next one come at once."""

    def __init__(self, stands: Callable[[], bool]) -> None:
        super().__init__()
        self.skipped = 0.0
        self._stands = stands

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        while self._stands():
            ready = super().select(0.001)
            if ready:
                return ready
        ready = super().select(0)
        if not ready:
            self.skipped += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock goes to the next timer as soon as nothing else is to be done.

    Args:
        stands: whether the clock stands still, since a thread is at work.
    """

    def __init__(self, stands: Callable[[], bool] = lambda: False) -> None:
        self._skipping = _Skipping(stands)
        super().__init__(self._skipping)

    def time(self) -> float:
        return 1000.0 + self._skipping.skipped


def in_virtual_time(
    story: Coroutine[Any, Any, _T], stands: Callable[[], bool] = lambda: False
) -> _T:
    """What a coroutine returns, run on a loop that waits for nothing but threads."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(stands)) as runner:
        return runner.run(story)


class FakeTransport(asyncio.Transport):
    """A socket that keeps what is written to it and chokes on what asyncio's chokes on."""

    def __init__(self, *, half_close: bool = True) -> None:
        super().__init__()
        self.written = b""
        self.pending = 0
        self.finished = False
        self.closed = False
        self.aborted = False
        self.reading = True
        self.limits: tuple[int | None, int | None] = (None, None)
        self.protocol: Any = None
        self._half_close = half_close

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.finished:
            raise RuntimeError("Cannot call write() after write_eof()")
        assert not self.is_closing(), "a write to a socket that was closed"
        self.written += data

    def can_write_eof(self) -> bool:
        return self._half_close

    def write_eof(self) -> None:
        assert self._half_close
        self.finished = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.pending

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

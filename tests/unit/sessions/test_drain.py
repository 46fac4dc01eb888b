"""A drain tells sessions one after the other, and every one of them."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import DRAINING
from proxy.sessions.drain import Drain, due_by
from tests.unit.loop import in_virtual_time


class Sessions:
    """A registry that only notes when whom was told, and forgets them as they are."""

    def __init__(self, count: int, loop) -> None:
        self.live = list(range(count))
        self.told: list[tuple[float, int]] = []
        self.stubborn = False
        self._loop = loop

    def __len__(self) -> int:
        return len(self.live)

    def __iter__(self):
        return iter(list(self.live))

    def end(self, sessions, ending) -> int:
        assert ending is DRAINING
        for session in sessions:
            self.told.append((self._loop.time(), session))
            if not self.stubborn:
                self.live.remove(session)
        return len(sessions)


class Log:
    def __init__(self) -> None:
        self.lines: list[int] = []

    def info(self, event: str, **fields) -> None:
        assert event == "draining"
        self.lines.append(fields["sessions"])


def drained(count: int, spread: float, *, within: float = 25.0, stubborn: bool = False):
    """What a drain of so many sessions does, and how long it takes."""

    async def story():
        loop = asyncio.get_running_loop()
        sessions, log = Sessions(count, loop), Log()
        sessions.stubborn = stubborn
        began = loop.time()
        drain = Drain(
            sessions,
            lambda: 0,
            spread=spread,
            shuffle=lambda order: order.reverse(),
            log=log,
            loop=loop,
        )
        await drain.run(began + within)
        moments = [(moment - began, who) for moment, who in sessions.told]
        return moments, loop.time() - began, log.lines

    return in_virtual_time(story())


def test_sessions_are_told_evenly_in_the_order_of_the_shuffle() -> None:
    told, took, _ = drained(100, 10.0)
    assert [who for _, who in told] == list(reversed(range(100)))
    assert told[0][0] < 0.1
    assert told[49][0] < 5.1
    assert told[50][0] > 4.7
    assert 9.5 < told[-1][0] < 10.1
    assert took < 10.3


def test_without_a_spread_all_are_told_at_once() -> None:
    told, took, _ = drained(1000, 0.0)
    assert len(told) == 1000
    assert {moment for moment, _ in told} == {0.0}
    assert took < 0.1


def test_nobody_to_tell_ends_it_at_once() -> None:
    told, took, _ = drained(0, 10.0)
    assert (told, took) == ([], 0.0)


def test_who_does_not_go_is_left_at_the_deadline() -> None:
    _, took, _ = drained(3, 1.0, within=5.0, stubborn=True)
    assert 5.0 <= took < 5.2


def test_progress_is_told_now_and_then() -> None:
    _, _, lines = drained(100, 10.0)
    assert len(lines) in {1, 2}
    assert 40 <= lines[0] <= 60


@given(
    st.floats(0, 100, allow_nan=False),
    st.floats(0.001, 100),
    st.integers(0, 10_000),
)
def test_shares_grow_with_time_and_never_exceed_all(elapsed, spread, count) -> None:
    due = due_by(elapsed, spread, count)
    assert 0 <= due <= count
    assert due <= due_by(elapsed + 0.5, spread, count)
    assert due_by(spread, spread, count) == count

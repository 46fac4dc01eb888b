"""Deadlines in queues: each is met or called once, in order, with one timer a queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.deadlines import DeadlineQueue, Deadlines
from tests.unit.loop import FakeLoop

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(eq=False)
class Member:
    """Notes when it was overdue."""

    loop: FakeLoop
    called: list[float] = field(default_factory=list)
    then: Callable[[], object] = lambda: None

    def overdue(self) -> None:
        self.called.append(self.loop.now)
        self.then()


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def queue(loop: FakeLoop) -> DeadlineQueue:
    return DeadlineQueue(10.0, loop)


def test_member_is_called_once_when_its_time_is_over(loop: FakeLoop, queue: DeadlineQueue) -> None:
    member = Member(loop)
    began = queue.add(member)
    assert began == loop.now
    assert len(queue) == 1
    loop.advance(9.9)
    assert not member.called
    loop.advance(0.1)
    assert member.called == [began + 10.0]
    assert len(queue) == 0
    loop.advance(100)
    assert len(member.called) == 1
    assert loop.timers == 0


def test_member_that_was_discarded_is_never_called(loop: FakeLoop, queue: DeadlineQueue) -> None:
    member = Member(loop)
    queue.add(member)
    queue.discard(member)
    queue.discard(member)
    assert len(queue) == 0
    loop.advance(20)
    assert not member.called


def test_each_is_called_at_its_own_time(loop: FakeLoop, queue: DeadlineQueue) -> None:
    members = [Member(loop) for _ in range(4)]
    due = []
    for member in members:
        due.append(queue.add(member) + 10.0)
        loop.advance(1)
    queue.discard(members[0])
    queue.discard(members[2])
    assert loop.timers == 1
    loop.advance(20)
    assert [member.called for member in members] == [[], [due[1]], [], [due[3]]]


def test_member_that_comes_again_has_all_its_time_again(
    loop: FakeLoop, queue: DeadlineQueue
) -> None:
    first, second = Member(loop), Member(loop)
    queue.add(first)
    queue.add(second)
    loop.advance(5)
    queue.discard(first)
    again = queue.add(first)
    loop.advance(20)
    assert first.called == [again + 10.0]
    assert second.called == [again + 5.0]


def test_queue_can_be_emptied(loop: FakeLoop, queue: DeadlineQueue) -> None:
    members = [Member(loop), Member(loop)]
    for member in members:
        queue.add(member)
    assert queue.clear() == members
    assert queue.clear() == []
    assert loop.timers == 0
    loop.advance(20)
    assert not any(member.called for member in members)
    queue.add(members[0])
    loop.advance(20)
    assert members[0].called


def test_member_may_end_anothers_deadline(loop: FakeLoop, queue: DeadlineQueue) -> None:
    second = Member(loop)
    first = Member(loop, then=lambda: queue.discard(second))
    queue.add(first)
    queue.add(second)
    loop.advance(10)
    assert first.called
    assert not second.called


def test_deadline_begun_by_one_that_is_over_costs_no_second_timer(
    loop: FakeLoop, queue: DeadlineQueue
) -> None:
    successors = [Member(loop) for _ in range(3)]
    for successor in successors:
        queue.add(Member(loop, then=lambda successor=successor: queue.add(successor)))
        loop.advance(1)
    waiting = Member(loop)
    queue.add(waiting)
    loop.advance(9.5)
    assert len(queue) == 4
    assert loop.timers == 1
    loop.advance(30)
    assert all(len(member.called) == 1 for member in (*successors, waiting))
    assert loop.timers == 0


def test_member_that_fails_keeps_nobody_waiting(loop: FakeLoop, queue: DeadlineQueue) -> None:
    def fail() -> None:
        raise RuntimeError("a fault of ours")

    queue.add(Member(loop, then=fail))
    same_time, later = Member(loop), Member(loop)
    queue.add(same_time)
    loop.advance(1)
    queue.add(later)
    with pytest.raises(RuntimeError):
        loop.advance(9)
    loop.advance(10)
    assert same_time.called
    assert later.called


def test_queue_for_each_length_of_time(loop: FakeLoop) -> None:
    deadlines = Deadlines(loop)
    assert deadlines.lasting(5.0) is deadlines.lasting(5)
    short, long = Member(loop), Member(loop)
    deadlines.lasting(60.0).add(long)
    deadlines.lasting(1.0).add(short)
    loop.advance(1)
    assert short.called
    assert not long.called
    deadlines.clear()
    loop.advance(100)
    assert not long.called
    assert loop.timers == 0


@given(st.lists(st.tuples(st.sampled_from(("add", "discard", "wait")), st.integers(0, 5))))
def test_nobody_is_forgotten_and_nobody_called_early(steps: list[tuple[str, int]]) -> None:
    loop = FakeLoop()
    queue = DeadlineQueue(3.0, loop)
    members = [Member(loop) for _ in range(6)]
    due: dict[int, float] = {}
    expected: list[list[float]] = [[] for _ in members]
    for step, number in steps:
        if step == "add" and number not in due:
            due[number] = queue.add(members[number]) + 3.0
        elif step == "discard":
            queue.discard(members[number])
            due.pop(number, None)
        elif step == "wait":
            loop.advance(number / 2)
            for over in [name for name, when in due.items() if when <= loop.now]:
                expected[over].append(due.pop(over))
        assert [member.called for member in members] == expected
        assert len(queue) == len(due)
        assert loop.timers <= 1

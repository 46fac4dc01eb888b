"""Several targets for one handshake: the next when one cannot be reached, in time, told once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import Refused
from proxy.upstream.series import Series
from tests.unit.build import answer
from tests.unit.loop import FakeLoop, FakeTransport
from tests.unit.upstream.scene import Caller, member

if TYPE_CHECKING:
    from proxy.deadlines import DeadlineQueue
    from proxy.upstream.pool import Member


class FakeAttempt:
    """A target that is dialled, and of which the test says what becomes of it."""

    def __init__(self, scene: Scene, to: Member, series: Any, within: DeadlineQueue | None) -> None:
        self.member = to
        self.within = within
        self.began = scene.loop.now
        self.connected = False
        self.connected_in = 0.0
        self.transport = FakeTransport()
        self.behind = b"behind " + to.text.encode()
        self.cancelled = False
        self.reader: Any = None
        self._series = series

    def connects(self, seconds: float = 0.5) -> None:
        self.connected = True
        self.connected_in = seconds

    def answers(self) -> None:
        self._series.answered(answer("HTTP/1.1 101 X"))

    def fails(self, code: str = "upstream_unreachable", cause: str = "refused") -> None:
        self._series.unanswered(Refused(code, "Say.", cause=cause))

    def read_body(self, caller: Any) -> None:
        self.reader = caller

    def cancel(self) -> None:
        self.cancelled = True


class Scene:
    """A series under way along the targets a, b, …; 6 s are allowed for all connecting."""

    def __init__(self, targets: str, patience: float | None = 6.0) -> None:
        self.loop = FakeLoop()
        self.caller = Caller()
        self.attempts: list[FakeAttempt] = []
        self.failure: Exception | None = None
        order = [member(f"ws://{host}") for host in targets]
        loop: Any = self.loop
        self.series = Series(order, self._begin, self.caller, patience=patience, loop=loop)
        self.series.start()

    def _begin(self, to: Member, series: Any, within: DeadlineQueue | None) -> Any:
        if self.failure is not None:
            raise self.failure
        self.attempts.append(FakeAttempt(self, to, series, within))
        return self.attempts[-1]

    @property
    def asked(self) -> str:
        return "".join(attempt.member.target.host for attempt in self.attempts)

    @property
    def last(self) -> FakeAttempt:
        return self.attempts[-1]

    @property
    def told(self) -> list[tuple[str, Any]]:
        return self.caller.told


def test_first_target_that_answers_is_the_only_one_asked() -> None:
    scene = Scene("abc")
    scene.last.connects()
    scene.last.answers()
    assert scene.asked == "a"
    assert scene.told == [("answered", 101)]


def test_next_target_is_asked_when_one_refuses() -> None:
    scene = Scene("abc")
    scene.last.fails()
    scene.last.fails()
    assert scene.asked == "abc"
    assert not scene.told
    scene.last.connects()
    scene.last.answers()
    assert scene.told == [("answered", 101)]


def test_caller_gets_what_the_answering_target_gave() -> None:
    scene = Scene("ab")
    scene.loop.advance(1)
    scene.last.fails()
    scene.last.connects(0.25)
    scene.last.answers()
    series, reader = scene.series, Caller()
    assert series.transport is scene.last.transport
    assert series.behind == b"behind ws://b"
    assert series.connected_in == 1.25
    series.read_body(reader)
    assert scene.last.reader is reader


def test_nobody_answers_and_the_causes_are_told_of_all() -> None:
    scene = Scene("ab")
    scene.last.fails(cause="refused")
    scene.last.fails(cause="no such name")
    assert scene.told == [
        ("unanswered", ("upstream_unreachable", "ws://a: refused; ws://b: no such name"))
    ]


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        (("upstream_timeout", "upstream_unreachable"), "upstream_unreachable"),
        (("upstream_unreachable", "upstream_timeout"), "upstream_timeout"),
    ],
)
def test_last_failure_names_the_code(codes: tuple[str, str], code: str) -> None:
    scene = Scene("ab")
    for each in codes:
        scene.last.fails(each)
    assert scene.told[0][1][0] == code


def test_silent_target_gets_its_share_of_the_time() -> None:
    scene = Scene("abc")
    shares = []
    for seconds in (2.0, 1.0, 3.0):
        within = scene.last.within
        assert within is not None
        shares.append(within.seconds)
        scene.loop.advance(seconds)
        scene.last.fails("upstream_timeout")
    assert shares == [2.0, 2.0, 3.0]
    assert scene.told[0][1][0] == "upstream_timeout"


def test_without_a_limit_nobody_is_hurried() -> None:
    scene = Scene("ab", patience=None)
    scene.loop.advance(1000)
    scene.last.fails()
    assert [attempt.within for attempt in scene.attempts] == [None, None]


def test_target_that_hung_up_without_a_word_did_not_hear() -> None:
    scene = Scene("ab")
    scene.last.connects()
    scene.last.fails(cause="it hung up at once")
    assert scene.asked == "ab"


def test_no_further_target_is_asked_when_the_time_is_over() -> None:
    scene = Scene("ab")
    scene.last.connects()
    scene.loop.advance(6)
    scene.last.fails(cause="it hung up at once")
    assert scene.asked == "a"
    assert scene.told[0][1][0] == "upstream_unreachable"


@pytest.mark.parametrize("code", ["upstream_invalid", "upstream_timeout"])
def test_target_that_heard_the_request_is_the_last(code: str) -> None:
    scene = Scene("ab")
    scene.last.connects()
    scene.last.fails(code)
    assert scene.asked == "a"
    assert scene.told[0][1][0] == code


def test_nobody_to_ask_is_told_after_the_start() -> None:
    scene = Scene("")
    assert not scene.told
    scene.loop.advance()
    assert scene.told == [("unanswered", ("upstream_unhealthy", None))]


@pytest.mark.parametrize("targets", ["", "ab"])
def test_caller_that_left_hears_nothing(targets: str) -> None:
    scene = Scene(targets)
    scene.series.cancel()
    scene.loop.advance(10)
    if targets:
        assert scene.last.cancelled
        scene.last.fails()
        scene.last.answers()
        scene.series.broken(RuntimeError("late"))
    assert scene.asked == targets[:1]
    assert not scene.told


def test_failure_of_ours_is_told_as_one() -> None:
    scene = Scene("abc")
    failure = RuntimeError("a fault")
    scene.series.broken(failure)
    assert scene.told == [("broken", failure)]


def test_failure_of_ours_at_a_later_target_is_told_as_one() -> None:
    scene = Scene("ab")
    scene.failure = RuntimeError("a fault")
    scene.last.fails()
    assert scene.told == [("broken", scene.failure)]

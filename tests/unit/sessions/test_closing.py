"""Many endings: a slice in each turn of the loop, in order, none lost, none held up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import DRAINING, OBJECTIONS
from proxy.sessions.closing import SLICE, Closing
from tests.unit.loop import FakeLoop

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.errors import Ending
    from tests.unit.sessions.scene import Scene

REVOKED = OBJECTIONS["key_revoked"]


class Session:
    """Keeps how it was ended."""

    def __init__(self, ended: list[Any], on_end: Callable[[], object] = lambda: None) -> None:
        self._ended = ended
        self._on_end = on_end

    def end(self, ending: Ending) -> None:
        self._ended.append((self, ending.reason))
        self._on_end()


def turns(loop: FakeLoop, ended: list[Any]) -> list[int]:
    """How many were ended after each turn, until nothing is left to do."""
    counts = [len(ended)]
    while loop.timers:
        loop.turn()
        counts.append(len(ended))
    return counts


@pytest.mark.parametrize(
    ("many", "expected"),
    [
        (0, [0]),
        (1, [1]),
        (SLICE, [SLICE]),
        (SLICE + 1, [SLICE, SLICE + 1]),
        (3 * SLICE + 5, [SLICE, 2 * SLICE, 3 * SLICE, 3 * SLICE + 5]),
    ],
)
def test_each_turn_ends_one_slice(many: int, expected: list[int]) -> None:
    loop, ended = FakeLoop(), []
    sessions = [Session(ended) for _ in range(many)]
    assert Closing(loop).end(iter(sessions), REVOKED) == many
    assert turns(loop, ended) == expected
    assert ended == [(session, "key_revoked") for session in sessions]


def test_later_order_waits_for_the_earlier_and_keeps_its_own_ending() -> None:
    loop, ended = FakeLoop(), []
    closing = Closing(loop)
    first, second = ([Session(ended) for _ in range(SLICE + 1)] for _ in range(2))
    closing.end(first, REVOKED)
    assert closing.end(second, DRAINING) == SLICE + 1
    assert turns(loop, ended) == [SLICE, 2 * SLICE, 2 * SLICE + 2]
    assert ended == [(each, "key_revoked") for each in first] + [
        (each, "draining") for each in second
    ]


def test_order_given_while_one_is_carried_out_does_not_nest() -> None:
    loop, ended = FakeLoop(), []
    closing = Closing(loop)
    more = [Session(ended) for _ in range(SLICE)]
    first = Session(ended, lambda: closing.end(more, DRAINING))
    second = Session(ended)
    closing.end([first, second], REVOKED)
    assert [each for each, _ in ended] == [first, second]
    assert turns(loop, ended) == [2, 2 + SLICE]


def test_closing_begins_anew_when_it_had_finished() -> None:
    loop, ended = FakeLoop(), []
    closing = Closing(loop)
    for round_ in range(1, 4):
        closing.end([Session(ended) for _ in range(SLICE + 1)], REVOKED)
        turns(loop, ended)
        assert len(ended) == round_ * (SLICE + 1)


def test_session_that_fails_to_end_keeps_no_other_alive() -> None:
    def fail() -> None:
        raise RuntimeError("a fault of ours")

    loop, ended = FakeLoop(), []
    closing = Closing(loop)
    sessions = [Session(ended, fail), Session(ended)]
    with pytest.raises(RuntimeError):
        closing.end(sessions, REVOKED)
    turns(loop, ended)
    assert [each for each, _ in ended] == sessions
    with pytest.raises(RuntimeError):
        closing.end([Session(ended, fail)], REVOKED)
    closing.end([Session(ended)], REVOKED)
    turns(loop, ended)
    assert len(ended) == 4


def test_session_that_ends_while_it_waits_is_left_alone(scene: Scene) -> None:
    closing = scene.house.closing
    closing.end([Session([]) for _ in range(SLICE)], REVOKED)
    closing.end([Session([]), scene.session], REVOKED)
    scene.gone()
    before = scene.told()
    scene.loop.turn()
    assert scene.told() == before
    assert len(scene.log.events("connection_closed")) == 1

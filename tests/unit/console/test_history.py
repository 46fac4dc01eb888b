"""The quarter of an hour behind the charts: rates, minutes, and counters that begin anew."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console.history import SAMPLES, History, Point, Sample

NOON = 1_800_000_000.0


def sample(
    clock: float,
    sessions: int = 0,
    messages: tuple[int, int] = (0, 0),
    bytes: tuple[int, int] = (0, 0),
    accepted: int = 0,
    **refused: int,
) -> Sample:
    return Sample(NOON + clock, clock, sessions, messages, bytes, accepted, refused)


def history_of(*samples: Sample) -> History:
    history = History()
    for one in samples:
        history.note(one)
    return history


def latest(*samples: Sample) -> Point:
    point = history_of(*samples).latest
    assert point is not None
    return point


@pytest.mark.parametrize("samples", [[], [sample(0)]])
def test_one_sample_makes_no_point(samples: list[Sample]):
    history = history_of(*samples)
    assert history.latest is None
    assert history.since(0) == []
    assert history.by_minute() == []
    assert not history.refused()


def test_rates_are_those_between_two_samples():
    point = latest(
        sample(0, messages=(10, 20), bytes=(100, 200)),
        sample(4, sessions=7, messages=(30, 21), bytes=(4100, 200)),
    )
    assert point == Point(NOON + 4, 7, (5.0, 0.25), (1000.0, 0.0), 0, 0)


def test_sample_of_the_same_moment_is_left_out():
    history = history_of(sample(0), sample(2, messages=(2, 2)))
    history.note(sample(2, messages=(9, 9)))
    history.note(sample(1, messages=(9, 9)))
    assert [point.messages for point in history.since(0)] == [(1.0, 1.0)]


def test_clock_of_the_day_that_is_set_back_changes_no_rate():
    history = history_of(sample(0))
    history.note(sample(2, messages=(4, 0))._replace(at=NOON - 3600))
    assert history.latest is not None
    assert history.latest.messages == (2.0, 0.0)


def test_counter_that_begins_anew_makes_no_negative_rate():
    point = latest(
        sample(0, messages=(50, 50), bytes=(9, 9), accepted=9, key_missing=5),
        sample(2, messages=(1, 60), bytes=(0, 9), accepted=2, key_missing=1),
    )
    assert point == Point(NOON + 2, 0, (0.0, 5.0), (0.0, 0.0), 0, 0)


def test_handshakes_are_those_of_the_last_minute():
    samples = [sample(2 * n, accepted=n, key_missing=n) for n in range(100)]
    assert latest(*samples).accepted == 30
    assert latest(*samples).refused == 30
    assert latest(*samples[:6]).refused == 5


def test_refusals_by_reason_are_those_of_all_samples():
    history = history_of(
        sample(0, key_missing=3), sample(2, key_missing=4), sample(4, key_missing=9, no_route=2)
    )
    assert history.refused() == {"key_missing": 6, "no_route": 2}


def test_history_reaches_back_a_quarter_of_an_hour():
    history = history_of(*(sample(2 * n, key_missing=n) for n in range(1000)))
    points = history.since(0)
    assert len(points) == SAMPLES
    assert points[0].at == NOON + 2 * (1000 - SAMPLES)
    assert history.refused() == {"key_missing": SAMPLES}


def test_reader_gets_what_it_does_not_have():
    history = history_of(*(sample(2 * n) for n in range(5)))
    assert [point.at - NOON for point in history.since(NOON + 4)] == [6, 8]
    assert history.since(NOON + 8) == []


def test_table_has_a_row_a_minute():
    history = history_of(*(sample(2 * n) for n in range(100)))
    assert [point.at - NOON for point in history.by_minute()] == [198, 138, 78, 18]


@given(
    st.lists(
        st.tuples(st.floats(0.01, 100), st.integers(0, 10**9), st.integers(0, 10**9)), max_size=40
    )
)
def test_rates_add_up_to_what_passed(steps: list[tuple[float, int, int]]):
    clock, sent, received = 0.0, 0, 0
    samples = [sample(0)]
    for seconds, more_sent, more_received in steps:
        clock, sent, received = clock + seconds, sent + more_sent, received + more_received
        samples.append(sample(clock, messages=(sent, received), key_missing=sent))
    points = history_of(*samples).since(0)
    seconds = [after.clock - before.clock for before, after in pairwise(samples)]
    for side, total in enumerate((sent, received)):
        passed = sum(
            point.messages[side] * each for point, each in zip(points, seconds, strict=True)
        )
        assert passed == pytest.approx(total)
    assert all(0 <= point.refused <= sent for point in points)

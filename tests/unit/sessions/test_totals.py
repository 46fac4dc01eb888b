"""Totals: histograms as Prometheus wants them, close codes in a bounded number of labels."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sessions.totals import (
    CONNECTION_BUCKETS,
    HANDSHAKE_BUCKETS,
    Histogram,
    RouteTotals,
    code_label,
)


def test_observation_counts_in_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram((1, 5))
    for value in (0.0, 1, 1.0001, 5, 5.5, math.inf):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2]
    assert histogram.cumulative() == [("1.0", 2.0), ("5.0", 4.0), ("+Inf", 6.0)]


def test_empty_histogram_has_all_its_buckets() -> None:
    assert Histogram((0.5,)).cumulative() == [("0.5", 0.0), ("+Inf", 0.0)]


@given(st.lists(st.floats(0, 200_000)), st.sampled_from((CONNECTION_BUCKETS, HANDSHAKE_BUCKETS)))
def test_buckets_are_cumulative(values: list[float], bounds: tuple[float, ...]) -> None:
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    rows = histogram.cumulative()
    assert rows[-1] == ("+Inf", float(len(values)))
    assert histogram.sum == pytest.approx(math.fsum(values))
    for bound, count in rows[:-1]:
        assert count == sum(value <= float(bound) for value in values)


@pytest.mark.parametrize("bounds", [CONNECTION_BUCKETS, HANDSHAKE_BUCKETS])
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (None, "none"),
        (1000, "1000"),
        (1005, "1005"),
        (1014, "1014"),
        (1015, "other"),
        (2999, "other"),
        (3000, "3xxx"),
        (3999, "3xxx"),
        (4000, "4xxx"),
        (4999, "4xxx"),
        (5000, "other"),
        (999, "other"),
        (0, "other"),
        (65535, "other"),
    ],
)
def test_close_code_has_a_label(code: int | None, label: str) -> None:
    assert code_label(code) == label


def test_labels_are_few() -> None:
    assert len({code_label(code) for code in range(65536)} | {code_label(None)}) == 15 + 4


def test_route_begins_at_nothing() -> None:
    totals = RouteTotals()
    assert totals.messages == totals.bytes == [0, 0]
    assert totals.backpressure == [0.0, 0.0]
    assert totals.traffic[0] is not totals.traffic[1]
    assert not totals.closes
    assert not totals.outcomes

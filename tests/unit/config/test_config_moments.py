"""Moments, as text, as dates and as numbers."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.faults import Wrong
from proxy.config.moments import LAST_MOMENT, moment

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp()
ANY = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001 - zone added


@pytest.mark.parametrize(
    "text",
    [
        "2030-01-01T12:00:00Z",
        "2030-01-01t12:00:00z",
        "2030-01-01T12:00:00+00:00",
        "2030-01-01T14:30:00+02:30",
        "2030-01-01T02:00:00-10:00",
        "2030-01-01 12:00:00",
        "2030-01-01 12:00:00.0 +00:00",
        " 2030-01-01T12:00:00.000000000Z ",
    ],
)
def test_rfc_3339_and_yamls_looser_forms_are_read(text: str) -> None:
    assert moment(text) == NOON


def test_a_date_is_its_first_instant_in_utc() -> None:
    midnight = NOON - 12 * 3600
    assert moment("2030-01-01") == moment(date(2030, 1, 1)) == midnight
    assert moment(datetime(2030, 1, 1)) == midnight  # noqa: DTZ001 - as YAML gives it
    assert moment(datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == midnight


@given(ANY, st.integers(-23 * 60, 23 * 60))
def test_what_is_written_is_read_back(when: datetime, minutes: int) -> None:
    zoned = when.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert moment(zoned.isoformat()) == moment(zoned) == zoned.timestamp()


@given(st.floats(0, LAST_MOMENT))
def test_numbers_are_seconds_since_the_epoch(seconds: float) -> None:
    assert moment(seconds) == seconds


def test_fractions_finer_than_microseconds_are_cut() -> None:
    assert moment("2030-01-01T12:00:00.1234567Z") == pytest.approx(NOON + 0.123456)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "90d",
        "2030",
        "2030-1-1",
        "20300101",
        "1893456000",
        "2030-01-01T12:00Z",
        "2030-01-01T12:00:00 UTC",
        "2030-01-01T12:00:00,5Z",
        "2030-01-01T12:00:00+0200",
        "٢٠٣٠-01-01",
        "2030-01-01T12:00:00Z2030-01-01",
        True,
        None,
        [],
        b"2030-01-01",
    ],
)
def test_what_is_no_moment_is_refused(value: object) -> None:
    with pytest.raises(Wrong, match="is not a moment"):
        moment(value)


@pytest.mark.parametrize(
    "text",
    ["2030-02-30", "2030-13-01", "2030-01-01T24:00:01Z", "2030-01-01T12:60:00Z", "0000-01-01"],
)
def test_days_and_times_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(Wrong, match="does not exist"):
        moment(text)


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.5,
        math.nan,
        math.inf,
        10**400,
        "0001-01-01",
        "1969-12-31",
        "9999-12-31T23:59:59-01:00",
    ],
)
def test_moments_long_ago_and_never_are_refused(value: object) -> None:
    with pytest.raises(Wrong, match="1970 to 9999"):
        moment(value)


@pytest.mark.parametrize("number", [20301231, 19700101])
def test_a_date_without_its_hyphens_is_no_moment_in_the_seventies(number: int) -> None:
    with pytest.raises(Wrong, match="without its hyphens"):
        moment(number)

"""Numbers and moments as people read them."""

from __future__ import annotations

import pytest

from proxy.console import figures


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (7, "7"), (12345, "12,345"), (0.25, "0.2"), (99.96, "100.0"), (123.4, "123")],
)
def test_counts(number: float, text: str) -> None:
    assert figures.count(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (102_400, "100 KiB"),
        (1_048_576, "1.0 MiB"),
        (999 * 1024 + 900, "1.0 MiB"),
        (5 * 1024**4, "5.0 TiB"),
        (5000 * 1024**4, "5000 TiB"),
    ],
)
def test_sizes(number: float, text: str) -> None:
    assert figures.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
        (400 * 86_400, "400 d 0 h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert figures.span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.00123, "1.2 ms"), (0.25, "250 ms"), (2.5, "2,500 ms")]
)
def test_milliseconds(seconds: float, text: str) -> None:
    assert figures.milliseconds(seconds) == text


def test_moments_are_told_in_utc() -> None:
    assert figures.moment(1_800_000_000.9) == "2027-01-15 08:00:00"


@pytest.mark.parametrize(("number", "text"), [(0, "0 keys"), (1, "1 key"), (1200, "1,200 keys")])
def test_plurals(number: int, text: str) -> None:
    assert figures.plural(number, "key") == text


def test_plural_may_be_its_own() -> None:
    assert figures.plural(2, "entry", "entries") == "2 entries"


def test_texts_of_the_api_are_told_shorter() -> None:
    assert figures.stamp("2027-01-15T08:00:00.123Z") == "2027-01-15 08:00:00 UTC"
    assert figures.day("2027-01-15T08:00:00Z") == "2027-01-15"


def test_segments_cannot_leave_their_place() -> None:
    assert figures.segment("a/../b?c#d") == "a%2F..%2Fb%3Fc%23d"

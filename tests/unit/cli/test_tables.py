"""Tables and values for people."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli import tables

DAY = 86400.0
NOW = 1_700_000_000.0


def test_columns_are_aligned_and_numbers_to_the_right():
    assert tables.table(("NAME", "#COUNT", "LAST"), [("a", "5", "x"), ("longer", "12345", "")]) == [
        "NAME    COUNT  LAST",
        "a           5  x",
        "longer  12345",
    ]


def test_a_table_without_rows_is_its_head():
    assert tables.table(("A", "B"), []) == ["A  B"]


def test_the_widest_columns_are_cut_to_fit_a_terminal():
    lines = tables.table(("A", "B", "C"), [("x" * 30, "y" * 30, "short")], width=40)
    assert [len(line) for line in lines] == [36, 40]
    assert lines[1].split() == ["x" * 14 + "…", "y" * 15 + "…", "short"]


def test_columns_keep_what_still_says_something():
    [_, line] = tables.table(("A", "B"), [("x" * 30, "y" * 30)], width=5)
    assert line == "xxxxxxx…  yyyyyyy…"


def test_wide_and_combining_characters_take_their_cells():
    assert tables.cells("日本") == 4
    assert tables.cells("e\u0301") == 1
    lines = tables.table(("A", "B"), [("日本", "x"), ("abcd", "x")])
    assert lines[1:] == ["日本  x", "abcd  x"]
    assert tables.table(("A",), [("日" * 20,)], width=9)[1] == "日" * 4 + "…"


def test_nothing_in_a_cell_moves_the_cursor():
    [_, line] = tables.table(("A",), [("\x1b[31mred\r\nx\u202e",)])
    assert line == "�[31mred��x�"


def test_a_terminal_gets_what_fits_and_a_pipe_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    row = ("x" * 50, "y" * 50)
    tables.show(("A", "B"), [row])
    assert capsys.readouterr().out.splitlines()[1] == "  ".join(row)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((40, 20)))
    tables.show(("A", "B"), [row])
    assert len(capsys.readouterr().out.splitlines()[1]) == 40


@pytest.mark.parametrize(
    ("away", "text"),
    [
        (0.3, "now"),
        (-0.3, "now"),
        (1, "in 1 second"),
        (-59, "59 seconds ago"),
        (60, "in 1 minute"),
        (7199, "in 120 minutes"),
        (7200, "in 2 hours"),
        (DAY, "in 24 hours"),
        (-2 * DAY, "2 days ago"),
        (12.4 * DAY, "in 12 days"),
        (800 * DAY, "in 2 years"),
    ],
)
def test_how_far_away(away: float, text: str):
    assert tables.ago(NOW + away, NOW) == text


def test_a_moment_has_its_date_in_utc():
    assert tables.when(NOW + 12 * DAY, NOW) == "2023-11-26 22:13 UTC, in 12 days"


def test_no_moment_is_a_dash():
    assert tables.when(None, NOW) == tables.ago(None, NOW) == tables.NOTHING


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (12.4, "12s"),
        (61, "1m 01s"),
        (3599.6, "1h 00m"),
        (7500, "2h 05m"),
        (3 * DAY + 14400, "3d 04h"),
    ],
)
def test_lengths_of_time(seconds: float, text: str):
    assert tables.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (1 << 30, "1.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_bytes(count: int, text: str):
    assert tables.size(count) == text


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5), st.integers(20, 60))
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, str]], width: int):
    for line in tables.table(("AAAA", "BBBB"), rows, width=width):
        assert tables.cells(line) <= width
        assert line.isprintable()

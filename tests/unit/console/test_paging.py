"""Tables in pages: the right rows, whatever page and order is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console.paging import ROWS, Paged, Place, Sort, page_number, paged

DEFAULT = Sort("name", descending=False)


def same(row: int) -> int:
    return row


@given(
    rows=st.lists(st.integers(), max_size=4 * ROWS),
    page=st.integers(1, 6),
    descending=st.booleans(),
)
def test_page_is_its_part_of_the_sorted_table(
    rows: list[int], page: int, *, descending: bool
) -> None:
    shown = paged(rows, same, descending=descending, page=page)
    whole = sorted(rows, reverse=descending)
    assert list(shown.rows) == whole[(shown.page - 1) * ROWS : shown.page * ROWS]
    assert shown.page == min(page, shown.pages)
    assert shown.total == len(rows)
    if rows:
        assert whole[shown.first - 1 : shown.last] == list(shown.rows)
    else:
        assert (shown.first, shown.last, shown.pages) == (0, 0, 1)


def test_last_page_may_be_full() -> None:
    assert Paged([], 1, 2 * ROWS).pages == 2
    assert Paged([], 1, 2 * ROWS + 1).pages == 3


@pytest.mark.parametrize(
    ("text", "number"),
    [("3", 3), ("", 1), ("0", 1), ("-1", 1), ("x", 1), ("٣", 1), ("9" * 500, 1), ("1.5", 1)],
)
def test_page_number_is_one_unless_it_is_a_number(text: str, number: int) -> None:
    assert page_number(text) == number


@pytest.mark.parametrize(
    ("text", "sort"),
    [
        ("bytes", Sort("bytes", descending=False)),
        ("-bytes", Sort("bytes", descending=True)),
        ("--bytes", DEFAULT),
        ("", DEFAULT),
        ("password", DEFAULT),
    ],
)
def test_order_is_one_that_there_is(text: str, sort: Sort) -> None:
    assert Sort.read(text, {"name", "bytes"}, DEFAULT) == sort


def test_order_is_written_as_it_is_read() -> None:
    for text in ("bytes", "-bytes"):
        assert str(Sort.read(text, {"bytes"}, DEFAULT)) == text


PLACE = Place("/keys", {"name": "a&b=<c>"}, Sort("age", descending=False), DEFAULT, {"bytes"})


def test_place_leads_to_other_pages_of_the_same_table() -> None:
    assert PLACE.at(1) == "/keys?name=a%26b%3D%3Cc%3E&sort=age"
    assert PLACE.at(3) == "/keys?name=a%26b%3D%3Cc%3E&sort=age&page=3"
    assert Place("/keys", {}, DEFAULT, DEFAULT).at(1) == "/keys"


@pytest.mark.parametrize(
    ("by", "sort"),
    [("age", "&sort=-age"), ("bytes", "&sort=-bytes"), ("route", "&sort=route"), ("name", "")],
)
def test_column_is_sorted_by_a_click_and_turned_by_another(by: str, sort: str) -> None:
    assert PLACE.turned(by) == f"/keys?name=a%26b%3D%3Cc%3E{sort}"

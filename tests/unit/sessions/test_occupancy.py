"""Places: counted by holder, never negative, and nothing kept of who has none."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sessions.occupancy import Occupancy

HOLDERS = st.lists(st.sampled_from("abc"), max_size=3).map(tuple)


def test_places_are_counted_by_holder() -> None:
    occupancy = Occupancy()
    occupancy.take(("a", "b"))
    occupancy.take(("a",))
    assert (occupancy.of("a"), occupancy.of("b"), occupancy.of("c")) == (2, 1, 0)
    occupancy.release(("a", "b"))
    assert (occupancy.of("a"), occupancy.of("b"), len(occupancy)) == (1, 0, 1)


def test_asking_takes_no_memory() -> None:
    occupancy = Occupancy()
    for n in range(100):
        occupancy.of(n)
    occupancy.take(())
    occupancy.release(())
    assert len(occupancy) == 0


def test_place_that_nobody_has_cannot_be_given_back() -> None:
    occupancy = Occupancy()
    occupancy.take(("a",))
    occupancy.release(("a",))
    with pytest.raises(KeyError):
        occupancy.release(("a",))
    assert (occupancy.of("a"), len(occupancy)) == (0, 0)


@given(st.lists(st.tuples(HOLDERS, st.integers(0, 20))))
def test_whatever_is_taken_and_given_back_the_count_is_true(
    steps: list[tuple[tuple[str, ...], int]],
) -> None:
    occupancy, taken = Occupancy(), []
    for holders, pick in steps:
        if pick < len(taken):
            occupancy.release(taken.pop(pick))
        else:
            occupancy.take(holders)
            taken.append(holders)
        counted = Counter(holder for held in taken for holder in held)
        assert all(occupancy.of(holder) == counted[holder] for holder in "abc")
        assert len(occupancy) == len(counted)
    for held in taken:
        occupancy.release(held)
    assert len(occupancy) == 0

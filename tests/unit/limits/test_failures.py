"""Failed credentials: counted once a minute each, by client, and soon forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.failures import WINDOW, AuthFailures


def digest(number: int) -> bytes:
    return number.to_bytes(8, "big") + bytes(24)


def test_client_is_refused_after_so_many_and_listened_to_a_minute_after_each() -> None:
    failures = AuthFailures(3)
    for number, now in enumerate((100.0, 110.0, 120.0)):
        assert failures.exhausted("a", now) is None
        failures.note("a", digest(number), now)
    assert failures.exhausted("a", 120.0) == 40
    assert failures.exhausted("b", 120.0) is None
    assert failures.exhausted("a", 159.0) == 1
    assert failures.exhausted("a", 160.0) is None
    failures.note("a", digest(9), 160.0)
    assert failures.exhausted("a", 160.0) == 10


def test_one_credential_counts_once_a_minute() -> None:
    failures = AuthFailures(2)
    for now in range(59):
        failures.note("a", digest(1), float(now))
    assert failures.exhausted("a", 59.0) is None
    failures.note("a", digest(1), 60.0)
    failures.note("a", digest(2), 60.0)
    assert failures.exhausted("a", 60.0) == WINDOW


def test_one_credential_counts_for_every_client_that_shows_it() -> None:
    failures = AuthFailures(1)
    failures.note("a", digest(1), 0.0)
    failures.note("b", digest(1), 1.0)
    assert (failures.exhausted("a", 1.0), failures.exhausted("b", 1.0)) == (59, 60)


def test_failures_under_way_together_hold_a_client_off_no_longer() -> None:
    failures = AuthFailures(2)
    for number in range(10):
        failures.note("a", digest(number), number * 1.0)
    assert len(failures) == 2
    assert failures.exhausted("a", 10.0) == 50


def test_nothing_is_remembered_for_longer_than_a_minute() -> None:
    failures = AuthFailures(30)
    for number in range(20):
        failures.note(number, digest(number), number * 1.0)
    failures.forget(70.0)
    assert len(failures) == 9
    failures.forget(79.0)
    assert len(failures) == 0
    assert not failures._of


def test_asking_takes_no_memory() -> None:
    failures = AuthFailures(30)
    for number in range(100):
        assert failures.exhausted(number, 0.0) is None
    assert not failures._of


def test_botnet_takes_no_more_memory_than_that() -> None:
    failures = AuthFailures(30, max_failures=50)
    for number in range(1000):
        failures.note(number % 70, digest(number), 0.0)
    assert len(failures) == 50
    assert sum(map(len, failures._of.values())) == 50
    assert all(failures._of.values())


STEPS = st.tuples(st.floats(0, 30), st.sampled_from("ab"), st.integers(0, 12))


@given(st.lists(STEPS, max_size=80))
def test_never_more_than_so_many_guesses_a_minute(steps: list[tuple[float, str, int]]) -> None:
    failures, now = AuthFailures(4), 0.0
    counted: dict[str, list[tuple[float, int]]] = {"a": [], "b": []}
    for pause, client, guess in steps:
        now += pause
        for seen in counted.values():
            seen[:] = [(at, one) for at, one in seen if at > now - WINDOW]
        seen = counted[client]
        wait = failures.exhausted(client, now)
        assert (wait is not None) is (len(seen) == 4)
        if wait is not None:
            assert wait == pytest.approx(seen[0][0] + WINDOW - now)
            continue
        failures.note(client, digest(guess), now)
        if guess not in {one for _, one in seen}:
            seen.append((now, guess))
        assert len(failures) == sum(map(len, counted.values()))

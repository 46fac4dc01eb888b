"""Token buckets: never more than a burst and what came in since, whoever asks and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.buckets import HandshakeRate, TokenBucket, burst_of

RATES = st.sampled_from((0.1, 0.5, 1.0, 3.0, 10.0, 1000.0))


@pytest.mark.parametrize(("rate", "burst"), [(0.1, 1), (0.5, 1), (1, 2), (10, 20)])
def test_bucket_holds_two_seconds_worth_and_at_least_one_token(rate: float, burst: float) -> None:
    assert burst_of(rate) == TokenBucket(rate).burst == burst


def test_bucket_is_full_at_first_and_fills_as_time_passes() -> None:
    bucket = TokenBucket(10)
    assert bucket.whole(100.0) == 20
    bucket.spend(100.0, 20)
    assert bucket.whole(100.0) == 0
    assert bucket.whole(100.25) == 2
    assert bucket.level(100.25) == pytest.approx(2.5)
    assert bucket.whole(102.0) == 20
    assert bucket.whole(1000.0) == 20


def test_bucket_in_debt_holds_nothing_until_that_is_paid() -> None:
    bucket = TokenBucket(10)
    bucket.spend(0.0, 30)
    assert bucket.level(0.0) == pytest.approx(-10)
    assert bucket.whole(0.5) == 0
    assert bucket.whole(1.5) == 5


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [
        (0.1, 10.0),  # for a token,
        (1.0, 1.0),
        (5.0, 0.2),
        (1000.0, 0.1),  # or for a tenth of a second's worth.
    ],
)
def test_empty_bucket_is_waited_for_until_it_is_worth_while(rate: float, seconds: float) -> None:
    bucket = TokenBucket(rate)
    assert bucket.wait(50.0) == 0
    bucket.spend(50.0, bucket.burst)
    assert bucket.wait(50.0) == pytest.approx(seconds)
    assert bucket.wait(50.0 + seconds) == 0
    assert bucket.whole(50.0 + seconds) >= 1


@given(RATES, st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), max_size=40))
def test_bucket_gives_no_more_than_comes_in(rate: float, steps: list[tuple[float, int]]) -> None:
    bucket, level, now = TokenBucket(rate), burst_of(rate), 1e6
    for pause, wanted in steps:
        now += pause
        level = min(burst_of(rate), level + pause * rate)
        assert bucket.level(now) == pytest.approx(level, abs=1e-4)
        taken = min(wanted, bucket.whole(now))
        bucket.spend(now, taken)
        level -= taken
        assert level > -1e-3
        assert (bucket.wait(now) == 0) is (bucket.whole(now) >= 1)


# Handshakes ----------------------------------------------------------------------------------


def admit(rate: HandshakeRate, client: object, now: float) -> float | None:
    """Begins a handshake, if it may; else says in how many seconds it may."""
    wait = rate.wait(client, now)
    if wait is None:
        rate.take(client, now)
    return wait


def test_client_may_burst_and_then_go_on_at_its_rate() -> None:
    rate = HandshakeRate(5)
    assert [admit(rate, "a", 100.0) for _ in range(10)] == [None] * 10
    assert admit(rate, "a", 100.0) == pytest.approx(0.2)
    assert admit(rate, "a", 100.1) == pytest.approx(0.1)
    assert admit(rate, "a", 100.2) is None
    assert admit(rate, "a", 100.2) == pytest.approx(0.2)
    assert [admit(rate, "a", 200.0) for _ in range(11)].count(None) == 10


def test_clients_have_buckets_of_their_own() -> None:
    rate = HandshakeRate(1)
    assert [admit(rate, "a", 0.0) for _ in range(3)][-1] == pytest.approx(1)
    assert admit(rate, "b", 0.0) is None


def test_rate_below_one_admits_one_at_a_time() -> None:
    rate = HandshakeRate(0.1)
    assert admit(rate, "a", 0.0) is None
    assert admit(rate, "a", 4.0) == pytest.approx(6)
    assert admit(rate, "a", 10.0) is None


@given(RATES, st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_whoever_waits_as_told_is_admitted(rate: float, pauses: list[float]) -> None:
    handshakes, now = HandshakeRate(rate), 0.0
    for admitted, pause in enumerate(pauses, start=1):
        now += pause
        wait = admit(handshakes, "a", now)
        if wait is not None:
            assert 0 < wait <= 1 / rate + 1e-5
            now += wait
            assert admit(handshakes, "a", now) is None
        assert admitted <= burst_of(rate) + now * rate + 1e-2


def test_full_buckets_are_forgotten() -> None:
    rate = HandshakeRate(10)
    for client in range(1000):
        admit(rate, client, client * 0.01)
    assert len(rate) <= 11
    admit(rate, "last", 1000.0)
    for _ in range(11):
        admit(rate, "last", 1000.0)
    assert len(rate) == 1


def test_flood_of_addresses_takes_no_more_memory_than_that() -> None:
    rate = HandshakeRate(1, max_clients=100)
    for client in range(1000):
        assert admit(rate, client, 0.0) is None
        assert len(rate) <= 100
    # Whoever came last is remembered.
    assert admit(rate, 999, 0.0) is None
    assert admit(rate, 999, 0.0) is not None


def test_client_that_comes_again_is_not_forgotten_for_its_first_time() -> None:
    rate = HandshakeRate(1, max_clients=2)
    admit(rate, "busy", 0.0)
    admit(rate, "other", 0.0)
    admit(rate, "busy", 0.0)
    admit(rate, "third", 0.0)
    assert admit(rate, "busy", 0.0) is not None

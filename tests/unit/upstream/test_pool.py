"""Which target is asked, and whom else: by turns, by load, by hash; the failing last."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routes import RouteTable
from proxy.upstream.pool import COOLING, Member, Pool, pools_of
from tests.unit.build import config
from tests.unit.upstream.scene import Changes, member

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config.values import Target

NOW = 1000.0
BALANCES = ["round_robin", "least_connections", "key_hash", "address_hash"]
HASHES = BALANCES[2:]


def pool(
    size: int,
    balance: str = "round_robin",
    load: Callable[[Target], int] = lambda _: 0,
    changed: Any = None,
) -> Pool:
    return Pool([member(f"ws://up-{n}", changed) for n in range(size)], balance, load)


def hosts(members: Sequence[Member]) -> list[str]:
    return [each.target.host for each in members]


def first(of: Pool, affinity: bytes = b"", now: float = NOW) -> str:
    return of.order(now, affinity)[0].target.host


# What is known of a target -------------------------------------------------------------------


def test_target_is_up_until_something_speaks_against_it() -> None:
    changes = Changes()
    one = member("ws://a", changes)
    assert one.up
    one.missed(NOW, "refused")
    one.missed(NOW + 1, "refused again")
    assert not one.up
    assert one.cooling_until == NOW + 1 + COOLING
    one.reached()
    one.reached()
    assert one.up
    assert changes.told == [("ws://a", "refused"), ("ws://a", None)]


def test_checks_and_connections_both_have_to_say_well() -> None:
    changes = Changes()
    one = member("ws://a", changes)
    one.missed(NOW, "refused")
    one.judged(healthy=False, cause="it answered 500")
    one.reached()
    assert not one.up
    one.judged(healthy=True, cause=None)
    assert one.up
    one.judged(healthy=True, cause=None)
    one.judged(healthy=False, cause="it answered 503")
    assert changes.told == [("ws://a", "refused"), ("ws://a", None), ("ws://a", "it answered 503")]


# By turns ------------------------------------------------------------------------------------


@given(size=st.integers(1, 6), rounds=st.integers(1, 5), down=st.sets(st.integers(0, 5)))
def test_turns_are_even_over_those_available(size: int, rounds: int, down: set[int]) -> None:
    targets = pool(size)
    for number, each in enumerate(targets.members):
        if number in down:
            each.judged(healthy=False, cause="away")
    available = hosts([each for each in targets.members if each.healthy])
    chosen = Counter(
        hosts(targets.order(NOW, b""))[0] for _ in range(rounds * len(available)) if available
    )
    assert chosen == dict.fromkeys(available, rounds)


@pytest.mark.parametrize("balance", BALANCES)
def test_everybody_healthy_is_in_the_order_once(balance: str) -> None:
    targets = pool(5, balance)
    targets.members[1].judged(healthy=False, cause="away")
    targets.members[2].missed(NOW, "refused")
    for turn in range(7):
        order = hosts(targets.order(NOW, str(turn).encode()))
        assert sorted(order) == ["up-0", "up-2", "up-3", "up-4"]
        assert order[-1] == "up-2"


@pytest.mark.parametrize("balance", BALANCES)
def test_nobody_is_asked_when_all_are_unhealthy(balance: str) -> None:
    targets = pool(2, balance)
    for each in targets.members:
        each.judged(healthy=False, cause="away")
    assert targets.order(NOW, b"") == []


def test_first_turn_is_that_of_the_first_target() -> None:
    targets = pool(3)
    assert [first(targets) for _ in range(4)] == ["up-0", "up-1", "up-2", "up-0"]


# After a failure -----------------------------------------------------------------------------


def test_target_that_failed_is_left_alone_for_a_moment() -> None:
    targets = pool(2)
    targets.members[0].missed(NOW, "refused")
    just_before = NOW + COOLING - 0.001
    assert {first(targets, now=just_before) for _ in range(4)} == {"up-1"}
    assert {first(targets, now=NOW + COOLING) for _ in range(2)} == {"up-0", "up-1"}


def test_one_handshake_alone_finds_out_whether_a_target_is_back() -> None:
    targets = pool(2, "key_hash")
    mine = next(key for n in range(99) if first(targets, key := b"%d" % n) == "up-0")
    targets.members[0].missed(NOW, "refused")
    later = NOW + COOLING
    assert first(targets, mine, later) == "up-0"
    assert first(targets, mine, later) == "up-1"
    assert first(targets, mine, later + COOLING - 0.001) == "up-1"
    assert first(targets, mine, later + COOLING) == "up-0"
    targets.members[0].reached()
    assert first(targets, mine, later + COOLING) == "up-0"


def test_targets_that_all_failed_are_asked_all_the_same() -> None:
    targets = pool(3)
    for each in targets.members:
        each.missed(NOW, "refused")
    before = [each.cooling_until for each in targets.members]
    assert len(targets.order(NOW, b"")) == 3
    assert [each.cooling_until for each in targets.members] == before


# By load -------------------------------------------------------------------------------------


def test_target_with_the_fewest_connections_is_asked_first() -> None:
    loads = {"up-0": 3, "up-1": 1, "up-2": 2}
    targets = pool(3, "least_connections", lambda target: loads[target.host])
    for _ in range(3):
        assert hosts(targets.order(NOW, b"")) == ["up-1", "up-2", "up-0"]


def test_equal_loads_take_turns() -> None:
    targets = pool(3, "least_connections")
    assert Counter(first(targets) for _ in range(9)) == {"up-0": 3, "up-1": 3, "up-2": 3}


# By hash -------------------------------------------------------------------------------------


@pytest.mark.parametrize("balance", HASHES)
@given(keys=st.sets(st.binary(max_size=20), min_size=1, max_size=50), lost=st.integers(0, 4))
def test_lost_target_moves_only_its_own_share(balance: str, keys: set[bytes], lost: int) -> None:
    targets = pool(5, balance)
    before = {key: first(targets, key) for key in keys}
    targets.members[lost].judged(healthy=False, cause="away")
    after = {key: first(targets, key) for key in keys}
    for key in keys:
        if before[key] == f"up-{lost}":
            assert after[key] != f"up-{lost}"
        else:
            assert after[key] == before[key]


@given(keys=st.sets(st.binary(max_size=20), min_size=1, max_size=50))
def test_added_target_takes_only_its_own_share(keys: set[bytes]) -> None:
    small, large = pool(4, "key_hash"), pool(5, "key_hash")
    for key in keys:
        assert first(large, key) in {first(small, key), "up-4"}


def test_shares_are_about_equal() -> None:
    targets = pool(4, "address_hash")
    shares = Counter(first(targets, b"10.0.%d.%d" % divmod(n, 256)) for n in range(4000))
    assert all(850 < share < 1150 for share in shares.values())


def test_choice_is_that_of_every_process() -> None:
    assert [first(pool(3, "key_hash"), key) for key in (b"a", b"b", b"c", b"d")] == CHOSEN


CHOSEN = ["up-1", "up-2", "up-1", "up-2"]


# Of a configuration --------------------------------------------------------------------------


def test_every_route_has_a_pool() -> None:
    made = config(
        {"upstream": "ws://a"},
        {
            "name": "two",
            "path": "/two",
            "upstream": {"targets": ["ws://a", "ws://b/x"], "balance": "least_connections"},
        },
    )
    loads = {"a": 1, "b": 0}
    pools = pools_of(RouteTable.of(made), load=lambda target: loads[target.host], changed=Changes())
    assert pools.keys() == {"chat", "two"}
    assert pools["chat"].only is pools["chat"].members[0]
    assert pools["two"].only is None
    assert first(pools["two"]) == "b"
    assert [(each.route, each.text) for each in pools["two"].members] == [
        ("two", "ws://a"),
        ("two", "ws://b/x"),
    ]

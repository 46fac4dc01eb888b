"""What may be done with a key: rotated, revoked, suspended, resumed; and what may not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.keys.key import Key, Secret
from proxy.keys.lifecycle import (
    MAX_SECRETS,
    NotPossible,
    event_of,
    resumed,
    revoked,
    rotated,
    suspended,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_700_000_000.0
HOUR = 3600.0
KEY = Key("id1", "name1", (Secret(b"0"),), expires_at=NOW + 1000 * HOUR, metadata={"plan": "gold"})
REVOKED = replace(KEY, revoked_at=NOW - 9)
EXPIRED = replace(KEY, expires_at=NOW)
SUSPENDED = replace(KEY, suspended_at=NOW - 9)


def valid(key: Key, now: float = NOW) -> list[bytes]:
    return [each.digest for each in key.secrets if each.until is None or each.until > now]


# Rotation ------------------------------------------------------------------------------------


def test_rotation_keeps_the_former_secret_for_the_overlap_and_all_else() -> None:
    after = rotated(KEY, b"1", NOW, HOUR)
    assert after == replace(KEY, secrets=(Secret(b"1"), Secret(b"0", NOW + HOUR)))
    assert valid(after) == [b"1", b"0"]
    assert valid(after, NOW + HOUR) == [b"1"]


def test_rotation_without_overlap_ends_every_former_secret_at_once() -> None:
    after = rotated(rotated(KEY, b"1", NOW, HOUR), b"2", NOW, 0)
    assert after.secrets == (Secret(b"2"), Secret(b"1", NOW), Secret(b"0", NOW))
    assert valid(after) == [b"2"]


def test_rotation_never_prolongs_a_former_secret() -> None:
    after = rotated(rotated(KEY, b"1", NOW, HOUR), b"2", NOW + 10, 5 * HOUR)
    assert after.secrets[1:] == (Secret(b"1", NOW + 10 + 5 * HOUR), Secret(b"0", NOW + HOUR))


def test_suspended_key_can_be_rotated_and_stays_suspended() -> None:
    assert rotated(SUSPENDED, b"1", NOW, 0).suspended_at == SUSPENDED.suspended_at


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (REVOKED, "the key is revoked; create a new one .deleting this one frees its name"),
        (EXPIRED, "the key is expired; give it a later end first"),
    ],
)
def test_dead_key_cannot_be_rotated(key: Key, said: str) -> None:
    with pytest.raises(NotPossible, match=said):
        rotated(key, b"1", NOW, 0)


def test_only_so_many_secrets_are_valid_at_a_time() -> None:
    key = KEY
    for n in range(1, MAX_SECRETS):
        key = rotated(key, bytes([n]), NOW, HOUR)
    assert len(valid(key)) == MAX_SECRETS == 5
    with pytest.raises(NotPossible, match="5 secrets of the key are still valid; wait"):
        rotated(key, b"x", NOW + HOUR - 1, HOUR)
    assert valid(rotated(key, b"x", NOW + HOUR, HOUR), NOW + HOUR) == [b"x", bytes([4])]
    # Without overlap none of them is in the way.
    assert valid(rotated(key, b"x", NOW, 0)) == [b"x"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=40))
def test_secrets_stay_few_and_in_order_however_often_they_are_rotated(
    steps: list[tuple[int, int]],
) -> None:
    key, now = replace(KEY, expires_at=None), NOW
    for n, (passed, overlap) in enumerate(steps, start=1):
        now += passed
        before = set(valid(key, now))
        try:
            key = rotated(key, bytes([n]), now, overlap)
        except NotPossible:
            assert len(before) == MAX_SECRETS
            continue
        assert key.secrets[0] == Secret(bytes([n]))
        assert len(key.secrets) <= 2 * MAX_SECRETS
        assert 1 <= len(valid(key, now)) <= MAX_SECRETS
        # Nothing that was over is valid again; with an overlap nothing valid is lost.
        assert set(valid(key, now)) <= before | {bytes([n])}
        if overlap:
            assert set(valid(key, now)) == before | {bytes([n])}
        ends = [secret.until for secret in key.secrets[1:]]
        assert None not in ends


# Revoking, suspending, resuming --------------------------------------------------------------


def test_revoked_key_stays_revoked_since_the_first_time() -> None:
    assert revoked(KEY, NOW) == replace(KEY, revoked_at=NOW)
    assert revoked(REVOKED, NOW) is REVOKED
    assert revoked(SUSPENDED, NOW) == replace(SUSPENDED, revoked_at=NOW)
    assert revoked(EXPIRED, NOW).state(NOW) == "revoked"


def test_suspended_key_stays_suspended_since_the_first_time() -> None:
    assert suspended(KEY, NOW) == replace(KEY, suspended_at=NOW)
    assert suspended(SUSPENDED, NOW) is SUSPENDED


def test_resumed_key_is_as_before() -> None:
    assert resumed(SUSPENDED) == KEY
    assert resumed(KEY) is KEY
    assert resumed(suspended(EXPIRED, NOW)) == EXPIRED


@pytest.mark.parametrize("change", [lambda key: suspended(key, NOW), resumed])
@pytest.mark.parametrize("key", [REVOKED, replace(REVOKED, suspended_at=NOW)])
def test_revoked_key_is_neither_suspended_nor_resumed(
    change: Callable[[Key], Key], key: Key
) -> None:
    with pytest.raises(NotPossible, match="a revoked key stays so"):
        change(key)


# Events --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "event"),
    [
        (None, KEY, "key_created"),
        (None, REVOKED, "key_created"),
        (KEY, None, "key_deleted"),
        (REVOKED, None, "key_deleted"),
        (KEY, revoked(KEY, NOW), "key_revoked"),
        (SUSPENDED, revoked(SUSPENDED, NOW), "key_revoked"),
        (KEY, rotated(KEY, b"1", NOW, 0), "key_rotated"),
        (KEY, suspended(KEY, NOW), "key_suspended"),
        (SUSPENDED, resumed(SUSPENDED), "key_resumed"),
        (KEY, replace(KEY, name="name2"), "key_updated"),
        (REVOKED, replace(REVOKED, name="name2"), "key_updated"),
        # Two changes between two looks: the graver one is named.
        (KEY, revoked(rotated(KEY, b"1", NOW, 0), NOW), "key_revoked"),
        (KEY, replace(suspended(KEY, NOW), name="name2"), "key_suspended"),
    ],
)
def test_change_has_a_name(before: Any, after: Any, event: str) -> None:
    assert event_of(before, after) == event

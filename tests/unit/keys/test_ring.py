"""The ring: every key in memory, the configuration's before the store's, found by any secret."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proxy.keys.key import Key, Secret
from proxy.keys.lifecycle import revoked, rotated, suspended
from proxy.keys.ring import Difference, KeyRing

NOW = 1_700_000_000.0


def key(id: str, *secrets: bytes, **fields: Any) -> Key:
    return Key(id, f"name of {id}", tuple(map(Secret, secrets or (id.encode(),))), **fields)


FIXED, OTHER, STORED = key("fixed"), key("other"), key("stored")


def ids(ring: KeyRing) -> list[str]:
    return [each.id for each in ring]


# Finding -------------------------------------------------------------------------------------


def test_empty_ring_knows_nobody() -> None:
    ring = KeyRing()
    assert len(ring) == 0
    assert ring.find(b"x") is None
    assert ring.get("x") is None
    assert not ring.is_fixed("x")
    assert ring.due(NOW) == []


def test_key_is_found_by_its_digest_and_its_id() -> None:
    ring = KeyRing([FIXED])
    ring.put("stored", STORED)
    for each in (FIXED, STORED):
        assert ring.find(each.id.encode()) is each
        assert ring.get(each.id) is each
    assert (ids(ring), len(ring)) == (["fixed", "stored"], 2)
    assert ring.is_fixed("fixed")
    assert not ring.is_fixed("stored")


def test_rotated_key_is_found_by_every_secret_it_has() -> None:
    ring = KeyRing()
    ring.put("stored", STORED)
    after = rotated(STORED, b"new", NOW, 60)
    ring.put("stored", after)
    assert ring.find(b"new") is ring.find(b"stored") is after
    # A secret that fell out is known no more.
    ring.put("stored", replace(after, secrets=(Secret(b"newer"), Secret(b"new", NOW))))
    assert ring.find(b"stored") is None
    assert ring.find(b"newer") is ring.find(b"new") is ring.get("stored")


def test_deleted_key_leaves_nothing_behind() -> None:
    ring = KeyRing()
    ring.put("stored", rotated(STORED, b"new", NOW, 60))
    ring.put("stored", None)
    assert (len(ring), ids(ring)) == (0, [])
    assert ring.find(b"new") is ring.find(b"stored") is ring.get("stored") is None


def test_secret_of_a_deleted_key_may_be_imported_again() -> None:
    ring = KeyRing()
    ring.put("a", key("a", b"shared"))
    ring.put("a", None)
    ring.put("b", key("b", b"shared"))
    assert ring.find(b"shared") is ring.get("b")


def test_fixed_key_wins_over_a_stored_one_with_its_secret() -> None:
    thief = key("thief", b"fixed", b"own")
    for ring in (KeyRing([FIXED]), KeyRing()):
        ring.put("thief", thief)
        ring.replace_fixed([FIXED])
        assert ring.find(b"fixed") is FIXED
        assert ring.find(b"own") is thief
        ring.put("thief", revoked(thief, NOW))
        assert ring.find(b"fixed") is FIXED
        ring.put("thief", None)
        assert ring.find(b"fixed") is FIXED
        assert ring.find(b"own") is None


def test_fixed_key_wins_over_a_stored_one_with_its_id_and_secret() -> None:
    ring = KeyRing([FIXED])
    ring.put("fixed", revoked(FIXED, NOW))
    assert ring.get("fixed") is FIXED
    assert ring.find(b"fixed") is FIXED


def test_stored_key_takes_over_when_the_fixed_one_is_gone() -> None:
    ring = KeyRing([FIXED])
    after = key("after", b"fixed")
    ring.put("after", after)
    assert ring.replace_fixed([]) == [Difference(FIXED, None)]
    assert ring.find(b"fixed") is after


def test_secret_that_moved_between_two_looks_is_found_where_it_is_now() -> None:
    ring = KeyRing()
    ring.put("a", key("a", b"moved"))
    # The last change of each, in order: `a` was changed once more after `b` had taken the secret.
    ring.put("b", key("b", b"moved"))
    ring.put("a", key("a", b"new"))
    assert ring.find(b"moved") is ring.get("b")
    assert ring.find(b"new") is ring.get("a")


def test_revision_grows_with_all_that_may_change_what_a_key_opens() -> None:
    ring = KeyRing()
    ends = key("ends", expires_at=NOW + 1)
    steps = (
        lambda: ring.put("ends", ends),
        lambda: ring.replace_stored([ends, STORED]),
        lambda: ring.replace_fixed([FIXED]),
        lambda: ring.schedule(NOW) or ring.due(NOW + 1),
        lambda: ring.put("stored", None),
    )
    for step in steps:
        before = ring.revision
        step()
        assert ring.revision > before
    before = ring.revision
    ring.find(b"fixed")
    ring.due(NOW + 2)
    ring.schedule(NOW + 2)
    assert ring.revision == before


# Differences ---------------------------------------------------------------------------------


def test_put_tells_what_it_changed() -> None:
    ring = KeyRing()
    off = suspended(STORED, NOW)
    assert ring.put("stored", None) is None
    assert ring.put("stored", STORED) == Difference(None, STORED)
    assert ring.put("stored", replace(STORED)) is None
    assert ring.put("stored", off) == Difference(STORED, off)
    assert ring.put("stored", None) == Difference(off, None)


def test_all_stored_keys_are_replaced_and_no_fixed_one() -> None:
    ring = KeyRing([FIXED])
    ring.replace_stored([STORED, OTHER])
    changed, new = revoked(OTHER, NOW), key("new")
    assert ring.replace_stored([new, changed]) == [
        Difference(STORED, None),
        Difference(OTHER, changed),
        Difference(None, new),
    ]
    assert ids(ring) == ["fixed", "new", "other"]
    assert ring.find(b"stored") is None
    assert ring.find(b"other") is changed
    assert ring.find(b"fixed") is FIXED
    assert ring.replace_stored([changed, new]) == []


def test_all_fixed_keys_are_replaced_and_no_stored_one() -> None:
    ring = KeyRing([FIXED, OTHER])
    ring.put("stored", STORED)
    changed = revoked(OTHER, NOW)
    assert ring.replace_fixed([changed]) == [Difference(FIXED, None), Difference(OTHER, changed)]
    assert ids(ring) == ["other", "stored"]
    assert ring.find(b"fixed") is None
    assert ring.find(b"stored") is STORED


# Ends ----------------------------------------------------------------------------------------


def due(ring: KeyRing, now: float) -> list[str]:
    return [each.id for each in ring.due(now)]


def test_each_end_is_told_once_and_when_it_has_come() -> None:
    late, soon = key("late", expires_at=NOW + 20), key("soon", expires_at=NOW + 10)
    ring = KeyRing([late])
    ring.put("soon", soon)
    ring.schedule(NOW)
    assert due(ring, NOW + 9.9) == []
    assert due(ring, NOW + 10) == ["soon"]
    assert due(ring, NOW + 11) == []
    assert due(ring, NOW + 1000) == ["late"]
    assert due(ring, NOW + 2000) == []


def test_every_end_of_one_key_is_told() -> None:
    ends = replace(
        STORED,
        secrets=(Secret(b"2"), Secret(b"1", NOW + 2), Secret(b"0", NOW + 1)),
        expires_at=NOW + 3,
    )
    ring = KeyRing([ends])
    ring.schedule(NOW)
    for seconds in (1, 2, 3):
        assert due(ring, NOW + seconds - 0.1) == []
        assert due(ring, NOW + seconds) == ["stored"]
    assert due(ring, NOW + 99) == []
    ring.schedule(NOW)
    assert due(ring, NOW + 99) == ["stored"]


def test_watched_key_is_told_and_a_deleted_one_is_not() -> None:
    ring = KeyRing()
    for name in ("kept", "gone"):
        ends = key(name, expires_at=NOW + 1)
        ring.put(name, ends)
        ring.watch(ends, NOW)
    ring.put("gone", None)
    assert due(ring, NOW + 1) == ["kept"]


def test_prolonged_key_is_told_at_its_new_end() -> None:
    ring = KeyRing()
    for end in (1, 5):
        ends = key("stored", expires_at=NOW + end)
        ring.put("stored", ends)
        ring.watch(ends, NOW)
    due(ring, NOW + 1)
    assert due(ring, NOW + 4.9) == []
    assert due(ring, NOW + 5) == ["stored"]


def test_endless_key_is_never_due() -> None:
    ring = KeyRing([FIXED])
    ring.schedule(NOW)
    ring.watch(FIXED, NOW)
    assert due(ring, 1e15) == []


# Counts --------------------------------------------------------------------------------------


def test_keys_are_counted_by_state() -> None:
    ring = KeyRing([FIXED, suspended(OTHER, NOW)])
    assert ring.by_state(NOW) == {"active": 1, "suspended": 1, "expired": 0, "revoked": 0}
    ring.put("a", key("a", revoked_at=NOW))
    ring.put("b", key("b", expires_at=NOW))
    ring.put("c", key("c"))
    assert ring.by_state(NOW) == {"active": 2, "suspended": 1, "expired": 1, "revoked": 1}

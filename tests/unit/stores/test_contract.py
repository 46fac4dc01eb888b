"""What every store does, whatever it keeps keys in."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from proxy.keys.key import Key, Secret
from proxy.keys.lifecycle import revoked, rotated
from proxy.stores.memory import MemoryStore
from proxy.stores.store import AmbiguousKey, Change, Changes, Conflict, NoSuchKey
from tests.unit.stores import scene
from tests.unit.stores.scene import BY, FULL, NOTHING, digest, key, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxy.stores.store import KeyStore


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., KeyStore]]:
    made: list[KeyStore] = []

    def make_store(**given) -> KeyStore:
        if request.param == "memory":
            store: KeyStore = MemoryStore(**given)
        else:
            store = scene.sqlite_store(tmp_path / f"{len(made)}.db", **given)
        made.append(store)
        return store

    yield make_store
    for store in made:
        store.close()


@pytest.fixture
def store(make: Callable[..., KeyStore]) -> KeyStore:
    return make()


def listed(changes: Changes | None) -> list[tuple[str, Key | None]]:
    assert changes is not None
    return [(change.id, change.key) for change in changes.changes]


# Keys ----------------------------------------------------------------------------------------


def test_new_store_is_empty(store: KeyStore) -> None:
    assert store.keys() == []
    assert store.changes(None) == Changes(0, [], complete=True)
    assert store.usage(since=0) == []
    assert store.last_used() == {}
    assert store.warning is None


@pytest.mark.parametrize("kept", [key(1), FULL, NOTHING], ids=["plain", "full", "nothing"])
def test_key_comes_back_as_it_was(store: KeyStore, kept: Key) -> None:
    store.add([kept], by=BY)
    assert store.keys() == [kept]
    assert store.find(kept.id) == kept
    assert store.find(kept.name) == kept
    assert listed(store.changes(None)) == [(kept.id, kept)]
    assert list(store.find(kept.id).metadata) == list(kept.metadata)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=scene.keys)
def test_any_key_comes_back_as_it_was(store: KeyStore, kept: Key) -> None:
    store.add([kept], by=BY)
    try:
        assert store.find(kept.id) == kept
        changed = replace(kept, weak=not kept.weak, name=kept.name + "2")
        store.change(kept.id, lambda _: changed, by=BY)
        assert store.keys() == [changed]
    finally:
        store.delete(kept.id, by=BY)


def test_keys_are_listed_by_name(store: KeyStore) -> None:
    store.add([key(1, name="b"), key(2, name="é"), key(3, name="B"), key(4, name="a")], by=BY)
    listed_keys = store.keys()
    assert [key.name for key in listed_keys] == ["B", "a", "b", "é"]


def test_reference_that_means_two_keys_is_refused(store: KeyStore) -> None:
    store.add([key(1, name="id2"), key(2), key(3, name="id3")], by=BY)
    with pytest.raises(AmbiguousKey, match=r"of the key `name2`.*with the id `id1`"):
        store.find("id2")
    assert store.find("id1").name == "id2"
    assert store.find("name2").id == "id2"
    assert store.find("id3").id == "id3"


def test_reference_to_no_key_is_not_repeated(store: KeyStore) -> None:
    for ask in (
        lambda: store.find("secret-1"),
        lambda: store.delete("secret-1", by=BY),
        lambda: store.change("secret-1", lambda key: key, by=BY),
    ):
        with pytest.raises(NoSuchKey) as caught:
            ask()
        assert str(caught.value) == "no key has that id or name"


# Conflicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (key(2, id="id1"), "the key `name1` has the id `id1` already"),
        (key(2, name="name1"), "the key `name1` has the name `name1` already"),
        (key(2, secrets=(Secret(digest(1)),)), "the key `name1` has the secret already"),
        (
            key(2, secrets=(Secret(digest("x")), Secret(digest("past"), 1.0))),
            "the key `name1` has the secret already",
        ),
        (
            key(2, secrets=(Secret(digest("x")), Secret(digest("x"), 1.0))),
            "the key `name2` has the secret already",
        ),
    ],
    ids=["id", "name", "secret", "past secret", "own secret"],
)
def test_what_is_taken_is_refused_and_nothing_changes(
    store: KeyStore, other: Key, words: str
) -> None:
    first = key(1, secrets=(Secret(digest(1)), Secret(digest("past"), 1.0)))
    store.add([first], by=BY)
    before = store.changes(None)
    for batch in ([other], [key(7), other], [other, key(7)]):
        with pytest.raises(Conflict, match=words):
            store.add(batch, by=BY)
    assert store.changes(None) == before
    # All that the refused ones had is free still.
    store.add([key(7), key(2)], by=BY)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (key(2, id="id1"), "the key `name1` has the id `id1` already"),
        (key(2, name="name1"), "the key `name1` has the name `name1` already"),
        (key(2, secrets=(Secret(digest(1)),)), "the key `name1` has the secret already"),
    ],
    ids=["id", "name", "secret"],
)
def test_keys_added_together_do_not_share_anything(store: KeyStore, other: Key, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        store.add([key(1), other], by=BY)
    assert store.keys() == []
    store.add([key(1), key(2)], by=BY)


def test_change_takes_nothing_of_another_key(store: KeyStore) -> None:
    store.add([key(1), key(2)], by=BY)
    before = store.changes(None)
    with pytest.raises(Conflict, match="the key `name1` has the name"):
        store.change("id2", lambda key: replace(key, name="name1"), by=BY)
    with pytest.raises(Conflict, match="the key `name1` has the secret"):
        store.change("id2", lambda key: rotated(key, digest(1), 1.0, 1.0), by=BY)
    with pytest.raises(Conflict, match="the key `name2` has the secret"):
        store.change("id2", lambda key: rotated(key, digest(2), 1.0, 1.0), by=BY)
    assert store.changes(None) == before
    store.change("id2", lambda key: rotated(key, digest(3), 1.0, 1.0), by=BY)


def test_what_a_deleted_or_renamed_key_had_is_free(store: KeyStore) -> None:
    store.add([key(1), key(2)], by=BY)
    assert store.delete("id1", by=BY) == key(1)
    store.change("id2", lambda key: replace(key, name="name1"), by=BY)
    store.add([key(1, name="name2")], by=BY)
    assert store.keys() == [key(2, name="name1"), key(1, name="name2")]


# Changes -------------------------------------------------------------------------------------


def test_change_is_made_of_what_is_kept(store: KeyStore) -> None:
    store.add([key(1), FULL], by=BY)
    after = store.change("id1", lambda key: revoked(key, 5.0), by="admin:root")
    assert after == replace(key(1), revoked_at=5.0)
    assert store.find("id1") == after
    assert store.find(FULL.id) == FULL


def test_failed_edit_changes_nothing(store: KeyStore) -> None:
    store.add([key(1)], by=BY)
    before = store.changes(None)

    def fail(_key: Key) -> Key:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        store.change("id1", fail, by=BY)
    with pytest.raises(ValueError, match="the id"):
        store.change("id1", lambda key: replace(key, id="id9"), by=BY)
    assert store.changes(None) == before


def test_edit_to_the_same_is_no_change(store: KeyStore) -> None:
    store.add([key(1)], by=BY)
    assert store.change("id1", replace, by="cli:bob") == key(1)
    assert store.changes(1) is None


def test_each_change_is_told_once(store: KeyStore) -> None:
    store.add([key(1), key(2), key(3)], by=BY)
    first = store.changes(None)
    assert first is not None
    assert (first.revision, len(first.changes), first.complete) == (3, 3, True)
    assert store.changes(3) is None
    gold = store.change("id3", lambda key: replace(key, metadata={"plan": "gold"}), by="cli:bob")
    store.delete("id1", by="cli:eve")
    second = store.changes(3)
    assert second == Changes(
        5, [Change("id3", gold, "cli:bob"), Change("id1", None, "cli:eve")], complete=False
    )
    assert store.changes(5) is None
    # The same once more for whoever has seen less.
    assert store.changes(3) == second
    assert listed(store.changes(4)) == [("id1", None)]


def test_only_the_last_change_of_a_key_is_told(store: KeyStore) -> None:
    store.add([key(1), key(2)], by=BY)
    store.delete("id1", by=BY)
    store.change("id2", lambda key: replace(key, weak=True), by=BY)
    store.add([key(1)], by=BY)
    assert listed(store.changes(2)) == [("id2", key(2, weak=True)), ("id1", key(1))]
    store.delete("id2", by=BY)
    store.delete("id1", by=BY)
    assert listed(store.changes(0)) == [("id2", None), ("id1", None)]
    assert listed(store.changes(None)) == []


def test_revisions_grow_with_every_change(store: KeyStore) -> None:
    seen = [0]
    for number in range(3):
        store.add([key(number)], by=BY)
        store.change(f"id{number}", lambda key: revoked(key, 1.0), by=BY)
        store.delete(f"id{number}", by=BY)
        changes = store.changes(seen[-1])
        assert changes is not None
        seen.append(changes.revision)
    assert all(later > earlier for earlier, later in pairwise(seen))


def test_who_knows_of_a_forgotten_deletion_no_more_is_given_all_keys(
    make: Callable[..., KeyStore],
) -> None:
    store = make(remembered=2)
    store.add([key(1), key(2), key(3)], by=BY)
    store.delete("id1", by=BY)  # 4
    store.add([key(4), key(5)], by=BY)  # 6: the deletion is forgotten
    complete = store.changes(3)
    assert complete is not None
    assert complete.complete
    assert {change.id for change in complete.changes} == {"id2", "id3", "id4", "id5"}
    # From 4 on nothing is missing.
    assert listed(store.changes(4)) == [("id4", key(4)), ("id5", key(5))]
    store.delete("id5", by=BY)
    assert listed(store.changes(6)) == [("id5", None)]


def test_revision_of_another_store_is_answered_with_all_keys(store: KeyStore) -> None:
    store.add([key(1)], by=BY)
    changes = store.changes(17)
    assert changes is not None
    assert (changes.revision, changes.complete) == (1, True)
    assert listed(changes) == [("id1", key(1))]


# Usage ---------------------------------------------------------------------------------------


def test_usage_adds_up_by_key_and_hour(store: KeyStore) -> None:
    store.record([usage("id1", 0, 5.0), usage("id2", 0, 9.0), usage("id1", 3600, None, 7)])
    store.record([usage("id1", 0, 3.0, 10), usage("id1", 0, None, 100)])
    store.record([])
    assert store.usage(since=0) == [
        usage("id1", 0, 5.0, 111),
        usage("id2", 0, 9.0),
        usage("id1", 3600, None, 7),
    ]
    assert store.last_used() == {"id1": 5.0, "id2": 9.0}


def test_usage_is_given_from_the_hour_of_a_moment(store: KeyStore) -> None:
    store.record([usage("id1", hour) for hour in (7200, 3600, 0)])
    store.record([usage("id2", 3600)])
    assert [row.hour for row in store.usage(since=3599.9)] == [0, 3600, 3600, 7200]
    assert [row.hour for row in store.usage(since=3600)] == [3600, 3600, 7200]
    assert [row.hour for row in store.usage(since=7199.5, key_id="id1")] == [3600, 7200]
    assert store.usage(since=7200, key_id="id2") == []
    assert store.usage(since=0, key_id="nobody") == []


def test_last_use_only_moves_on(store: KeyStore) -> None:
    store.record([usage("id1", 3600, 3700.0)])
    store.record([usage("id1", 0, 10.0), usage("id1", 3600, 3650.0)])
    assert store.last_used() == {"id1": 3700.0}
    assert [row.last_used_at for row in store.usage(since=0)] == [10.0, 3700.0]
    store.record([usage("id1", 0, 20.0)])
    assert store.usage(since=0)[0].last_used_at == 20.0


def test_usage_outlasts_its_key_and_is_no_change(store: KeyStore) -> None:
    store.add([key(1)], by=BY)
    store.record([usage("id1")])
    assert store.changes(1) is None
    store.delete("id1", by=BY)
    assert store.usage(since=0) == [usage("id1")]


def test_usage_is_recorded_from_any_iterable(store: KeyStore) -> None:
    store.record(usage("id1", 0, n=n) for n in (1, 2))
    assert store.usage(since=0) == [usage("id1", 0, n=3)]

"""Two connections to one file together are as one in memory, in any order of what is done."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.keys.key import Secret
from proxy.stores.memory import MemoryStore
from proxy.stores.store import Conflict, NoSuchKey
from tests.unit.stores.scene import digest, key, sqlite_store, usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.stores.store import Changes, KeyStore

REMEMBERED = 4

# Few of each, so that they meet.
few = st.integers(0, 3)
moments = st.none() | st.sampled_from([1.0, 2.0])
made = st.builds(
    lambda number, name, secrets, at: key(
        number,
        name=f"name{name}",
        secrets=tuple(Secret(digest(secret), at) for secret in secrets),
        revoked_at=at,
    ),
    few,
    few,
    st.lists(st.integers(0, 5), min_size=1, max_size=2),
    moments,
)
who = st.sampled_from(["cli:ann", "admin:bob"])
which = st.integers(0, 1)


def outcome(of: Callable[[], object]) -> object:
    try:
        return of()
    except (Conflict, NoSuchKey) as failure:
        return type(failure), str(failure)


def unordered(changes: Changes | None) -> object:
    if changes is None or not changes.complete:
        return changes
    return changes.revision, sorted(changes.changes, key=lambda change: change.id)


class Stores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "keys.db")
        self.memory = MemoryStore(remembered=REMEMBERED)
        self.stores = [self.opened(), self.opened()]
        self.seen = [0, 0]

    def opened(self) -> KeyStore:
        return sqlite_store(self.path, remembered=REMEMBERED)

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    def both(self, at: int, call: Callable[[Any], object]) -> None:
        assert outcome(lambda: call(self.stores[at])) == outcome(lambda: call(self.memory))

    @rule(at=which, keys=st.lists(made, max_size=3), by=who)
    def add(self, at, keys, by) -> None:
        self.both(at, lambda store: store.add(keys, by=by))

    @rule(at=which, id=few, into=made, by=who)
    def change(self, at, id, into, by) -> None:
        after = replace(into, id=f"id{id}")
        self.both(at, lambda store: store.change(f"id{id}", lambda _: after, by=by))

    @rule(at=which, id=few, by=who)
    def delete(self, at, id, by) -> None:
        self.both(at, lambda store: store.delete(f"id{id}", by=by))

    @rule(
        at=which, rows=st.lists(st.builds(usage, st.just("id1"), st.just(0), moments), max_size=2)
    )
    def record(self, at, rows) -> None:
        self.both(at, lambda store: store.record(rows))

    @rule(at=which)
    def look(self, at) -> None:
        answer = self.stores[at].changes(self.seen[at])
        assert unordered(answer) == unordered(self.memory.changes(self.seen[at]))
        if answer is not None:
            self.seen[at] = answer.revision

    @rule(at=which, since=st.none() | st.integers(0, 20))
    def look_from_anywhere(self, at, since) -> None:
        answer = self.stores[at].changes(since)
        assert unordered(answer) == unordered(self.memory.changes(since))

    @rule(at=which)
    def reopen(self, at) -> None:
        self.stores[at].close()
        self.stores[at] = self.opened()

    @invariant()
    def all_keep_the_same(self) -> None:
        for store in self.stores:
            assert store.keys() == self.memory.keys()
            assert store.usage(since=0) == self.memory.usage(since=0)
            assert store.last_used() == self.memory.last_used()


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=40, stateful_step_count=30)

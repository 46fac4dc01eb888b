"""The ring beside a model that looks through a list, whatever is done to both."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.keys.key import STATES, Key, Secret
from proxy.keys.ring import Difference, KeyRing

FIXED_IDS = ("fixed0", "fixed1")
STORED_IDS = ("stored0", "stored1", "stored2")
# The store keeps secrets apart; the configuration's keys may share them with it.
SHARED = {name: (name.encode(), name.encode() + b" rotated") for name in STORED_IDS}
DIGESTS = [digest for pair in SHARED.values() for digest in pair]
MOMENTS = st.none() | st.integers(0, 30).map(float)


@st.composite
def stored_keys(draw: st.DrawFn, id: str) -> Key:
    count = draw(st.integers(1, 2))
    digests = draw(st.permutations(SHARED[id]))[:count]
    return Key(
        id,
        id,
        tuple(Secret(digest, draw(MOMENTS)) for digest in digests),
        expires_at=draw(MOMENTS),
        revoked_at=draw(MOMENTS),
        suspended_at=draw(MOMENTS),
    )


@st.composite
def fixed_lists(draw: st.DrawFn) -> list[Key]:
    digests = iter(draw(st.permutations([*DIGESTS, *map(str.encode, FIXED_IDS)])))
    chosen = draw(st.sets(st.sampled_from(FIXED_IDS)))
    return [Key(name, name, (Secret(next(digests)),), expires_at=draw(MOMENTS)) for name in chosen]


STORED_LISTS = st.tuples(*(st.none() | stored_keys(name) for name in STORED_IDS)).map(
    lambda keys: [key for key in keys if key is not None]
)


class RingBesideAList(RuleBasedStateMachine):
    """What a ring is asked, a list is asked too."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = KeyRing()
        self.fixed: list[Key] = []
        self.stored: dict[str, Key] = {}
        self.now = 0.0
        self.asked_at = 0.0

    @rule(keys=fixed_lists())
    def configuration_changes(self, keys: list[Key]) -> None:
        before, self.fixed = {key.id: key for key in self.fixed}, keys
        self.agree(self.ring.replace_fixed(keys), before, {key.id: key for key in keys})
        self.ring.schedule(self.now)

    @rule(keys=STORED_LISTS)
    def store_is_read_anew(self, keys: list[Key]) -> None:
        before, self.stored = self.stored, {key.id: key for key in keys}
        self.agree(self.ring.replace_stored(keys), before, self.stored)
        self.ring.schedule(self.now)

    @rule(key=st.sampled_from(STORED_IDS).flatmap(stored_keys))
    def stored_key_changes(self, key: Key) -> None:
        before = self.stored.get(key.id)
        difference = self.ring.put(key.id, key)
        assert difference == (None if before == key else Difference(before, key))
        self.stored[key.id] = key
        self.ring.watch(key, self.now)

    @rule(id=st.sampled_from(STORED_IDS))
    def stored_key_is_deleted(self, id: str) -> None:
        before = self.stored.pop(id, None)
        difference = self.ring.put(id, None)
        assert difference == (None if before is None else Difference(before, None))

    @rule(passed=st.integers(0, 5))
    def time_passes(self, passed: int) -> None:
        self.now += passed
        told = self.ring.due(self.now)
        ended = {
            key.id
            for key in self.keys()
            for end in (key.expires_at, *(secret.until for secret in key.secrets))
            if end is not None and self.asked_at < end <= self.now
        }
        # An end that was moved meanwhile may be told for nothing; none is missed.
        assert ended <= {key.id for key in told}
        assert len(told) == len({key.id for key in told})
        assert all(self.ring.get(key.id) is key for key in told)
        self.asked_at = self.now

    def keys(self) -> list[Key]:
        return [*self.fixed, *self.stored.values()]

    @staticmethod
    def agree(found: list[Difference], before: dict[str, Key], after: dict[str, Key]) -> None:
        expected = [
            Difference(before.get(name), after.get(name))
            for name in {*before, *after}
            if before.get(name) != after.get(name)
        ]
        assert sorted(map(str, found)) == sorted(map(str, expected))

    @invariant()
    def every_key_is_found(self) -> None:
        assert sorted(map(str, self.ring)) == sorted(map(str, self.keys()))
        assert len(self.ring) == len(self.keys())
        for digest in (*DIGESTS, *map(str.encode, FIXED_IDS)):
            holders = [key for key in self.keys() if key.secret(digest) is not None]
            assert self.ring.find(digest) == (holders[0] if holders else None)
        for name in (*FIXED_IDS, *STORED_IDS):
            holders = [key for key in self.keys() if key.id == name]
            assert self.ring.get(name) == (holders[0] if holders else None)
            assert self.ring.is_fixed(name) is (name in {key.id for key in self.fixed})

    @invariant()
    def every_key_is_counted(self) -> None:
        counts = {
            state: sum(key.state(self.now) == state for key in self.keys()) for state in STATES
        }
        assert self.ring.by_state(self.now) == counts


TestRing = RingBesideAList.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=25)

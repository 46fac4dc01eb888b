"""All keys in memory, found by the digest of a secret; a look-up costs no I/O."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from proxy.keys.key import STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from proxy.keys.key import Key, State


class Difference(NamedTuple):
    """One key before and after a change; None where it was not there."""

    before: Key | None
    after: Key | None


class KeyRing:
    """The keys of the configuration and, behind them, those of the store.

    Args:
        fixed: the configuration's; no store can replace or hide one.
    """

    def __init__(self, fixed: Iterable[Key] = ()) -> None:
        self._fixed = {key.id: key for key in fixed}
        self._stored: dict[str, Key] = {}
        self._by_digest: dict[bytes, Key] = {}
        # The key that has, or had, the secret with a SHA-256. It is the dictionary's own method:
        # every handshake asks.
        self.find: Callable[[bytes], Key | None] = self._by_digest.get
        # Grows with everything that may change what a key opens.
        self.revision = 0
        # (moment, key id): when time alone changes what a key opens.
        self._ends: list[tuple[float, str]] = []
        for key in self._fixed.values():
            self._index(key)

    def __len__(self) -> int:
        return len(self._fixed) + len(self._stored)

    def __iter__(self) -> Iterator[Key]:
        yield from self._fixed.values()
        yield from self._stored.values()

    def get(self, id: str) -> Key | None:
        """The key with that id."""
        return self._fixed.get(id) or self._stored.get(id)

    def is_fixed(self, id: str) -> bool:
        """Whether the configuration holds the key."""
        return id in self._fixed

    def replace_fixed(self, fixed: Iterable[Key]) -> list[Difference]:
        """Takes the keys of a new configuration in place of the old one's."""
        before, self._fixed = self._fixed, {key.id: key for key in fixed}
        self._reindex()
        return _differences(before, self._fixed)

    def replace_stored(self, stored: Iterable[Key]) -> list[Difference]:
        """Takes all keys of a store in place of those known so far."""
        before, self._stored = self._stored, {key.id: key for key in stored}
        self._reindex()
        return _differences(before, self._stored)

    def put(self, id: str, after: Key | None) -> Difference | None:
        """Takes one key of the store as it is now, None for gone; returns what that changed."""
        self.revision += 1
        before = self._stored.pop(id, None)
        if before is not None:
            for secret in before.secrets:
                if self._by_digest.get(secret.digest) is before:
                    del self._by_digest[secret.digest]
        if after is not None:
            self._stored[id] = after
            self._index(after)
        return None if before == after else Difference(before, after)

    def schedule(self, now: float) -> None:
        """Notes when keys will end by themselves, as seen from `now`."""
        self._ends = [(end, key.id) for key in self if (end := key.next_end(now)) is not None]
        heapq.heapify(self._ends)

    def watch(self, key: Key, now: float) -> None:
        """Notes when one key will end by itself."""
        end = key.next_end(now)
        if end is not None:
            heapq.heappush(self._ends, (end, key.id))

    def due(self, now: float) -> list[Key]:
        """The keys, each once, of which an end has come since it was last asked."""
        found: dict[str, Key] = {}
        while self._ends and self._ends[0][0] <= now:
            key = self.get(heapq.heappop(self._ends)[1])
            if key is not None:
                found[key.id] = key
        self.revision += bool(found)
        for key in found.values():
            self.watch(key, now)
        return list(found.values())

    def by_state(self, now: float) -> dict[State, int]:
        """How many keys are in each state."""
        counts = dict.fromkeys(STATES, 0)
        for key in self:
            counts[key.state(now)] += 1
        return counts

    def _reindex(self) -> None:
        self.revision += 1
        self._by_digest.clear()
        for key in self:
            self._index(key)

    def _index(self, key: Key) -> None:
        for secret in key.secrets:
            holder = self._by_digest.get(secret.digest)
            if holder is None or self._fixed.get(holder.id) is not holder:
                self._by_digest[secret.digest] = key


def _differences(before: Mapping[str, Key], after: Mapping[str, Key]) -> list[Difference]:
    return [
        Difference(before.get(name), after.get(name))
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]

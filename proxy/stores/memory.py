"""A store that lasts as long as the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy.stores.store import (
    HOUR,
    REMEMBERED,
    AmbiguousKey,
    Change,
    Changes,
    Conflict,
    NoSuchKey,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from proxy.keys.key import Key


class _Entry(NamedTuple):
    revision: int
    change: Change


class MemoryStore:
    """Keys and usage in memory.

    Args:
        remembered: further changes for which a deletion is remembered.
    """

    place = "memory:"
    warning: str | None = None

    def __init__(self, *, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        # What became of each key, deleted ones among them, in the order of the changes.
        self._entries: dict[str, _Entry] = {}
        self._keys: dict[str, Key] = {}
        # The keys that hold them.
        self._names: dict[str, Key] = {}
        self._digests: dict[bytes, Key] = {}
        # The revisions at which keys were deleted, oldest first.
        self._deleted: dict[str, int] = {}
        self._revision = 0
        # Deletions up to this revision are no longer known.
        self._forgotten = 0
        self._usage: dict[tuple[int, str], Usage] = {}
        self._last_used: dict[str, float] = {}
        # (holder, text, until) by digest.
        self._tickets: dict[bytes, tuple[str, str, float]] = {}

    def changes(self, since: int | None) -> Changes | None:
        if since == self._revision:
            return None
        if since is None or not self._forgotten <= since <= self._revision:
            changes = [entry.change for entry in self._entries.values() if entry.change.key]
            return Changes(self._revision, changes, complete=True)
        found = []
        for entry in reversed(self._entries.values()):
            if entry.revision <= since:
                break
            found.append(entry.change)
        return Changes(self._revision, found[::-1], complete=False)

    def keys(self) -> list[Key]:
        return sorted(self._keys.values(), key=lambda key: key.name)

    def find(self, reference: str) -> Key:
        by_id, by_name = self._keys.get(reference), self._names.get(reference)
        if by_id and by_name and by_id is not by_name:
            raise AmbiguousKey(by_id.name, by_name.id)
        found = by_id or by_name
        if found is None:
            raise NoSuchKey
        return found

    def add(self, keys: Sequence[Key], *, by: str) -> None:
        claimed: list[Key] = []
        try:
            for key in keys:
                self._claim(key, is_new=True)
                self._keys[key.id] = key
                claimed.append(key)
        except Conflict:
            for key in claimed:
                self._release(key)
                del self._keys[key.id]
            raise
        for key in keys:
            self._note(key.id, key, by)
        self._forget()

    def change(self, id: str, edit: Callable[[Key], Key], *, by: str) -> Key:
        before = self._get(id)
        after = edit(before)
        if after.id != id:
            raise ValueError("an edit cannot change the id of a key")
        if after == before:
            return before
        self._release(before)
        try:
            self._claim(after, is_new=False)
        except Conflict:
            self._claim(before, is_new=False)
            raise
        self._keys[id] = after
        self._note(id, after, by)
        self._forget()
        return after

    def delete(self, id: str, *, by: str) -> Key:
        before = self._get(id)
        self._release(before)
        del self._keys[id]
        self._note(id, None, by)
        self._forget()
        return before

    def record(self, rows: Iterable[Usage]) -> None:
        for row in rows:
            place = (row.hour, row.key_id)
            self._usage[place] = _sum(self._usage[place], row) if place in self._usage else row
            if row.last_used_at is not None:
                last = self._last_used.get(row.key_id, row.last_used_at)
                self._last_used[row.key_id] = max(last, row.last_used_at)

    def usage(self, *, since: float, key_id: str | None = None) -> list[Usage]:
        first = since // HOUR * HOUR
        return [
            row
            for (hour, _), row in sorted(self._usage.items())
            if hour >= first and key_id in {None, row.key_id}
        ]

    def last_used(self) -> Mapping[str, float]:
        return dict(self._last_used)

    def keep_ticket(
        self, digest: bytes, text: str, *, holder: str, until: float, quota: int, now: float
    ) -> bool:
        self._tickets = {one: kept for one, kept in self._tickets.items() if kept[2] > now}
        if sum(kept[0] == holder for kept in self._tickets.values()) >= quota:
            return False
        self._tickets[digest] = (holder, text, until)
        return True

    def take_ticket(self, digest: bytes, *, now: float) -> str | None:
        _, text, until = self._tickets.pop(digest, ("", "", 0.0))
        return text if until > now else None

    def close(self) -> None:
        """There is nothing to let go of."""

    def _get(self, id: str) -> Key:
        if id not in self._keys:
            raise NoSuchKey
        return self._keys[id]

    def _claim(self, key: Key, *, is_new: bool) -> None:
        """Takes the key's name and secrets, all or none."""
        if is_new and key.id in self._keys:
            raise Conflict(f"the id `{key.id}`", self._keys[key.id].name)
        if key.name in self._names:
            raise Conflict(f"the name `{key.name}`", self._names[key.name].name)
        digests = [secret.digest for secret in key.secrets]
        for place, digest in enumerate(digests):
            if digest in self._digests:
                raise Conflict("the secret", self._digests[digest].name)
            if digest in digests[:place]:
                raise Conflict("the secret", key.name)
        self._names[key.name] = key
        self._digests.update(dict.fromkeys(digests, key))

    def _release(self, key: Key) -> None:
        del self._names[key.name]
        for secret in key.secrets:
            del self._digests[secret.digest]

    def _note(self, id: str, key: Key | None, by: str) -> None:
        """Enters a change behind all others."""
        self._revision += 1
        self._entries.pop(id, None)
        self._deleted.pop(id, None)
        self._entries[id] = _Entry(self._revision, Change(id, key, by))
        if key is None:
            self._deleted[id] = self._revision

    def _forget(self) -> None:
        """Forgets the oldest deletions."""
        horizon = self._revision - self._remembered
        while self._deleted:
            oldest, revision = next(iter(self._deleted.items()))
            if revision > horizon:
                break
            self._forgotten = revision
            del self._deleted[oldest], self._entries[oldest]


def _sum(one: Usage, other: Usage) -> Usage:
    """The usage of both, of one key and hour."""
    used_at = [at for at in (one.last_used_at, other.last_used_at) if at is not None]
    return Usage(
        one.key_id,
        one.hour,
        one.connections + other.connections,
        one.seconds + other.seconds,
        (one.messages[0] + other.messages[0], one.messages[1] + other.messages[1]),
        (one.bytes[0] + other.bytes[0], one.bytes[1] + other.bytes[1]),
        max(used_at, default=None),
    )

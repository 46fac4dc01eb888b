"""A store in one SQLite file, which any number of processes of one machine share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from proxy.stores.conflicts import conflicts
from proxy.stores.database import Database, transaction
from proxy.stores.migrations import MIGRATIONS
from proxy.stores.rows import (
    all_keys,
    changes_after,
    delete_key,
    insert_keys,
    keys_called,
    update_key,
)
from proxy.stores.store import (
    HOUR,
    REMEMBERED,
    AmbiguousKey,
    Changes,
    NoSuchKey,
    Usage,
)
from proxy.stores.troubles import damaged

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from proxy.keys.key import Key
    from proxy.stores.migrations import Migration

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Seconds for which a write waits for those of others.
_PATIENCE: Final = 3.0

_RECORD: Final = """
    INSERT INTO usage (key_id, hour, connections, seconds,
        messages_from_client, messages_from_upstream, bytes_from_client, bytes_from_upstream,
        last_used_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key_id, hour) DO UPDATE SET
        connections = connections + excluded.connections,
        seconds = seconds + excluded.seconds,
        messages_from_client = messages_from_client + excluded.messages_from_client,
        messages_from_upstream = messages_from_upstream + excluded.messages_from_upstream,
        bytes_from_client = bytes_from_client + excluded.bytes_from_client,
        bytes_from_upstream = bytes_from_upstream + excluded.bytes_from_upstream,
        -- max() of NULL and a number is NULL.
        last_used_at = max(ifnull(last_used_at, excluded.last_used_at),
            ifnull(excluded.last_used_at, last_used_at))
"""
_LAST_USED: Final = """
    INSERT INTO last_used (key_id, at) VALUES (?, ?)
    ON CONFLICT (key_id) DO UPDATE SET at = max(at, excluded.at)
"""
_USAGE: Final = """
    SELECT key_id, hour, connections, seconds,
        messages_from_client, messages_from_upstream, bytes_from_client, bytes_from_upstream,
        last_used_at
    FROM usage
"""


class SqliteStore:
    """Keys and usage in a file.

    Args:
        path: absolute.
        create: whether a missing file is made.
        migrations: to the layout, oldest first.
        remembered: further changes for which a deletion is remembered.
        patience: seconds for which a write waits for those of others.

    Raises:
        StoreUnavailable: it cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool,
        migrations: Sequence[Migration] = MIGRATIONS,
        remembered: int = REMEMBERED,
        patience: float = _PATIENCE,
    ) -> None:
        self._database = Database(path, create=create, migrations=migrations, patience=patience)
        self._remembered = remembered
        # The file, its version and the revision that was the last one then: while these are the
        # same, nothing has changed. None after a change of our own, which moves no version.
        self._looked: tuple[int, int, int] | None = None
        # How often the file had been replaced when all keys were last given.
        self._replacements = 0

    @property
    def place(self) -> str:
        return self._database.place

    @property
    def warning(self) -> str | None:
        return self._database.warning

    def changes(self, since: int | None) -> Changes | None:
        with self._database.connection() as connection:
            # Moves whenever another connection commits, whatever it was. It is read first: a
            # commit that comes in between is then looked for once too often, not never.
            ((version,),) = connection.execute("PRAGMA data_version")
            opening = self._database.openings
            if since is not None and self._looked == (opening, version, since):
                return None
            with transaction(connection, "BEGIN"):
                revision, forgotten = self._read(_counters, connection)
                is_other = self._replacements != self._database.replacements
                if since is None or is_other or not forgotten <= since <= revision:
                    found = self._read(all_keys, connection)
                    answer = Changes(revision, found, complete=True)
                elif since < revision:
                    found = self._read(changes_after, connection, since)
                    answer = Changes(revision, found, complete=False)
                else:
                    answer = None
            self._looked = (opening, version, revision)
            self._replacements = self._database.replacements
            return answer

    def keys(self) -> list[Key]:
        with self._database.connection() as connection, transaction(connection, "BEGIN"):
            found = self._read(all_keys, connection)
        keys = [change.key for change in found if change.key is not None]
        return sorted(keys, key=lambda key: key.name)

    def find(self, reference: str) -> Key:
        with self._database.connection() as connection, transaction(connection, "BEGIN"):
            found = self._read(keys_called, connection, reference, reference)
        if not found:
            raise NoSuchKey
        if len(found) > 1:
            by_id, by_name = sorted(found, key=lambda key: key.id != reference)
            raise AmbiguousKey(by_id.name, by_name.id)
        return found[0]

    def add(self, keys: Sequence[Key], *, by: str) -> None:
        with self._database.writing() as connection:
            revision, _ = self._read(_counters, connection)
            with conflicts(connection, keys, are_new=True):
                insert_keys(connection, keys, revision + 1, by)
            connection.executemany("DELETE FROM deleted WHERE id = ?", [(key.id,) for key in keys])
            self._advance(connection, revision + len(keys))
        self._looked = None

    def change(self, id: str, edit: Callable[[Key], Key], *, by: str) -> Key:
        with self._database.writing() as connection:
            before = self._get(connection, id)
            after = edit(before)
            if after.id != id:
                raise ValueError("an edit cannot change the id of a key")
            if after == before:
                return before
            revision = self._read(_counters, connection)[0] + 1
            with conflicts(connection, [after], are_new=False):
                update_key(connection, after, revision, by)
            self._advance(connection, revision)
        self._looked = None
        return after

    def delete(self, id: str, *, by: str) -> Key:
        with self._database.writing() as connection:
            before = self._get(connection, id)
            revision = self._read(_counters, connection)[0] + 1
            delete_key(connection, id)
            connection.execute(
                "INSERT INTO deleted (id, revision, changed_by) VALUES (?, ?, ?)",
                (id, revision, by),
            )
            self._advance(connection, revision)
        self._looked = None
        return before

    def record(self, rows: Iterable[Usage]) -> None:
        rows = list(rows)
        if not rows:
            return
        used = [(row.key_id, row.last_used_at) for row in rows if row.last_used_at is not None]
        with self._database.writing(durable=False) as connection:
            connection.executemany(
                _RECORD,
                [(*row[:4], *row.messages, *row.bytes, row.last_used_at) for row in rows],
            )
            connection.executemany(_LAST_USED, used)

    def usage(self, *, since: float, key_id: str | None = None) -> list[Usage]:
        first = since // HOUR * HOUR
        with self._database.connection() as connection:
            if key_id is None:
                rows = connection.execute(
                    _USAGE + "WHERE hour >= ? ORDER BY hour, key_id", (first,)
                ).fetchall()
            else:
                rows = connection.execute(
                    _USAGE + "WHERE key_id = ? AND hour >= ? ORDER BY hour", (key_id, first)
                ).fetchall()
        return [Usage(row[0], row[1], row[2], row[3], row[4:6], row[6:8], row[8]) for row in rows]

    def last_used(self) -> Mapping[str, float]:
        with self._database.connection() as connection:
            return dict(connection.execute("SELECT key_id, at FROM last_used").fetchall())

    def keep_ticket(
        self, digest: bytes, text: str, *, holder: str, until: float, quota: int, now: float
    ) -> bool:
        with self._database.writing(durable=False) as connection:
            connection.execute("DELETE FROM tickets WHERE until <= ?", (now,))
            ((waiting,),) = connection.execute(
                "SELECT count(*) FROM tickets WHERE holder = ?", (holder,)
            )
            if waiting >= quota:
                return False
            connection.execute(
                "INSERT INTO tickets (digest, holder, text, until) VALUES (?, ?, ?, ?)",
                (digest, holder, text, until),
            )
        return True

    def take_ticket(self, digest: bytes, *, now: float) -> str | None:
        with self._database.writing(durable=False) as connection:
            found = connection.execute(
                "DELETE FROM tickets WHERE digest = ? RETURNING text, until", (digest,)
            ).fetchone()
        if found is None:
            return None
        text, until = found
        return str(text) if until > now else None

    def close(self) -> None:
        self._database.close()

    def _get(self, connection: sqlite3.Connection, id: str) -> Key:
        found = self._read(keys_called, connection, id)
        if not found:
            raise NoSuchKey
        return found[0]

    def _read(self, read: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        """What a function makes of rows; rows that nobody wrote so are damage."""
        try:
            return read(*arguments, **named)
        except (TypeError, ValueError, AttributeError) as failure:
            raise damaged(self._database.path) from failure

    def _advance(self, connection: sqlite3.Connection, revision: int) -> None:
        """Notes the last change, and forgets the oldest deletions."""
        horizon = (revision - self._remembered,)
        ((pruned,),) = connection.execute(
            "SELECT max(revision) FROM deleted WHERE revision <= ?", horizon
        )
        connection.execute("DELETE FROM deleted WHERE revision <= ?", horizon)
        connection.execute(
            "UPDATE store SET revision = ?, forgotten = max(forgotten, ?)", (revision, pruned or 0)
        )


def _counters(connection: sqlite3.Connection) -> tuple[int, int]:
    """The revision of the last change, and up to which one deletions are forgotten."""
    ((revision, forgotten),) = connection.execute("SELECT revision, forgotten FROM store")
    return revision, forgotten

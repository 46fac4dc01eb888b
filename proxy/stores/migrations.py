"""The layout of an SQLite store, and how an older one becomes it.

A layout has a major and a minor number. A minor one only adds: programs of the same major read
and write it, whichever minor they know. A newer major one is refused.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from proxy.stores.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# `wskp`: in the header of the file, it tells ours from other programs' databases.
APPLICATION_ID: Final = 0x77736B70

# The header holds the layout as one number.
_MAJOR: Final = 1000


class Layout(NamedTuple):
    """The number of a layout; (0, 0) is an empty file."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class Migration(NamedTuple):
    """One step from the layout before it.

    Args:
        layout: what it leads to.
        statements: of SQL, within one transaction with those of all other steps.
    """

    layout: Layout
    statements: Sequence[str]


_FIRST: Final = (
    """
    CREATE TABLE store (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        -- Tells this store from any other.
        identity BLOB NOT NULL,
        -- Of the last change of a key.
        revision INTEGER NOT NULL,
        -- Deletions up to this revision are no longer known.
        forgotten INTEGER NOT NULL
    )
    """,
    "INSERT INTO store VALUES (1, randomblob(16), 0, 0)",
    """
    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        created_at REAL,
        expires_at REAL,
        suspended_at REAL,
        revoked_at REAL,
        connections INTEGER,
        -- Lists and maps are JSON; NULL is none.
        routes TEXT,
        origins TEXT,
        allow TEXT,
        deny TEXT,
        metadata TEXT,
        weak INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        changed_by TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX keys_by_revision ON keys (revision)",
    """
    CREATE TABLE secrets (
        key_id TEXT NOT NULL,
        -- 0 is the newest.
        position INTEGER NOT NULL,
        digest BLOB NOT NULL UNIQUE,
        until REAL,
        PRIMARY KEY (key_id, position)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE deleted (
        id TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        changed_by TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX deleted_by_revision ON deleted (revision)",
    """
    CREATE TABLE usage (
        key_id TEXT NOT NULL,
        hour INTEGER NOT NULL,
        connections INTEGER NOT NULL,
        seconds REAL NOT NULL,
        messages_from_client INTEGER NOT NULL,
        messages_from_upstream INTEGER NOT NULL,
        bytes_from_client INTEGER NOT NULL,
        bytes_from_upstream INTEGER NOT NULL,
        last_used_at REAL,
        PRIMARY KEY (key_id, hour)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX usage_by_hour ON usage (hour)",
    """
    CREATE TABLE tickets (
        digest BLOB PRIMARY KEY,
        holder TEXT NOT NULL,
        text TEXT NOT NULL,
        until REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX tickets_by_holder ON tickets (holder)",
    "CREATE INDEX tickets_by_end ON tickets (until)",
    "CREATE TABLE last_used (key_id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
)

_LIMITS_OF_KEYS: Final = (
    # JSON, by name; `connections` keeps its column, which programs of 1.0 read and write.
    "ALTER TABLE keys ADD COLUMN limits TEXT",
)

MIGRATIONS: Final = (
    Migration(Layout(1, 0), _FIRST),
    Migration(Layout(1, 1), _LIMITS_OF_KEYS),
)


def layout_of(connection: sqlite3.Connection) -> Layout:
    """The layout that a database says it has."""
    ((number,),) = connection.execute("PRAGMA user_version")
    return Layout(*divmod(number, _MAJOR))


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    *,
    create: bool,
    migrations: Sequence[Migration],
) -> None:
    """Brings a database to the newest layout; of the one before, a copy is kept beside it.

    Args:
        connection: of the database, outside of a transaction.
        path: of its file.
        create: whether an empty database becomes a store.
        migrations: oldest first.

    Raises:
        StoreUnavailable: it is no store, or one of a newer major layout.
    """
    # One look at one state: another process may be making the store at this moment.
    connection.execute("BEGIN")
    try:
        if not _is_behind(connection, path, create=create, migrations=migrations):
            return
    finally:
        connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have done it meanwhile.
        if _is_behind(connection, path, create=create, migrations=migrations):
            present = layout_of(connection)
            if present > (0, 0):
                _keep_copy(path, path.with_name(f"{path.name}.v{present}.bak"))
            for migration in migrations:
                if migration.layout > present:
                    for statement in migration.statements:
                        connection.execute(statement)
            newest = migrations[-1].layout
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {newest.major * _MAJOR + newest.minor}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    # The main file alone tells from now on what it is.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _is_behind(
    connection: sqlite3.Connection, path: Path, *, create: bool, migrations: Sequence[Migration]
) -> bool:
    """Whether there is a layout to be migrated from; refuses what is no store of ours."""
    place = f"sqlite:{path}"
    ((application,),) = connection.execute("PRAGMA application_id")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    if application == 0 and tables == 0:
        if not create:
            raise StoreUnavailable(place, "is empty", "put the store back, or begin with a new one")
        return True
    if application != APPLICATION_ID:
        raise StoreUnavailable(
            place, "is a database of another program", "name another file, or one to be created"
        )
    present, newest = layout_of(connection), migrations[-1].layout
    if present.major > newest.major:
        raise StoreUnavailable(
            place,
            f"has the layout {present}, and this version reads {newest.major}.x",
            "run the version that wrote it, or put back the copy that it kept, "
            f"{path.name}.v{newest.major}.….bak",
        )
    return present < newest


def _keep_copy(path: Path, copy: Path) -> None:
    """Copies a database as it is now, readable by its owner only."""
    unfinished = copy.with_name(f"{copy.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(0o600, exist_ok=False)
    try:
        with (
            contextlib.closing(connected(path, "mode=rw")) as source,
            contextlib.closing(connected(unfinished, "mode=rw")) as target,
        ):
            source.backup(target)
            # One file, without others beside it.
            target.execute("PRAGMA journal_mode = DELETE").fetchall()
        unfinished.replace(copy)
    except BaseException:
        unfinished.unlink()
        raise


def connected(path: Path, how: str, patience: float = 0.0) -> sqlite3.Connection:
    """A connection with a database; a missing one is not created.

    Args:
        how: the parameters of an SQLite URI.
        patience: seconds for which it waits for a lock.
    """
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?{how}",
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )

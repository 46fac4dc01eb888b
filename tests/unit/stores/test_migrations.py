"""Layouts: older ones are brought up, newer minor ones used, newer major ones refused."""

from __future__ import annotations

import sqlite3
import stat
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxy.keys.key import Key, KeyLimits, Secret
from proxy.keys.lifecycle import revoked
from proxy.stores.migrations import MIGRATIONS, Layout, Migration, connected, layout_of, migrate
from proxy.stores.store import StoreUnavailable
from tests.unit.stores.scene import BY, FULL, digest, key, sqlite_store, usage

if TYPE_CHECKING:
    from pathlib import Path

NEWEST = MIGRATIONS[-1].layout
STATEMENTS = [statement for migration in MIGRATIONS for statement in migration.statements]

# Layouts that are not, before and after the ones that are.
ANCIENT = Migration(Layout(0, 7), ("CREATE TABLE legacy (id TEXT)",))
FIRST = (ANCIENT, Migration(NEWEST, ("DROP TABLE legacy", *STATEMENTS)))
MINOR = Migration(
    Layout(1, 999),
    (
        "ALTER TABLE keys ADD COLUMN note TEXT NOT NULL DEFAULT 'new'",
        "CREATE TABLE notes (text TEXT)",
    ),
)
MAJOR = Migration(Layout(2, 0), ("ALTER TABLE keys RENAME TO credentials",))


def asked(path: Path, statement: str):
    connection = connected(path, "mode=rw")
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def layout(path: Path) -> Layout:
    connection = connected(path, "mode=rw")
    try:
        return layout_of(connection)
    finally:
        connection.close()


# What programs of the layout 1.0 say.
ALL_1_0 = """
    SELECT id, name, created_at, expires_at, suspended_at, revoked_at, connections,
        routes, origins, allow, deny, metadata, weak, revision, changed_by
    FROM keys ORDER BY id
"""
INSERT_1_0 = """
    INSERT INTO keys (name, created_at, expires_at, suspended_at, revoked_at, connections,
        routes, origins, allow, deny, metadata, weak, revision, changed_by, id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
UPDATE_1_0 = """
    UPDATE keys SET name = ?, created_at = ?, expires_at = ?, suspended_at = ?, revoked_at = ?,
        connections = ?, routes = ?, origins = ?, allow = ?, deny = ?, metadata = ?, weak = ?,
        revision = ?, changed_by = ?
    WHERE id = ?
"""
NONE = (None,) * 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


@pytest.fixture
def older(path: Path) -> Path:
    """A file as the program before wrote it."""
    store = sqlite_store(path)
    store.add([key(1), FULL], by=BY)
    store.record([usage()])
    store.close()
    return path


def test_new_file_has_the_newest_layout_and_no_copy(path: Path) -> None:
    sqlite_store(path).close()
    assert layout(path) == MIGRATIONS[-1].layout
    assert [file.name for file in path.parent.iterdir()] == ["keys.db"]


def test_layouts_are_in_order() -> None:
    layouts = [migration.layout for migration in MIGRATIONS]
    assert layouts == sorted(set(layouts))


def test_older_layout_is_brought_up_and_kept_beside(older: Path) -> None:
    store = sqlite_store(older, create=False, migrations=(*MIGRATIONS, MINOR))
    assert store.keys() == [key(1), FULL]
    assert store.usage(since=0) == [usage()]
    assert asked(older, "SELECT DISTINCT note FROM keys") == [("new",)]
    store.close()
    assert layout(older) == MINOR.layout
    copy = older.with_name(f"keys.db.v{NEWEST}.bak")
    assert {file.name for file in older.parent.iterdir()} == {"keys.db", copy.name}
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    # The copy is a whole store of the program before.
    before = sqlite_store(copy, create=False)
    assert before.keys() == [key(1), FULL]
    before.close()
    assert layout(copy) == NEWEST


def test_store_of_1_0_is_brought_up_and_its_limits_are_kept(path: Path) -> None:
    path.touch(0o600)
    connection = connected(path, "mode=rw")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    migrate(connection, path, create=True, migrations=MIGRATIONS[:1])
    connection.execute(INSERT_1_0, ("one", 1.5, None, None, None, 5, *NONE, 0, 1, BY, "id1"))
    connection.execute(INSERT_1_0, ("two", 2.5, None, None, None, None, *NONE, 1, 2, BY, "id2"))
    connection.execute("INSERT INTO secrets VALUES ('id1', 0, ?, NULL)", (digest(1),))
    connection.execute("UPDATE store SET revision = 2")
    assert layout_of(connection) == Layout(1, 0)
    connection.close()
    store = sqlite_store(path, create=False)
    one = Key("id1", "one", (Secret(digest(1)),), created_at=1.5, limits=KeyLimits(5))
    assert store.keys() == [one, Key("id2", "two", (), created_at=2.5, weak=True)]
    limits = KeyLimits(4, messages_per_second=0.5)
    store.change("id1", lambda key: replace(key, limits=limits), by=BY)
    store.close()
    assert layout(path) == NEWEST
    assert layout(path.with_name("keys.db.v1.0.bak")) == Layout(1, 0)
    again = sqlite_store(path, create=False)
    assert again.find("id1") == replace(one, limits=limits)
    again.close()


def test_program_of_1_0_reads_the_store_and_its_writing_keeps_what_it_does_not_know(
    path: Path,
) -> None:
    store = sqlite_store(path)
    store.add([FULL], by=BY)
    older = connected(path, "mode=rw")
    # As it asks whether it can read the file at all.
    migrate(older, path, create=False, migrations=MIGRATIONS[:1])
    [row] = older.execute(ALL_1_0).fetchall()
    assert row[:7] == (FULL.id, FULL.name, 1.5, 2.5, 3.5, 4.5, FULL.limits.connections)
    older.execute(UPDATE_1_0, (*row[1:6], 1, *row[7:13], 2, "cli:older", FULL.id))
    older.execute(INSERT_1_0, ("new", 1.0, None, None, None, 3, *NONE, 0, 3, BY, "idnew"))
    older.execute("UPDATE store SET revision = 3")
    older.close()
    found = store.changes(1)
    assert found is not None
    assert [change.key for change in found.changes] == [
        replace(FULL, limits=FULL.limits._replace(connections=1)),
        Key("idnew", "new", (), created_at=1.0, limits=KeyLimits(3)),
    ]
    store.close()
    assert layout(path) == NEWEST


def test_limits_that_nobody_wrote_so_are_damage(older: Path) -> None:
    store = sqlite_store(older)
    for column in ('{"x": 1}', '{"message_size": 5}', '{"message_size": [1]}', "[]", "5", "{"):
        asked(older, f"UPDATE keys SET limits = '{column}'")
        with pytest.raises(StoreUnavailable, match="damaged"):
            store.keys()
    store.close()


def test_every_step_from_an_ancient_layout_is_taken(path: Path) -> None:
    store = sqlite_store(path.with_name("other.db"))
    store.close()
    ancient = sqlite3.connect(path)
    ancient.execute(ANCIENT.statements[0])
    ancient.execute(f"PRAGMA application_id = {0x77736B70}")
    ancient.execute("PRAGMA user_version = 7")
    ancient.close()
    store = sqlite_store(path, create=False, migrations=(*FIRST, MINOR))
    store.add([key(1)], by=BY)
    assert store.keys() == [key(1)]
    store.close()
    assert asked(path, "SELECT name FROM sqlite_master WHERE name = 'legacy'") == []
    assert asked(path.with_name("keys.db.v0.7.bak"), "SELECT * FROM legacy") == []


def test_newer_minor_layout_is_used_and_what_it_added_is_kept(older: Path) -> None:
    sqlite_store(older, migrations=(*MIGRATIONS, MINOR)).close()
    asked(older, "UPDATE keys SET note = 'mine'")
    store = sqlite_store(older, create=False)
    store.change("id1", lambda key: revoked(key, 1.0), by=BY)
    store.add([key(2)], by=BY)
    assert len(store.keys()) == 3
    store.close()
    assert layout(older) == MINOR.layout
    notes = dict(asked(older, "SELECT id, note FROM keys"))
    assert notes == {"id1": "mine", FULL.id: "mine", "id2": "new"}


def test_newer_major_layout_is_refused_by_name(older: Path) -> None:
    with pytest.raises(StoreUnavailable):  # This program cannot use it either, but it is written.
        sqlite_store(older, migrations=(*MIGRATIONS, MAJOR))
    before = older.read_bytes()
    with pytest.raises(StoreUnavailable) as caught:
        sqlite_store(older, create=False)
    assert str(caught.value) == (
        f"sqlite:{older} has the layout 2.0, and this version reads 1.x; run the version that "
        "wrote it, or put back the copy that it kept, keys.db.v1.….bak"
    )
    assert older.read_bytes() == before


def test_failed_migration_changes_nothing(older: Path) -> None:
    failing = Migration(
        Layout(1, NEWEST.minor + 1), (*MINOR.statements, "INSERT INTO nowhere VALUES (1)")
    )
    with pytest.raises(StoreUnavailable):
        sqlite_store(older, migrations=(*MIGRATIONS, failing))
    assert layout(older) == NEWEST
    store = sqlite_store(older, create=False)
    assert store.keys() == [key(1), FULL]
    store.close()


def test_migration_without_room_for_the_copy_changes_nothing(older: Path) -> None:
    older.with_name(f"keys.db.v{NEWEST}.bak.unfinished").mkdir()
    with pytest.raises(StoreUnavailable):
        sqlite_store(older, migrations=(*MIGRATIONS, MINOR))
    older.with_name(f"keys.db.v{NEWEST}.bak.unfinished").rmdir()
    older.with_name(f"keys.db.v{NEWEST}.bak").mkdir()
    with pytest.raises(StoreUnavailable):
        sqlite_store(older, migrations=(*MIGRATIONS, MINOR))
    assert layout(older) == NEWEST
    assert not older.with_name(f"keys.db.v{NEWEST}.bak.unfinished").exists()


def test_migration_happens_once_however_many_begin_it(older: Path) -> None:
    opened, failures = [], []

    def open_it() -> None:
        try:
            opened.append(sqlite_store(older, create=False, migrations=(*MIGRATIONS, MINOR)))
        except StoreUnavailable as failure:
            failures.append(failure)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [store.keys() for store in opened] == [[key(1), FULL]] * 6
    for store in opened:
        store.close()


def test_migration_happens_under_a_running_older_program(older: Path) -> None:
    running = sqlite_store(older, create=False)
    seen = running.changes(None)
    assert seen is not None
    newer = sqlite_store(older, create=False, migrations=(*MIGRATIONS, MINOR))
    assert running.changes(seen.revision) is None
    newer.add([key(2)], by=BY)
    found = running.changes(seen.revision)
    assert found is not None
    assert [(change.id, found.complete) for change in found.changes] == [("id2", False)]
    running.add([key(3)], by=BY)
    assert newer.find("id3") == key(3)
    newer.close()
    running.close()

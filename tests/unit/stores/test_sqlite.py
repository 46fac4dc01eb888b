"""The SQLite store's file: who may read it, what it holds, what a look for changes costs."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from proxy.keys.key import Secret, digest_of
from proxy.keys.lifecycle import revoked
from proxy.keys.secret import make_secret
from proxy.stores.migrations import MIGRATIONS, Layout, Migration, connected
from proxy.stores.store import Change, Changes, StoreUnavailable
from tests.unit.stores.scene import BY, ids, key, sqlite_store, usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.stores.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = sqlite_store(path)
    yield store
    store.close()


@pytest.fixture
def other(path: Path, store: SqliteStore) -> Iterator[SqliteStore]:
    """As another process has it open."""
    other = sqlite_store(path)
    yield other
    other.close()


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def statements(store: SqliteStore) -> list[str]:
    """What SQLite is told from now on."""
    said: list[str] = []
    with store._database.connection() as connection:
        connection.set_trace_callback(said.append)
    return said


# Files ---------------------------------------------------------------------------------------


def test_only_the_owner_can_read_the_files(path: Path, store: SqliteStore) -> None:
    store.add([key(1)], by=BY)
    files = ("keys.db", "keys.db-wal", "keys.db-shm")
    assert modes(path.parent) == dict.fromkeys(files, 0o600)


@pytest.mark.parametrize("mask", [0, 0o777])
def test_mode_does_not_depend_on_the_umask(path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        if mask:
            path.touch(0o600)
            path.chmod(0o600)
        store = sqlite_store(path)
        store.add([key(1)], by=BY)
    finally:
        os.umask(before)
    assert set(modes(path.parent).values()) == {0o600}
    store.close()


def test_files_that_others_can_read_are_closed_to_them(path: Path, store: SqliteStore) -> None:
    store.add([key(1)], by=BY)
    for file in path.parent.iterdir():
        file.chmod(0o664)
    other = sqlite_store(path, create=False)
    assert set(modes(path.parent).values()) == {0o600}
    assert other.warning is None
    assert other.keys() == [key(1)]
    other.close()


def test_file_that_cannot_be_closed_to_others_is_used_with_a_warning(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.chmod(0o644)

    def refuse(*_arguments: object, **_named: object) -> None:
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    other = sqlite_store(path)
    assert other.warning == f"{path} can be read by others; mend it with `chmod 600`"
    other.close()


def test_no_file_holds_a_secret(path: Path) -> None:
    secrets = [make_secret(lambda n: n - 1).text, "hunter2hunter2"]
    store = sqlite_store(path)
    store.add(
        [key(n, secrets=(Secret(digest_of(secret.encode())),)) for n, secret in enumerate(secrets)],
        by=BY,
    )
    store.record([usage("id0", used_at=1.0)])
    held = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert len(held) == 3
    # The look is good: what is meant to be there is found.
    assert any(digest_of(secrets[0].encode()) in content for content in held.values())
    store.close()
    newer = Migration(Layout(1, 999), ("CREATE TABLE notes (text TEXT)",))
    sqlite_store(path, migrations=(*MIGRATIONS, newer)).close()
    assert path.with_name(f"keys.db.v{MIGRATIONS[-1].layout}.bak").exists()
    for file in path.parent.iterdir():
        held[f"{file.name} later"] = file.read_bytes()
    for content in held.values():
        for secret in secrets:
            assert secret.encode() not in content
            assert secret[-20:].encode() not in content


def test_closed_store_leaves_one_file(path: Path) -> None:
    store = sqlite_store(path)
    store.add([key(1)], by=BY)
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["keys.db"]
    store.close()


def test_store_closed_beside_another_has_its_writes_in_the_main_file(
    path: Path, store: SqliteStore, other: SqliteStore
) -> None:
    store.add([key("of-some-name")], by=BY)
    assert b"nameof-some-name" not in path.read_bytes()
    store.close()
    assert b"nameof-some-name" in path.read_bytes()


@pytest.mark.parametrize("name", ["a b?c#d%41.db", "ключи.db", "'\".db"])
def test_any_name_is_a_file(path: Path, name: str) -> None:
    store = sqlite_store(path.with_name(name))
    store.add([key(1)], by=BY)
    store.close()
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_link_to_the_file_is_followed(path: Path, store: SqliteStore, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    other = sqlite_store(link, create=False)
    other.add([key(1)], by=BY)
    assert store.keys() == [key(1)]
    assert [file.name for file in link.parent.iterdir()] == ["link.db"]
    other.close()


def test_store_is_used_by_one_thread_after_another(path: Path) -> None:
    store = sqlite_store(path)
    for number in range(2):
        with ThreadPoolExecutor(1) as thread:
            thread.submit(store.add, [key(number)], by=BY).result()
    assert store.keys() == [key(0), key(1)]
    store.close()


def test_file_system_without_shared_memory_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_store(path).close()
    # Of an immutable file SQLite keeps no log, as on a file system where it cannot.
    monkeypatch.setattr(
        "proxy.stores.database.connected",
        lambda path, how, patience=0.0: connected(path, f"{how}&immutable=1", patience),
    )
    with pytest.raises(StoreUnavailable, match="without shared memory; put it on a local disk"):
        sqlite_store(path)


def test_log_that_somebody_removed_is_begun_anew(path: Path, store: SqliteStore) -> None:
    store.add([key(1)], by=BY)
    path.with_name("keys.db-wal").unlink()
    path.with_name("keys.db-shm").unlink()
    found = store.changes(1)
    assert found is not None
    assert found.complete
    assert [change.id for change in found.changes] == ["id1"]
    store.add([key(2)], by=BY)
    store.close()
    again = sqlite_store(path, create=False)
    assert ids(again) == {"id1", "id2"}
    again.close()


# Durability ----------------------------------------------------------------------------------


def synchronous(store: SqliteStore, call) -> int:
    """SQLite's level while a call's transaction lasts."""
    levels: list[int] = []
    with store._database.connection() as connection:

        def note(statement: str) -> None:
            if statement.startswith("PRAGMA synchronous = "):
                levels.append({"FULL": 2, "NORMAL": 1}[statement.rpartition(" ")[2]])

        connection.set_trace_callback(note)
    call()
    return levels[-1]


def test_changes_of_keys_are_synced_and_usage_is_not(store: SqliteStore) -> None:
    assert synchronous(store, lambda: store.add([key(1)], by=BY)) == 2
    assert synchronous(store, lambda: store.record([usage()])) == 1
    assert synchronous(store, lambda: store.change("id1", lambda k: revoked(k, 1.0), by=BY)) == 2
    assert synchronous(store, lambda: store.record([usage()])) == 1
    assert synchronous(store, lambda: store.delete("id1", by=BY)) == 2


# Changes -------------------------------------------------------------------------------------


def test_change_of_another_process_is_seen(store: SqliteStore, other: SqliteStore) -> None:
    assert store.changes(None) == Changes(0, [], complete=True)
    other.add([key(1)], by="cli:bob")
    assert store.changes(0) == Changes(1, [Change("id1", key(1), "cli:bob")], complete=False)
    other.delete("id1", by="cli:eve")
    store.add([key(2)], by=BY)
    assert store.changes(1) == Changes(
        3, [Change("id1", None, "cli:eve"), Change("id2", key(2), BY)], complete=False
    )
    assert store.changes(3) is None


def test_quiet_store_costs_one_look_at_its_version(store: SqliteStore) -> None:
    store.add([key(1)], by=BY)
    store.changes(None)
    store.record([usage()])
    said = statements(store)
    assert store.changes(1) is None
    assert said == ["PRAGMA data_version"]


def test_usage_of_another_process_costs_one_row(store: SqliteStore, other: SqliteStore) -> None:
    store.add([key(1)], by=BY)
    store.changes(None)
    other.record([usage()])
    said = statements(store)
    assert store.changes(1) is None
    assert said == [
        "PRAGMA data_version",
        "BEGIN",
        "SELECT revision, forgotten FROM store",
        "COMMIT",
    ]
    said.clear()
    assert store.changes(1) is None
    assert said == ["PRAGMA data_version"]


@pytest.mark.parametrize("table", ["keys", "deleted"])
def test_changes_are_found_by_their_index(store: SqliteStore, table: str) -> None:
    with store._database.connection() as connection:
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE revision > 1"
        ).fetchall()
    assert f"USING INDEX {table}_by_revision" in plan[0][3]


def test_caller_that_is_behind_is_told_although_another_look_was_made(
    store: SqliteStore, other: SqliteStore
) -> None:
    other.add([key(1)], by=BY)
    assert store.changes(None) == Changes(1, [Change("id1", key(1), BY)], complete=True)
    assert store.changes(0) == Changes(1, [Change("id1", key(1), BY)], complete=False)


def test_checkpoint_is_no_change(store: SqliteStore, other: SqliteStore, path: Path) -> None:
    store.changes(None)
    other.add([key(1)], by=BY)
    other.delete("id1", by=BY)
    assert store.changes(0) == Changes(2, [Change("id1", None, BY)], complete=False)
    before = path.stat()
    with other._database.connection() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert path.stat().st_mtime_ns != before.st_mtime_ns
    assert store.changes(2) is None
    said = statements(store)
    assert store.changes(2) is None
    assert said == ["PRAGMA data_version"]


def test_equal_values_of_many_keys_are_one_object(store: SqliteStore) -> None:
    store.add([key(n, routes=frozenset({"chat"}), metadata={"a": "b"}) for n in range(3)], by=BY)
    store.add([key("plain1"), key("plain2")], by=BY)
    found = store.changes(None)
    assert found is not None
    loaded = {change.id: change.key for change in found.changes}
    for field in ("routes", "metadata", "limits", "deny"):
        assert getattr(loaded["id1"], field) is getattr(loaded["id2"], field)
        assert getattr(loaded["idplain1"], field) is getattr(loaded["idplain2"], field)

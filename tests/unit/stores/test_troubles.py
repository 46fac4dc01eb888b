"""What can happen to an SQLite file: every trouble has its words, and none lasts or lies."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.keys.lifecycle import revoked
from proxy.stores.store import Changes, StoreUnavailable
from proxy.stores.troubles import unavailable
from tests.unit.stores.scene import BY, ids, key, sqlite_store, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.stores.sqlite import SqliteStore

NOBODY = 65_534

# So many that most of their pages are in the main file alone.
MANY = 2000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store in use: some of its keys are in the main file, the last one in the log alone."""
    sqlite_store(path).close()
    store = sqlite_store(path)
    store.add([key(n) for n in range(MANY)], by=BY)
    store.close()
    store.changes(None)
    store.add([key("last")], by=BY)
    yield store
    store.close()


def revision(store: SqliteStore) -> int:
    changes = store.changes(None)
    assert changes is not None
    return changes.revision


def refused(path: Path, **settings) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        sqlite_store(path, **settings)
    failure = caught.value
    assert failure.place == f"sqlite:{path}"
    assert str(failure) == f"{failure.place} {failure.cause}; {failure.mend}"
    return str(failure).removeprefix(f"sqlite:{path} ")


# At the start --------------------------------------------------------------------------------


def test_missing_directory(path: Path) -> None:
    missing = path.parent / "no" / "keys.db"
    assert refused(missing) == (
        f"has no directory: {missing.parent} does not exist; "
        f"make it with `mkdir -p {missing.parent}`, or name another file"
    )


def test_file_in_place_of_the_directory(path: Path) -> None:
    path.write_text("")
    assert "has no directory" in refused(path / "keys.db")


def test_directory_in_place_of_the_file(path: Path) -> None:
    path.mkdir()
    assert refused(path) == "is a directory; name a file in it"


def test_missing_file(path: Path) -> None:
    words = refused(path, create=False)
    assert words == (
        "does not exist; put it back, or name another with -c FILE or --store URL; "
        "`wskeeper keys create --init` makes one without keys, "
        "for which a gateway ends the sessions of all that it knew"
    )


def test_empty_file(path: Path) -> None:
    path.touch()
    words = refused(path, create=False)
    assert words == "is empty; put the store back, or begin with a new one"
    sqlite_store(path).close()
    sqlite_store(path, create=False).close()


@pytest.mark.parametrize("content", [b"not a database\n" * 400, b"\0" * 8192, b"xy"])
def test_file_that_is_no_database(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refused(path) == (
        "is damaged, or no SQLite database; "
        "put back a copy of it, or move it away to begin with a new one"
    )
    assert path.read_bytes() == content


def test_database_of_another_program(path: Path) -> None:
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE keys (id TEXT)")
    foreign.close()
    before = path.read_bytes()
    words = refused(path)
    assert words == "is a database of another program; name another file, or one to be created"
    assert path.read_bytes() == before


@contextmanager
def without_rights() -> Iterator[Path]:
    """A folder of a user who is not root, and that user's rights."""
    folder = Path(tempfile.mkdtemp())
    before = os.geteuid()
    if before == 0:
        os.chown(folder, NOBODY, -1)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        os.seteuid(before)
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_file_that_may_not_be_written() -> None:
    with without_rights() as folder:
        sqlite_store(folder / "keys.db").close()
        for mode in (0o400, 0):
            (folder / "keys.db").chmod(mode)
            assert refused(folder / "keys.db") == (
                f"cannot be read and written by this user (uid {os.geteuid()}); "
                "let it: `chown` the file to the user of the gateway"
            )


@pytest.mark.parametrize("exists", [False, True])
def test_directory_that_may_not_be_written(*, exists: bool) -> None:
    with without_rights() as folder:
        if exists:
            sqlite_store(folder / "keys.db").close()
        folder.chmod(0o500)
        assert refused(folder / "keys.db") == (
            f"lies in a directory that this user (uid {os.geteuid()}) cannot write: "
            f"SQLite makes files there; let it write {folder}"
        )


def test_directory_that_may_not_be_entered() -> None:
    with without_rights() as folder:
        sqlite_store(folder / "keys.db").close()
        folder.chmod(0o600)
        assert refused(folder / "keys.db") == (
            f"cannot be reached by this user (uid {os.geteuid()}); let it enter {folder}"
        )


def test_rights_that_are_lost_and_given_back() -> None:
    with without_rights() as folder:
        store = sqlite_store(folder / "keys.db")
        store.add([key(1)], by=BY)
        (folder / "keys.db").chmod(0)
        with pytest.raises(StoreUnavailable, match="cannot be read and written by this user"):
            store.changes(1)
        (folder / "keys.db").chmod(0o600)
        assert store.changes(1) is None
        store.add([key(2)], by=BY)
        store.close()


# While it is used ----------------------------------------------------------------------------


def test_full_disk(store: SqliteStore) -> None:
    with store._database.connection() as connection:
        ((pages,),) = connection.execute("PRAGMA page_count")
        connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    at = revision(store)
    with pytest.raises(StoreUnavailable, match="its disk is full; make room"):
        store.add([key(f"more{n}") for n in range(1000)], by=BY)
    assert store.changes(at) is None
    # The next call looks again.
    store.add([key(f"more{n}") for n in range(1000)], by=BY)
    assert len(store.keys()) == MANY + 1001


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "cannot grow: its disk is full; make room on the disk"),
        (
            errno.EIO,
            "cannot be used (Input/output error); look after the file and its directory",
        ),
    ],
)
def test_failure_of_the_system_is_put_into_words(path: Path, number: int, words: str) -> None:
    path.touch()
    failure = unavailable(path, OSError(number, os.strerror(number)))
    assert str(failure) == f"sqlite:{path} {words}"


def test_failure_of_a_kind_never_seen_names_the_file(path: Path) -> None:
    path.touch()
    never_seen = sqlite3.OperationalError("bad parameter or other API misuse")
    never_seen.sqlite_errorcode = sqlite3.SQLITE_MISUSE
    assert str(unavailable(path, never_seen)) == (
        f"sqlite:{path} cannot be opened; look after the file and its directory"
    )


def uses(store: SqliteStore) -> list[Callable[[], object]]:
    return [
        lambda: store.changes(None),
        lambda: store.changes(MANY),
        store.keys,
        lambda: store.find("id1"),
        lambda: store.add([key("new")], by=BY),
        lambda: store.change("id1", lambda key: revoked(key, 1.0), by=BY),
        lambda: store.delete("id1", by=BY),
        lambda: store.record([usage()]),
        lambda: store.usage(since=0),
        store.last_used,
    ]


@pytest.mark.parametrize("number", range(10))
def test_file_that_is_gone_is_not_made_anew(store: SqliteStore, path: Path, number: int) -> None:
    at = revision(store)
    aside = path.with_name("aside.db")
    path.rename(aside)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="is gone; put it back"):
            uses(store)[number]()
    assert not path.exists()
    # It is as it was when it comes back, with what its log holds.
    aside.rename(path)
    assert store.changes(at) is None
    assert len(store.keys()) == MANY + 1


def test_file_that_is_deleted_and_put_back_from_a_copy(store: SqliteStore, path: Path) -> None:
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    at = revision(store)
    path.unlink()
    with pytest.raises(StoreUnavailable, match="is gone"):
        store.changes(at)
    shutil.copy(copy, path)
    found = store.changes(at)
    assert found is not None
    assert found.complete
    assert {change.id for change in found.changes} == {f"id{n}" for n in range(MANY)}
    assert store.changes(found.revision) is None


def other_store(path: Path) -> Path:
    other = path.with_name("other.db")
    made = sqlite_store(other)
    made.add([key(n) for n in range(100, 400)], by=BY)
    made.close()
    return other


def expect_other(found: Changes | None) -> None:
    assert found is not None
    assert found.complete
    assert {change.id for change in found.changes} == {f"id{n}" for n in range(100, 400)}


@pytest.mark.parametrize("number", [0, 1])
def test_another_store_is_moved_into_its_place(store: SqliteStore, path: Path, number: int) -> None:
    other = other_store(path)
    second = sqlite_store(path)
    revision(store), revision(second)
    other.replace(path)
    for one in (store, second):
        expect_other(uses(one)[number]())  # type: ignore[arg-type]
    second.add([key("new")], by=BY)
    found = store.changes(300)
    assert found is not None
    assert [change.id for change in found.changes] == ["idnew"]
    second.close()


def test_another_store_is_written_into_its_file(store: SqliteStore, path: Path) -> None:
    other = other_store(path)
    at = revision(store)
    path.write_bytes(other.read_bytes())
    expect_other(store.changes(at))
    store.add([key("new")], by=BY)
    store.close()
    again = sqlite_store(path, create=False)
    assert len(again.keys()) == 301
    again.close()


def test_older_copy_is_written_into_its_file(path: Path) -> None:
    store = sqlite_store(path)
    store.add([key(1), key(2)], by=BY)
    store.close()
    copy = path.read_bytes()
    store = sqlite_store(path)
    store.add([key(3)], by=BY)
    store.close()
    store = sqlite_store(path)
    store.add([key(4)], by=BY)
    at = revision(store)
    path.write_bytes(copy)
    found = store.changes(at)
    assert found is not None
    assert (found.complete, {change.id for change in found.changes}) == (True, {"id1", "id2"})
    store.close()


def overwrite_all(content: bytes) -> bytes:
    return b"\xa5" * len(content)


def overwrite_all_but_the_head(content: bytes) -> bytes:
    return content[:4096] + b"\xa5" * (len(content) - 4096)


def overwrite_one_page(content: bytes) -> bytes:
    at = content.index(b"name1000")
    at -= at % 4096
    return content[:at] + b"\xa5" * 4096 + content[at + 4096 :]


def zero_the_head(content: bytes) -> bytes:
    return bytes(4096) + content[4096:]


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(_content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    "damage",
    [
        overwrite_all,
        overwrite_all_but_the_head,
        overwrite_one_page,
        zero_the_head,
        truncate,
        empty,
    ],
)
@pytest.mark.parametrize("use", [0, 1, 2, 4])
def test_damage_is_noticed_and_mended_without_a_restart(
    store: SqliteStore, path: Path, damage: Callable[[bytes], bytes], use: int
) -> None:
    at = revision(store)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            uses(store)[use]()
    # Put back as it was, with its log as it was.
    path.write_bytes(content)
    found = store.changes(at)
    assert found is None or found.complete
    expected = {f"id{n}" for n in range(MANY)}
    kept = ids(store)
    assert kept in (expected, expected | {"idlast"})
    store.add([key("new")], by=BY)
    store.close()
    again = sqlite_store(path, create=False)
    assert ids(again) == kept | {"idnew"}
    again.close()


@pytest.mark.parametrize("damage", [overwrite_all, overwrite_one_page, truncate])
def test_damaged_file_is_refused_at_the_start(
    store: SqliteStore, path: Path, damage: Callable[[bytes], bytes]
) -> None:
    store.close()
    path.write_bytes(damage(path.read_bytes()))
    assert "is damaged" in refused(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE keys SET routes = 'chat' WHERE id = 'id7'",
        "UPDATE keys SET deny = '[\"here\"]' WHERE id = 'id7'",
        "UPDATE keys SET origins = '[1]' WHERE id = 'id7'",
        "UPDATE keys SET metadata = '7' WHERE id = 'id7'",
        "UPDATE keys SET name = CAST(x'ff' AS TEXT) WHERE id = 'id7'",
        "DROP TABLE secrets",
        "DELETE FROM store",
    ],
)
def test_rows_that_nobody_wrote_so_are_damage(
    store: SqliteStore, path: Path, statement: str
) -> None:
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute(statement)
    with pytest.raises(StoreUnavailable, match="is damaged"):
        store.changes(None)
    foreign.close()


def test_closed_store_forgets_what_failed(store: SqliteStore, path: Path) -> None:
    path.unlink()
    with pytest.raises(StoreUnavailable):
        store.keys()
    store.close()
    assert not path.exists()

"""One file, several processes: none loses what another writes, and one may be killed."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.stores.store import StoreUnavailable
from tests.unit.stores.scene import BY, ids, key, sqlite_store, usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITES = 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


@contextmanager
def writer(path: Path, name: str, count: int) -> Iterator[subprocess.Popen[str]]:
    """A writer that has opened the store and waits for a line."""
    command = [sys.executable, "-m", "tests.unit.stores.writer", str(path), name, str(count)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def begin(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def test_two_processes_write_at_once_and_a_third_sees_it_all(path: Path) -> None:
    store = sqlite_store(path)
    told: dict[str, int] = {}
    revisions = [0]
    with writer(path, "a", WRITES) as one, writer(path, "b", WRITES) as other:
        begin(one, other)
        while True:
            # Asked before the look: what was written until then is to be seen by it.
            finished = one.poll() is not None and other.poll() is not None
            found = store.changes(revisions[-1])
            if found is None:
                if finished:
                    break
                continue
            assert not found.complete
            assert found.revision > revisions[-1]
            assert len(found.changes) == found.revision - revisions[-1]
            revisions.append(found.revision)
            for change in found.changes:
                told[change.id] = told.get(change.id, 0) + 1
        assert (one.returncode, other.returncode) == (0, 0)
    written = {f"id{name}-{number}" for name in "ab" for number in range(WRITES)}
    assert told == dict.fromkeys(written, 1)
    assert ids(store) == written
    assert store.usage(since=0) == [usage("shared", n=2 * WRITES)]
    store.close()


def test_two_processes_create_the_same_store_at_once(path: Path) -> None:
    for number in range(5):
        file = path.with_name(f"{number}.db")
        command = [sys.executable, "-m", "tests.unit.stores.writer", str(file)]
        processes = [
            subprocess.Popen(
                [*command, name, "1"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            for name in "abc"
        ]
        assert [process.wait() for process in processes] == [0, 0, 0]
        store = sqlite_store(file, create=False)
        assert ids(store) == {"ida-0", "idb-0", "idc-0"}
        store.close()


@pytest.mark.parametrize("after", [1, 40])
def test_killed_process_loses_nothing_that_was_done(path: Path, after: int) -> None:
    with writer(path, "a", 0) as process:
        begin(process)
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(after)]
        process.kill()
        process.wait()
        said += process.stdout.readlines()
    done = [int(number) for number in said if number.endswith("\n")]
    store = sqlite_store(path, create=False)
    kept = ids(store)
    assert kept >= {f"ida-{number}" for number in done}
    # Of the one it was killed in, all or nothing.
    assert len(kept) - len(done) in {0, 1}
    assert store.usage(since=0)[0].connections - len(done) in {0, 1}
    store.add([key("next")], by=BY)
    store.close()


def test_writer_waits_for_another_and_gives_up_in_words(path: Path) -> None:
    store, other = sqlite_store(path, patience=0.05), sqlite_store(path)
    with other._database.writing() as connection:
        for write in (
            lambda: store.add([key(1)], by=BY),
            lambda: store.record([usage()]),
        ):
            with pytest.raises(StoreUnavailable, match="is locked by another process; end what"):
                write()
        # Whoever reads does not wait.
        assert store.keys() == []
        connection.execute("DELETE FROM deleted")
    store.add([key(1)], by=BY)
    assert other.keys() == [key(1)]
    # Nothing was reopened for it: whoever polls gets what is new, not everything.
    found = store.changes(0)
    assert found is not None
    assert not found.complete
    store.close()
    other.close()

"""What can happen to the file of a running gateway's keys; each trouble ends with its block."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

GARBAGE = b"this was a database once\n" * 1000
# The bytes of a `-shm` file that SQLite locks: writer, checkpointer, recovery, five readers.
_FIRST_LOCK, _LOCKS = 120, 8


def copy_of(store: Path) -> Path:
    """A copy as `sqlite3 .backup` makes it, beside the folder of the file."""
    copy = store.parent.with_name(f"copy-of-{store.name}")
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


@contextmanager
def directory_gone(store: Path) -> Iterator[None]:
    """The folder of the file is away, as a volume that was unmounted."""
    away = store.parent.with_name("away")
    store.parent.rename(away)
    try:
        yield
    finally:
        away.rename(store.parent)


@contextmanager
def file_deleted(store: Path) -> Iterator[None]:
    """The files are deleted; a copy is put back."""
    copy = copy_of(store)
    for path in store.parent.glob(store.name + "*"):
        path.unlink()
    yield
    copy.replace(store)


@contextmanager
def file_replaced(store: Path) -> Iterator[None]:
    """Another file lies in its place, with nothing of ours in it; a copy is put back."""
    copy = copy_of(store)
    garbage = store.with_name("garbage")
    garbage.write_bytes(GARBAGE)
    garbage.replace(store)
    yield
    copy.replace(store)


@contextmanager
def file_overwritten(store: Path) -> Iterator[None]:
    """Something wrote into the very file; a copy is put back."""
    copy = copy_of(store)
    with store.open("r+b") as file:
        file.write(GARBAGE)
    yield
    copy.replace(store)


@contextmanager
def file_unreadable(store: Path) -> Iterator[None]:
    """The gateway's user has lost the right to the file."""
    store.chmod(0)
    yield
    store.chmod(0o600)


@contextmanager
def file_read_only(store: Path) -> Iterator[None]:
    """The gateway's user may not write the file any more."""
    store.chmod(0o400)
    yield
    store.chmod(0o600)


@contextmanager
def file_hangs(store: Path) -> Iterator[None]:
    """Somebody keeps all locks: whoever asks the file for anything waits."""
    beside = store.with_name(store.name + "-shm")
    with beside.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, _LOCKS, _FIRST_LOCK)
        yield  # Closing the file gives the locks back.


@contextmanager
def file_locked(store: Path) -> Iterator[None]:
    """A connection keeps an EXCLUSIVE lock: nobody else writes."""
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def obey_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes started from now on obey the rights of files, also when they are root's."""
    if os.geteuid() != 0:
        return
    program = shutil.which("setpriv")
    if program is None:
        pytest.skip("root passes over the rights of files, and there is no setpriv")
    monkeypatch.setattr(sys, "executable", _without_privileges(program, sys.executable))


@cache
def _without_privileges(program: str, python: str) -> str:
    """One script for a whole run: whoever is started by it may bear many."""
    folder = tempfile.mkdtemp(prefix="wskeeper-tests-")
    atexit.register(shutil.rmtree, folder)
    script = Path(folder) / "python-without-privileges"
    script.write_text(
        f'#!/bin/sh\nexec {program} --bounding-set=-dac_override,-dac_read_search {python} "$@"\n'
    )
    script.chmod(0o700)
    return str(script)

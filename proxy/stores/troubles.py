"""What is the matter with an SQLite file, in words that name the mend."""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import TYPE_CHECKING, Final

from proxy.stores.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_DAMAGED: Final = (
    "is damaged, or no SQLite database",
    "put back a copy of it, or move it away to begin with a new one",
)
_FULL: Final = ("cannot grow: its disk is full", "make room on the disk")

# By the primary result code of SQLite: (cause, mend).
_BY_CODE: Final = {
    sqlite3.SQLITE_BUSY: (
        "is locked by another process",
        "end what keeps it locked, such as an open transaction of an SQLite shell",
    ),
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_READONLY: (
        "cannot be written",
        "let this user write the file and its directory",
    ),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "look after its disk"),
    # A statement that does not fit the tables that are there.
    sqlite3.SQLITE_ERROR: _DAMAGED,
}
_OTHERWISE: Final = ("cannot be opened", "look after the file and its directory")

# A gateway takes an empty store for what it is.
_ABSENT_MEND: Final = (
    "put it back, or name another with -c FILE or --store URL; `wskeeper keys create --init` makes"
    " one without keys, for which a gateway ends the sessions of all that it knew"
)


def is_locked(failure: Exception) -> bool:
    """Whether another process is in the way, and nothing else is the matter."""
    return _code(failure) == sqlite3.SQLITE_BUSY


def unavailable(path: Path, failure: sqlite3.Error | OSError) -> StoreUnavailable:
    """What a failure means to people.

    Args:
        path: of the file.
        failure: of SQLite or the system.
    """
    place = f"sqlite:{path}"
    if isinstance(failure, OSError):
        found = objection(path)
        if found is None and failure.errno in {errno.ENOSPC, errno.EDQUOT}:
            found = StoreUnavailable(place, *_FULL)
        reason = failure.strerror or type(failure).__name__
        return found or StoreUnavailable(place, f"cannot be used ({reason})", _OTHERWISE[1])
    code = _code(failure)
    found = None if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL} else objection(path)
    return found or StoreUnavailable(place, *_BY_CODE.get(code, _OTHERWISE))


def damaged(path: Path) -> StoreUnavailable:
    """The file holds something else than what was written."""
    return StoreUnavailable(f"sqlite:{path}", *_DAMAGED)


def objection(path: Path) -> StoreUnavailable | None:
    """Why no database can be used at a path, as far as its name and rights tell."""
    directory = path.parent
    who = f"this user (uid {os.geteuid()})"
    checks: tuple[tuple[Callable[[], bool], str, str], ...] = (
        (
            lambda: not directory.is_dir(),
            f"has no directory: {directory} does not exist",
            f"make it with `mkdir -p {directory}`, or name another file",
        ),
        (path.is_dir, "is a directory", "name a file in it"),
        (
            lambda: not _may(directory, os.W_OK),
            f"lies in a directory that {who} cannot write: SQLite makes files there",
            f"let it write {directory}",
        ),
        (
            lambda: not path.exists(),
            "does not exist",
            _ABSENT_MEND,
        ),
        (
            lambda: not _may(path, os.R_OK | os.W_OK),
            f"cannot be read and written by {who}",
            "let it: `chown` the file to the user of the gateway",
        ),
    )
    place = f"sqlite:{path}"
    for is_so, cause, mend in checks:
        try:
            if is_so():
                return StoreUnavailable(place, cause, mend)
        except PermissionError:
            return StoreUnavailable(
                place, f"cannot be reached by {who}", f"let it enter {directory}"
            )
    return None


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _code(failure: Exception) -> int:
    """SQLite's primary result code; its extended ones say more in their upper bytes."""
    return int(getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF

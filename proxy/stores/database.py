"""One SQLite file: opened, watched and, whenever it may no longer be the same, opened again."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.stores.migrations import connected, migrate
from proxy.stores.store import StoreUnavailable
from proxy.stores.troubles import damaged, is_locked, objection, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from proxy.stores.migrations import Migration

# What handshakes depend on; usage grows for ever and is not looked through.
_CHECKED: Final = ("store", "keys", "secrets", "deleted")

_OTHERS: Final = 0o077


class _Opened(NamedTuple):
    connection: sqlite3.Connection
    # Which file it is (device, inode), and its size and times when it was found in order.
    file: tuple[int, int]
    state: tuple[int, int, int]
    # Its log, and which file that is; None when there is none.
    log: Path
    log_file: tuple[int, int] | None
    shared_memory: Path
    # Which store it is, and its revision in the main file alone.
    identity: bytes
    revision: int


class Database:
    """A connection that is good for as long as the file is.

    Args:
        path: absolute.
        create: whether a missing file is made, now and never again.
        migrations: to the layout, oldest first.
        patience: seconds for which a lock is waited for.

    Raises:
        StoreUnavailable: it cannot be used.
    """

    def __init__(
        self, path: Path, *, create: bool, migrations: Sequence[Migration], patience: float
    ) -> None:
        self.path = path
        self.place = f"sqlite:{path}"
        self.warning: str | None = None
        # How often it was opened, and how often it may have become another store.
        self.openings = 0
        self.replacements = 0
        self._migrations = migrations
        self._patience = patience
        self._opened: _Opened | None = None
        self._suspect = False
        with self._translated():
            if create:
                # SQLite gives the files beside it the same mode.
                with contextlib.suppress(FileExistsError):
                    path.touch(0o600, exist_ok=False)
            self._opened = self._open(create=create)

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection outside of a transaction; failures are translated here and nowhere else.

        Raises:
            StoreUnavailable: the file cannot be used now; the next call tries again.
        """
        with self._translated():
            yield self._ready()

    @contextlib.contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that nothing comes in between of; it is undone when its block raises.

        Args:
            durable: whether it outlasts a power cut from the end of the block on.

        Raises:
            StoreUnavailable: the file cannot be used now.
        """
        with self.connection() as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with transaction(connection, "BEGIN IMMEDIATE"):
                yield connection

    def close(self) -> None:
        """Closes the file; what is in the log goes into it."""
        opened, self._opened = self._opened, None
        if opened is not None:
            # As the last connection it takes the log away, unless the file is another by now.
            with contextlib.suppress(sqlite3.Error):
                opened.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            opened.connection.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except StoreUnavailable:
            self._suspect = True
            raise
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
            raise
        except (sqlite3.Error, OSError) as failure:
            self._suspect = self._suspect or not is_locked(failure)
            raise unavailable(self.path, failure) from failure

    def _ready(self) -> sqlite3.Connection:
        """The connection, after a look at whether the file is still the same and unharmed."""
        try:
            seen = self.path.stat()
        except FileNotFoundError:
            raise StoreUnavailable(self.place, "is gone", "put it back") from None
        opened = self._opened
        if opened is not None and not self._is_where_it_was(opened, seen):
            self._retire(opened)
            opened = None
        if opened is None:
            self._opened = opened = self._open()
        elif self._suspect or opened.state != _state(seen):
            self._opened = opened = self._reopened(opened)
        self._suspect = False
        return opened.connection

    def _is_where_it_was(self, opened: _Opened, seen: os.stat_result) -> bool:
        """Whether the file and its log are those that were opened, not others in their places."""
        return opened.file == _file(seen) and opened.log_file == _file_at(opened.log)

    def _reopened(self, before: _Opened) -> _Opened:
        """A new connection: the pages that the one before has read may no longer be there.

        The one before is closed last: without it, SQLite would write the log over whatever the
        file holds now.
        """
        identity, revision = self._in_main_file()
        if identity != before.identity or revision < before.revision:
            # Another store, or an older copy, was written into the file.
            self._retire(before)
            return self._open()
        after = self._open()
        before.connection.close()
        return after

    def _retire(self, opened: _Opened) -> None:
        """Lets go of a file that another has taken the place of, and of the log that was its."""
        self._opened = None
        self.replacements += 1
        is_orphaned = opened.log_file is not None and opened.log_file == _file_at(opened.log)
        if is_orphaned:
            # Empty, it cannot be written over the new file when the connection closes.
            os.truncate(opened.log, 0)
        opened.connection.close()
        if is_orphaned:
            opened.log.unlink(missing_ok=True)
            opened.shared_memory.unlink(missing_ok=True)

    def _open(self, *, create: bool = False) -> _Opened:
        found = objection(self.path)
        if found is not None:
            raise found
        seen = self.path.stat()
        # SQLite puts its other files beside the file itself, wherever a link to it may be.
        file = self.path.resolve()
        log, memory = (file.with_name(file.name + ending) for ending in ("-wal", "-shm"))
        connection = connected(self.path, "mode=rw", self._patience)
        try:
            migrate(connection, self.path, create=create, migrations=self._migrations)
            self._use_log(connection)
            self._check(connection)
            identity, revision = self._in_main_file()
            self._tighten(self.path, log, memory)
            opened = _Opened(
                connection,
                _file(seen),
                _state(seen),
                log,
                _file_at(log),
                memory,
                identity,
                revision,
            )
        except BaseException:
            connection.close()
            raise
        self.openings += 1
        return opened

    def _use_log(self, connection: sqlite3.Connection) -> None:
        """Lets readers and a writer not wait for each other."""
        ((mode,),) = connection.execute("PRAGMA journal_mode = WAL")
        if mode != "wal":
            raise StoreUnavailable(
                self.place, "lies on a file system without shared memory", "put it on a local disk"
            )

    def _check(self, connection: sqlite3.Connection) -> None:
        """Looks through the pages that keys are kept in."""
        for table in _CHECKED:
            ((finding,),) = connection.execute(f"PRAGMA quick_check({table})").fetchmany(1)
            if finding != "ok":
                raise damaged(self.path)

    def _in_main_file(self) -> tuple[bytes, int]:
        """Which store the main file is, and its revision there: the log cannot cover for it."""
        with contextlib.closing(connected(self.path, "mode=ro&immutable=1")) as main:
            # The log is brought into the file as far as readers let it, so its first page may
            # speak of pages that are not there yet; only this setting puts up with that.
            main.execute("PRAGMA writable_schema = ON")
            row = main.execute("SELECT identity, revision FROM store").fetchone()
        if row is None:
            raise damaged(self.path)
        identity, revision = row
        return identity, revision

    def _tighten(self, *paths: Path) -> None:
        """Sees to it that nobody but the owner can read the files."""
        exposed = False
        for path in paths:
            try:
                if path.stat().st_mode & _OTHERS:
                    path.chmod(0o600)
            except FileNotFoundError:
                continue
            except OSError:
                exposed = True
        self.warning = (
            f"{self.path} can be read by others; mend it with `chmod 600`" if exposed else None
        )


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """A transaction around a block; it is undone when the block raises.

    Args:
        begin: `BEGIN` for a steady view, `BEGIN IMMEDIATE` for a change.
    """
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After some failures SQLite has undone it already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _file(seen: os.stat_result) -> tuple[int, int]:
    return seen.st_dev, seen.st_ino


def _state(seen: os.stat_result) -> tuple[int, int, int]:
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        return _file(path.stat())
    except FileNotFoundError:
        return None

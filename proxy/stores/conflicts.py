"""Which value of a key another one has already."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from proxy.stores.store import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxy.keys.key import Key


@contextlib.contextmanager
def conflicts(
    connection: sqlite3.Connection, keys: Sequence[Key], *, are_new: bool
) -> Iterator[None]:
    """Turns what the tables refuse within its block into words.

    Looking first would cost more: conflicts are rare, and imports are large.

    Args:
        connection: in a transaction.
        keys: that the block writes.
        are_new: whether nothing may have their ids.

    Raises:
        Conflict: a value is another key's.
    """
    connection.execute("SAVEPOINT before")
    try:
        yield
    except sqlite3.IntegrityError:
        connection.execute("ROLLBACK TO before")
        _Search(connection).look(keys, are_new=are_new)
        raise


class _Search:
    """The keys of a store and those of a batch that were looked at so far."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # The names of the keys that have them.
        self._ids: dict[str, str] = {}
        self._digests: dict[bytes, str] = {}
        self._names: set[str] = set()

    def look(self, keys: Sequence[Key], *, are_new: bool) -> None:
        """Raises the first conflict of keys with others, and with those before them."""
        for key in keys:
            if are_new:
                holder = self._ids.get(key.id) or self._asked(
                    "SELECT name FROM keys WHERE id = ?", key.id
                )
                if holder is not None:
                    raise Conflict(f"the id `{key.id}`", holder)
            if key.name in self._names or self._asked(
                "SELECT id FROM keys WHERE name = ? AND id <> ?", key.name, key.id
            ):
                raise Conflict(f"the name `{key.name}`", key.name)
            self._ids[key.id] = key.name
            self._names.add(key.name)
            for secret in key.secrets:
                holder = self._digests.get(secret.digest) or self._asked(
                    "SELECT name FROM keys JOIN secrets ON key_id = id"
                    " WHERE digest = ? AND id <> ?",
                    secret.digest,
                    key.id,
                )
                if holder is not None:
                    raise Conflict("the secret", holder)
                self._digests[secret.digest] = key.name

    def _asked(self, statement: str, *parameters: object) -> str | None:
        row = self._connection.execute(statement, parameters).fetchone()
        return None if row is None else str(row[0])

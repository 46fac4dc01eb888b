"""Keys as rows of an SQLite store, and back."""

from __future__ import annotations

import ipaddress
import json
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.keys.key import UNLIMITED, Key, KeyLimits, Secret
from proxy.stores.store import Change

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from proxy.config.values import Network

_KEYS: Final = """
    SELECT id, name, created_at, expires_at, suspended_at, revoked_at, connections, limits,
        routes, origins, allow, deny, metadata, weak, revision, changed_by
    FROM keys
"""
_SECRETS: Final = "SELECT key_id, digest, until FROM secrets"
_OF_CHANGED_KEYS: Final = " WHERE key_id IN (SELECT id FROM keys WHERE revision > ?)"

_INSERT: Final = """
    INSERT INTO keys (name, created_at, expires_at, suspended_at, revoked_at, connections,
        limits, routes, origins, allow, deny, metadata, weak, revision, changed_by, id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# Columns that a newer minor layout may have added stay as they are.
_UPDATE: Final = """
    UPDATE keys SET name = ?, created_at = ?, expires_at = ?, suspended_at = ?, revoked_at = ?,
        connections = ?, limits = ?, routes = ?, origins = ?, allow = ?, deny = ?, metadata = ?,
        weak = ?, revision = ?, changed_by = ?
    WHERE id = ?
"""

_T = TypeVar("_T")


def all_keys(connection: sqlite3.Connection) -> list[Change]:
    """Every key, in the order of their ids, which the tables have."""
    rows = connection.execute(_KEYS + "ORDER BY id")
    secrets = connection.execute(_SECRETS + " ORDER BY key_id, position")
    return [change for _, change in _changes(rows, secrets)]


def changes_after(connection: sqlite3.Connection, since: int) -> list[Change]:
    """What became of each key that was changed or deleted after a revision, in that order."""
    rows = connection.execute(_KEYS + "WHERE revision > ?", (since,))
    secrets = connection.execute(
        _SECRETS + _OF_CHANGED_KEYS + " ORDER BY key_id, position", (since,)
    )
    deleted = connection.execute(
        "SELECT revision, id, changed_by FROM deleted WHERE revision > ?", (since,)
    )
    found = [
        *_changes(rows, secrets),
        *((revision, Change(key_id, None, by)) for revision, key_id, by in deleted),
    ]
    return [change for _, change in sorted(found, key=itemgetter(0))]


def keys_called(connection: sqlite3.Connection, id: str, name: str | None = None) -> list[Key]:
    """The keys, none to two, with that id or that name."""
    rows = connection.execute(_KEYS + "WHERE id = ? OR name = ?", (id, name)).fetchall()
    found = []
    for row in rows:
        secrets = connection.execute(
            _SECRETS + " WHERE key_id = ? ORDER BY key_id, position", (row[0],)
        )
        found += [change.key for _, change in _changes([row], secrets) if change.key]
    return found


def insert_keys(
    connection: sqlite3.Connection, keys: Sequence[Key], revision: int, by: str
) -> None:
    """Writes keys that are not there.

    Args:
        revision: of the first; each further one has the next.

    Raises:
        sqlite3.IntegrityError: an id, a name or a secret is there.
    """
    rows = [(*_row(key), number, by, key.id) for number, key in enumerate(keys, revision)]
    connection.executemany(_INSERT, rows)
    _insert_secrets(connection, keys)


def update_key(connection: sqlite3.Connection, key: Key, revision: int, by: str) -> None:
    """Writes a key that is there.

    Raises:
        sqlite3.IntegrityError: its name or a secret is another's.
    """
    connection.execute(_UPDATE, (*_row(key), revision, by, key.id))
    connection.execute("DELETE FROM secrets WHERE key_id = ?", (key.id,))
    _insert_secrets(connection, [key])


def delete_key(connection: sqlite3.Connection, id: str) -> None:
    """Removes a key and its secrets."""
    connection.execute("DELETE FROM keys WHERE id = ?", (id,))
    connection.execute("DELETE FROM secrets WHERE key_id = ?", (id,))


def _insert_secrets(connection: sqlite3.Connection, keys: Sequence[Key]) -> None:
    connection.executemany(
        "INSERT INTO secrets (key_id, position, digest, until) VALUES (?, ?, ?, ?)",
        [
            (key.id, position, secret.digest, secret.until)
            for key in keys
            for position, secret in enumerate(key.secrets)
        ],
    )


def _row(key: Key) -> tuple[object, ...]:
    origins = None if key.origins is None else {origin.decode() for origin in key.origins}
    return (
        key.name,
        key.created_at,
        key.expires_at,
        key.suspended_at,
        key.revoked_at,
        key.limits.connections,
        _other_limits(key.limits),
        None if key.routes is None else _json(sorted(key.routes)),
        None if origins is None else _json(sorted(origins)),
        None if key.allow is None else _json([str(network) for network in key.allow]),
        _json([str(network) for network in key.deny]) if key.deny else None,
        _json(dict(key.metadata)) if key.metadata else None,
        key.weak,
    )


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _changes(
    rows: Iterable[Sequence[Any]], secrets: Iterable[tuple[str, bytes, float | None]]
) -> Iterator[tuple[int, Change]]:
    """Keys, and their revisions, out of their rows and, in order, their secrets'."""
    secrets_of: dict[str, tuple[Secret, ...]] = {}
    for key_id, digest, until in secrets:
        secret = (Secret(digest, until),)
        secrets_of[key_id] = secrets_of[key_id] + secret if key_id in secrets_of else secret
    # Equal values are one object: 100,000 keys have few different ones.
    texts = _Shared(str)
    limits_of = _Shared(_limits)
    routes_of = _Shared(_routes)
    origins_of = _Shared(_origins)
    networks_of = _Shared(_networks)
    metadata_of = _Shared(_metadata)
    for row in rows:
        key_id, name, created_at, expires_at, suspended_at, revoked_at = row[:6]
        limits, routes, origins, allow, deny, metadata, weak, revision, by = (row[6:8], *row[8:])
        key = Key(
            key_id,
            name,
            secrets_of.get(key_id, ()),
            None if routes is None else routes_of[routes],
            created_at,
            expires_at,
            suspended_at,
            revoked_at,
            limits_of[limits],
            None if origins is None else origins_of[origins],
            None if allow is None else networks_of[allow],
            networks_of[deny],
            metadata_of[metadata],
            bool(weak),
        )
        yield revision, Change(key_id, key, texts[by])


class _Shared(dict[Any, _T]):
    """The values of a column's texts, each made once."""

    def __init__(self, make: Callable[[Any], _T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, column: object) -> _T:
        value = self[column] = self._make(column)
        return value


def _other_limits(limits: KeyLimits) -> str | None:
    """All that are set, but the one that has a column of its own since the first layout."""
    if limits[1:] == UNLIMITED[1:]:
        return None
    others = zip(KeyLimits._fields[1:], limits[1:], UNLIMITED[1:], strict=True)
    return _json({name: value for name, value, unset in others if value != unset})


def _limits(columns: tuple[int | None, str | None]) -> KeyLimits:
    connections, column = columns
    if column is None:
        return KeyLimits(connections)
    others = json.loads(column)
    to_upstream, to_client = others.pop("message_size", UNLIMITED.message_size)
    return KeyLimits(connections, message_size=(to_upstream, to_client), **others)


def _routes(column: str) -> frozenset[str]:
    return frozenset(json.loads(column))


def _origins(column: str) -> frozenset[bytes]:
    return frozenset(origin.encode() for origin in json.loads(column))


def _networks(column: str | None) -> tuple[Network, ...]:
    return () if column is None else tuple(map(ipaddress.ip_network, json.loads(column)))


def _metadata(column: str | None) -> Mapping[str, str]:
    return {} if column is None else dict(json.loads(column))

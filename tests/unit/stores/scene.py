"""Keys and stores to test with."""

from __future__ import annotations

import hashlib
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from proxy.keys.key import Key, KeyLimits, Secret
from proxy.stores.sqlite import SqliteStore
from proxy.stores.store import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.stores.store import KeyStore

BY = "cli:ann"


def digest(of: object) -> bytes:
    return hashlib.sha256(str(of).encode()).digest()


def key(number: object, **fields: Any) -> Key:
    """A key with an id, a name and a secret of its own."""
    given = {"id": f"id{number}", "name": f"name{number}", "secrets": (Secret(digest(number)),)}
    return Key(**{**given, **fields})


FULL = key(
    "full",
    secrets=(Secret(digest("new")), Secret(digest("old"), 99.5), Secret(digest("older"), 7.25)),
    routes=frozenset({"chat", "ticker"}),
    created_at=1.5,
    expires_at=2.5,
    suspended_at=3.5,
    revoked_at=4.5,
    limits=KeyLimits(5, 4, 3, 2.5, (1 << 16, None), 0.1, 1e6, "close"),
    origins=frozenset({b"https://a.example", b"null"}),
    allow=(ip_network("10.0.0.0/8"), ip_network("::1/128")),
    deny=(ip_network("10.1.0.0/16"),),
    metadata={"plan": "gold", "Name": "Jörg \U0001f511"},
    weak=True,
)
# What differs from nothing given: nothing is allowed.
NOTHING = key("nothing", routes=frozenset(), origins=frozenset(), allow=(), limits=KeyLimits(0))


def usage(key_id: str = "id1", hour: int = 0, used_at: float | None = None, n: int = 1) -> Usage:
    return Usage(key_id, hour, n, n / 2, (n, 2 * n), (3 * n, 4 * n), used_at)


def ids(store: KeyStore) -> set[str]:
    """The ids of all its keys."""
    return {key.id for key in store.keys()}  # noqa: SIM118 - no mapping


def sqlite_store(path: Path, **settings: Any) -> SqliteStore:
    return SqliteStore(path, **{"create": True, **settings})


_texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=5)
_moments = st.none() | st.floats(0, 1e11)
_counts = st.none() | st.integers(0, 1 << 40)
_rates = st.none() | st.floats(0, 1e9)
_networks = st.ip_addresses().map(ip_network) | st.just(ip_network("fd00::/8"))

keys = st.builds(
    Key,
    id=_texts,
    name=_texts,
    secrets=st.lists(
        st.builds(Secret, st.binary(min_size=32, max_size=32), _moments),
        max_size=3,
        unique_by=lambda secret: secret.digest,
    ).map(tuple),
    routes=st.none() | st.frozensets(_texts, max_size=3),
    created_at=_moments,
    expires_at=_moments,
    suspended_at=_moments,
    revoked_at=_moments,
    limits=st.builds(
        KeyLimits,
        _counts,
        _counts,
        _counts,
        _rates,
        st.tuples(_counts, _counts),
        _rates,
        _rates,
        st.none() | st.sampled_from(["throttle", "close"]),
    ),
    origins=st.none() | st.frozensets(_texts.map(str.encode), max_size=3),
    allow=st.none() | st.lists(_networks, max_size=2).map(tuple),
    deny=st.lists(_networks, max_size=2).map(tuple),
    metadata=st.dictionaries(_texts, _texts, max_size=2),
    weak=st.booleans(),
)

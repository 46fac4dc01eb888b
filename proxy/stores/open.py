"""A store out of its URL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.stores.memory import MemoryStore
from proxy.stores.sqlite import SqliteStore
from proxy.stores.store import StoreUnavailable

if TYPE_CHECKING:
    from proxy.stores.store import KeyStore

_MEMORY: Final = "memory:"
_SQLITE: Final = "sqlite:"


def open_store(url: str, *, create: bool, folder: Path | None = None) -> KeyStore:
    """Opens a store.

    Args:
        url: `memory:` or `sqlite:PATH`.
        create: whether a missing one is made.
        folder: that a relative path is relative to; None is the working directory.

    Raises:
        StoreUnavailable: the URL names none, or it cannot be used.
    """
    place = place_of(url, folder)
    if place == _MEMORY:
        return MemoryStore()
    return SqliteStore(Path(place.removeprefix(_SQLITE)), create=create)


def place_of(url: str, folder: Path | None = None) -> str:
    """Where a store is, in words for people, without opening it: `sqlite:/absolute/path`.

    Raises:
        StoreUnavailable: the URL names none.
    """
    if url == _MEMORY:
        return _MEMORY
    path = url.removeprefix(_SQLITE)
    if path in {"", url} or "\0" in path:
        # It is not quoted: the URL of another kind of store may hold a password.
        raise StoreUnavailable(
            "the store", "has a URL that names none", "write `memory:` or `sqlite:PATH`"
        )
    return _SQLITE + os.path.normpath(Path(folder or "", path).absolute())

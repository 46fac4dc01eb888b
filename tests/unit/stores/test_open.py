"""Stores out of their URLs."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.stores.memory import MemoryStore
from proxy.stores.open import open_store, place_of
from proxy.stores.store import StoreUnavailable


def test_memory_is_opened() -> None:
    store = open_store("memory:", create=False)
    assert isinstance(store, MemoryStore)
    assert store.place == place_of("memory:") == "memory:"


def test_file_is_relative_to_the_folder(tmp_path: Path) -> None:
    store = open_store("sqlite:keys.db", create=True, folder=tmp_path)
    try:
        assert store.place == f"sqlite:{tmp_path}/keys.db"
        assert (tmp_path / "keys.db").exists()
    finally:
        store.close()


def test_place_is_told_without_a_look(tmp_path: Path) -> None:
    assert place_of("sqlite:a/../b.db", tmp_path) == f"sqlite:{tmp_path}/b.db"
    assert place_of("sqlite:/x/b.db", tmp_path) == "sqlite:/x/b.db"
    assert place_of("sqlite:///x/b.db", tmp_path) == "sqlite:/x/b.db"
    assert place_of("sqlite:b.db") == f"sqlite:{Path.cwd()}/b.db"
    assert list(tmp_path.iterdir()) == []


def test_missing_file_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(
        StoreUnavailable, match=r"does not exist; .* keys create --init` makes one"
    ) as caught:
        open_store("sqlite:keys.db", create=False, folder=tmp_path)
    assert caught.value.place == f"sqlite:{tmp_path}/keys.db"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["", "memory", "sqlite:", "sqlite:a\0b", "keys.db", "redis://:hunter2@host/0"]
)
def test_other_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(StoreUnavailable, match="write `memory:` or `sqlite:PATH`") as caught:
        open_store(url, create=True)
    assert "hunter2" not in str(caught.value)

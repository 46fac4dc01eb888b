"""The keys that stand in the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.keys.key import Key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.config.model import FixedKey


class FixedKeys:
    """Keys found by the digest of their secret; a look-up costs no I/O."""

    def __init__(self, keys: Iterable[FixedKey]) -> None:
        self._by_digest = {
            key.digest: Key(
                id=key.name,
                name=key.name,
                routes=None if key.routes is None else frozenset(key.routes),
                metadata=key.metadata,
            )
            for key in keys
        }

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, digest: bytes) -> Key | None:
        """The key whose secret has this SHA-256."""
        return self._by_digest.get(digest)

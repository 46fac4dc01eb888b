"""What the ended sessions of each key have passed: the part of its metrics that outlives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.sessions.live import LiveSession


class KeyTraffic(NamedTuple):
    """What passed; pairs are (client to upstream, upstream to client)."""

    messages: tuple[int, int] = (0, 0)
    bytes: tuple[int, int] = (0, 0)


class KeyTotals:
    """Totals by the id of a key, kept only while somebody wants to see them."""

    __slots__ = ("_by_key", "kept")

    def __init__(self) -> None:
        self._by_key: dict[str, KeyTraffic] = {}
        self.kept = False

    def keep(self, *, kept: bool) -> None:
        """Begins to keep totals, or forgets those that there are."""
        self.kept = kept
        if not kept:
            self._by_key.clear()

    def take_over(self, ended: LiveSession) -> None:
        """Adds what an ended session counted; to be called while they are kept."""
        key_id = ended.principal.key_id
        if key_id is None:
            return
        sent, received = ended.state.scanners
        before = self._by_key.get(key_id, KeyTraffic())
        self._by_key[key_id] = KeyTraffic(
            (before.messages[0] + sent.messages, before.messages[1] + received.messages),
            (before.bytes[0] + sent.bytes, before.bytes[1] + received.bytes),
        )

    def forget_but(self, ids: Collection[str]) -> None:
        """Forgets the keys that are no more."""
        for key_id in self._by_key.keys() - set(ids):
            del self._by_key[key_id]

    def now(self) -> dict[str, KeyTraffic]:
        """All totals, by key, as they are at this moment."""
        return dict(self._by_key)

"""What a store of keys can do. Its calls block: the gateway makes them in a thread of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from proxy.keys.key import Key


# What was deleted is remembered for so many further changes of keys; whoever has not looked for
# longer is given all keys.
REMEMBERED: Final = 10_000

# Usage is kept by the hour.
HOUR: Final = 3600


class StoreUnavailable(Exception):
    """The store cannot be used now; the message names the place, the cause and the mend.

    Args:
        place: where the store is.
        cause: what is the matter with it, as in `is locked by another process`.
        mend: what to do about it, as in `end whatever holds it`.
    """

    def __init__(self, place: str, cause: str, mend: str) -> None:
        super().__init__(f"{place} {cause}; {mend}")
        self.place = place
        self.cause = cause
        self.mend = mend


class Conflict(ValueError):
    """A key has the name, the id or the secret already; the message says which.

    Args:
        what: the name or the id, in words; `the secret`.
        holder: the name of the key that has it.
    """

    def __init__(self, what: str, holder: str) -> None:
        super().__init__(
            f"the key `{holder}` has {what} already; take another (that of a key which has ended is"
            " free once it is deleted)"
        )


class NoSuchKey(LookupError):
    """No key has that id or name."""

    def __init__(self) -> None:
        # What was asked for is left out: it may be a secret that was pasted in the wrong place.
        super().__init__("no key has that id or name")


class AmbiguousKey(LookupError):
    """One key has it as its id and another as its name."""

    def __init__(self, by_id: str, by_name: str) -> None:
        super().__init__(
            f"that is the id of the key `{by_id}` and the name of the key with the id `{by_name}`; "
            "use these instead"
        )


class Change(NamedTuple):
    """What became of one key.

    Args:
        id: of the key.
        key: as it is now; None when it was deleted.
        by: who changed it: `admin:<token's name>`, `cli:<account>`.
    """

    id: str
    key: Key | None
    by: str


class Changes(NamedTuple):
    """What changed after a revision.

    Args:
        revision: up to which these are all; ask for what came after it next time.
        changes: the last one of each key, in the order in which they were made.
        complete: True when these are all keys there are, in any order, not only the changed ones:
            the store was replaced, or has forgotten what was deleted since.
    """

    revision: int
    changes: Sequence[Change]
    complete: bool


class Usage(NamedTuple):
    """What sessions of one key took within one hour.

    Args:
        key_id: whose.
        hour: its beginning, in seconds since the epoch.
        connections: sessions begun.
        seconds: for which sessions were connected.
        messages, bytes: (from the client, from the upstream).
        last_used_at: when a session last began, in seconds since the epoch; None when none did.
    """

    key_id: str
    hour: int
    connections: int
    seconds: float
    messages: tuple[int, int]
    bytes: tuple[int, int]
    last_used_at: float | None = None


class KeyStore(Protocol):
    """Keys and usage in one place. Every method may raise `StoreUnavailable`."""

    @property
    def place(self) -> str:
        """Where it is, in words for people: `sqlite:/absolute/path`."""

    @property
    def warning(self) -> str | None:
        """What is amiss with it although it can be used; None when nothing is."""

    def changes(self, since: int | None) -> Changes | None:
        """What changed after a revision; None when nothing did.

        Args:
            since: of the last answer; None asks for all keys (an answer that is `complete`).
        """

    def keys(self) -> list[Key]:
        """All keys, by name."""

    def find(self, reference: str) -> Key:
        """The key with that id or name.

        Raises:
            NoSuchKey, AmbiguousKey.
        """

    def add(self, keys: Sequence[Key], *, by: str) -> None:
        """Keeps new keys, all or none.

        Raises:
            Conflict: a name, an id or a secret is taken.
        """

    def change(self, id: str, edit: Callable[[Key], Key], *, by: str) -> Key:
        """Replaces a key by what `edit` makes of it; nothing comes in between.

        Raises:
            NoSuchKey, Conflict; whatever `edit` raises, and then nothing has changed.
        """

    def delete(self, id: str, *, by: str) -> Key:
        """Forgets a key; its usage stays.

        Raises:
            NoSuchKey.
        """

    def record(self, rows: Iterable[Usage]) -> None:
        """Adds usage to what is kept, all or nothing."""

    def usage(self, *, since: float, key_id: str | None = None) -> list[Usage]:
        """Usage by key and hour from the hour that `since` lies in; oldest first."""

    def last_used(self) -> Mapping[str, float]:
        """When each key was last used, by id; keys that never were are left out."""

    def keep_ticket(
        self, digest: bytes, text: str, *, holder: str, until: float, quota: int, now: float
    ) -> bool:
        """Keeps what a ticket stands for.

        Args:
            digest: of the ticket, 32 bytes.
            text: what it stands for.
            holder: who bought it.
            until: when it is past its time, in seconds since the epoch.
            quota: that many of a holder may wait.
            now: seconds since the epoch; what is past its time by then is forgotten.

        Returns:
            False when the holder's quota is exhausted.
        """

    def take_ticket(self, digest: bytes, *, now: float) -> str | None:
        """Removes a ticket and returns its text: whoever else asks for it gets None.

        Returns:
            None when there is none, or it is past its time.
        """

    def close(self) -> None:
        """Lets go of what it holds open."""

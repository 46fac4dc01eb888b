"""What a form knows of its key: a page that shows the key as it was does nothing to it.

Every form that changes a key carries a mark of the key as its page showed it, and of what had
happened by then. A key that has changed since is left as it is, and the form is shown once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import web

from proxy.admin.desk import DESK, OPERATOR
from proxy.events import Wanted
from proxy.keys.description import moment, scope_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from proxy.admin.desk import AdminDesk
    from proxy.keys.key import Key

_FIELD: Final = "seen"

# What a key goes through, as it is told afterwards.
_PAST: Final = {
    "key_rotated": "rotated",
    "key_updated": "changed",
    "key_suspended": "suspended",
    "key_resumed": "resumed",
    "key_revoked": "revoked",
}
# Changes of one key that are told; of more the latest.
_MOST_TOLD: Final = 5
_MOST_DIGITS: Final = 16


class Happened(NamedTuple):
    """What was done to a key.

    Args:
        past: as it is told.
        at: RFC 3339 text.
        by: whoever did it.
    """

    past: str
    at: str
    by: str


class Overtaken(Exception):
    """The key is not as the form's page showed it.

    Args:
        key: as it is now.
    """

    def __init__(self, key: Key) -> None:
        super().__init__("the key has changed since the form was made")
        self.key = key


class Marks:
    """Makes the marks of keys, and knows them again.

    Args:
        secret: of this process, random: a mark tells nothing of a key's digests.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        # Forms take turns, so that each is judged by what the one before it has left.
        self.turn = asyncio.Lock()

    def mark(self, key: Key, latest: int) -> str:
        """A key as it is, once the event with that id had happened."""
        return f"{latest}.{self._mac(key)}"

    def is_of(self, key: Key, mark: str) -> bool:
        """Whether a key is as it was when a mark of it was made."""
        shown = mark.rpartition(".")[2]
        return hmac.compare_digest(self._mac(key).encode(), shown.encode("utf-8", "replace"))

    def _mac(self, key: Key) -> str:
        ends = [key.created_at, key.expires_at, key.suspended_at, key.revoked_at]
        all_secrets = [(secret.digest.hex(), secret.until) for secret in key.secrets]
        parts = [key.id, key.name, scope_of(key), ends, all_secrets]
        text = json.dumps(parts, sort_keys=True)
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


MARKS: Final = web.AppKey("key_marks", Marks)


@contextlib.asynccontextmanager
async def as_shown(request: web.Request, key: Key, given: Mapping[str, str]) -> AsyncIterator[None]:
    """While it lasts no other form changes a key.

    Args:
        key: that the form is about.
        given: the form's fields.

    Raises:
        Overtaken: it is not as the form's page showed it.
    """
    marks, mark = request.app[MARKS], given.get(_FIELD, "")

    def looked_at(key: Key) -> Key:
        if not marks.is_of(key, mark):
            raise Overtaken(key)
        return key

    async with marks.turn:
        # The store itself is asked, as somebody else's change may not have come here yet.
        await request.app[DESK].keeper.change(key.id, looked_at, by=request[OPERATOR].by)
        yield


def seen(
    request: web.Request, key: Key, overtaken: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What the template of a form about a key knows: its mark, and why it is shown once more.

    Args:
        overtaken: the fields of the form that came too late; None where none did.
    """
    desk = request.app[DESK]
    newest = desk.events.recent(1)
    return {
        "seen": request.app[MARKS].mark(key, newest[0].id if newest else 0),
        "overtaken": overtaken is not None,
        "meanwhile": [] if overtaken is None else _since(desk, key, overtaken.get(_FIELD, "")),
    }


def _since(desk: AdminDesk, key: Key, mark: str) -> list[Happened]:
    """What was done to a key after a mark was made, as far as it is remembered."""
    text = mark.partition(".")[0]
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        return []
    changes = Wanted(names=frozenset(_PAST), keys=frozenset({key.id}))
    return [
        Happened(_PAST[event.name], moment(event.at), event.fields.get("by", "unknown"))
        for event in reversed(desk.events.recent(_MOST_TOLD, wanted=changes))
        if event.id > int(text)
    ]

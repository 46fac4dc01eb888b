"""What the first message must be, and where in it the credential stands (docs/ways-in.md).

Whoever sends it has no key yet: reading it takes time and memory in proportion to its size, which
the reader of its frames bounds, and no stack to speak of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn

from proxy.errors import Refused
from proxy.relay.first_message import server_frame
from proxy.relay.frames import Opcode

# Objects and arrays within each other; protocols nest their first message two or three deep.
MAX_NESTING: Final = 32
# Reading an integer takes the square of its digits.
MAX_DIGITS: Final = 100


@dataclass(frozen=True, slots=True)
class FirstMessageRule:
    """What the first message must be, and what becomes of it.

    Args:
        match: what the message must hold; objects may hold more, anything else must be equal,
            and of the same type.
        token: the names that lead to the credential, from the outermost in.
        reply: the JSON text that answers a good message; None answers nothing.
        forward: whether the message goes on to the upstream as its first.
        max_size: payload bytes that it may have.
    """

    match: Mapping[str, Any]
    token: tuple[str, ...]
    reply: bytes | None
    forward: bool
    max_size: int

    @property
    def reply_frame(self) -> bytes | None:
        """The reply as a frame for the client."""
        return None if self.reply is None else server_frame(Opcode.TEXT, self.reply)

    def token_in(self, payload: bytes) -> str:
        """The credential in a first message, for the verifiers to judge.

        Raises:
            Refused: `bad_request`: it is no JSON object, or not the one expected; `key_missing`:
                there is no text, or an empty one, where the credential should stand.
        """
        message = _object(payload)
        if message is None:
            raise Refused("bad_request", "Send a JSON object as the first message.")
        if not _matches(self.match, message):
            raise Refused("bad_request", "Send the first message that this route expects.")
        value: Any = message
        for name in self.token:
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, str) or not value:
            raise Refused(
                "key_missing", f"Send your key in the first message, at {'.'.join(self.token)}."
            )
        if _LONE_SURROGATE.search(value):
            raise Refused("bad_request", "The key in the first message is not valid Unicode.")
        return value


GRAPHQL_WS: Final = FirstMessageRule(
    match=MappingProxyType({"type": "connection_init"}),
    token=("payload", "apiKey"),
    reply=None,
    forward=True,
    max_size=16 * 1024,
)

# `\ud800` is well-formed JSON and no character: such text cannot be written as bytes again.
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _matches(expected: Any, found: Any) -> bool:
    """Whether `found` is what is expected; `True` is no 1, and 1.0 is none either."""
    if isinstance(expected, Mapping):
        return isinstance(found, dict) and all(
            name in found and _matches(value, found[name]) for name, value in expected.items()
        )
    if isinstance(expected, (list, tuple)):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(map(_matches, expected, found))
        )
    return type(found) is type(expected) and bool(found == expected)


def _object(payload: bytes) -> dict[str, Any] | None:
    """Reads a JSON object strictly (RFC 8259); None when it is none."""
    if not _is_shallow(payload):
        return None
    try:
        value = _read(payload.decode())
    except ValueError:
        # Refused by the caller: the decoder's own error keeps hold of what it read.
        return None
    return value if isinstance(value, dict) else None


# Strings are stepped over, also one that does not end: each byte is looked at once.
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]')


def _is_shallow(payload: bytes) -> bool:
    depth = 0
    for match in _BRACKETS.finditer(payload):
        sign = match[0]
        if sign in b"[{":
            depth += 1
            if depth > MAX_NESTING:
                return False
        elif sign in b"]}":
            depth -= 1
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ on which of two equal names counts, and the upstream may be another one."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands there twice")
    return members


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("an integer is too long")
    return int(text)


def _no_number(text: str) -> NoReturn:
    """`NaN` and `Infinity` are Python's, not JSON's."""
    raise ValueError(f"{text} is not JSON")


_read: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_constant=_no_number
).decode

"""What may be shown of a request: nothing that could be a credential, ours or anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

MASK: Final = "***"

# Headers whose values are no credentials; that of any other may be one.
_HARMLESS: Final = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"connection",
        b"host",
        b"origin",
        b"pragma",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"upgrade",
        b"user-agent",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"x-request-id",
    }
)
_OURS: Final = b"x-wskeeper-"
# No subprotocol is longer; some hide a token in one.
_LONGEST_SUBPROTOCOL: Final = 32


class Masking:
    """Shows parts of a request without what could be a credential.

    Args:
        is_ours: whether a value can be a credential of the gateway's.
    """

    def __init__(self, is_ours: Callable[[bytes], bool]) -> None:
        self._is_ours = is_ours

    def text(self, value: bytes) -> str:
        """A value, unless it is a credential."""
        return MASK if self._is_ours(value) else value.decode("utf-8", "replace")

    def path(self, path: bytes) -> str:
        """A path, whose segments may hold a key by mistake."""
        return "/".join(
            MASK if self._is_ours(unquote_to_bytes(segment)) else segment.decode("ascii")
            for segment in path.split(b"/")
        )

    def target(self, target: bytes) -> str:
        """A request target: of its query the names alone."""
        path, mark, query = target.partition(b"?")
        parameters = query.split(b"&") if mark else []
        return self.path(path) + mark.decode() + "&".join(map(self._parameter, parameters))

    def line(self, line: bytes) -> str:
        """A header line."""
        name, _, value = line.partition(b": ")
        lower = name.lower()
        if lower.startswith(_OURS):
            return line.decode("ascii")
        return f"{name.decode('ascii')}: {self._value(lower, value)}"

    def _value(self, lower: bytes, value: bytes) -> str:
        if lower in _HARMLESS:
            return self.text(value)
        if lower == b"sec-websocket-protocol":
            return ", ".join(self._subprotocol(name.strip()) for name in value.split(b","))
        if lower == b"cookie":
            return "; ".join(self._parameter(pair.strip()) for pair in value.split(b";"))
        return MASK

    def _parameter(self, parameter: bytes) -> str:
        """A parameter or cookie: its name alone."""
        name, equals, _ = parameter.partition(b"=")
        return f"{self.text(unquote_to_bytes(name))}={MASK}" if equals else MASK

    def _subprotocol(self, name: bytes) -> str:
        return MASK if len(name) > _LONGEST_SUBPROTOCOL else self.text(name)

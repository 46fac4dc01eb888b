"""Request and answer heads by their grammar (RFC 9112 sections 2-5), strictly.

A head either matches or it is refused: no bare LF or CR, no folding, no space before a colon, no
control byte, no nameless header. What is kept is bytes as they came, so that what is judged is
what is sent. Parsing costs what aiohttp's C parser costs and leaves nothing to normalise.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# RFC 9110 section 5.6.2.
TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# Its last group is all header lines, whatever they are; what is left is the blank line.
_REQUEST: Final = re.compile(
    rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])\r\n((?s:.*\r\n)?)\r\n"
)
_ANSWER: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?\r\n((?s:.*\r\n)?)\r\n"
)
# One line from its very beginning to its end; what lies between two matches is no header line.
_FIELD: Final = re.compile(rb"^(" + TOKEN + rb"):([^\x00-\x08\x0a-\x1f\x7f]*)\r\n", re.MULTILINE)
# Far above what browsers and proxies send (20-40); bounds the work a head can cause.
MAX_HEADERS: Final = 256

# What asks for an upgrade, and agrees to it, as nearly everybody spells it: Connection names no
# header beside that is to stay on this hop.
USUAL_UPGRADE: Final = frozenset({b"websocket", b"WebSocket"})
USUAL_CONNECTION: Final = frozenset({b"Upgrade", b"upgrade", b"keep-alive, Upgrade"})

# As a number, which is found in bytes ten times faster than bytes are.
_COMMA: Final = ord(",")

_OFFERS: Final = frozenset({b"sec-websocket-protocol", b"sec-websocket-extensions"})


class Malformed(ValueError):
    """A head that breaks the grammar; says nothing of what it held."""


class TooManyHeaders(Malformed):
    """More than `MAX_HEADERS` header lines."""


class Headers:
    """Header lines in their order, and found by name.

    Args:
        block: the lines as they came, the last one's CRLF included.

    Raises:
        Malformed: something in it is no header line (RFC 9112 section 5).
        TooManyHeaders: there are more than `MAX_HEADERS`.
    """

    __slots__ = ("_alone", "by_name", "lines", "one")

    def __init__(self, block: bytes) -> None:
        # (name as sent, name in lower case, value without surrounding blanks).
        self.lines: list[tuple[bytes, bytes, bytes]] = [
            (name, name.lower(), padded.strip(b" \t")) for name, padded in _FIELD.findall(block)
        ]
        count = len(self.lines)
        if count != block.count(b"\n"):
            raise Malformed("not a header line")
        if count > MAX_HEADERS:
            raise TooManyHeaders(f"more than {MAX_HEADERS} header lines")
        # The value of the last line of each (lower-case) name.
        self.by_name = by_name = {lower: value for _, lower, value in self.lines}
        # The same of the names that stand on one line alone, as nearly all do.
        self._alone = by_name if len(by_name) == count else _alone(self.lines, by_name)
        # The value of the only line with a name; None when there is none or several.
        self.one: Callable[[bytes], bytes | None] = self._alone.get

    def all(self, name: bytes) -> list[bytes]:
        """The values of every line with that (lower-case) name, in order."""
        value = self.by_name.get(name)
        if value is None:
            return []
        if name in self._alone:
            return [value]
        return [each for _, lower, each in self.lines if lower == name]

    def tokens(self, name: bytes) -> list[bytes]:
        """The elements of a comma-separated list over all its lines, empty ones left out."""
        value = self.by_name.get(name)
        if value is None:
            return []
        if name not in self._alone:
            value = b",".join(self.all(name))
        if _COMMA not in value:
            return [value] if value else []
        return [token for part in value.split(b",") if (token := part.strip(b" \t"))]

    def lists(self, name: bytes, token: bytes) -> bool:
        """Whether a comma-separated list has that (lower-case) element, in whatever case."""
        value = self.one(name)
        if value is not None and value.lower() == token:
            return True
        return token in [element.lower() for element in self.tokens(name)]

    def __contains__(self, name: bytes) -> bool:
        return name in self.by_name


def _alone(
    lines: list[tuple[bytes, bytes, bytes]], by_name: Mapping[bytes, bytes]
) -> dict[bytes, bytes]:
    """Of the values by name, those of names that stand on one line alone."""
    times = Counter(lower for _, lower, _ in lines)
    return {name: value for name, value in by_name.items() if times[name] == 1}


class RequestHead(NamedTuple):
    """A request head: `target` is the raw request target, `minor` the x of HTTP/1.x."""

    method: bytes
    target: bytes
    minor: int
    headers: Headers

    def reoffering(self, subprotocol: bytes | None) -> RequestHead:
        """The same request with one subprotocol offered, or none, and no extension."""
        kept = [
            b"%b: %b\r\n" % (name, value)
            for name, lower, value in self.headers.lines
            if lower not in _OFFERS
        ]
        if subprotocol is not None:
            kept.append(b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol)
        return self._replace(headers=Headers(b"".join(kept)))


class AnswerHead(NamedTuple):
    """A response head; `minor` is the x of HTTP/1.x.

    Args:
        accept: the Sec-WebSocket-Accept that was taken out of `headers`; None when it was not.
    """

    status: int
    headers: Headers
    minor: int = 1
    accept: bytes | None = None


def parse_request(head: bytes) -> RequestHead:
    """Parses a whole request head, its blank line included.

    Raises:
        Malformed: it is none by RFC 9112.
    """
    parts = _REQUEST.fullmatch(head)
    if parts is None:
        raise Malformed("not a request head")
    method, target, minor, block = parts.groups()
    return RequestHead(method, target, int(minor), Headers(block))


def parse_answer(head: bytes) -> AnswerHead:
    """Parses a whole response head, its blank line included.

    Raises:
        Malformed: it is none by RFC 9112.
    """
    parts = _ANSWER.fullmatch(head)
    if parts is None:
        raise Malformed("not a response head")
    minor, status, block = parts.groups()
    return AnswerHead(int(status), Headers(block), int(minor))

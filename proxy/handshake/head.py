"""Request and answer heads by their grammar (RFC 9112 sections 2-5), strictly.

A head either matches or it is refused: no bare LF or CR, no folding, no space before a colon, no
control byte, no nameless header. What is kept is bytes as they came, so that what is judged is
what is sent. Parsing costs what aiohttp's C parser costs and leaves nothing to normalise.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# RFC 9110 section 5.6.2.
TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])\r\n")
_STATUS_LINE: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?\r\n"
)
# One line from its very beginning to its end; what lies between two matches is no header line.
_FIELD: Final = re.compile(rb"^(" + TOKEN + rb"):([^\x00-\x08\x0a-\x1f\x7f]*)\r\n", re.MULTILINE)
# Far above what browsers and proxies send (20-40); bounds the work a head can cause.
MAX_HEADERS: Final = 256


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

    __slots__ = ("_by_name", "lines")

    def __init__(self, block: bytes) -> None:
        by_name: dict[bytes, list[bytes]] = {}
        lines = []
        for name, padded in _FIELD.findall(block):
            value = padded.strip(b" \t")
            lower = name.lower()
            lines.append((name, lower, value))
            if lower in by_name:
                by_name[lower].append(value)
            else:
                by_name[lower] = [value]
        if len(lines) != block.count(b"\n"):
            raise Malformed("not a header line")
        if len(lines) > MAX_HEADERS:
            raise TooManyHeaders(f"more than {MAX_HEADERS} header lines")
        # (name as sent, name in lower case, value without surrounding blanks).
        self.lines: list[tuple[bytes, bytes, bytes]] = lines
        self._by_name = by_name

    def all(self, name: bytes) -> list[bytes]:
        """The values of every line with that (lower-case) name, in order."""
        return self._by_name.get(name, [])

    def one(self, name: bytes) -> bytes | None:
        """The value of the only line with that name; None when there is none or several."""
        values = self._by_name.get(name)
        return values[0] if values is not None and len(values) == 1 else None

    def tokens(self, name: bytes) -> list[bytes]:
        """The elements of a comma-separated list over all its lines, empty ones left out."""
        values = self._by_name.get(name)
        if values is None:
            return []
        if len(values) == 1 and b"," not in values[0]:
            return values if values[0] else []
        return [token for part in b",".join(values).split(b",") if (token := part.strip(b" \t"))]

    def __contains__(self, name: bytes) -> bool:
        return name in self._by_name


class RequestHead(NamedTuple):
    """A request head: `target` is the raw request target, `minor` the x of HTTP/1.x."""

    method: bytes
    target: bytes
    minor: int
    headers: Headers


class AnswerHead(NamedTuple):
    """A response head; `minor` is the x of HTTP/1.x."""

    status: int
    headers: Headers
    minor: int = 1


def parse_request(head: bytes) -> RequestHead:
    """Parses a whole request head, its blank line included.

    Raises:
        Malformed: it is none by RFC 9112.
    """
    line = _REQUEST_LINE.match(head)
    if line is None or not head.endswith(b"\r\n\r\n"):
        raise Malformed("not a request head")
    method, target, minor = line.groups()
    return RequestHead(method, target, int(minor), Headers(head[line.end() : -2]))


def parse_answer(head: bytes) -> AnswerHead:
    """Parses a whole response head, its blank line included.

    Raises:
        Malformed: it is none by RFC 9112.
    """
    line = _STATUS_LINE.match(head)
    if line is None or not head.endswith(b"\r\n\r\n"):
        raise Malformed("not a response head")
    return AnswerHead(int(line[2]), Headers(head[line.end() : -2]), int(line[1]))

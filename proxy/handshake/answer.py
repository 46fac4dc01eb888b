"""The upstream's answer to our handshake, read strictly (RFC 6455 section 4.1).

A tunnel opens only on a 101 that is right in every respect: a proxy that trusts a bare 101 can be
used to smuggle requests (CVE-2018-1002105, CVE-2024-23326).
"""

from __future__ import annotations

import binascii
import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from proxy.errors import Refused
from proxy.handshake.forward import HOP_BY_HOP
from proxy.handshake.head import (
    USUAL_CONNECTION,
    AnswerHead,
    Headers,
    Malformed,
    parse_answer,
)
from proxy.relay.scanner import Extensions

if TYPE_CHECKING:
    from collections.abc import Collection

# The upstream is ours to trust with more than a client, and still not with all our memory.
MAX_ANSWER_HEAD: Final = 64 * 1024

# How nearly all answer, and how much of such a head is kept to be known again.
_SWITCHES: Final = b"HTTP/1.1 101 "
_ACCEPTS: Final = b"\r\nSec-WebSocket-Accept: "
_ACCEPT_SIZE: Final = 28
_MOST_KNOWN: Final = 1024

_ACCEPT: Final = b"sec-websocket-accept"
_PROTOCOL: Final = b"sec-websocket-protocol"
_EXTENSIONS: Final = b"sec-websocket-extensions"

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_MALFORMED: Final = "its answer head is malformed"
_TOO_LARGE: Final = "its answer head is larger than 64 KiB"
_DETAIL: Final = "The service behind this gateway did not answer as a WebSocket server."


def _invalid(cause: str) -> Refused:
    return Refused("upstream_invalid", _DETAIL, cause=cause)


# To be copied: OpenSSL looks an algorithm up anew for each that is made.
_SHA1: Final = hashlib.sha1(usedforsecurity=False)


def accept_for(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (section 4.2.2)."""
    digest = _SHA1.copy()
    digest.update(key + _GUID)
    return binascii.b2a_base64(digest.digest(), newline=False)


class AnswerReader:
    """Collects the upstream's answer head; interim 1xx answers are skipped."""

    __slots__ = ("_buffer", "_skipped")

    def __init__(self) -> None:
        self._buffer = b""
        self._skipped = 0

    @property
    def begun(self) -> bool:
        """Whether anything of an answer arrived."""
        return bool(self._buffer) or self._skipped > 0

    def feed(self, data: bytes) -> tuple[AnswerHead, bytes] | None:
        """Takes the next bytes.

        Returns:
            The final answer's head and the bytes behind it; None while it is incomplete.

        Raises:
            Refused: `upstream_invalid`: not HTTP, or larger than `MAX_ANSWER_HEAD`.
        """
        if self._buffer:
            data = self._buffer + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            if end + self._skipped > MAX_ANSWER_HEAD:
                raise _invalid(_TOO_LARGE)
            end += 4
            try:
                head = read_answer(data[:end])
            except Malformed:
                raise _invalid(_MALFORMED) from None
            data = data[end:]
            if head.status >= 200 or head.status == 101:
                return head, data
            self._skipped += end
            self._buffer = b""
        # Such a head would never be complete. What was kept has been looked at.
        if _BARE_LF.search(data, len(self._buffer)):
            raise _invalid(_MALFORMED)
        self._buffer = data
        if len(data) + self._skipped > MAX_ANSWER_HEAD:
            raise _invalid(_TOO_LARGE)
        if not b"HTTP/1.".startswith(data[:7]):
            raise _invalid("it does not speak HTTP/1.1")
        return None


def read_answer(head: bytes) -> AnswerHead:
    """Parses a whole response head, its blank line included.

    A service's 101s are all alike but for one line. That line is taken out of those that are
    spelt as usual, and the rest is parsed once.

    Raises:
        Malformed: it is none by RFC 9112.
    """
    line = head.find(_ACCEPTS)
    if line < 0 or len(head) > _MOST_KNOWN or not head.startswith(_SWITCHES):
        return parse_answer(head)
    start = line + len(_ACCEPTS)
    end = start + _ACCEPT_SIZE
    if head[end : end + 2] != b"\r\n":
        return parse_answer(head)
    return AnswerHead(101, _rest_of(head[:line] + head[end:]), accept=head[start:end])


@lru_cache(maxsize=64)
def _rest_of(head: bytes) -> Headers:
    """The headers of a 101 that lacks one line."""
    return parse_answer(head).headers


@lru_cache(maxsize=64)
def _is_plain(headers: Headers) -> bool:
    """Whether the rest of a 101 upgrades as it must, and chooses nothing."""
    _check_upgrade(headers)
    return headers.by_name.keys().isdisjoint((_ACCEPT, _PROTOCOL, _EXTENSIONS))


def check_switch(
    answer: AnswerHead,
    *,
    key: bytes,
    subprotocols: Collection[bytes],
    extensions: Collection[bytes],
) -> Extensions:
    """Checks the answer that claims to have opened a WebSocket.

    Args:
        answer: any answer but a 4xx or 5xx, which are relayed instead.
        key: the Sec-WebSocket-Key that was sent.
        subprotocols: those offered.
        extensions: names of those offered.

    Returns:
        What the two peers agreed on, as far as frame headers show it.

    Raises:
        Refused: `upstream_invalid`, the rule that was broken as its cause.
    """
    headers, accept = answer.headers, answer.accept
    if accept is not None and accept == accept_for(key) and _is_plain(headers):
        return Extensions.NONE
    if answer.status != 101:
        raise _invalid(f"it answered {answer.status} in place of 101")
    if answer.minor == 0:
        raise _invalid("it answered 101 in HTTP/1.0, which has none")
    _check_upgrade(headers)
    accepts = headers.all(_ACCEPT) if accept is None else [accept, *headers.all(_ACCEPT)]
    if accepts != [accept_for(key)]:
        raise _invalid("its Sec-WebSocket-Accept is wrong")
    if _PROTOCOL in headers and headers.one(_PROTOCOL) not in subprotocols:
        raise _invalid("it chose a subprotocol that was not offered")
    if _EXTENSIONS not in headers:
        return Extensions.NONE
    chosen = [token.partition(b";")[0].strip().lower() for token in headers.tokens(_EXTENSIONS)]
    if not all(name in extensions for name in chosen):
        raise _invalid("it chose an extension that was not offered")
    if not chosen:
        return Extensions.NONE
    return Extensions.DEFLATE if chosen == [b"permessage-deflate"] else Extensions.OTHER


def _check_upgrade(headers: Headers) -> None:
    """Checks what says that the upstream upgrades, in whatever form."""
    upgrade = headers.one(b"upgrade")
    if upgrade is None or upgrade.lower() != b"websocket":
        raise _invalid("its 101 does not upgrade to websocket")
    if not headers.lists(b"connection", b"upgrade"):
        raise _invalid("its 101 lacks Connection: Upgrade")


def end_to_end(headers: Headers, *, less: Collection[bytes] = ()) -> list[bytes]:
    """The header lines of an answer that travel on to the client (RFC 9110 section 7.6.1).

    Args:
        headers: of the answer.
        less: lower-case names of lines that are not wanted.
    """
    named: Collection[bytes] = ()
    if headers.one(b"connection") not in USUAL_CONNECTION:
        named = {token.lower() for token in headers.tokens(b"connection")}
    return [
        name + b": " + value
        for name, lower, value in headers.lines
        if lower not in HOP_BY_HOP
        and lower not in less
        and (lower not in named or lower.startswith(b"sec-websocket-"))
    ]

"""Reads the frame headers of one direction as its bytes go by (RFC 6455 section 5).

The scanner is fed what arrives and says what may travel on. On the fast path that is everything,
untouched; it looks at no payload byte but those of Close frames. It holds back what cannot be
judged yet: an incomplete frame header (at most 13 bytes) and an incomplete Close frame, so that
nothing of an offending frame is ever forwarded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from proxy.relay.frames import (
    FIN,
    LENGTH_BITS,
    MASKED,
    MAX_CONTROL_PAYLOAD,
    OPCODE_BITS,
    RSV1,
    RSV_BITS,
    Opcode,
    close_code_may_travel,
    unmask,
)

# Frames that are looked at in one go: about a millisecond. A read of 256 KiB can hold 40,000.
MAX_FRAMES: Final = 1000

_CLOSE: Final = int(Opcode.CLOSE)
_LAST_DATA_OPCODE: Final = int(Opcode.BINARY)
_BAD_LENGTH: Final = "a frame's length is not minimal or has its top bit set"
_KNOWN_CONTROL: Final = frozenset({int(Opcode.CLOSE), int(Opcode.PING), int(Opcode.PONG)})


class Extensions(Enum):
    """What the upstream's 101 agreed on, as far as frame headers show it.

    The value is (RSV bits allowed on the first frame of a message, on any other frame).
    """

    NONE = (0, 0)
    # RFC 7692 section 6: RSV1 on the first frame of a compressed message, nowhere else.
    DEFLATE = (RSV1, 0)
    # An extension we do not know may use every bit on every frame.
    OTHER = (RSV_BITS, RSV_BITS)


class Traffic:
    """What passed in one direction of one route, counted as it passes.

    Plain ints in plain lists: the metrics read them at scrape. One object serves all sessions of
    a route's direction.
    """

    __slots__ = ("message_bytes", "messages_by_size", "opcodes")

    def __init__(self) -> None:
        # Frames by opcode.
        self.opcodes = [0] * 16
        # Messages by the bit length of (wire bytes - 1): entry n counts sizes <= 2**n.
        self.messages_by_size = [0] * 65
        # Wire bytes of the payloads of all messages.
        self.message_bytes = 0


@dataclass(slots=True)
class CloseSeen:
    """A Close frame that passed. `code` is None when it carried none."""

    code: int | None
    reason: str


@dataclass(slots=True)
class Cut:
    """What to do with the chunk just fed, when it is not simply 'pass it on'.

    Args:
        forward: the bytes that may travel, in place of the chunk; may be empty.
        violation: how the peer broke the protocol right behind them, in words for the log.
        later: what of the chunk was not looked at yet, to be fed again when others had their turn.
    """

    forward: bytes
    violation: str | None = None
    later: bytes = b""


class Scanner:
    """One direction of one session.

    Args:
        masked: whether frames of this direction must be masked (those of a client).
        extensions: what the handshake agreed on.
        traffic: where frames and messages are counted.
    """

    __slots__ = (
        "_extensions",
        "_held",
        "_in_message",
        "_mask_bit",
        "_message_size",
        "_traffic",
        "bytes",
        "close",
        "left",
        "messages",
    )

    def __init__(self, *, masked: bool, extensions: Extensions, traffic: Traffic) -> None:
        # Payload bytes of the current frame that have not arrived yet; 0 at a frame boundary.
        self.left = 0
        # Totals of this session: messages, and bytes that arrived.
        self.messages = 0
        self.bytes = 0
        # The first Close frame, once it has passed whole.
        self.close: CloseSeen | None = None
        self._traffic = traffic
        self._extensions = extensions
        self._mask_bit = MASKED if masked else 0
        self._held = b""
        self._in_message = False
        # Wire bytes of the current message's earlier fragments.
        self._message_size = 0

    @property
    def truncated(self) -> bool:
        """Whether what arrived so far ends inside a frame."""
        return self.left > 0 or bool(self._held)

    def feed(self, data: bytes) -> Cut | None:
        """Takes the next bytes of the stream.

        Args:
            data: as read, at least one byte.

        Returns:
            None: pass `data` on as it is. Otherwise the `Cut` says what may travel, and `close`
            may have been set.
        """
        size = len(data)
        self.bytes += size
        position = self.left
        if size < position:
            self.left = position - size
            return None
        as_read = not self._held and self.close is None
        if self._held:
            data = self._held + data
            size = len(data)
            self._held = b""
        mask_bit = self._mask_bit
        frames = 0
        while position < size:
            if size - position < 2:
                return self._hold(data, position)
            if frames == MAX_FRAMES:
                return self._put_off(data, position)
            frames += 1
            first = data[position]
            second = data[position + 1]
            opcode = first & OPCODE_BITS
            length = second & LENGTH_BITS
            if (
                first & RSV_BITS
                or second & MASKED != mask_bit
                or opcode > _LAST_DATA_OPCODE
                or (opcode != 0) == self._in_message
            ):
                rule = self._broken_rule(first, opcode, second)
                if rule is not None:
                    return self._refuse(data, position, rule)
            header = 6 if mask_bit else 2
            if length > MAX_CONTROL_PAYLOAD:
                wide = 2 if length == 126 else 8
                header += wide
                if size - position < header:
                    return self._hold(data, position)
                length = int.from_bytes(data[position + 2 : position + 2 + wide], "big")
                if length <= MAX_CONTROL_PAYLOAD or (wide == 8 and not 0xFFFF < length < 1 << 63):
                    return self._refuse(data, position, _BAD_LENGTH)
            elif size - position < header:
                return self._hold(data, position)
            if opcode == _CLOSE:
                if size - position < header + length:
                    return self._hold(data, position)
                rule = self._take_close(data[position : position + header + length], header)
                if rule is not None:
                    return self._refuse(data, position, rule)
                as_read = False
            self._count(first, opcode, length)
            position += header + length
        self.left = position - size
        return None if as_read else Cut(data)

    def _hold(self, data: bytes, position: int) -> Cut:
        self._held = data[position:]
        self.left = 0
        return Cut(data[:position])

    def _put_off(self, data: bytes, position: int) -> Cut:
        later = data[position:]
        self.left = 0
        self.bytes -= len(later)
        return Cut(data[:position], later=later)

    def _refuse(self, data: bytes, position: int, rule: str) -> Cut:
        self.left = 0
        return Cut(data[:position], rule)

    def _count(self, first: int, opcode: int, length: int) -> None:
        traffic = self._traffic
        traffic.opcodes[opcode] += 1
        if opcode > _LAST_DATA_OPCODE:
            return
        size = self._message_size + length
        if first & FIN:
            self._in_message = False
            self._message_size = 0
            self.messages += 1
            traffic.messages_by_size[(size - 1).bit_length()] += 1
            traffic.message_bytes += size
        else:
            self._in_message = True
            self._message_size = size

    def _broken_rule(self, first: int, opcode: int, second: int) -> str | None:
        """The rule of RFC 6455 section 5 that a frame's first two bytes break, if any."""
        if second & MASKED != self._mask_bit:
            return (
                "a client's frame is not masked" if self._mask_bit else "a server's frame is masked"
            )
        starts_message = 0 < opcode <= _LAST_DATA_OPCODE
        if first & RSV_BITS:
            on_first, elsewhere = self._extensions.value
            if first & RSV_BITS & ~(on_first if starts_message else elsewhere):
                return "RSV bits are set that no agreed extension uses"
        if opcode > _LAST_DATA_OPCODE:
            if opcode not in _KNOWN_CONTROL:
                return "an opcode is reserved"
            if not first & FIN:
                return "a control frame is fragmented"
            if second & LENGTH_BITS > MAX_CONTROL_PAYLOAD:
                return "a control frame is longer than 125 bytes"
            return None
        if starts_message == self._in_message:
            return (
                "a message begins inside another"
                if starts_message
                else "a continuation has nothing to continue"
            )
        return None

    def _take_close(self, frame: bytes, header: int) -> str | None:
        """Reads a whole Close frame (section 5.5.1); returns the rule it breaks, if any."""
        payload = frame[header:]
        if self._mask_bit:
            payload = unmask(payload, frame[2:6])
        if len(payload) == 1:
            return "a Close frame's payload is one byte"
        code = int.from_bytes(payload[:2], "big") if payload else None
        if code is not None and not close_code_may_travel(code):
            return "a Close frame carries a code that may not travel"
        if self.close is None:
            self.close = CloseSeen(code, payload[2:].decode("utf-8", "replace"))
        return None

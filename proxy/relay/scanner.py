"""Reads the frame headers of one direction as its bytes go by (RFC 6455 section 5).

The scanner is fed what arrives and says what may travel on. On the fast path that is everything,
untouched; it looks at no payload byte but those of Close frames, and of pongs that may answer a
ping of the gateway's. It holds back what cannot be judged yet: an incomplete frame header (at most
13 bytes), such a Close frame or pong, so that nothing of a frame that may not travel ever does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
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
_PING: Final = int(Opcode.PING)
_PONG: Final = int(Opcode.PONG)
_LAST_DATA_OPCODE: Final = int(Opcode.BINARY)
_BAD_LENGTH: Final = "a frame's length is not minimal or has its top bit set"
_KNOWN_CONTROL: Final = frozenset({_CLOSE, _PING, _PONG})
# The first byte of nearly every control frame: not fragmented, no RSV bit.
_PLAIN_CONTROL: Final = frozenset(FIN | opcode for opcode in _KNOWN_CONTROL)


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


@dataclass(frozen=True, slots=True)
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
        too_big: payload bytes of the frame that makes its message longer than it may be; they
            come next, and are not to be fed. None when there is no such frame.
        answered: whether the peer has answered a ping of the gateway's.
    """

    forward: bytes
    violation: str | None = None
    later: bytes = b""
    too_big: int | None = None
    answered: bool = False


class Scanner:
    """One direction of one session.

    Args:
        masked: whether frames of this direction must be masked (those of a client).
        extensions: what the handshake agreed on.
        traffic: where frames and messages are counted.
        max_message: wire bytes of payload that one message may have; None is no limit.
    """

    __slots__ = (
        "_extensions",
        "_held",
        "_in_message",
        "_mask_bit",
        "_max_message",
        "_message_size",
        "_traffic",
        "bytes",
        "close",
        "left",
        "max_frames",
        "max_messages",
        "messages",
        "our_ping",
        "pongs_owed",
    )

    def __init__(
        self,
        *,
        masked: bool,
        extensions: Extensions,
        traffic: Traffic,
        max_message: int | None = None,
    ) -> None:
        # Payload bytes of the current frame that have not arrived yet; 0 at a frame boundary.
        self.left = 0
        # Totals of this session: messages, and bytes that may travel or are held until they may.
        self.messages = 0
        self.bytes = 0
        # Frames that are looked at in one go. Behind fewer than `MAX_FRAMES` the turn ends before
        # a data frame, once there are `max_messages` in all.
        self.max_frames = MAX_FRAMES
        self.max_messages = 0
        # The first Close frame, once it has passed whole.
        self.close: CloseSeen | None = None
        self._traffic = traffic
        self._extensions = extensions
        self._mask_bit = MASKED if masked else 0
        self._held = b""
        self._in_message = False
        # Wire bytes of the current message's earlier fragments.
        self._message_size = 0
        self._max_message = max_message
        # Whether the client, and the upstream, has yet to answer the other side's latest ping: one
        # list for both directions of a session.
        self.pongs_owed = [False, False]
        # The payload of the gateway's pings to the sender, whose answers are kept back; None until
        # there was one.
        self.our_ping: bytes | None = None

    @property
    def in_message(self) -> bool:
        """Whether what arrived so far ends inside a message or frame."""
        return self._in_message or self.left > 0

    @property
    def passed(self) -> int:
        """Changes as the message under way goes on; control frames between its own do not count."""
        return self._message_size - self.left

    @property
    def truncated(self) -> bool:
        """Whether what arrived so far ends inside a frame."""
        return self.left > 0 or bool(self._held)

    @property
    def held(self) -> bytes:
        """What arrived and cannot be judged yet; it comes before what is fed next."""
        return self._held

    def feed(self, data: bytes) -> Cut | None:
        """Takes the next bytes of the stream, at least one.

        Returns:
            None: pass them on as they are. Otherwise the `Cut` says what may travel, and `close`
            may have been set.
        """
        size = len(data)
        self.bytes += size
        position = self.left
        if size < position:
            self.left = position - size
            return None
        held = self._held
        if held:
            data = held + data
            size, self._held = len(data), b""
        mask_bit = self._mask_bit
        frames, max_frames = 0, self.max_frames
        while position < size:
            if size - position < 2:
                return self._hold(data, position)
            if frames >= max_frames and self._turn_is_over(frames, data[position]):
                return self._put_off(data, position)
            frames += 1
            first, second = data[position], data[position + 1]
            opcode, length = first & OPCODE_BITS, second & LENGTH_BITS
            if (
                opcode > _LAST_DATA_OPCODE
                or first & RSV_BITS
                or second & MASKED != mask_bit
                or (opcode != 0) == self._in_message
            ):
                # Masked as it must be, what is left of its second byte is its length.
                plain = first in _PLAIN_CONTROL and second ^ mask_bit <= MAX_CONTROL_PAYLOAD
                rule = None if plain else self._broken_rule(first, opcode, second)
                if rule is not None:
                    return self._refuse(data, position, rule)
                if opcode > _LAST_DATA_OPCODE:
                    start = position + (6 if mask_bit else 2)
                    take = self._take_close if opcode == _CLOSE else self._take_ping_or_pong
                    cut = take(data, position, start, start + length)
                    if cut is not None:
                        return cut
                    position = start + length
                    continue
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
            if self._count(first, opcode, length):
                return self._refuse_size(data, position, header, length)
            position += header + length
        self.left = position - size
        return Cut(data) if held or self.close is not None else None

    def drop(self, data: bytes) -> Cut | None:
        """As `feed`, of bytes that do not travel: they are understood, and not counted."""
        traffic, messages, passed = self._traffic, self.messages, self.bytes - len(self._held)
        self._traffic = Traffic()
        cut = self.feed(data)
        self._traffic, self.messages, self.bytes = traffic, messages, passed + len(self._held)
        return cut

    def _turn_is_over(self, frames: int, first: int) -> bool:
        """Whether the frame that begins with `first` is left to another turn, behind so many."""
        if frames >= MAX_FRAMES:
            return True
        return self.messages >= self.max_messages and first & OPCODE_BITS <= _LAST_DATA_OPCODE

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
        self.bytes -= len(data) - position
        return Cut(data[:position], rule)

    def _refuse_size(self, data: bytes, position: int, header: int, length: int) -> Cut:
        """Ends at a frame that is sound but too much, so that what follows it can be read."""
        rule = f"a message is longer than {self._max_message} bytes"
        self._in_message = not data[position] & FIN
        self._max_message = None
        cut = self._put_off(data, position + header)
        self.bytes -= header
        cut.forward = data[:position]
        cut.violation = rule
        cut.too_big = length
        return cut

    def _count(self, first: int, opcode: int, length: int) -> bool:
        """Counts a data frame, unless it makes its message too big; returns whether it does."""
        size = self._message_size + length
        if self._max_message is not None and size > self._max_message:
            return True
        traffic = self._traffic
        traffic.opcodes[opcode] += 1
        if first & FIN:
            self._in_message = False
            self._message_size = 0
            self.messages += 1
            traffic.messages_by_size[(size - 1).bit_length()] += 1
            traffic.message_bytes += size
        else:
            self._in_message = True
            self._message_size = size
        return False

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

    def _take_close(self, data: bytes, position: int, start: int, end: int) -> Cut | None:
        """Looks at a Close frame; returns None to go on behind it.

        Args:
            position, start, end: of the frame, of its payload, and of both.
        """
        if len(data) < end:
            return self._hold(data, position)
        payload = data[start:end]
        if self._mask_bit:
            payload = unmask(payload, data[start - 4 : start])
        seen = _read_close(payload)
        if isinstance(seen, str):
            return self._refuse(data, position, seen)
        if self.close is None:
            self.close = seen
        self._traffic.opcodes[_CLOSE] += 1
        return None

    def _take_ping_or_pong(self, data: bytes, position: int, start: int, end: int) -> Cut | None:
        """Looks at another control frame; arguments and result are those of `_take_close`."""
        if len(data) < start:
            return self._hold(data, position)
        opcode, asked = data[position] & OPCODE_BITS, self.our_ping
        if opcode == _PING:
            self.pongs_owed[1 if self._mask_bit else 0] = True
        else:
            # Only what can be an answer to a ping of ours is kept until it is whole.
            if asked is not None and end - start == len(asked):
                if len(data) < end:
                    return self._hold(data, position)
                payload = data[start:end]
                if self._mask_bit:
                    payload = unmask(payload, data[start - 4 : start])
                if payload == asked:
                    return self._swallow(data, position, end)
            self.pongs_owed[0 if self._mask_bit else 1] = False
        self._traffic.opcodes[opcode] += 1
        return None

    def _swallow(self, data: bytes, position: int, end: int) -> Cut:
        """Takes a frame out; what stands behind it is looked at in another turn."""
        cut = self._put_off(data, end)
        cut.forward = data[:position]
        cut.answered = True
        self.bytes -= end - position
        return cut


# Nearly all that is ever said is the code 1000.
@lru_cache(maxsize=64)
def _read_close(payload: bytes) -> CloseSeen | str:
    """What a Close frame's payload says, or the rule that it breaks (section 5.5.1)."""
    if len(payload) == 1:
        return "a Close frame's payload is one byte"
    code = int.from_bytes(payload[:2], "big") if payload else None
    if code is not None and not close_code_may_travel(code):
        return "a Close frame carries a code that may not travel"
    return CloseSeen(code, payload[2:].decode("utf-8", "replace"))

"""The client's first message, read while no upstream exists (docs/ways-in.md).

On a route with such a carrier the gateway itself is the server until the message has come: it
answers pings and Close frames, and holds frames to RFC 6455 section 5. What a frame may look like
is the scanner's to say; here is what becomes of the frames. What the message must be is for
`first_message_rule` to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from proxy.errors import MESSAGE_TOO_BIG, POLICY_VIOLATION, PROTOCOL_ERROR
from proxy.relay.frames import (
    CONTROL_BIT,
    FIN,
    LENGTH_BITS,
    MAX_CONTROL_PAYLOAD,
    OPCODE_BITS,
    Opcode,
)
from proxy.relay.scanner import MAX_FRAMES, Extensions, Scanner, Traffic

# Decisions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pong:
    """Write this frame to the client: the answer to its latest ping."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """The message is complete.

    Args:
        payload: of all its fragments, unmasked.
        raw: its frames as they came, still masked, without control frames between them.
        rest: what arrived behind it, not looked at.
    """

    payload: bytes
    raw: bytes
    rest: bytes

    def __repr__(self) -> str:
        """It holds a credential, which no log may show."""
        return f"Message({len(self.payload)} bytes)"


@dataclass(frozen=True, slots=True)
class Left:
    """The client closes: write this frame, its answer, and close.

    Args:
        frame: a Close frame with the client's code.
        code: that code; None when it gave none.
    """

    frame: bytes
    code: int | None


@dataclass(frozen=True, slots=True)
class Failed:
    """There will be no message: close with this code and reason.

    Args:
        code: the close code.
        reason: on the wire.
        detail: what is wrong, in words for the log.
    """

    code: int
    reason: str
    detail: str


Decision: TypeAlias = Pong | Message | Left | Failed


# Reading -------------------------------------------------------------------------------------


class FirstMessageReader:
    """Reads a client's stream up to the end of its first message.

    It holds at most the message's frames (`max_size`, and `MAX_FRAMES` headers), one control
    frame, and the chunk just fed.

    Args:
        max_size: payload bytes that the message may have, over all its fragments.
    """

    __slots__ = (
        "_approved",
        "_buffer",
        "_done",
        "_frames",
        "_max_size",
        "_message",
        "_scanner",
        "_size",
    )

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        # Nothing here is counted: the session counts the message if it is forwarded.
        self._scanner = Scanner(masked=True, extensions=Extensions.NONE, traffic=Traffic())
        # What arrived, from the first frame on that nothing was done about yet; the scanner found
        # the first `_approved` bytes of it sound, which end within a payload or between frames.
        self._buffer = bytearray()
        self._approved = 0
        # The message's whole frames so far, and the payload bytes they and the next declare.
        self._message = bytearray()
        self._size = 0
        self._frames = 0
        self._done = False

    @property
    def scanner(self) -> Scanner:
        """Knows where in the stream a frame ends; for whoever reads on after the end."""
        return self._scanner

    def feed(self, data: bytes) -> list[Decision]:
        """Takes the next bytes of the stream.

        Args:
            data: as read, at least one byte.

        Returns:
            What to do, in order; empty to wait for more. A `Pong` may come first. Anything else
            is the end: feed no more.
        """
        assert not self._done, "the first message was decided on"
        self._buffer += data
        cut = self._scanner.feed(data)
        self._approved += len(data if cut is None else cut.forward)
        pong, end = self._read_frames()
        if end is None and cut is not None and cut.violation is not None:
            end = Failed(PROTOCOL_ERROR, "protocol_error", cut.violation)
        if end is None:
            return [] if pong is None else [pong]
        self._done = True
        # RFC 6455 section 5.5.2: no pong once a Close was seen.
        return [pong, end] if pong is not None and isinstance(end, Message) else [end]

    def _read_frames(self) -> tuple[Pong | None, Decision | None]:
        """Deals with the frames that were approved; returns the answer to the last ping."""
        buffer = self._buffer
        pong = None
        end: Decision | None = None
        position = 0
        while end is None and position < self._approved:
            frame = _frame_at(buffer, position)
            control = frame.opcode & CONTROL_BIT
            if not control:
                end = self._objection(frame)
            if end is not None or frame.end > self._approved:
                break
            self._frames += 1
            if control:
                payload = _payload_of(buffer, frame)
                if frame.opcode == Opcode.PING:
                    pong = Pong(server_frame(Opcode.PONG, payload))
                elif frame.opcode == Opcode.CLOSE:
                    end = _left(payload)
            else:
                self._size += frame.end - frame.payload
                self._message += buffer[position : frame.end]
                if frame.fin:
                    end = self._complete(bytes(buffer[frame.end :]))
            position = frame.end
            if end is None and self._frames == MAX_FRAMES:
                # The scanner leaves nothing for later that is still waited for.
                end = _TOO_MANY_FRAMES
        del buffer[:position]
        self._approved -= position
        return pong, end

    def _objection(self, frame: _Frame) -> Failed | None:
        """What a data frame's header alone says against its message."""
        if frame.opcode == Opcode.BINARY:
            return Failed(POLICY_VIOLATION, "bad_request", "the first message is binary")
        if self._size + frame.end - frame.payload > self._max_size:
            return Failed(
                MESSAGE_TOO_BIG,
                "message_too_big",
                f"the first message is longer than {self._max_size} bytes",
            )
        return None

    def _complete(self, rest: bytes) -> Message:
        raw = bytes(self._message)
        parts = []
        position = 0
        while position < len(raw):
            frame = _frame_at(raw, position)
            parts.append(_payload_of(raw, frame))
            position = frame.end
        return Message(b"".join(parts), raw, rest)


# Whoever needs more has no key yet and makes work: empty fragments and pings add to no size.
_TOO_MANY_FRAMES: Final = Failed(
    POLICY_VIOLATION,
    "bad_request",
    f"the first message is not complete after {MAX_FRAMES} frames",
)


class _Frame(NamedTuple):
    """A masked frame: its first byte taken apart, and where its payload begins and ends."""

    opcode: int
    fin: bool
    payload: int
    end: int


def _frame_at(data: bytes | bytearray, position: int) -> _Frame:
    """Reads a whole header that the scanner approved (RFC 6455 section 5.2)."""
    first = data[position]
    length = data[position + 1] & LENGTH_BITS
    payload = position + 2
    if length > MAX_CONTROL_PAYLOAD:
        wide = 2 if length == 126 else 8
        payload += wide
        length = int.from_bytes(data[position + 2 : payload], "big")
    payload += 4
    return _Frame(first & OPCODE_BITS, bool(first & FIN), payload, payload + length)


def _payload_of(data: bytes | bytearray, frame: _Frame) -> bytes:
    """A whole frame's payload without its mask (section 5.3)."""
    # As one number: byte by byte is for control frames, and this may be a long message.
    size = frame.end - frame.payload
    key = bytes(data[frame.payload - 4 : frame.payload]) * (size // 4 + 1)
    masked = int.from_bytes(data[frame.payload : frame.end], "big")
    return (masked ^ int.from_bytes(key[:size], "big")).to_bytes(size, "big")


def server_frame(opcode: Opcode, payload: bytes) -> bytes:
    """A whole, unmasked frame towards a client."""
    size = len(payload)
    if size <= MAX_CONTROL_PAYLOAD:
        length = bytes((size,))
    elif size <= 0xFFFF:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes((FIN | opcode,)) + length + payload


def _left(payload: bytes) -> Left:
    code = payload[:2]
    return Left(server_frame(Opcode.CLOSE, code), int.from_bytes(code, "big") if code else None)

"""The headers of the frames that pass, for somebody who watches a session (RFC 6455 section 5.2).

A recorder stands before a scanner: it lets the scanner judge, then reads the headers of what the
scanner has taken. It keeps no byte of a payload, and no masking key.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.relay.frames import FIN, LENGTH_BITS, MASKED, OPCODE_BITS, RSV_BITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.relay.scanner import Cut, Scanner

# Frames that are remembered of a direction.
MOST_FRAMES: Final = 50


class FrameHeader(NamedTuple):
    """What a frame says of itself.

    Args:
        at: when it passed, by the recorder's clock.
        opcode: of RFC 6455 section 11.8.
        fin: whether it ends its message.
        rsv: its RSV bits, in their places of the first byte.
        masked: whether its payload is masked.
        length: of its payload, in bytes.
        ours: whether it answered a ping of the gateway's, and went no further.
    """

    at: float
    opcode: int
    fin: bool
    rsv: int
    masked: bool
    length: int
    ours: bool = False


class FrameRecorder:
    """Remembers the last frames of one direction.

    Args:
        scanner: judges what arrives, as without a recorder.
        now: a clock in seconds.
    """

    __slots__ = ("_now", "_scanner", "frames")

    def __init__(self, scanner: Scanner, now: Callable[[], float]) -> None:
        self._scanner = scanner
        self._now = now
        self.frames: deque[FrameHeader] = deque(maxlen=MOST_FRAMES)

    def feed(self, data: bytes) -> Cut | None:
        """As `Scanner.feed`, whose answer it is."""
        scanner = self._scanner
        held, position = scanner.held, scanner.left
        cut = scanner.feed(data)
        stream = held + data if held else data
        end = len(stream)
        if cut is not None:
            # What breaks a rule is no frame that passed; what waits is fed once more.
            unread = len(cut.later) + len(scanner.held)
            end = end - unread if cut.violation is None else len(cut.forward)
        self._read(stream, position, end)
        if cut is not None and cut.answered:
            self.frames[-1] = self.frames[-1]._replace(ours=True)
        return cut

    def _read(self, stream: bytes, position: int, end: int) -> None:
        """Reads the headers from `position` on; up to `end` all of them are whole and sound."""
        now = self._now()
        while position < end:
            first, second = stream[position], stream[position + 1]
            length = second & LENGTH_BITS
            header = 6 if second & MASKED else 2
            if length > 125:  # Section 5.2: its true length is in the next 2 or 8 bytes.
                wide = 2 if length == 126 else 8
                length = int.from_bytes(stream[position + 2 : position + 2 + wide], "big")
                header += wide
            self.frames.append(
                FrameHeader(
                    now,
                    first & OPCODE_BITS,
                    bool(first & FIN),
                    first & RSV_BITS,
                    bool(second & MASKED),
                    length,
                )
            )
            position += header + length

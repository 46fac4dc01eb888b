"""How fast a client may send: what a scanner is fed is no more than its rates allow.

Only the legs of sessions with such a limit are metered; the others know nothing of it. Frames
travel whole or in pieces as always: a piece that may not pass yet waits, as behind a slow reader.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from proxy.relay.frames import OPCODE_BITS, Opcode
from proxy.relay.scanner import MAX_FRAMES, Cut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.limits.buckets import TokenBucket
    from proxy.relay.scanner import Scanner

    Feed = Callable[[bytes], Cut | None]


# The smallest frame of a client: two bytes and a mask (RFC 6455 section 5.2).
_SMALLEST_FRAME: Final = 6

# Of what a bucket holds, the part that may pass before it is asked again: whoever stays far below
# a limit hardly pays for it. What passes meanwhile is taken out late, and none is forgotten.
_ROOM: Final = 16


class Metering:
    """The rates of one direction of one session.

    Args:
        scanner: of the direction.
        messages: buckets that each message takes a token from: the session's own, and one that
            all sessions of its key share.
        bytes: such buckets for bytes.
        clock: seconds, as on the loop's clock.
    """

    __slots__ = (
        "_bytes",
        "_clock",
        "_feed",
        "_lifted",
        "_messages",
        "_passed_bytes",
        "_passed_messages",
        "_room",
        "_scanner",
        "measured_at",
    )

    def __init__(
        self,
        scanner: Scanner,
        *,
        messages: Sequence[TokenBucket],
        bytes: Sequence[TokenBucket],
        clock: Callable[[], float],
    ) -> None:
        self._scanner = scanner
        self._feed: Feed = scanner.feed
        self._lifted = False
        self._messages = tuple(messages)
        self._bytes = tuple(bytes)
        self._clock = clock
        # Of what has passed, the part that was taken out of the buckets.
        self._passed_messages = scanner.messages
        self._passed_bytes = scanner.bytes
        # Bytes that may pass before the buckets are asked again, and when they last were.
        self._room = 0
        self.measured_at = 0.0

    def feed_by(self, feed: Feed) -> None:
        """Shows what passes to `feed`, which has the scanner's answer."""
        self._feed = feed

    def lift(self) -> None:
        """Lets everything pass from now on; the buckets pay for it all the same."""
        self._lifted = True
        self._room = sys.maxsize

    def feed(self, data: bytes) -> Cut | None:
        """As `Scanner.feed`, as far as the rates allow; the rest comes back as `later`.

        Args:
            data: as read, at least one byte.
        """
        room = self._room - len(data)
        if room >= 0:
            self._room = room
            return self._feed(data)
        return self._feed_measured(data)

    def _feed_measured(self, data: bytes) -> Cut | None:
        now = self.measured_at = self._clock()
        self._settle(now)
        messages = min((bucket.whole(now) for bucket in self._messages), default=MAX_FRAMES)
        size = min((bucket.whole(now) for bucket in self._bytes), default=len(data))
        if not size:
            return Cut(b"", later=data)
        piece, rest = data[:size], data[size:]
        # A frame ends at most one message. What is none passes, as does what is left of a frame.
        scanner = self._scanner
        scanner.max_frames = min(messages, MAX_FRAMES)
        scanner.max_messages = scanner.messages + messages
        cut = self._feed(piece)
        scanner.max_frames = MAX_FRAMES
        self._settle(now)
        rooms = [bucket.whole(now) // _ROOM * _SMALLEST_FRAME for bucket in self._messages]
        self._room = min(rooms + [bucket.whole(now) // _ROOM for bucket in self._bytes])
        if rest:
            if cut is None:
                cut = Cut(piece)
            cut.later += rest
        return cut

    def settle(self) -> None:
        """Takes out of the buckets what has passed; to be called when nothing more will."""
        self._settle(self._clock())

    def _settle(self, now: float) -> None:
        scanner = self._scanner
        messages, self._passed_messages = (
            scanner.messages - self._passed_messages,
            scanner.messages,
        )
        passed, self._passed_bytes = scanner.bytes - self._passed_bytes, scanner.bytes
        for bucket in self._messages:
            bucket.spend(now, messages)
        for bucket in self._bytes:
            bucket.spend(now, passed)

    def wait(self, now: float, later: bytes) -> float:
        """Seconds for which the client is not to be read; 0 when something may pass.

        While it is not 0, `later` is what exceeds the limit.

        Args:
            now: seconds on the clock; `measured_at` asks whether a bucket was why something was
                left. A little later it has dripped again, and would let in one frame at a time.
            later: what `feed` left, at least one byte.
        """
        if self._lifted:
            return 0.0
        messages = self._messages if self._is_data(later) else ()
        return max((bucket.wait(now) for bucket in (*messages, *self._bytes)), default=0.0)

    def _is_data(self, later: bytes) -> bool:
        """Whether a data frame comes next: the rest of one that was let in waits for nobody."""
        scanner = self._scanner
        return not scanner.left and (scanner.held or later)[0] & OPCODE_BITS <= Opcode.BINARY

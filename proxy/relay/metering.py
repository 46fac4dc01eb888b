"""How fast a client may send: what a scanner is fed is no more than its rates allow.

Only the legs of sessions with such a limit are metered; the others know nothing of it. Frames
travel whole or in pieces as always: a piece that may not pass yet waits, as behind a slow reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.relay.scanner import MAX_FRAMES, Cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limits.buckets import TokenBucket
    from proxy.relay.scanner import Scanner


class Metering:
    """The rates of one direction of one session.

    Args:
        scanner: of the direction.
        messages: buckets that each message takes a token from: the session's own, and one that
            all sessions of its key share.
        bytes: such buckets for bytes.
    """

    __slots__ = ("_bytes", "_messages", "_scanner")

    def __init__(
        self, scanner: Scanner, *, messages: Sequence[TokenBucket], bytes: Sequence[TokenBucket]
    ) -> None:
        self._scanner = scanner
        self._messages = tuple(messages)
        self._bytes = tuple(bytes)

    def feed(self, data: bytes, now: float) -> Cut | None:
        """As `Scanner.feed`, as far as the rates allow; the rest comes back as `later`.

        Args:
            data: as read, at least one byte.
            now: seconds on the loop's clock.
        """
        frames = min((bucket.whole(now) for bucket in self._messages), default=MAX_FRAMES)
        size = min((bucket.whole(now) for bucket in self._bytes), default=len(data))
        if not (frames and size):
            return Cut(b"", later=data)
        scanner = self._scanner
        messages, passed = scanner.messages, scanner.bytes
        piece, rest = data[:size], data[size:]
        # A frame ends at most one message.
        scanner.max_frames = min(frames, MAX_FRAMES)
        cut = scanner.feed(piece)
        scanner.max_frames = MAX_FRAMES
        for bucket in self._messages:
            bucket.spend(now, scanner.messages - messages)
        for bucket in self._bytes:
            bucket.spend(now, scanner.bytes - passed)
        if rest:
            if cut is None:
                cut = Cut(piece)
            cut.later += rest
        return cut

    def wait(self, now: float) -> float:
        """Seconds for which the client is not to be read; 0 when something may pass.

        While it is not 0, what `feed` left for later is what exceeds the limit.
        """
        return max(bucket.wait(now) for bucket in (*self._messages, *self._bytes))

"""The hot path: bytes from one socket, past the scanner, into the other.

`data_received` is all that happens per chunk. Whatever is not 'pass it on' leaves through the
scanner's one return value; a session that ends swaps who hears of a chunk and where it goes
instead of testing a flag.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.relay.commands import OTHER
from proxy.relay.scanner import Cut
from proxy.sockets import is_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.relay.commands import Side
    from proxy.relay.liveness import Liveness
    from proxy.relay.scanner import Scanner
    from proxy.sessions.live import LiveSession

    Feed = Callable[[bytes], Cut | None]

# Bytes that may wait for a slow reader before its peer is no longer read, and when it is read
# again: what asyncio and uvloop set for TCP by themselves.
WRITE_HIGH = 64 * 1024
WRITE_LOW = 16 * 1024

# Bytes of a TLS leg that may wait for their turn while it is read: asyncio and uvloop drop what
# they have decrypted, not delivered, when the peer leaves a leg that is paused.
MAX_WAITING = 256 * 1024


class Leg(asyncio.Protocol):
    """One socket of a session."""

    __slots__ = (
        "_feed",
        "_peer_write",
        "_scan",
        "accepted",
        "accepted_at",
        "diverted",
        "gone",
        "later",
        "liveness",
        "pause_counted",
        "paused_at",
        "session",
        "side",
        "transport",
    )

    transport: asyncio.Transport
    # Up to when the pause is in the metrics, if there is one: it lasts longer than a scrape.
    pause_counted: float

    def __init__(self, session: LiveSession, side: Side, scanner: Scanner) -> None:
        self.session = session
        self.side = side
        # Says what of a chunk may travel: the scanner; `_judge` once the session is ending.
        self._feed: Feed = scanner.feed
        # What hears of each chunk: `_feed`, or `_wait` while others have their turn.
        self._scan: Feed = self._feed
        self._peer_write = _nowhere
        # The part of the last read that waits for its turn.
        self.later = b""
        # Whether what arrives is the session's to judge, which is ending.
        self.diverted = False
        # Set by connection_lost.
        self.gone = False
        # Whether anybody is there; made by the sweeper's first look where legs are pinged.
        self.liveness: Liveness | None = None
        # When its reading was paused for a slow peer; None while it is read.
        self.paused_at: float | None = None
        # Kept by the sweeper: bytes the kernel had accepted when it last looked, and since when;
        # None while nothing is pending.
        self.accepted: int | None = None
        self.accepted_at = 0.0

    def begin(self, transport: asyncio.Transport, peer: asyncio.Transport) -> None:
        """Takes over a socket; what arrives goes to `peer`."""
        self.transport = transport
        self._peer_write = peer.write
        if not transport.can_write_eof():  # TLS: its own limits are eight times as high.
            transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        transport.set_protocol(self)

    def divert(self) -> None:
        """Leaves what arrives from now on to the session, which is ending."""
        self.diverted = True
        self._feed = self._scan = self._judge
        self._peer_write = _nothing_travels

    def hurry(self) -> None:
        """Holds nothing back any more: an answer to a Close is not to wait, for time is short."""

    def let_go(self) -> None:
        """Forgets the sockets, which are gone.

        uvloop's TLS keeps its last protocol: without this the two would hold each other, and
        40 KiB of buffers, until a full round of the garbage collector.
        """
        del self.transport, self._feed, self._scan
        self._peer_write = _nowhere

    def feed_by(self, feed: Feed) -> None:
        """Shows each chunk to `feed` from now on, which has the scanner's answer."""
        if self.diverted:
            return
        if self._scan == self._feed:
            self._scan = feed
        self._feed = feed

    def data_received(self, data: bytes) -> None:
        cut = self._scan(data)
        if cut is None:
            self._peer_write(data)
        else:
            self.session.cut(self.side, cut)
            if cut.later:
                self._rest(cut.later)

    def eof_received(self) -> bool:
        if self.later:
            self._catch_up()
        session, side = self.session, self.side
        peer = session.legs[OTHER[side]].transport
        if not (self.transport.can_write_eof() and peer.can_write_eof()):
            return False  # TLS has no half-close: the transport closes itself.
        session.apply(session.state.eof(side))
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.later:
            if exc is None and not self.session.legs[OTHER[self.side]].transport.is_closing():
                self._catch_up()
            self.later = b""
        self.session.lost(self.side, exc)

    # Turns -------------------------------------------------------------------------------------

    def _rest(self, later: bytes) -> None:
        """Lets other sessions have their turn before the rest of a read is looked at."""
        self._put_by(later)
        asyncio.get_running_loop().call_soon(self._go_on)

    def _put_by(self, later: bytes) -> None:
        """Keeps the rest of a read, and whatever follows, for later."""
        self.later = later
        if not self.diverted:
            self._scan = self._wait
        self._hold_back()

    def _wait(self, data: bytes) -> Cut:
        """Keeps what arrives while others have their turn."""
        self.later += data
        self._hold_back()
        return Cut(b"")

    def put_off(self, later: bytes) -> None:
        """Leaves the rest of a read to the session, which is ending, when others had their turn."""
        if not self.transport.is_closing():
            self._rest(later)

    def _judge(self, data: bytes) -> None:
        """Leaves what arrives to the session, which is ending, behind whatever waits."""
        if self.later:
            self._wait(data)
        else:
            self.session.apply(self.session.state.diverted(self.side, data))

    def _hold_back(self) -> None:
        """Stops reading; a TLS leg only when much waits, for it loses what it holds at its end."""
        if self.transport.can_write_eof() or len(self.later) > MAX_WAITING:
            self.transport.pause_reading()

    def _take_later(self) -> bytes:
        """What waits for its turn, which has come."""
        later, self.later = self.later, b""
        self._scan = self._feed
        return later

    def _go_on(self) -> None:
        if not self.later or self.gone:
            return
        self.data_received(self._take_later())
        is_over = self.gone or self.transport.is_closing()
        if not self.later and self.paused_at is None and not is_over:
            self.transport.resume_reading()

    def _catch_up(self) -> None:
        """The socket ends: what waits is passed on in one go, or it would be lost."""
        later = self._take_later()
        session, side = self.session, self.side
        while later:
            if self.diverted:
                session.apply(session.state.diverted(side, later))
                later = self._take_later()
                continue
            cut = session.state.scanners[side].feed(later)
            session.cut(side, cut or Cut(later))
            later = b"" if cut is None else cut.later

    # Back-pressure -----------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """This socket's reader is slow: its peer is not read until it has caught up."""
        peer = self.session.legs[OTHER[self.side]]
        if peer.paused_at is None:
            peer.paused_at = peer.pause_counted = asyncio.get_running_loop().time()
            peer.transport.pause_reading()

    def resume_writing(self) -> None:
        peer = self.session.legs[OTHER[self.side]]
        if peer.paused_at is not None:
            self.session.paused(peer, asyncio.get_running_loop().time())
            peer.paused_at = None
            if not (peer.gone or peer.later):
                peer.transport.resume_reading()

    def notice_end(self) -> None:
        """Reads on where the peer is gone though it is not read: else nobody would hear of it.

        Behind a reset nothing comes, and what waits is dropped. What waits for its turn alone need
        not wait for it behind the end of the stream; a slow reader is still to be waited for.
        """
        sock = self.transport.get_extra_info("socket")
        if sock is None or self.transport.is_closing():
            return
        if is_over(sock, or_half=self.paused_at is None):
            self.transport.resume_reading()


def _nowhere(data: bytes) -> None:
    raise RuntimeError(f"{len(data)} bytes arrived before the leg began")


def _nothing_travels(data: bytes) -> None:
    """What a diverted leg hears was the session's to judge."""

"""A session between two peers on paper: what its legs would do on the wire, and never may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.relay.commands import Abort, Close, Command, Deadline, Divert, Finish, Later, Send, Side
from proxy.relay.scanner import Extensions, Scanner, Traffic
from proxy.relay.session import Phase, Session
from tests.harness import frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.errors import Ending

CLOSE_TIMEOUT = 5.0
# A reserved opcode: it breaks a rule whether it is masked or not.
BREACH = b"\x83\x00"
# Reasons that only the gateway gives; the tests' peers use others.
OURS = {
    b"draining",
    b"protocol_error",
    b"peer_error",
    b"upstream_lost",
    b"upstream_stalled",
    b"client_stalled",
    b"internal_error",
    b"message_too_big",
}


class Peer:
    """One peer and the leg towards it."""

    def __init__(self, rig: Rig, side: Side) -> None:
        self._rig = rig
        self._side = side
        # All it sent, and all that was written to it.
        self.sent = b""
        self.got = b""
        # What of `got` the other peer said, and the Close frames that were ours.
        self.relayed = b""
        self.told: list[tuple[int, str]] = []
        self.has_sent_fin = False
        # What the session commanded its leg, and whether the socket is gone.
        self.finished = False
        self.closed = False
        self.aborted = False
        self.lost = False

    @property
    def masked(self) -> bool:
        return self._side is Side.CLIENT

    @property
    def readable(self) -> bool:
        """Whether its leg is still read: a socket that is closed or gone is not."""
        return not (self.ended or self.has_sent_fin)

    @property
    def ended(self) -> bool:
        """Whether we ended its socket, or it did."""
        return self.closed or self.aborted or self.lost

    def frame(self, opcode: int, payload: bytes = b"", **fields: object) -> bytes:
        return frames.frame(opcode, payload, mask=frames.MASK if self.masked else None, **fields)

    def close_frame(self, code: int, reason: str = "") -> bytes:
        return self.frame(frames.CLOSE, frames.close_payload(code, reason))

    # What the peer does

    def sends(self, data: bytes) -> None:
        assert self.readable
        self.sent += data
        rest, rig = data, self._rig
        while rest and not rig.diverted:
            cut = rig.session.scanners[self._side].feed(rest)
            forward = rest if cut is None else cut.forward
            if forward:
                rig.obey([Send(self._side.other, forward)])
            if cut is not None:
                rig.obey(rig.session.cut(self._side, cut))
            rest = b"" if cut is None else cut.later
        if rest:
            rig.obey(rig.session.diverted(self._side, rest))

    def fins(self) -> None:
        assert self.readable
        self.has_sent_fin = True
        self._rig.obey(self._rig.session.eof(self._side))

    def resets(self) -> None:
        self._goes(reset=True)

    def hangs_up(self) -> None:
        """Its socket ends in good order: we closed it, or TLS knows no half-close."""
        self._goes(reset=False)

    def _goes(self, *, reset: bool) -> None:
        assert not self.lost
        self.lost = True
        rig = self._rig
        commands = rig.session.lost(self._side, reset=reset)
        if rig.client.lost and rig.upstream.lost:
            rig.session.gone()  # There is nobody left to obey.
            rig.deadline = None
            rig.check()
        else:
            rig.obey(commands)

    # What its leg is commanded

    def write(self, data: bytes) -> None:
        assert not self.finished, "bytes behind our FIN"
        assert not self.ended, "bytes to a leg that was ended"
        assert not self.told, "bytes behind our Close frame"
        self.got += data
        frame = frames.take(bytearray(data))
        if frame is not None and frame.opcode == frames.CLOSE and frame.payload[2:] in OURS:
            assert frame.raw == data
            assert (frame.mask is not None) is not self.masked
            assert _whole_frames(self.relayed), "our Close frame inside a frame"
            self.told.append((frame.close_code or 0, frame.close_reason))
        else:
            self.relayed += data

    def finish(self) -> None:
        assert not self.finished
        assert not self.ended
        self.finished = True

    def close(self) -> None:
        assert not self.ended
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


def _whole_frames(stream: bytes) -> bool:
    buffer = bytearray(stream)
    while frames.take(buffer) is not None:
        pass
    return not buffer


class Rig:
    """A session, its peers, and the rules that hold whatever happens."""

    def __init__(
        self, extensions: Extensions = Extensions.NONE, *, max_message: int | None = None
    ) -> None:
        scanners = (
            Scanner(
                masked=masked, extensions=extensions, traffic=Traffic(), max_message=max_message
            )
            for masked in (True, False)
        )
        self.session = Session(
            *scanners, close_timeout=CLOSE_TIMEOUT, mask=b"\x1f\x2e\x3d\x4c", close_codes={}
        )
        self.client = Peer(self, Side.CLIENT)
        self.upstream = Peer(self, Side.UPSTREAM)
        self.peers = (self.client, self.upstream)
        self.diverted = False
        # Seconds of the deadline that runs, if any.
        self.deadline: float | None = None

    def gateway_ends(self, ending: Ending) -> None:
        self.obey(self.session.end(ending))

    def time_is_over(self) -> None:
        assert self.deadline is not None
        self.deadline = None
        self.obey(self.session.overdue())

    def sockets_close(self) -> None:
        """Whatever was commanded to close has flushed and is gone."""
        for peer in self.peers:
            if (peer.closed or peer.aborted) and not peer.lost:
                peer.hangs_up()

    @property
    def account(self) -> tuple[str | None, int | None, str]:
        """Who ended it, with which code and reason: as counted and logged."""
        return self.session.initiator, self.session.code, self.session.reason

    def obey(self, commands: Sequence[Command]) -> None:
        assert not (commands and self.client.lost and self.upstream.lost)
        for command in commands:
            match command:
                case Send(side, data):
                    assert data
                    self.peers[side].write(data)
                case Finish(side):
                    self.peers[side].finish()
                case Close(side):
                    self.peers[side].close()
                case Abort(side):
                    self.peers[side].abort()
                case Divert():
                    self.diverted = True
                case Later(side, data):  # Others have had their turn.
                    assert data
                    self.obey(self.session.diverted(side, data))
                case Deadline(seconds):
                    self.deadline = seconds
        self.check()

    def check(self) -> None:
        """What holds after every event."""
        for peer, source in (self.peers, self.peers[::-1]):
            assert source.sent.startswith(peer.relayed)
            assert len(peer.told) <= 1
            waits = (peer.closed or peer.finished) and not (peer.lost or peer.aborted)
            assert not waits or self.deadline is not None, "a wait without a deadline"
        if any(peer.closed or peer.aborted or peer.finished or peer.told for peer in self.peers):
            assert self.session.initiator is not None


def both_are_gone(rig: Rig) -> bool:
    """Whether the session is over once all sockets that were closed are gone."""
    rig.sockets_close()
    return rig.client.lost and rig.upstream.lost and rig.session.phase is Phase.ENDED

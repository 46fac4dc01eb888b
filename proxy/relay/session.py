"""What a live session decides, as pure code: events in, commands out.

A session is two legs (the client's and the upstream's) and a scanner for the bytes of each. As
long as all is well the legs pass bytes on by themselves and the session is not asked. It is asked
when a Close frame passes, a rule is broken, a leg ends, the gateway wants it ended, or a deadline
is over:

    RELAYING   bytes pass both ways; also while peers close among themselves
    ENDING     the gateway has said why: whole frames under way are finished, each leg gets its
               Close at a frame boundary, what still arrives is read and dropped
    CLOSED     nothing more will be sent: all is said, or it failed; the sockets are flushing
    ENDED      both sockets are gone

Every command that waits for a peer comes with a `Deadline`; when it is over, `overdue` aborts
what is left. RFC 6455 section 7 is the theory.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from proxy import errors
from proxy.relay.commands import Abort, Close, Command, Deadline, Divert, Finish, Send, Side
from proxy.relay.frames import close_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.relay.scanner import Cut, Scanner

# How long the upstream has to close its socket after both Close frames (RFC 6455 section 7.1.1
# wants the server to do it first) before we do, in seconds.
LINGER = 0.5


_OTHER = (Side.UPSTREAM, Side.CLIENT)
_NAMES = ("client", "upstream")
_SIDES = (Side.CLIENT, Side.UPSTREAM)
_BOTH = 1 << Side.CLIENT | 1 << Side.UPSTREAM


class Phase(Enum):
    """Where a session stands; see the module."""

    RELAYING = "relaying"
    ENDING = "ending"
    CLOSED = "closed"
    ENDED = "ended"


# The commands of nearly every end, made once.
_DIVERT = Divert()
_CLOSE = (Close(Side.CLIENT), Close(Side.UPSTREAM))
_LINGER = Deadline(LINGER)


class Session:
    """The state of one session.

    Args:
        client: scans what the client sends.
        upstream: scans what the upstream sends.
        close_timeout: seconds a peer has to answer a Close, or to read what is pending.
        mask: four unpredictable bytes for a Close of ours to the upstream.
        close_codes: what to send in place of the gateway's codes, by close reason.
    """

    __slots__ = (
        "_broken",
        "_close_codes",
        "_close_timeout",
        "_closing",
        "_eof",
        "_finished",
        "_heard",
        "_mask",
        "_pending_close",
        "_skip",
        "_skip_side",
        "_told",
        "code",
        "initiator",
        "phase",
        "reason",
        "scanners",
        "violation",
    )

    def __init__(
        self,
        client: Scanner,
        upstream: Scanner,
        *,
        close_timeout: float,
        mask: bytes,
        close_codes: Mapping[str, int],
    ) -> None:
        self.scanners = (client, upstream)
        self.phase = Phase.RELAYING
        # How it ended: set by the first Close frame, loss or ending; then kept.
        self.initiator: str | None = None
        self.code: int | None = None
        self.reason = ""
        # In words for the log, when a peer broke the protocol.
        self.violation: str | None = None
        self._close_timeout = close_timeout
        self._close_codes = close_codes
        self._mask = mask
        # Per side, as bits: FIN or loss seen; its Close frame acted on; Finish commanded; Close or
        # Abort commanded; a Close of ours sent; stream no longer understood.
        self._eof = 0
        self._heard = 0
        self._finished = 0
        self._closing = 0
        self._told = 0
        self._broken = 0
        # Whose message was too big, and how much of its last frame is still to come.
        self._skip_side: Side | None = None
        self._skip = 0
        # The Close frame that waits for a frame boundary towards a side.
        self._pending_close: dict[Side, bytes] | None = None

    # Events ------------------------------------------------------------------------------------

    def cut(self, side: Side, cut: Cut) -> list[Command]:
        """The scanner of `side` wants the last chunk treated as `cut` says."""
        commands: list[Command] = []
        if cut.forward:
            commands.append(Send(_OTHER[side], cut.forward))
        bit = 1 << side
        seen = None if self._heard & bit else self.scanners[side].close
        if seen is not None:
            self._heard |= bit
            self._note(_NAMES[side], seen.code, seen.reason)
        if cut.too_big is not None:
            self.violation = cut.violation
            self._skip_side, self._skip = side, cut.too_big
            commands += self.end(
                errors.CLIENT_MESSAGE_TOO_BIG
                if side is Side.CLIENT
                else errors.UPSTREAM_MESSAGE_TOO_BIG
            )
        elif cut.violation is not None:
            self.violation = cut.violation
            self._broken |= bit
            commands += self.end(
                errors.CLIENT_BROKE_PROTOCOL
                if side is Side.CLIENT
                else errors.UPSTREAM_BROKE_PROTOCOL
            )
        elif seen is not None:
            commands += self._close_passed(side)
        return commands

    def eof(self, side: Side) -> list[Command]:
        """FIN from a leg that can still be written to (plain TCP)."""
        self._eof |= 1 << side
        if self._lingers:
            return self._close_both()
        if self.phase is not Phase.RELAYING:
            # A Close that waits for a frame's end is still delivered to whoever sent FIN.
            waits = self._pending_close is not None and side in self._pending_close
            closed = [] if waits else self._close(side)
            return [*closed, *self._give_up_boundary(_OTHER[side])]
        scanner = self.scanners[side]
        if self._eof == _BOTH or self.scanners[_OTHER[side]].close is not None:
            # Nothing more can come, or the peer hung up on a Close in place of answering it.
            self._note(_NAMES[side], None, "")
            return self._close_both()
        if side is Side.UPSTREAM and scanner.close is None:
            lost = errors.UPSTREAM_LOST
            self._note_ours(lost)
            if scanner.left:
                return self._close_both()
            told = self._tell(Side.CLIENT, lost.code, lost.reason)
            return [*told, *self._finish(Side.CLIENT), Deadline(self._close_timeout)]
        self._note(_NAMES[side], None, "")
        if scanner.truncated:
            return self._close_both()
        return [*self._finish(_OTHER[side]), Deadline(self._close_timeout)]

    def lost(self, side: Side, *, reset: bool) -> list[Command]:
        """A leg's socket is gone; `reset` when by RST or an error, not in good order."""
        bit = 1 << side
        upstream_hung_up = self._lingers and side is Side.UPSTREAM
        self._eof |= bit
        self._closing |= bit
        if upstream_hung_up:
            return self._close_both()
        if self._pending_close is not None:
            self._pending_close.pop(side, None)
        if self.phase is not Phase.RELAYING:
            return self._give_up_boundary(_OTHER[side])
        client_closed, upstream_closed = (scanner.close is not None for scanner in self.scanners)
        if side is Side.UPSTREAM and not client_closed:
            if not upstream_closed:
                return self.end(errors.UPSTREAM_LOST)
            # It hung up behind its Close: the client's answer ends with us.
            self.phase = Phase.ENDING
            self._told |= 1 << Side.CLIENT
            return [_DIVERT, Deadline(self._close_timeout)]
        self._note(_NAMES[side], None, "")
        if reset and not (client_closed or upstream_closed):
            self.phase = Phase.CLOSED
            return self._abort(_OTHER[side])
        return self._close_both()

    def gone(self) -> None:
        """Both sockets are gone."""
        self.phase = Phase.ENDED

    def end(self, ending: errors.Ending) -> list[Command]:
        """The gateway ends the session; a second call changes nothing."""
        if self.phase is not Phase.RELAYING:
            return []
        self.phase = Phase.ENDING
        self._note_ours(ending)
        commands: list[Command] = [_DIVERT]
        for side, told in zip(_SIDES, (ending.to_client, ending.to_upstream), strict=True):
            if told is None:
                commands += self._abort(side)
            else:
                commands += self._tell(side, *told)
        return [*commands, Deadline(self._close_timeout)]

    def diverted(self, side: Side, data: bytes) -> list[Command]:
        """Bytes of a session that is ending: the rest of a frame under way, an answer, or noise."""
        if self.phase is not Phase.ENDING:
            return []
        scanner = self.scanners[side]
        rest = scanner.left
        self._read_on(side, data)
        commands: list[Command] = []
        pending = self._pending_close
        if pending is not None and _OTHER[side] in pending:
            commands.append(Send(_OTHER[side], data[:rest]))
            if len(data) >= rest:
                commands += self._send_close(_OTHER[side], pending.pop(_OTHER[side]))
        answered = scanner.close is not None and self._told & (1 << side)
        if answered:
            commands += self._close(side)
        return commands

    def overdue(self) -> list[Command]:
        """The last deadline is over: whoever is left has had time enough."""
        if self._lingers:
            return self._close_both()
        self._note("gateway", None, "")
        self.phase = Phase.CLOSED
        self._closing = _BOTH
        return [Abort(side) for side in _SIDES]

    # Decisions ---------------------------------------------------------------------------------

    @property
    def _lingers(self) -> bool:
        """Whether all is said and the upstream has `LINGER` to hang up first."""
        return self.phase is Phase.CLOSED and self._closing != _BOTH

    def _read_on(self, side: Side, data: bytes) -> None:
        """Looks at what is dropped, for the peer's answer to a Close of ours."""
        if side is self._skip_side:
            dropped = min(self._skip, len(data))
            self._skip -= dropped
            data = data[dropped:]
        while data and not self._broken & (1 << side):
            cut = self.scanners[side].feed(data)
            if cut is None:
                return
            if cut.violation is not None:
                self._broken |= 1 << side
            data = cut.later

    def _note(self, initiator: str, code: int | None, reason: str) -> None:
        """Keeps how the end began; whatever follows is a consequence."""
        if self.initiator is None:
            self.initiator = initiator
            self.code = code
            self.reason = reason

    def _note_ours(self, ending: errors.Ending) -> None:
        code = self._close_codes.get(ending.reason, ending.code)
        self._note("gateway", code, ending.reason)

    def _close_passed(self, side: Side) -> list[Command]:
        answered = self.scanners[_OTHER[side]].close is not None or self._told & (1 << side)
        if not answered:
            return [Deadline(self._close_timeout)]
        if self._eof & (1 << Side.UPSTREAM):
            return self._close_both()
        # Towards the client we are the server, which closes first; the upstream closes itself.
        self.phase = Phase.CLOSED
        return [_DIVERT, *self._close(Side.CLIENT), _LINGER]

    def _tell(self, side: Side, code: int, reason: str) -> list[Command]:
        """A Close frame of ours to a leg, now or at the end of the frame under way."""
        source = self.scanners[_OTHER[side]]
        bit = 1 << side
        if self._told & bit:
            return []  # Its answer to the first is awaited.
        if source.close is not None or self._finished & bit:
            return self._close(side)
        mask = self._mask if side is Side.UPSTREAM else None
        frame = close_frame(self._close_codes.get(reason, code), reason, mask=mask)
        if not source.left:
            return self._send_close(side, frame)
        if self._eof & (1 << _OTHER[side]):
            return self._close(side)  # The rest of that frame will never come.
        if self._pending_close is None:
            self._pending_close = {}
        self._pending_close[side] = frame
        return []

    def _send_close(self, side: Side, frame: bytes) -> list[Command]:
        self._told |= 1 << side
        commands: list[Command] = [Send(side, frame)]
        if self._eof & (1 << side) or self.scanners[side].close is not None:
            return commands + self._close(side)
        if self._broken & (1 << side):
            # Its answer cannot be recognised any more: FIN, and read until it hangs up.
            commands += self._finish(side)
        return commands

    def _give_up_boundary(self, side: Side) -> list[Command]:
        """Nothing more comes for `side`: a Close that waits for a frame's end waits in vain."""
        if self._pending_close is None or side not in self._pending_close:
            return []
        del self._pending_close[side]
        return self._close(side)

    def _close_both(self) -> list[Command]:
        diverting = () if self._lingers else (_DIVERT,)  # A session that lingers has done so.
        self.phase = Phase.CLOSED
        return [
            *diverting,
            *self._close(Side.CLIENT),
            *self._close(Side.UPSTREAM),
            Deadline(self._close_timeout),
        ]

    def _finish(self, side: Side) -> list[Command]:
        self._finished |= 1 << side
        return [Finish(side)]

    def _close(self, side: Side) -> list[Command]:
        bit = 1 << side
        if self._closing & bit:
            return []
        self._closing |= bit
        return [_CLOSE[side]]

    def _abort(self, side: Side) -> list[Command]:
        bit = 1 << side
        if self._closing & bit:
            return []
        self._closing |= bit
        return [Abort(side)]

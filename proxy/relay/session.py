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
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from proxy import errors
from proxy.relay.commands import (
    OTHER,
    Abort,
    Close,
    Command,
    Deadline,
    Divert,
    Finish,
    Later,
    Send,
    Side,
)
from proxy.relay.frames import close_frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.relay.scanner import Cut, Scanner

# How long the upstream has to close its socket after both Close frames (RFC 6455 section 7.1.1
# wants the server to do it first) before we do, in seconds.
LINGER = 0.5

_CLIENT: Final = Side.CLIENT
_UPSTREAM: Final = Side.UPSTREAM
_NAMES: Final = ("client", "upstream")
# Sets of sides, as bits.
_BIT: Final = (1, 2)
_BOTH: Final = 3


class Phase(Enum):
    """Where a session stands; see the module."""

    RELAYING = "relaying"
    ENDING = "ending"
    CLOSED = "closed"
    ENDED = "ended"


# Found at once: an enum looks for its members each time.
_RELAYING: Final = Phase.RELAYING
_CLOSED: Final = Phase.CLOSED

# The commands of nearly every end, made once.
_DIVERT: Final = Divert()
_CLOSE: Final = (Close(_CLIENT), Close(_UPSTREAM))
_LINGER: Final = Deadline(LINGER)
# What is left to close, by the set of sides that are being closed.
_CLOSE_REST: Final = (_CLOSE, _CLOSE[1:], _CLOSE[:1], ())


@lru_cache(maxsize=64)
def _within(seconds: float) -> Deadline:
    """The one command of all sessions that have so long."""
    return Deadline(seconds)


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
        "_closing",
        "_eof",
        "_finished",
        "_heard",
        "_mask",
        "_patience",
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
        upstream.pongs_owed = client.pongs_owed
        self.phase = _RELAYING
        # How it ended: set by the first Close frame, loss or ending; then kept.
        self.initiator: str | None = None
        self.code: int | None = None
        self.reason = ""
        # In words for the log, when a peer broke the protocol.
        self.violation: str | None = None
        self._patience = _within(close_timeout)
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

    def cut(self, side: Side, cut: Cut) -> Sequence[Command]:
        """The scanner of `side` wants the last chunk treated as `cut` says.

        What of it may travel has been sent.
        """
        seen, bit = self.scanners[side].close, _BIT[side]
        if seen is not None and not self._heard & bit:
            self._heard |= bit
            self._note(_NAMES[side], seen.code, seen.reason)
            if cut.violation is None:
                return self._close_passed(side)
        return () if cut.violation is None else self._break_off(side, cut)

    def eof(self, side: Side) -> Sequence[Command]:
        """FIN from a leg that can still be written to (plain TCP)."""
        self._eof |= _BIT[side]
        if self.phase is _CLOSED:
            return () if self._closing == _BOTH else self._close_rest()
        other = OTHER[side]
        if self.phase is not _RELAYING:
            # A Close that waits for a frame's end is still delivered to whoever sent FIN.
            waits = self._pending_close is not None and side in self._pending_close
            closed = [] if waits else self._close(side)
            return [*closed, *self._give_up_boundary(other)]
        scanner = self.scanners[side]
        if self._eof == _BOTH or self.scanners[other].close is not None:
            # Nothing more can come, or the peer hung up on a Close in place of answering it.
            self._note(_NAMES[side], None, "")
            return self._close_both()
        if side is _UPSTREAM and scanner.close is None:
            lost = errors.UPSTREAM_LOST
            self._note_ours(lost)
            if scanner.left:
                return self._close_both()
            told = self._tell(_CLIENT, lost.code, lost.reason)
            return [*told, *self._finish(_CLIENT), self._patience]
        self._note(_NAMES[side], None, "")
        if scanner.truncated:
            return self._close_both()
        return [*self._finish(other), self._patience]

    def lost(self, side: Side, *, reset: bool) -> Sequence[Command]:
        """A leg's socket is gone; `reset` when by RST or an error, not in good order."""
        bit = _BIT[side]
        self._eof |= bit
        if self.phase is _CLOSED:
            lingers = self._closing != _BOTH
            self._closing |= bit
            return self._close_rest() if lingers and side is _UPSTREAM else ()
        self._closing |= bit
        other = OTHER[side]
        if self._pending_close is not None:
            self._pending_close.pop(side, None)
        if self.phase is not _RELAYING:
            return self._give_up_boundary(other)
        client_closed, upstream_closed = (scanner.close is not None for scanner in self.scanners)
        if side is _UPSTREAM and not client_closed:
            if not upstream_closed:
                return self.end(errors.UPSTREAM_LOST)
            # It hung up behind its Close: the client's answer ends with us.
            self.phase = Phase.ENDING
            self._told |= _BIT[_CLIENT]
            return [_DIVERT, self._patience]
        self._note(_NAMES[side], None, "")
        if reset and not (client_closed or upstream_closed):
            self.phase = _CLOSED
            return self._abort(other)
        return self._close_both()

    def gone(self) -> None:
        """Both sockets are gone."""
        self.phase = Phase.ENDED

    def end(self, ending: errors.Ending) -> Sequence[Command]:
        """The gateway ends the session; a second call changes nothing."""
        if self.phase is not _RELAYING:
            return ()
        self.phase = Phase.ENDING
        self._note_ours(ending)
        commands: list[Command] = [_DIVERT]
        for side, told in zip(Side, (ending.to_client, ending.to_upstream), strict=True):
            if told is None:
                commands += self._abort(side)
            else:
                commands += self._tell(side, *told)
        return [*commands, self._patience]

    def diverted(self, side: Side, data: bytes) -> Sequence[Command]:
        """Bytes of a session that is ending: the rest of a frame under way, an answer, or noise."""
        if self.phase is not Phase.ENDING:
            return ()
        scanner = self.scanners[side]
        rest = scanner.left
        later = self._read_on(side, data)
        commands: list[Command] = []
        pending = self._pending_close
        if pending is not None and OTHER[side] in pending:
            commands.append(Send(OTHER[side], data[:rest]))
            scanner.bytes += len(data[:rest])
            if len(data) >= rest:
                commands += self._send_close(OTHER[side], pending.pop(OTHER[side]))
        answered = scanner.close is not None and self._told & _BIT[side]
        if answered:
            commands += self._close(side)
        elif later:
            commands.append(Later(side, later))
        return commands

    def overdue(self) -> Sequence[Command]:
        """The last deadline is over: whoever is left has had time enough."""
        if self._lingers:
            return self._close_rest()
        self._note("gateway", None, "")
        self.phase = _CLOSED
        self._closing = _BOTH
        return [Abort(side) for side in Side]

    # Decisions ---------------------------------------------------------------------------------

    @property
    def _lingers(self) -> bool:
        """Whether all is said and the upstream has `LINGER` to hang up first."""
        return self.phase is _CLOSED and self._closing != _BOTH

    def _read_on(self, side: Side, data: bytes) -> bytes:
        """Looks at what is dropped, for the peer's answer to a Close of ours.

        Returns:
            What is left to another turn: a peer that is told to go may send frames all the more.
        """
        if side is self._skip_side:
            dropped = min(self._skip, len(data))
            self._skip -= dropped
            data = data[dropped:]
        cut = None
        if data and not self._broken & _BIT[side]:
            cut = self.scanners[side].drop(data)
        if cut is None:
            return b""
        if cut.violation is not None:
            self._broken |= _BIT[side]
            return b""
        return cut.later

    def _note(self, initiator: str, code: int | None, reason: str) -> None:
        """Keeps how the end began; whatever follows is a consequence."""
        if self.initiator is None:
            self.initiator = initiator
            self.code = code
            self.reason = reason

    def _note_ours(self, ending: errors.Ending) -> None:
        code = self._close_codes.get(ending.reason, ending.code)
        self._note("gateway", code, ending.reason)

    def _break_off(self, side: Side, cut: Cut) -> Sequence[Command]:
        """Ends a session of which a peer broke the protocol, or sent too big a message."""
        self.violation = cut.violation
        by_client = side is _CLIENT
        if cut.too_big is not None:
            self._skip_side, self._skip = side, cut.too_big
            return self.end(
                errors.CLIENT_MESSAGE_TOO_BIG if by_client else errors.UPSTREAM_MESSAGE_TOO_BIG
            )
        self._broken |= _BIT[side]
        return self.end(
            errors.CLIENT_BROKE_PROTOCOL if by_client else errors.UPSTREAM_BROKE_PROTOCOL
        )

    def _close_passed(self, side: Side) -> Sequence[Command]:
        if self.scanners[OTHER[side]].close is None and not self._told & _BIT[side]:
            return (self._patience,)
        if self._eof & _BIT[_UPSTREAM]:
            return self._close_both()
        # Towards the client we are the server, which closes first; the upstream closes itself.
        self.phase = _CLOSED
        return (_DIVERT, *self._close(_CLIENT), _LINGER)

    def _tell(self, side: Side, code: int, reason: str) -> list[Command]:
        """A Close frame of ours to a leg, now or at the end of the frame under way."""
        source = self.scanners[OTHER[side]]
        bit = _BIT[side]
        if self._told & bit:
            return []  # Its answer to the first is awaited.
        if source.close is not None or self._finished & bit:
            return self._close(side)
        mask = self._mask if side is _UPSTREAM else None
        frame = close_frame(self._close_codes.get(reason, code), reason, mask=mask)
        if not source.left:
            return self._send_close(side, frame)
        if self._eof & _BIT[OTHER[side]]:
            return self._close(side)  # The rest of that frame will never come.
        if self._pending_close is None:
            self._pending_close = {}
        self._pending_close[side] = frame
        return []

    def _send_close(self, side: Side, frame: bytes) -> list[Command]:
        self._told |= _BIT[side]
        commands: list[Command] = [Send(side, frame)]
        if self._eof & _BIT[side] or self.scanners[side].close is not None:
            return commands + self._close(side)
        if self._broken & _BIT[side]:
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
        return [_DIVERT, *self._close_rest()]

    def _close_rest(self) -> list[Command]:
        """Closes whoever is not being closed yet."""
        rest = _CLOSE_REST[self._closing]
        self._closing = _BOTH
        self.phase = _CLOSED
        return [*rest, self._patience]

    def _finish(self, side: Side) -> list[Command]:
        self._finished |= _BIT[side]
        return [Finish(side)]

    def _close(self, side: Side) -> list[Command]:
        bit = _BIT[side]
        if self._closing & bit:
            return []
        self._closing |= bit
        return [_CLOSE[side]]

    def _abort(self, side: Side) -> list[Command]:
        bit = _BIT[side]
        if self._closing & bit:
            return []
        self._closing |= bit
        return [Abort(side)]

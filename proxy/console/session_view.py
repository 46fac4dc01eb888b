"""One session as its page shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.relay.commands import Side
from proxy.relay.frames import RSV1, RSV_BITS, Opcode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.relay.frame_record import FrameHeader
    from proxy.sessions.live import LiveSession
    from proxy.sessions.recorder import Rates, Recorder

# Frames that the page shows.
FRAMES: Final = 40

# What the little charts are drawn on, in the units of their view box.
_WIDTH: Final = 240
_HEIGHT: Final = 40
# Seconds that they reach back.
_SPAN: Final = 60.0

_OPCODES: Final = {opcode.value: opcode.name.lower() for opcode in Opcode}


class FrameRow(NamedTuple):
    """A frame's header in words.

    Args:
        ago: seconds since it passed.
        sender: `client` or `upstream`.
        opcode: its name, or its number where it has none.
        flags: such as `FIN`, in the order of the wire.
        length: of the payload, in bytes.
        ours: whether it answered a ping of the gateway's.
    """

    ago: float
    sender: str
    opcode: str
    flags: str
    length: int
    ours: bool


def frame_rows(frames: Sequence[tuple[Side, FrameHeader]], now: float) -> list[FrameRow]:
    """The latest frames.

    Args:
        frames: and who sent them, latest first.
        now: on the recorder's clock.
    """
    return [
        FrameRow(
            max(0.0, now - frame.at),
            side.name.lower(),
            _OPCODES.get(frame.opcode, f"0x{frame.opcode:x}"),
            _flags(frame),
            frame.length,
            frame.ours,
        )
        for side, frame in frames[:FRAMES]
    ]


def _flags(frame: FrameHeader) -> str:
    flags = ["FIN"] if frame.fin else []
    for number, bit in enumerate((RSV1, RSV1 >> 1, RSV1 >> 2), start=1):
        if frame.rsv & RSV_BITS & bit:
            flags.append(f"RSV{number}")
    if frame.masked:
        flags.append("MASK")
    return " ".join(flags)


class Flow(NamedTuple):
    """What one side sends.

    Args:
        sender: `client` or `upstream`.
        receiver: the other one.
        messages, bytes: so far.
        messages_per_second, bytes_per_second: lately; None until that is known.
        line: the bytes of the last minute as points of a polyline; empty until there are some.
        peak: the most bytes in a second that the line shows.
        paused_for: seconds for which it has not been read, since the other reads slowly; None
            while it is read.
        pending: bytes that the other has not accepted yet.
        rtt: seconds that its last answer to a ping took; None when there was none.
    """

    sender: str
    receiver: str
    messages: int
    bytes: int
    messages_per_second: float | None
    bytes_per_second: float | None
    line: str
    peak: float
    paused_for: float | None
    pending: int
    rtt: float | None


def flows(session: LiveSession, recorder: Recorder, now: float) -> list[Flow]:
    """What the client and what the upstream sends; the session has not ended.

    Args:
        now: on the loop's clock.
    """
    rates, history = recorder.rates(), recorder.history()
    return [_flow(session, side, rates, history, now) for side in Side]


def _flow(
    session: LiveSession,
    side: Side,
    rates: Rates | None,
    history: Sequence[tuple[float, Rates]],
    now: float,
) -> Flow:
    scanner, leg = session.state.scanners[side], session.legs[side]
    receiver = session.legs[side.other]
    passed = [(at, rate.bytes[side]) for at, rate in history]
    return Flow(
        side.name.lower(),
        side.other.name.lower(),
        scanner.messages,
        scanner.bytes,
        None if rates is None else rates.messages[side],
        None if rates is None else rates.bytes[side],
        polyline(passed, now),
        max((rate for _, rate in passed), default=0.0),
        None if leg.paused_at is None else now - leg.paused_at,
        0 if receiver.gone else receiver.transport.get_write_buffer_size(),
        None if leg.liveness is None else leg.liveness.rtt,
    )


def polyline(points: Iterable[tuple[float, float]], now: float) -> str:
    """The points of an SVG polyline, the present at the right.

    Args:
        points: moments and values, in order.
        now: on the clock of the moments.
    """
    seen = [(at, value) for at, value in points if now - at <= _SPAN]
    if len(seen) < 2:
        return ""
    most = max(value for _, value in seen) or 1.0
    return " ".join(
        f"{_WIDTH - (now - at) / _SPAN * _WIDTH:.1f},{_HEIGHT - value / most * (_HEIGHT - 2):.1f}"
        for at, value in seen
    )

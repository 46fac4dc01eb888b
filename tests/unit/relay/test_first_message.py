"""The first message, read while the gateway is the server: nothing lost, nothing held for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.relay.first_message import (
    Decision,
    Failed,
    FirstMessageReader,
    Left,
    Message,
    Pong,
    server_frame,
)
from proxy.relay.frames import Opcode
from proxy.relay.scanner import MAX_FRAMES, Extensions
from tests.harness import frames
from tests.harness.frames import CLOSE, CONTINUATION, PING, PONG, TEXT, masked
from tests.unit.relay.wire import (
    FORBIDDEN_CODES,
    MASK,
    byte_by_byte,
    chunk_sizes,
    chunked,
    judge,
    mutated,
    streams,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

AUTH = b'{"type":"auth","token":"wsk_secret"}'
# Further frames, half a frame, and what is none: all of it is for whoever relays.
TAILS = (masked(TEXT, b"next"), masked(PING, b"p")[:3], b"\xff", frames.frame(TEXT, b"unmasked"))


def read(chunks: Iterable[bytes], max_size: int = 1000) -> list[Decision]:
    """Feeds a reader up to its last decision."""
    reader = FirstMessageReader(max_size)
    decisions: list[Decision] = []
    for chunk in chunks:
        decisions += reader.feed(chunk)
        if decisions and not isinstance(decisions[-1], Pong):
            break
    return decisions


def ways(raw: bytes, max_size: int = 1000) -> list[list[Decision]]:
    """A stream read whole, byte by byte, and with a tail behind it."""
    tail = masked(TEXT, b"tail")
    return [read(chunks, max_size) for chunks in ([raw], byte_by_byte(raw), [raw + tail])]


def message(decisions: list[Decision]) -> Message:
    last = decisions[-1]
    assert isinstance(last, Message)
    return last


# The message ---------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 3, 4, 125, 126, 127, 0xFFFF, 0x10000])
def test_message_of_every_length_form_is_read(length: int) -> None:
    payload = (AUTH * (length // len(AUTH) + 1))[:length]
    raw = masked(TEXT, payload)
    for chunks in ([raw], chunked(raw, [7, 1, 4000]), [raw[:-1], raw[-1:]]):
        assert read(chunks, max_size=length) == [Message(payload, raw, b"")]


def test_message_is_read_byte_by_byte() -> None:
    raw = masked(TEXT, AUTH)
    reader = FirstMessageReader(1000)
    for byte in byte_by_byte(raw)[:-1]:
        assert reader.feed(byte) == []
    assert reader.feed(raw[-1:]) == [Message(AUTH, raw, b"")]


@pytest.mark.parametrize("tail", TAILS)
def test_bytes_behind_the_message_are_handed_on_untouched(tail: bytes) -> None:
    raw = masked(TEXT, AUTH)
    assert read([raw + tail]) == [Message(AUTH, raw, tail)]
    for at in range(1, len(raw)):
        assert read([raw[:at], raw[at:] + tail]) == [Message(AUTH, raw, tail)]


def test_everything_behind_the_message_is_handed_on_however_many_frames() -> None:
    raw, tail = masked(TEXT, AUTH), masked(TEXT) * (2 * MAX_FRAMES)
    assert read([raw + tail]) == [Message(AUTH, raw, tail)]


def test_fragments_are_one_message_and_stay_as_they_came() -> None:
    raw = b"".join(
        (
            frames.frame(TEXT, AUTH[:5], fin=False, mask=b"\1\2\3\4"),
            frames.frame(CONTINUATION, b"", fin=False, mask=b"\0\0\0\0"),
            frames.frame(CONTINUATION, AUTH[5:], mask=b"\xff\xfe\xfd\xfc"),
        )
    )
    for decisions in ways(raw):
        assert message(decisions).payload == AUTH
        assert message(decisions).raw == raw


def test_message_shows_no_credential_in_its_repr() -> None:
    assert repr(read([masked(TEXT, AUTH)])[0]) == f"Message({len(AUTH)} bytes)"


def test_reader_that_decided_is_fed_no_more() -> None:
    reader = FirstMessageReader(1000)
    reader.feed(masked(TEXT, AUTH))
    with pytest.raises(AssertionError):
        reader.feed(b"x")


# Control frames ------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"p", bytes(range(125))])
def test_ping_is_answered_with_its_payload_unmasked(payload: bytes) -> None:
    pong = Pong(frames.frame(PONG, payload))
    raw = masked(PING, payload)
    assert read([raw]) == [pong]
    assert read(byte_by_byte(raw)) == [pong]
    assert read([raw + masked(TEXT, AUTH)]) == [pong, Message(AUTH, masked(TEXT, AUTH), b"")]


def test_latest_ping_of_a_chunk_is_answered_alone() -> None:
    pings = b"".join(masked(PING, b"%d" % n) for n in range(10))
    assert read([pings]) == [Pong(frames.frame(PONG, b"9"))]
    assert len(read(byte_by_byte(pings))) == 10


def test_pong_nobody_asked_for_is_ignored() -> None:
    raw = masked(PONG, b"unasked")
    assert read([raw]) == []
    assert read([raw + masked(TEXT, AUTH)]) == [Message(AUTH, masked(TEXT, AUTH), b"")]


def test_control_frames_between_fragments_are_dealt_with_and_not_handed_on() -> None:
    begin, end = masked(TEXT, AUTH[:5], fin=False), masked(CONTINUATION, AUTH[5:])
    raw = begin + masked(PING, b"p") + masked(PONG, b"q") + end
    for decisions in ways(raw):
        assert decisions[0] == Pong(frames.frame(PONG, b"p"))
        assert message(decisions).payload == AUTH
        assert message(decisions).raw == begin + end


@pytest.mark.parametrize("before", [b"", masked(TEXT, b"{", fin=False)])
@pytest.mark.parametrize(
    ("payload", "echo", "code"),
    [
        (b"", b"", None),
        (frames.close_payload(1000), frames.close_payload(1000), 1000),
        (frames.close_payload(1001, "bye"), frames.close_payload(1001), 1001),
        (frames.close_payload(4999, b"\xff"), frames.close_payload(4999), 4999),
    ],
)
def test_close_of_the_client_is_answered_with_its_code(
    before: bytes, payload: bytes, echo: bytes, code: int | None
) -> None:
    for decisions in ways(before + masked(CLOSE, payload)):
        assert decisions == [Left(frames.frame(CLOSE, echo), code)]


def test_ping_before_a_close_is_not_answered_behind_it() -> None:
    assert read([masked(PING, b"p") + masked(CLOSE)]) == [Left(frames.frame(CLOSE), None)]


# Size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 70_000])
def test_message_of_the_limit_passes_and_one_byte_more_does_not(size: int) -> None:
    raw = masked(TEXT, b"x" * size)
    assert message(read([raw], size)).payload == b"x" * size
    assert read([masked(TEXT, b"x" * (size + 1))], size) == [too_big(size)]


def too_big(size: int) -> Failed:
    return Failed(1009, "message_too_big", f"the first message is longer than {size} bytes")


@pytest.mark.parametrize("length", [11, 126, 0x10000, 2**63 - 1])
def test_message_that_is_too_big_is_refused_by_its_header(length: int) -> None:
    header = frames.header(TEXT, length, mask=MASK)
    assert read([header[:-1]], 10) == []
    for decisions in ways(header, 10):
        assert decisions == [too_big(10)]


def test_size_counts_over_all_fragments_and_for_text_alone() -> None:
    begin = masked(TEXT, b"12345", fin=False) + masked(PING, bytes(125))
    enough = begin + masked(CONTINUATION, b"67890", fin=False) + masked(CONTINUATION)
    assert message(read([enough], 10)).payload == b"1234567890"
    for decisions in ways(begin + frames.header(CONTINUATION, 6, mask=MASK), 10):
        assert decisions[-1] == too_big(10)


def test_frames_are_bounded_in_number() -> None:
    raw = masked(TEXT, AUTH)
    for filler in (masked(PONG), masked(PING, b"x")):
        assert message(read([filler * (MAX_FRAMES - 1) + raw]))
        for chunks in ([filler * MAX_FRAMES], [filler] * MAX_FRAMES, [filler * 3 * MAX_FRAMES]):
            assert read(chunks)[-1] == too_many()
    begun = masked(TEXT, fin=False)
    empty = masked(CONTINUATION, fin=False)
    last = masked(CONTINUATION, AUTH)
    assert message(read([begun + empty * (MAX_FRAMES - 2) + last])).payload == AUTH
    assert read([begun + empty * (MAX_FRAMES - 1) + last]) == [too_many()]


def too_many() -> Failed:
    return Failed(
        1008, "bad_request", f"the first message is not complete after {MAX_FRAMES} frames"
    )


# What is refused -----------------------------------------------------------------------------


def test_binary_message_is_refused_by_its_header() -> None:
    expected = [Failed(1008, "bad_request", "the first message is binary")]
    for length in (0, 5, 2**62):
        for decisions in ways(frames.header(frames.BINARY, length, mask=MASK)):
            assert decisions == expected


VIOLATIONS = {
    "not masked": frames.frame(TEXT, b"x"),
    "ping not masked": frames.frame(PING, b"x"),
    "rsv 1": masked(TEXT, b"x", rsv=4),
    "rsv 2": masked(TEXT, b"x", rsv=2),
    "rsv 3": masked(PING, b"x", rsv=1),
    "reserved opcode": masked(3, b"x"),
    "reserved control opcode": masked(0xB, b"x"),
    "fragmented ping": masked(PING, b"x", fin=False),
    "long ping": masked(PING, bytes(126)),
    "continuation of nothing": masked(CONTINUATION, b"x"),
    "16-bit form for 5": frames.header(TEXT, 5, mask=MASK, form=16),
    "64-bit form for 5": frames.header(TEXT, 5, mask=MASK, form=64),
    "top bit of the length": frames.header(TEXT, 2**63, mask=MASK),
    "close of one byte": masked(CLOSE, b"\x03"),
    **{f"close code {code}": masked(CLOSE, frames.close_payload(code)) for code in FORBIDDEN_CODES},
}


@pytest.mark.parametrize("bad", VIOLATIONS.values(), ids=VIOLATIONS)
def test_broken_protocol_is_refused(bad: bytes) -> None:
    for before in (b"", masked(PONG, b"p")):
        for decisions in ways(before + bad):
            (failed,) = decisions
            assert isinstance(failed, Failed)
            assert (failed.code, failed.reason) == (1002, "protocol_error")
            assert failed.detail


def test_message_inside_another_is_refused() -> None:
    for decisions in ways(masked(TEXT, b"x", fin=False) + masked(TEXT, b"y")):
        assert decisions == [Failed(1002, "protocol_error", "a message begins inside another")]


# Frames of ours ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 125, 126, 0xFFFF, 0x10000])
def test_our_frames_have_every_length_form(size: int) -> None:
    assert server_frame(Opcode.TEXT, b"x" * size) == frames.frame(TEXT, b"x" * size)


# Anything ------------------------------------------------------------------------------------

SIZES = st.sampled_from((0, 10, 130, 70_000, 400_000))


def expected(raw: bytes, max_size: int) -> Decision | tuple[int, str] | None:
    """The end of a stream by the tests' own reading; of a failure, code and reason."""
    judged = judge(raw, masked=True)
    buffer = bytearray(raw[: judged.forward])
    pieces: list[frames.Frame] = []
    size = count = 0
    while buffer:
        frame = frames.take(bytearray(buffer))
        if buffer[0] & 15 == frames.BINARY:
            return 1008, "bad_request"
        if not buffer[0] & 8:
            size += _declared(buffer)
            if size > max_size:
                return 1009, "message_too_big"
        if frame is None:
            break
        del buffer[: len(frame.raw)]
        count += 1
        if frame.opcode == CLOSE:
            return Left(frames.frame(CLOSE, frame.payload[:2]), frame.close_code)
        if not frame.opcode & 8:
            pieces.append(frame)
            if frame.fin:
                payload, kept = (
                    b"".join(piece.payload for piece in pieces),
                    b"".join(piece.raw for piece in pieces),
                )
                return Message(payload, kept, bytes(buffer) + raw[judged.forward :])
    assert count < MAX_FRAMES
    return (1002, "protocol_error") if judged.broken else None


def _declared(header: bytearray) -> int:
    length = header[1] & 0x7F
    wide = {126: 2, 127: 8}.get(length)
    return length if wide is None else int.from_bytes(header[2 : 2 + wide], "big")


@given(st.data())
def test_any_stream_in_any_chunks_is_read_as_it_stands(data: st.DataObject) -> None:
    parts = data.draw(streams(masked=True, extensions=Extensions.NONE))
    raw = data.draw(st.one_of(st.just(b"".join(parts)), mutated(parts)))
    max_size = data.draw(SIZES)
    reader = FirstMessageReader(max_size)
    end: Decision | None = None
    fed = b""
    for chunk in chunked(raw, data.draw(chunk_sizes)):
        fed += chunk
        for decision in reader.feed(chunk):
            assert end is None
            end = None if isinstance(decision, Pong) else decision
        if end is not None:
            break
        # Every frame's header is at most 14 bytes; 131 are the longest control frame.
        held = len(reader._buffer) + len(reader._message)
        assert held <= max_size + 14 * (reader._frames + 1) + 131
    # What was decided before the rest arrived is what the bytes so far say.
    told = (end.code, end.reason) if isinstance(end, Failed) else end
    assert told == expected(fed, max_size)
    if isinstance(end, Message):
        assert fed.endswith(end.rest)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20))
def test_any_bytes_are_read_or_refused(chunks: list[bytes]) -> None:
    for decision in read(chunks):
        assert isinstance(decision, (Pong, Message, Left, Failed))

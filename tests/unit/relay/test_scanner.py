"""The scanner: what is well-formed passes untouched, nothing of what is not ever does."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.relay.scanner import MAX_FRAMES, CloseSeen, Cut, Extensions, Scanner, Traffic
from tests.harness import frames
from tests.unit.relay.wire import (
    DIRECTIONS,
    RSV,
    TRAVELLING_CODES,
    Scanned,
    byte_by_byte,
    chunk_sizes,
    chunked,
    frame,
    judge,
    mutated,
    scan,
    streams,
    ways,
)

# Frames of every form ------------------------------------------------------------------------


@DIRECTIONS
@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 0xFFFF, 0x10000, 70_000])
def test_frame_of_every_length_form_passes(length: int, *, masked: bool) -> None:
    raw = frame(frames.BINARY, b"\x81" * length, masked=masked)
    tail = frame(frames.TEXT, b"tail", masked=masked)
    whole, bytewise, with_tail = ways(raw, tail, masked=masked)
    for scanned in (whole, bytewise):
        assert scanned.forwarded == raw
        assert scanned.violation is None
        assert scanned.scanner.left == 0
        assert not scanned.scanner.truncated
        assert scanned.scanner.messages == 1
        assert scanned.scanner.bytes == len(raw)
        assert scanned.traffic.message_bytes == length
    assert with_tail.forwarded == raw + tail
    assert with_tail.scanner.messages == 2


@DIRECTIONS
@pytest.mark.parametrize("opcode", [frames.TEXT, frames.BINARY, frames.PING, frames.PONG])
def test_every_opcode_is_counted_under_its_number(opcode: int, *, masked: bool) -> None:
    raw = frame(opcode, b"payload", masked=masked)
    for scanned in ways(raw, masked=masked):
        assert scanned.forwarded == raw
        assert scanned.traffic.opcodes == [int(n == opcode) for n in range(16)]
        assert scanned.scanner.messages == (opcode in {frames.TEXT, frames.BINARY})


def test_whole_chunk_of_frames_is_passed_on_as_read() -> None:
    scanner = Scanner(masked=True, extensions=Extensions.NONE, traffic=Traffic())
    assert (
        scanner.feed(frame(frames.TEXT, b"one", masked=True) + frame(frames.PING, masked=True))
        is None
    )
    assert scanner.feed(frame(frames.BINARY, b"x" * 500, masked=True)[:100]) is None
    assert scanner.left > 0
    assert scanner.truncated


def test_frame_of_the_greatest_length_passes_as_far_as_it_came() -> None:
    head = frames.header(frames.BINARY, 2**63 - 1)
    scanner = Scanner(masked=False, extensions=Extensions.NONE, traffic=Traffic())
    assert scanner.feed(head) is None
    assert scanner.left == 2**63 - 1
    assert scanner.feed(b"x" * 1000) is None
    assert scanner.left == 2**63 - 1001


@DIRECTIONS
def test_header_is_held_until_it_can_be_judged(*, masked: bool) -> None:
    raw = frame(frames.BINARY, b"x" * 70_000, masked=masked)
    size = 14 if masked else 10
    scanner = Scanner(masked=masked, extensions=Extensions.NONE, traffic=Traffic())
    for byte in byte_by_byte(raw[: size - 1]):
        assert scanner.feed(byte) == Cut(b"")
        assert scanner.truncated
        assert scanner.left == 0
    assert scanner.feed(raw[size - 1 : size]) == Cut(raw[:size])
    assert scanner.left == 70_000


def test_what_stands_before_a_held_header_travels_at_once() -> None:
    scanner = Scanner(masked=False, extensions=Extensions.NONE, traffic=Traffic())
    first = frame(frames.TEXT, b"first", masked=False)
    assert scanner.feed(first + b"\x82") == Cut(first)
    assert scanner.feed(b"\x01") == Cut(b"\x82\x01")
    assert scanner.feed(b"x") is None


@DIRECTIONS
def test_fragments_make_one_message_of_their_sum(*, masked: bool) -> None:
    raw = b"".join(
        (
            frame(frames.TEXT, b"a" * 100, fin=False, masked=masked),
            frame(frames.PING, b"between", masked=masked),
            frame(frames.CONTINUATION, b"", fin=False, masked=masked),
            frame(frames.CONTINUATION, b"b" * 200, masked=masked),
        )
    )
    for scanned in ways(raw, masked=masked):
        assert scanned.forwarded == raw
        assert scanned.scanner.messages == 1
        assert scanned.traffic.message_bytes == 300
        assert scanned.traffic.opcodes[frames.CONTINUATION] == 2


@pytest.mark.parametrize(
    "size", [0, 1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025]
)
def test_message_is_counted_no_higher_than_its_size_needs(size: int) -> None:
    by_size = scan([frame(frames.BINARY, bytes(size), masked=False)], masked=False).traffic
    entry = by_size.messages_by_size.index(1)
    assert sum(by_size.messages_by_size) == 1
    assert size <= 2**entry
    assert size < 3 or size > 2 ** (entry - 1)


@DIRECTIONS
@pytest.mark.parametrize("count", [MAX_FRAMES, MAX_FRAMES + 1, 2 * MAX_FRAMES, 2500])
def test_flood_of_frames_is_looked_at_in_turns(count: int, *, masked: bool) -> None:
    raw = b"".join(frame(frames.TEXT, bytes((n % 251,)), masked=masked) for n in range(count))
    traffic = Traffic()
    scanner = Scanner(masked=masked, extensions=Extensions.NONE, traffic=traffic)
    rest, forwarded, turns = raw, b"", 0
    while rest:
        before = sum(traffic.opcodes)
        cut = scanner.feed(rest)
        forwarded += rest if cut is None else cut.forward
        rest = b"" if cut is None else cut.later
        turns += 1
        assert sum(traffic.opcodes) - before <= MAX_FRAMES
        assert scanner.bytes == len(forwarded)
    assert forwarded == raw
    assert turns == -(-count // MAX_FRAMES)
    assert scanner.messages == count


def test_flood_ends_at_a_violation_in_any_turn() -> None:
    ping = frame(frames.PING, masked=True)
    for count in (MAX_FRAMES - 1, MAX_FRAMES, MAX_FRAMES + 1):
        scanned = scan([ping * count + b"\x83\x80" + ping])
        assert scanned.forwarded == ping * count
        assert scanned.violation == "an opcode is reserved"


def test_flood_may_end_in_mid_header_or_mid_frame() -> None:
    ping, half = frame(frames.PING, masked=True), frame(frames.BINARY, bytes(300), masked=True)
    for cut in (1, 7, 8, 200):
        scanned = scan([ping * MAX_FRAMES + half[:cut], half[cut:]])
        assert scanned.forwarded == ping * MAX_FRAMES + half
        assert scanned.scanner.bytes == len(scanned.forwarded)


# Close frames --------------------------------------------------------------------------------


@DIRECTIONS
@pytest.mark.parametrize("code", TRAVELLING_CODES)
def test_close_frame_is_read_and_passes(code: int, *, masked: bool) -> None:
    raw = frame(frames.CLOSE, frames.close_payload(code, "that's all"), masked=masked)
    for scanned in ways(raw, masked=masked):
        assert scanned.forwarded == raw
        assert scanned.scanner.close == CloseSeen(code, "that's all")
        assert scanned.traffic.opcodes[frames.CLOSE] == 1


@DIRECTIONS
def test_close_frame_without_code_passes(*, masked: bool) -> None:
    raw = frame(frames.CLOSE, masked=masked)
    for scanned in ways(raw, masked=masked):
        assert scanned.forwarded == raw
        assert scanned.scanner.close == CloseSeen(None, "")


@DIRECTIONS
def test_close_reason_that_is_no_text_passes_and_is_shown_harmless(*, masked: bool) -> None:
    raw = frame(frames.CLOSE, frames.close_payload(1000, b"\xff\xfe" + b"x" * 121), masked=masked)
    for scanned in ways(raw, masked=masked):
        assert scanned.forwarded == raw
        assert scanned.scanner.close == CloseSeen(1000, "\ufffd\ufffd" + "x" * 121)


@DIRECTIONS
def test_close_frame_is_held_until_it_is_whole(*, masked: bool) -> None:
    before = frame(frames.TEXT, b"before", masked=masked)
    raw = frame(frames.CLOSE, frames.close_payload(1000, "bye"), masked=masked)
    scanner = Scanner(masked=masked, extensions=Extensions.NONE, traffic=Traffic())
    assert scanner.feed(before + raw[:-1]) == Cut(before)
    assert scanner.close is None
    assert scanner.truncated
    assert scanner.feed(raw[-1:]) == Cut(raw)
    assert scanner.close == CloseSeen(1000, "bye")
    assert not scanner.truncated


def test_first_of_two_close_frames_is_kept() -> None:
    raw = frame(frames.CLOSE, frames.close_payload(1000, "first"), masked=True)
    raw += frame(frames.CLOSE, frames.close_payload(4000, "second"), masked=True)
    for scanned in ways(raw):
        assert scanned.forwarded == raw
        assert scanned.scanner.close == CloseSeen(1000, "first")


def test_frames_behind_a_close_frame_are_still_judged() -> None:
    close = frame(frames.CLOSE, masked=True)
    ping = frame(frames.PING, masked=True)
    for scanned in (scan([close + ping + b"\x83\x80"]), scan([close, ping, b"\x83\x80"])):
        assert scanned.forwarded == close + ping
        assert scanned.violation == "an opcode is reserved"


# Extensions ----------------------------------------------------------------------------------


@DIRECTIONS
def test_compressed_message_passes_when_deflate_was_agreed(*, masked: bool) -> None:
    raw = frame(frames.TEXT, b"\xf2\x48", fin=False, rsv=4, masked=masked)
    raw += frame(frames.CONTINUATION, b"\xcd\x00", masked=masked)
    raw += frame(frames.TEXT, b"plain", masked=masked)
    for scanned in ways(raw, masked=masked, extensions=Extensions.DEFLATE):
        assert scanned.forwarded == raw
        assert scanned.violation is None


@DIRECTIONS
@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [frames.TEXT, frames.CONTINUATION, frames.PING])
def test_unknown_extension_may_use_every_bit(rsv: int, opcode: int, *, masked: bool) -> None:
    raw = (
        frame(frames.TEXT, b"a", fin=False, masked=masked) if opcode == frames.CONTINUATION else b""
    )
    raw += frame(opcode, b"b", rsv=rsv, masked=masked)
    for scanned in ways(raw, masked=masked, extensions=Extensions.OTHER):
        assert scanned.forwarded == raw
        assert scanned.violation is None


# Random streams ------------------------------------------------------------------------------

directions = st.booleans()
agreed = st.sampled_from(Extensions)


@given(data=st.data(), masked=directions, extensions=agreed, sizes=chunk_sizes)
def test_well_formed_stream_passes_untouched(
    data: st.DataObject, *, masked: bool, extensions: Extensions, sizes: list[int]
) -> None:
    parts = data.draw(streams(masked=masked, extensions=extensions))
    raw = b"".join(parts)
    scanned = scan(chunked(raw, sizes), masked=masked, extensions=extensions)
    assert scanned.violation is None
    assert scanned.forwarded == raw
    assert scanned.scanner.bytes == len(raw)
    assert not scanned.scanner.truncated
    _assert_counted(scanned, [_read(part) for part in parts])


def _read(part: bytes) -> frames.Frame:
    found = frames.take(bytearray(part))
    assert found is not None
    assert found.raw == part
    return found


def _assert_counted(scanned: Scanned, sent: list[frames.Frame]) -> None:
    opcodes = Counter(frame.opcode for frame in sent)
    assert scanned.traffic.opcodes == [opcodes[n] for n in range(16)]
    data = [frame for frame in sent if frame.opcode < frames.CLOSE]
    messages = sum(frame.fin for frame in data)
    assert scanned.scanner.messages == messages == sum(scanned.traffic.messages_by_size)
    assert scanned.traffic.message_bytes == sum(len(frame.payload) for frame in data)
    closes = [frame for frame in sent if frame.opcode == frames.CLOSE]
    assert (scanned.scanner.close is None) is (not closes)
    if closes:
        assert scanned.scanner.close is not None
        assert scanned.scanner.close.code == closes[0].close_code


@given(data=st.data(), masked=directions, extensions=agreed, sizes=chunk_sizes)
def test_mutated_stream_travels_up_to_the_offending_frame(
    data: st.DataObject, *, masked: bool, extensions: Extensions, sizes: list[int]
) -> None:
    raw = data.draw(mutated(data.draw(streams(masked=masked, extensions=extensions))))
    expected = judge(raw, masked=masked, extensions=extensions)
    how = {"masked": masked, "extensions": extensions}
    readings = [scan([raw] if raw else [], **how), scan(chunked(raw, sizes), **how)]
    if len(raw) < 5000:
        readings.append(scan(byte_by_byte(raw), **how))
    for scanned in readings:
        assert scanned.forwarded == raw[: expected.forward]
        assert (scanned.violation is not None) is expected.broken
        assert scanned.violation == readings[0].violation
        assert scanned.traffic.opcodes == [expected.opcodes[n] for n in range(16)]
        assert scanned.scanner.messages == len(expected.messages)
        assert scanned.traffic.message_bytes == sum(expected.messages)
        if not expected.broken:
            assert scanned.scanner.left == expected.left
            assert scanned.scanner.truncated is (expected.left > 0 or expected.forward < len(raw))
            assert len(raw) - expected.forward <= 130  # a Close frame less a byte


@given(raw=st.binary(max_size=200), masked=directions, extensions=agreed, sizes=chunk_sizes)
def test_any_bytes_are_judged_the_same_in_any_pieces(
    raw: bytes, *, masked: bool, extensions: Extensions, sizes: list[int]
) -> None:
    expected = judge(raw, masked=masked, extensions=extensions)
    for chunks in (byte_by_byte(raw), list(chunked(raw, sizes))):
        scanned = scan(chunks, masked=masked, extensions=extensions)
        assert scanned.forwarded == raw[: expected.forward]
        assert (scanned.violation is not None) is expected.broken


def test_extensions_name_the_bits_they_allow() -> None:
    expected = {each: (first << 4, other << 4) for each, (first, other) in RSV.items()}
    assert {each: each.value for each in Extensions} == expected

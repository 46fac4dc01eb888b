"""The record of frame headers: complete however the stream is cut, and nothing of a payload."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.relay.frame_record import MOST_FRAMES, FrameHeader, FrameRecorder
from proxy.relay.scanner import MAX_FRAMES, Extensions, Scanner, Traffic
from tests.harness import frames
from tests.unit.relay.wire import DIRECTIONS, byte_by_byte, chunk_sizes, chunked, frame

KINDS = (
    (frames.TEXT, b"hello", True, 0),
    (frames.BINARY, b"x" * 126, False, 4),
    (frames.PING, b"are you there", True, 0),
    (frames.CONTINUATION, b"", False, 0),
    (frames.PONG, b"", True, 0),
    (frames.CONTINUATION, b"y" * 70_000, True, 0),
    (frames.CLOSE, frames.close_payload(1000, "bye"), True, 0),
)


def scanner(*, masked: bool, max_message: int | None = None) -> Scanner:
    return Scanner(
        masked=masked,
        extensions=Extensions.DEFLATE,
        traffic=Traffic(),
        max_message=max_message,
    )


def stream(*, masked: bool) -> bytes:
    return b"".join(
        frames.frame(opcode, payload, fin=fin, rsv=rsv, mask=frames.MASK if masked else None)
        for opcode, payload, fin, rsv in KINDS
    )


def feed(recorder: FrameRecorder, chunks: list[bytes]) -> bytes:
    """Feeds as a leg does: what waits for its turn comes once more. Returns what may travel."""
    passed = b""
    for chunk in chunks:
        data = chunk
        while data:
            cut = recorder.feed(data)
            passed += data if cut is None else cut.forward
            data = b"" if cut is None else cut.later
            if cut is not None and cut.violation is not None:
                return passed
    return passed


def seen(recorder: FrameRecorder) -> list[tuple[int, int, bool, int]]:
    return [(one.opcode, one.length, one.fin, one.rsv >> 4) for one in recorder.frames]


EXPECTED = [(opcode, len(payload), fin, rsv) for opcode, payload, fin, rsv in KINDS]


@DIRECTIONS
@pytest.mark.parametrize("way", ["whole", "byte by byte", "with a tail"])
def test_recorder_reads_every_header(way: str, *, masked: bool) -> None:
    raw = stream(masked=masked)
    recorder = FrameRecorder(scanner(masked=masked), lambda: 7.0)
    tail = frame(frames.PONG, b"tail", masked=masked)[:-1] if way == "with a tail" else b""
    passed = feed(recorder, byte_by_byte(raw) if way == "byte by byte" else [raw + tail])
    assert passed == raw + tail
    assert seen(recorder)[: len(KINDS)] == EXPECTED
    assert {one.masked for one in recorder.frames} == {masked}
    assert {one.at for one in recorder.frames} == {7.0}


@given(sizes=chunk_sizes, masked=st.booleans(), joins_after=st.integers(0, 200))
def test_recorder_may_join_at_any_byte(sizes: list[int], joins_after: int, *, masked: bool) -> None:
    raw = stream(masked=masked)
    judge = scanner(masked=masked)
    for one in byte_by_byte(raw[:joins_after]):
        judge.feed(one)
    known = [(one.opcode, one.length) for one in _begun_by(raw[:joins_after], masked=masked)]
    recorder = FrameRecorder(judge, lambda: 0.0)
    feed(recorder, list(chunked(raw[joins_after:], sizes)))
    assert [(one[0], one[1]) for one in EXPECTED][len(known) :] == [
        (one.opcode, one.length) for one in recorder.frames
    ]


def _begun_by(raw: bytes, *, masked: bool) -> list[FrameHeader]:
    recorder = FrameRecorder(scanner(masked=masked), lambda: 0.0)
    feed(recorder, byte_by_byte(raw))
    return list(recorder.frames)


@given(data=st.data(), masked=st.booleans())
def test_recorder_changes_nothing_of_what_the_scanner_says(
    data: st.DataObject, *, masked: bool
) -> None:
    raw = bytearray(stream(masked=masked)[:400])
    for _ in range(data.draw(st.integers(0, 2))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    recorded, plain = scanner(masked=masked), scanner(masked=masked)
    recorder = FrameRecorder(recorded, lambda: 0.0)
    for chunk in chunked(bytes(raw), data.draw(chunk_sizes)):
        cut, expected = recorder.feed(chunk), plain.feed(chunk)
        assert cut == expected
        if cut is not None and cut.violation is not None:
            break
    assert (recorded.bytes, recorded.messages) == (plain.bytes, plain.messages)


def test_frame_that_breaks_a_rule_is_not_recorded() -> None:
    recorder = FrameRecorder(scanner(masked=True), lambda: 0.0)
    hello, bad = frames.masked(frames.TEXT, b"hello"), frames.frame(frames.TEXT, b"no mask")
    assert feed(recorder, [hello + bad]) == hello
    assert seen(recorder) == [(frames.TEXT, 5, True, 0)]


def test_frame_that_is_too_big_is_not_recorded() -> None:
    recorder = FrameRecorder(scanner(masked=False, max_message=10), lambda: 0.0)
    feed(recorder, [frames.frame(frames.TEXT, b"hello") + frames.frame(frames.TEXT, b"x" * 11)])
    assert seen(recorder) == [(frames.TEXT, 5, True, 0)]


def test_answer_to_a_ping_of_ours_is_marked() -> None:
    judge = scanner(masked=False)
    judge.our_ping = b"8 bytes."
    recorder = FrameRecorder(judge, lambda: 0.0)
    text, pong = frames.frame(frames.TEXT, b"hi"), frames.frame(frames.PONG, b"8 bytes.")
    for chunks in ([text + pong + text], byte_by_byte(text + pong + text)):
        recorder.frames.clear()
        assert feed(recorder, chunks) == text + text
        assert [one.ours for one in recorder.frames] == [False, True, False]


def test_frames_that_wait_for_their_turn_are_recorded_once() -> None:
    clock = itertools.count().__next__
    recorder = FrameRecorder(scanner(masked=False), lambda: float(clock()))
    feed(recorder, [frames.frame(frames.TEXT, b"") * (MAX_FRAMES + 3)])
    assert [one.at for one in recorder.frames][-4:] == [0.0, 1.0, 1.0, 1.0]


def test_recorder_remembers_the_last_frames_alone() -> None:
    recorder = FrameRecorder(scanner(masked=False), lambda: 0.0)
    raw = b"".join(frames.frame(frames.TEXT, b"x" * n) for n in range(MOST_FRAMES + 10))
    feed(recorder, [raw])
    assert [one.length for one in recorder.frames] == list(range(10, MOST_FRAMES + 10))

"""The size of a message: told from headers alone, before any of the frame that exceeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.relay.scanner import Extensions, Scanner, Traffic
from tests.harness import frames
from tests.unit.relay.wire import (
    DIRECTIONS,
    byte_by_byte,
    chunk_sizes,
    chunked,
    frame,
    streams,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

TAIL_SIZE = 40


class Fed:
    """What became of a stream, up to the frame that was too much."""

    def __init__(
        self,
        chunks: Iterable[bytes],
        limit: int | None,
        *,
        masked: bool,
        extensions: Extensions = Extensions.NONE,
    ) -> None:
        self.traffic = Traffic()
        self.scanner = Scanner(
            masked=masked, extensions=extensions, traffic=self.traffic, max_message=limit
        )
        self.forwarded = b""
        self.too_big: int | None = None
        self.rule: str | None = None
        # What came behind the header of that frame in the same chunk.
        self.later = b""
        for chunk in chunks:
            self._feed(chunk)
            if self.too_big is not None:
                return

    def _feed(self, rest: bytes) -> None:
        while rest:
            cut = self.scanner.feed(rest)
            self.forwarded += rest if cut is None else cut.forward
            rest = b"" if cut is None else cut.later
            if cut is not None and cut.violation is not None:
                self.too_big, self.rule, self.later = cut.too_big, cut.violation, rest
                return


def ways(raw: bytes, limit: int | None, **how: object) -> list[Fed]:
    return [
        Fed([raw], limit, **how),
        Fed(byte_by_byte(raw), limit, **how),
        Fed([raw + bytes(TAIL_SIZE)], limit, **how),
    ]


@DIRECTIONS
@pytest.mark.parametrize("limit", [1, 100, 125, 126, 1000, 0xFFFF, 0x10000, 70_000])
def test_message_of_exactly_the_limit_passes(limit: int, *, masked: bool) -> None:
    raw = frame(frames.BINARY, bytes(limit), masked=masked) * 2
    for fed in (Fed([raw], limit, masked=masked), Fed(byte_by_byte(raw), limit, masked=masked)):
        assert fed.forwarded == raw
        assert fed.rule is None
        assert fed.scanner.messages == 2


@DIRECTIONS
@pytest.mark.parametrize("limit", [0, 1, 100, 125, 126, 1000, 0xFFFF, 0x10000])
def test_nothing_of_a_message_of_one_byte_more_passes(limit: int, *, masked: bool) -> None:
    before = frame(frames.TEXT, bytes(limit), masked=masked)
    raw = before + frame(frames.BINARY, bytes(limit + 1), masked=masked)
    for fed in ways(raw, limit, masked=masked):
        assert fed.forwarded == before
        assert fed.too_big == limit + 1
        assert fed.rule == f"a message is longer than {limit} bytes"
        assert fed.scanner.left == 0
        assert fed.scanner.messages == 1
        assert fed.scanner.bytes == len(before)
        assert fed.traffic.message_bytes == limit
        assert fed.traffic.opcodes[frames.BINARY] == 0


def test_header_alone_tells() -> None:
    head = frames.header(frames.BINARY, 2**40, mask=frames.MASK)
    fed = Fed([head], 1000, masked=True)
    assert (fed.forwarded, fed.too_big, fed.later) == (b"", 2**40, b"")


@DIRECTIONS
def test_payload_of_the_refused_frame_is_handed_back(*, masked: bool) -> None:
    raw = frame(frames.BINARY, b"x" * 200, masked=masked)
    fed = Fed([raw + b"tail"], 100, masked=masked)
    assert fed.too_big == 200
    assert fed.later == raw[-200:] + b"tail"


@DIRECTIONS
@pytest.mark.parametrize("last", [40, 41])
def test_fragments_are_added_up(last: int, *, masked: bool) -> None:
    parts = [
        frame(frames.TEXT, b"a" * 60, fin=False, masked=masked),
        frame(frames.PING, b"p" * 125, masked=masked),
        frame(frames.CONTINUATION, b"", fin=False, masked=masked),
        frame(frames.PONG, b"p" * 125, masked=masked),
        frame(frames.CONTINUATION, b"b" * last, masked=masked),
    ]
    raw = b"".join(parts)
    for fed in (Fed([raw], 100, masked=masked), Fed(byte_by_byte(raw), 100, masked=masked)):
        if last == 40:
            assert fed.forwarded == raw
            assert fed.rule is None
        else:
            assert fed.forwarded == b"".join(parts[:4])
            assert fed.too_big == 41


def test_fragment_that_is_not_the_last_is_refused_too() -> None:
    parts = [
        frame(frames.TEXT, b"a" * 60, fin=False, masked=True),
        frame(frames.CONTINUATION, b"b" * 60, fin=False, masked=True),
    ]
    fed = Fed([b"".join(parts)], 100, masked=True)
    assert (fed.forwarded, fed.too_big) == (parts[0], 60)


@pytest.mark.parametrize("fin", [True, False])
def test_stream_can_be_read_on_behind_the_refused_payload(*, fin: bool) -> None:
    raw = frame(frames.BINARY, bytes(200), fin=fin, masked=True)
    rest = b"" if fin else frame(frames.CONTINUATION, bytes(300), masked=True)
    rest += frame(frames.TEXT, b"t" * 500, masked=True)
    rest += frame(frames.CLOSE, frames.close_payload(1009), masked=True)
    fed = Fed([raw + rest], 100, masked=True)
    assert fed.later == raw[-200:] + rest
    cut = fed.scanner.feed(rest)
    assert cut is not None
    assert cut.violation is None
    assert fed.scanner.close is not None
    assert fed.scanner.close.code == 1009


def test_compressed_message_is_as_big_as_it_is_on_the_wire() -> None:
    for size, passes in ((100, True), (101, False)):
        raw = frame(frames.BINARY, bytes(size), rsv=4, masked=True)
        fed = Fed([raw], 100, masked=True, extensions=Extensions.DEFLATE)
        assert (fed.rule is None) is passes


def test_control_frames_have_no_such_limit() -> None:
    raw = frame(frames.PING, bytes(125), masked=True)
    raw += frame(frames.CLOSE, frames.close_payload(1000, "r" * 123), masked=True)
    assert Fed([raw], 10, masked=True).forwarded == raw


def judged(parts: list[bytes], limit: int) -> int | None:
    """How many frames pass; None when all do."""
    size = 0
    for index, part in enumerate(parts):
        parsed = frames.take(bytearray(part))
        assert parsed is not None
        if parsed.opcode >= 8:
            continue
        size += len(parsed.payload)
        if size > limit:
            return index
        if parsed.fin:
            size = 0
    return None


@pytest.mark.parametrize("extensions", Extensions)
@DIRECTIONS
@given(data=st.data(), sizes=chunk_sizes, limit=st.sampled_from((0, 1, 20, 125, 126, 1000, 70_000)))
def test_stream_passes_up_to_the_frame_that_is_too_much(
    data: st.DataObject, sizes: list[int], limit: int, extensions: Extensions, *, masked: bool
) -> None:
    parts = data.draw(streams(masked=masked, extensions=extensions))
    passing = judged(parts, limit)
    for chunks in ([b"".join(parts)] if parts else [], chunked(b"".join(parts), sizes)):
        fed = Fed(chunks, limit, masked=masked, extensions=extensions)
        assert fed.forwarded == b"".join(parts[:passing])
        assert (fed.too_big is None) is (passing is None)

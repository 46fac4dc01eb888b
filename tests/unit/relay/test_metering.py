"""Rates: what may not pass yet waits, what passes is untouched, and no more than that does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limits.buckets import TokenBucket
from proxy.relay.metering import Metering
from proxy.relay.scanner import MAX_FRAMES, Extensions, Scanner, Traffic
from tests.harness import frames
from tests.unit.relay.wire import chunk_sizes, chunked, frame, streams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.relay.scanner import Cut


class TimedMetering(Metering):
    """Metering whose clock shows what each call says."""

    def __init__(self, scanner: Scanner, **buckets: Sequence[TokenBucket]) -> None:
        self.now = 0.0
        super().__init__(scanner, **buckets, clock=lambda: self.now)

    def feed(self, data: bytes, now: float) -> Cut | None:  # type: ignore[override]
        self.now = now
        return super().feed(data)


def new_scanner() -> Scanner:
    return Scanner(masked=True, extensions=Extensions.NONE, traffic=Traffic())


def metered(*, messages: float | None = None, size: float | None = None) -> TimedMetering:
    return TimedMetering(
        new_scanner(),
        messages=() if messages is None else (TokenBucket(messages),),
        bytes=() if size is None else (TokenBucket(size),),
    )


def text(payload: bytes = b"hello") -> bytes:
    return frame(frames.TEXT, payload, masked=True)


def test_what_the_rates_allow_is_passed_on_as_read() -> None:
    metering = metered(messages=10, size=1000)
    assert metering.feed(text() * 5, 0.0) is None
    assert metering.wait(0.0, text()) == 0


def test_messages_above_the_rate_wait_at_a_frame_boundary() -> None:
    metering = metered(messages=2)
    cut = metering.feed(text() * 7, 0.0)
    assert cut is not None
    assert (cut.forward, cut.later) == (text() * 4, text() * 3)
    assert metering.wait(0.0, cut.later) == pytest.approx(0.5)
    again = metering.feed(cut.later, 0.4)
    assert again is not None
    assert (again.forward, again.later) == (b"", cut.later)
    later = metering.feed(cut.later, 1.0)
    assert later is not None
    assert (later.forward, later.later) == (text() * 2, text())


def test_bytes_above_the_rate_wait_wherever_that_is() -> None:
    metering = metered(size=10)
    raw = text(b"x" * 100)
    cut = metering.feed(raw, 0.0)
    assert cut is not None
    assert (cut.forward, cut.later) == (raw[:20], raw[20:])
    assert metering.wait(0.0, cut.later) == pytest.approx(0.1)
    cut = metering.feed(cut.later, 1.0)
    assert cut is not None
    assert (cut.forward, cut.later) == (raw[20:30], raw[30:])


def test_held_header_and_what_waits_keep_their_order() -> None:
    metering = metered(size=1)
    raw = text(b"abc")
    cut = metering.feed(raw, 0.0)
    assert cut is not None
    # Two bytes are half a header: held by the scanner; the rest waits in front of it.
    assert (cut.forward, cut.later) == (b"", raw[2:])
    cut = metering.feed(cut.later, 2.0)
    assert cut is not None
    assert (cut.forward, cut.later) == (b"", raw[4:])
    cut = metering.feed(cut.later, 4.0)
    assert cut is not None
    assert (cut.forward, cut.later) == (raw[:6], raw[6:])


def test_pings_and_fragments_are_no_messages_but_take_turns() -> None:
    metering = metered(messages=1)
    first = frame(frames.TEXT, b"", fin=False, masked=True)
    more = frame(frames.CONTINUATION, b"", fin=False, masked=True)
    last = frame(frames.CONTINUATION, b"", masked=True)
    ping = frame(frames.PING, masked=True)
    raw = first + (more + ping) * (MAX_FRAMES // 2) + last + text() + ping * 5
    cut = metering.feed(raw + text(), 0.0)
    assert cut is not None
    assert metering.wait(0.0, cut.later) == 0
    again = metering.feed(cut.later, 0.0)
    assert again is not None
    assert cut.forward + again.forward == raw
    assert again.later == text()
    assert metering.wait(0.0, again.later) == pytest.approx(1)


def test_empty_bucket_is_asked_for_by_a_byte_too() -> None:
    metering = metered(size=10)
    metering.feed(text(bytes(14)), 0.0)
    cut = metering.feed(text(), 0.05)
    assert cut is not None
    assert (cut.forward, cut.later) == (b"", text())
    assert metering.wait(0.05, cut.later) > 0


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_message_that_was_let_in_passes_whole_when_the_rate_is_used_up(size: int) -> None:
    metering = metered(messages=1)
    raw = text(bytes(900))
    assert metering.feed(text() + raw[:100], 0.0) is None
    for position in range(100, len(raw), size):
        piece = raw[position : position + size]
        assert metering.wait(0.0, piece) == 0
        assert metering.feed(piece, 0.0) is None
    cut = metering.feed(text(), 0.0)
    assert cut is not None
    assert (cut.forward, cut.later) == (b"", text())
    assert metering.wait(0.0, cut.later) > 0


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_who_has_used_up_its_rate_may_answer_pings_and_say_goodbye(size: int) -> None:
    metering = metered(messages=1)
    assert metering.feed(text() * 2, 0.0) is None
    raw = b"".join(
        frame(opcode, payload, masked=True)
        for opcode, payload in (
            (frames.PONG, b"here"),
            (frames.PING, b""),
            (frames.CLOSE, frames.close_payload(1000, "bye")),
        )
    )
    forwarded = b""
    for piece in (raw[at : at + size] for at in range(0, len(raw), size)):
        cut = metering.feed(piece, 0.0)
        forwarded += piece if cut is None else cut.forward
        assert cut is None or not cut.later
    assert forwarded == raw


@pytest.mark.parametrize(
    ("raw", "waits"),
    [(text(bytes(200)), True), (frame(frames.PONG, b"here", masked=True), False)],
)
def test_what_comes_next_is_seen_behind_half_a_header(raw: bytes, *, waits: bool) -> None:
    metering = metered(messages=1)
    metering.feed(text() * 2, 0.0)
    assert metering.feed(raw[:1], 0.0) is not None
    assert (metering.wait(0.0, raw[1:]) > 0) is waits
    cut = metering.feed(raw[1:], 0.0)
    assert cut is not None
    # The half that was held comes back with the rest.
    assert (cut.forward, cut.later) == ((b"", raw) if waits else (raw, b""))


def test_pings_of_a_flood_take_turns_where_the_rate_is_used_up() -> None:
    metering = metered(messages=1)
    ping = frame(frames.PING, masked=True)
    metering.feed(text() * 2, 0.0)
    cut = metering.feed(ping * (MAX_FRAMES + 5), 0.0)
    assert cut is not None
    assert (cut.forward, cut.later) == (ping * MAX_FRAMES, ping * 5)
    assert metering.wait(0.0, cut.later) == 0


def test_what_passed_last_is_settled_at_the_end() -> None:
    bucket = TokenBucket(1000)
    metering = TimedMetering(new_scanner(), messages=(), bytes=(bucket,))
    for _ in range(5):
        assert metering.feed(text(), 0.0) is None
    assert bucket.level(0.0) > 2000 - 5 * len(text())
    metering.settle()
    assert bucket.level(0.0) == 2000 - 5 * len(text())


def test_sessions_of_a_key_share_its_rate() -> None:
    shared = TokenBucket(5)
    one, other = (TimedMetering(new_scanner(), messages=(shared,), bytes=()) for _ in range(2))
    assert one.feed(text() * 8, 0.0) is None
    cut = other.feed(text() * 8, 0.0)
    assert cut is not None
    assert cut.forward == text() * 2
    assert one.wait(0.0, text()) == other.wait(0.0, text()) > 0


def test_who_stays_far_below_a_rate_is_settled_with_late_but_in_full() -> None:
    bucket = TokenBucket(1000)
    metering = TimedMetering(new_scanner(), messages=(bucket,), bytes=())
    for _ in range(1990):
        assert metering.feed(text(), 0.0) is None
    assert 10 < bucket.level(0.0) < 200, "what passed last is not taken out yet"
    cut = metering.feed(text() * 100, 0.0)
    assert cut is not None
    assert cut.forward == text() * 10


def test_strictest_rate_applies() -> None:
    metering = TimedMetering(
        new_scanner(), messages=(TokenBucket(50), TokenBucket(1)), bytes=(TokenBucket(1e6),)
    )
    cut = metering.feed(text() * 8, 0.0)
    assert cut is not None
    assert cut.forward == text() * 2
    assert metering.wait(0.0, cut.later) == pytest.approx(1)


def test_scanner_is_left_as_it_was() -> None:
    scanner = new_scanner()
    TimedMetering(scanner, messages=(TokenBucket(1),), bytes=()).feed(text() * 5, 0.0)
    assert scanner.max_frames == MAX_FRAMES


@pytest.mark.parametrize("rate", [5.0, 1e7])
def test_flood_is_looked_at_in_turns_however_much_may_pass(rate: float) -> None:
    scanner = new_scanner()
    cut = TimedMetering(scanner, messages=(TokenBucket(rate),), bytes=()).feed(text() * 3000, 0.0)
    assert cut is not None
    assert scanner.messages == min(MAX_FRAMES, 2 * rate)


def test_violation_is_reported_when_its_turn_comes() -> None:
    metering = metered(messages=1)
    cut = metering.feed(text() * 3 + b"\x83\x80", 0.0)
    assert cut is not None
    assert cut.violation is None
    cut = metering.feed(cut.later, 1.0)
    assert cut is not None
    assert cut.violation is not None


@settings(max_examples=30)
@given(
    parts=streams(masked=True, extensions=Extensions.NONE),
    sizes=chunk_sizes,
    messages=st.sampled_from((None, 0.5, 3.0, 100.0)),
    size=st.sampled_from((None, 20_000.0, 1e6)),
)
def test_stream_passes_untouched_no_faster_than_its_rates(
    parts: list[bytes], sizes: list[int], messages: float | None, size: float | None
) -> None:
    if messages is size is None:
        size = 1e6
    scanner, now, forwarded = new_scanner(), 0.0, b""
    metering = TimedMetering(
        scanner,
        messages=() if messages is None else (TokenBucket(messages),),
        bytes=() if size is None else (TokenBucket(size),),
    )
    for chunk in chunked(b"".join(parts), sizes):
        rest = chunk
        while rest:
            now += metering.wait(now, rest)
            cut = metering.feed(rest, now)
            forwarded += rest if cut is None else cut.forward
            rest = b"" if cut is None else cut.later
            assert cut is None or cut.violation is None
            if messages is not None:
                assert scanner.messages <= max(1, 2 * messages) + messages * now + 1e-3
            if size is not None:
                assert scanner.bytes <= 2 * size + size * now + 1
    assert forwarded == b"".join(parts)

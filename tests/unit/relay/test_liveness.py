"""Keepalive, idleness, lifetime: who is pinged, who is given up, and which pongs are ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from proxy import errors
from proxy.relay.liveness import (
    PING_SIZE,
    IdleClock,
    Keepalive,
    Liveness,
    Verdict,
    lifetime_of,
)
from proxy.relay.scanner import Cut, Extensions, Scanner, Traffic
from proxy.relay.session import Session
from tests.harness import frames
from tests.unit.relay.wire import DIRECTIONS, byte_by_byte, chunk_sizes, chunked, frame, streams

if TYPE_CHECKING:
    from tests.unit.relay.rig import Rig

INTERVAL, TIMEOUT = 20.0, 7.0
# Of sums of seconds that no float holds exactly.
ROUNDING = 1e-6
LENIENT = Keepalive(INTERVAL, TIMEOUT, strict=False)
STRICT = Keepalive(INTERVAL, TIMEOUT, strict=True)
PAYLOAD = b"\x00unguess"
MASK = b"\x11\x22\x33\x44"


class Swept:
    """A leg that is looked at once a second."""

    def __init__(self, keepalive: Keepalive = LENIENT) -> None:
        self.now = 1000.0
        self.liveness = Liveness(keepalive, self.now)
        self.received = 0
        self.pending = 0
        self.may_send = True
        self.owes = False
        # Seconds since the begin of each ping.
        self.pings: list[float] = []

    def sweep(self, seconds: int) -> bool:
        """Lets time pass; returns whether the leg was given up."""
        for _ in range(seconds):
            self.now += 1
            if self.liveness.look(self.now, self.received) and self._is_dead():
                return True
        return False

    def _is_dead(self) -> bool:
        verdict = self._verdict()
        if verdict is Verdict.PING:
            self.liveness.ping(self.now, payload=PAYLOAD, mask=None)
            self.pings.append(self.now - 1000)
            verdict = self._verdict()
            assert verdict is not Verdict.PING
        return verdict is Verdict.DEAD

    def _verdict(self) -> Verdict | None:
        return self.liveness.decide(
            self.now, pending=self.pending, may_send=self.may_send, owes=self.owes
        )

    def answers(self) -> float | None:
        return self.liveness.answered(self.now)


# Silence -------------------------------------------------------------------------------------


def test_silent_leg_is_pinged_after_the_interval() -> None:
    leg = Swept()
    assert not leg.sweep(19)
    assert not leg.pings
    leg.sweep(1)
    assert leg.pings == [20]


def test_any_byte_counts_as_life() -> None:
    leg = Swept()
    for _ in range(10):
        leg.sweep(19)
        leg.received += 1
    leg.sweep(20)
    assert not leg.pings
    leg.sweep(1)
    assert leg.pings == [211]  # The last byte was seen at 191.


def test_leg_that_answers_is_pinged_every_interval_and_never_given_up() -> None:
    leg = Swept(STRICT)
    for _ in range(5):
        leg.sweep(20)
        leg.now += 0.5
        assert leg.answers() == 0.5
    assert leg.pings == [20, 40.5, 61, 81.5, 102]


def test_leg_that_has_answered_and_falls_silent_is_given_up() -> None:
    leg = Swept()
    leg.sweep(20)
    leg.answers()
    assert not leg.sweep(20 + 6)
    assert leg.pings == [20, 40]
    assert leg.sweep(1)


def test_byte_saves_a_pinged_leg_until_it_falls_silent_again() -> None:
    leg = Swept(STRICT)
    leg.sweep(26)
    leg.received += 5
    assert not leg.sweep(20)
    assert leg.pings == [20]
    assert not leg.sweep(1 + 6)
    assert leg.pings == [20, 47]
    assert leg.sweep(1)


def test_leg_that_never_answered_is_pinged_every_interval_and_kept() -> None:
    leg = Swept()
    assert not leg.sweep(100)
    assert leg.pings == [20, 40, 60, 80, 100]


def test_leg_that_never_answered_is_given_up_when_strict() -> None:
    leg = Swept(STRICT)
    assert not leg.sweep(26)
    assert leg.sweep(1)
    assert leg.pings == [20]


def test_late_answer_makes_a_leg_one_that_answers() -> None:
    leg = Swept()
    leg.sweep(70)
    assert leg.pings == [20, 40, 60]
    leg.answers()
    assert not leg.sweep(26)
    assert leg.sweep(1)


def test_peers_time_runs_once_the_ping_has_left_our_buffer() -> None:
    leg = Swept(STRICT)
    leg.sweep(19)
    leg.may_send = True
    leg.now += 1
    assert leg.liveness.look(leg.now, 0)
    assert leg.liveness.decide(leg.now, pending=0, may_send=True, owes=False) is Verdict.PING
    leg.liveness.ping(leg.now, payload=PAYLOAD, mask=None)
    leg.pending = 10
    assert not leg.sweep(50)
    leg.pending = 0
    assert not leg.sweep(1 + 6)
    assert leg.sweep(1)
    assert not leg.pings


def test_leg_that_accepts_nothing_is_not_pinged_on_top() -> None:
    leg = Swept(STRICT)
    leg.pending = 1
    assert not leg.sweep(100)
    assert not leg.pings
    leg.pending = 0
    leg.sweep(1)
    assert leg.pings == [101]


def test_ping_waits_for_a_frame_boundary() -> None:
    leg = Swept(STRICT)
    leg.may_send = False
    assert not leg.sweep(30)
    assert not leg.pings
    leg.may_send = True
    leg.sweep(1)
    assert leg.pings == [31]


def test_clock_stands_still_while_reading_is_paused() -> None:
    leg = Swept()
    leg.sweep(15)
    leg.now += 300
    leg.liveness.stood_still(300)
    leg.sweep(4)
    assert not leg.pings
    leg.sweep(1)
    assert leg.pings == [320]


def test_clock_of_a_pinged_leg_stands_still_too() -> None:
    leg = Swept(STRICT)
    leg.sweep(25)
    leg.now += 300
    leg.liveness.stood_still(300)
    assert not leg.sweep(1)
    # How long the answer was under way cannot be told.
    assert leg.answers() is None
    leg.sweep(20)
    assert leg.pings == [20, 346]


def test_round_trip_is_measured_once_for_a_ping() -> None:
    leg = Swept()
    leg.sweep(20)
    leg.now += 0.25
    assert leg.answers() == 0.25
    assert leg.answers() is None


def test_answer_that_came_behind_data_is_still_measured() -> None:
    leg = Swept()
    leg.sweep(20)
    leg.received += 100
    leg.sweep(2)
    assert leg.answers() == 2


# Pongs that are owed -------------------------------------------------------------------------


def test_leg_that_owes_a_pong_is_not_pinged() -> None:
    leg = Swept()
    leg.owes = True
    assert not leg.sweep(60)
    assert not leg.pings
    leg.owes = False
    leg.received += 6
    leg.sweep(21)
    assert leg.pings == [81]


def test_others_ping_does_in_place_of_ours() -> None:
    leg = Swept()
    leg.sweep(20)
    leg.answers()
    leg.owes = True
    assert not leg.sweep(20 + 6)
    assert leg.sweep(1)
    assert leg.pings == [20]


def test_ping_of_the_other_side_behind_ours_changes_nothing() -> None:
    leg = Swept(STRICT)
    leg.sweep(22)
    leg.owes = True
    assert not leg.sweep(4)
    assert leg.sweep(1)


# Ping frames ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [None, MASK], ids=["client", "upstream"])
def test_ping_is_a_frame_with_the_payload(mask: bytes | None) -> None:
    liveness = Liveness(LENIENT, 0.0)
    raw = liveness.ping(20.0, payload=PAYLOAD, mask=mask)
    assert raw == frames.frame(frames.PING, PAYLOAD, mask=mask)
    assert len(PAYLOAD) == PING_SIZE


def test_every_ping_of_a_leg_carries_the_same_payload() -> None:
    liveness = Liveness(LENIENT, 0.0)
    first = liveness.ping(20.0, payload=PAYLOAD, mask=None)
    assert liveness.ping(40.0, payload=b"another!", mask=None) == first
    assert liveness.payload == PAYLOAD


# Pongs in the stream -------------------------------------------------------------------------


class Watched:
    """One direction, scanned under keepalive."""

    def __init__(self, *, masked: bool, pinged: bool = True) -> None:
        self.masked = masked
        self.traffic = Traffic()
        self.scanner = Scanner(masked=masked, extensions=Extensions.NONE, traffic=self.traffic)
        self.scanner.our_ping = PAYLOAD if pinged else None
        self.forwarded = b""
        self.answers = 0

    def feed(self, data: bytes) -> None:
        rest = data
        while rest:
            cut = self.scanner.feed(rest)
            self.forwarded += rest if cut is None else cut.forward
            rest = b"" if cut is None else cut.later
            if cut is not None:
                assert cut.violation is None
                self.answers += cut.answered

    def frame(self, opcode: int, payload: bytes = b"", **fields: object) -> bytes:
        return frame(opcode, payload, masked=self.masked, **fields)

    @property
    def ours(self) -> bytes:
        return self.frame(frames.PONG, PAYLOAD)


@DIRECTIONS
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_our_pong_is_kept_back_in_any_pieces(size: int, *, masked: bool) -> None:
    stream = Watched(masked=masked)
    before = stream.frame(frames.TEXT, b"before")
    behind = stream.frame(frames.BINARY, b"x" * 300)
    for chunk in chunked(before + stream.ours + behind, [size]):
        stream.feed(chunk)
    assert stream.forwarded == before + behind
    assert stream.answers == 1
    assert stream.scanner.bytes == len(stream.forwarded)
    assert stream.scanner.messages == 2
    assert stream.traffic.opcodes[frames.PONG] == 0
    assert not stream.scanner.truncated


@DIRECTIONS
def test_our_pong_alone_is_answered_for_at_once(*, masked: bool) -> None:
    stream = Watched(masked=masked)
    assert stream.scanner.feed(stream.ours) == Cut(b"", answered=True)
    assert stream.scanner.bytes == 0


@DIRECTIONS
def test_what_stands_behind_our_pong_waits_for_its_turn(*, masked: bool) -> None:
    stream = Watched(masked=masked)
    before, behind = stream.frame(frames.TEXT, b"a"), stream.frame(frames.TEXT, b"b")
    cut = stream.scanner.feed(before + stream.ours + behind)
    assert cut == Cut(before, later=behind, answered=True)
    assert stream.scanner.bytes == len(before)


@DIRECTIONS
def test_our_pong_between_fragments_leaves_the_message_whole(*, masked: bool) -> None:
    stream = Watched(masked=masked)
    parts = [
        stream.frame(frames.TEXT, b"one", fin=False),
        stream.ours,
        stream.frame(frames.CONTINUATION, b"two", fin=False),
        stream.ours,
        stream.frame(frames.PONG, b"theirs"),
        stream.frame(frames.CONTINUATION, b"three"),
    ]
    for byte in byte_by_byte(b"".join(parts)):
        stream.feed(byte)
    assert stream.forwarded == parts[0] + parts[2] + parts[4] + parts[5]
    assert stream.answers == 2
    assert stream.scanner.messages == 1


@DIRECTIONS
@pytest.mark.parametrize(
    "payload",
    [b"", PAYLOAD[:7], PAYLOAD + b"x", PAYLOAD[::-1], b"x" * 8, b"x" * 125],
)
def test_every_other_pong_travels(payload: bytes, *, masked: bool) -> None:
    for pinged in (True, False):
        stream = Watched(masked=masked, pinged=pinged)
        raw = stream.frame(frames.PONG, payload)
        for chunks in ([raw], byte_by_byte(raw)):
            stream.forwarded = b""
            for chunk in chunks:
                stream.feed(chunk)
            assert stream.forwarded == raw
        assert stream.answers == 0
        assert stream.traffic.opcodes[frames.PONG] == 2


@DIRECTIONS
@pytest.mark.parametrize("opcode", [frames.TEXT, frames.BINARY, frames.PING])
def test_our_payload_in_another_frame_travels(opcode: int, *, masked: bool) -> None:
    stream = Watched(masked=masked)
    raw = stream.frame(opcode, PAYLOAD)
    stream.feed(raw)
    assert stream.forwarded == raw
    assert stream.answers == 0


def test_other_pongs_and_pings_leave_the_fast_path_alone() -> None:
    stream = Watched(masked=True)
    for raw in (stream.frame(frames.PONG, b"x" * 8), stream.frame(frames.PING, PAYLOAD)):
        assert stream.scanner.feed(raw) is None


def test_pong_in_pieces_travels_at_once_when_it_cannot_be_ours() -> None:
    stream = Watched(masked=False)
    assert stream.scanner.feed(stream.frame(frames.PONG, b"x" * 9)[:5]) is None
    unpinged = Watched(masked=False, pinged=False)
    assert unpinged.scanner.feed(unpinged.ours[:5]) is None


@DIRECTIONS
def test_our_pong_behind_a_close_frame_is_kept_back_too(*, masked: bool) -> None:
    stream = Watched(masked=masked)
    close = stream.frame(frames.CLOSE, frames.close_payload(1000))
    stream.feed(close + stream.ours)
    assert stream.forwarded == close
    assert stream.scanner.close is not None


def test_pings_and_pongs_settle_what_is_owed() -> None:
    sent, received = (
        Scanner(masked=masked, extensions=Extensions.NONE, traffic=Traffic())
        for masked in (True, False)
    )
    Session(sent, received, close_timeout=5, mask=MASK, close_codes={})
    owed = sent.pongs_owed
    sent.our_ping = PAYLOAD
    received.feed(frame(frames.PING, b"a", masked=False))
    assert owed == [True, False]
    sent.feed(frame(frames.TEXT, b"no pong", masked=True))
    sent.feed(frame(frames.PONG, PAYLOAD, masked=True))  # Ours; theirs is still owed.
    assert owed == [True, False]
    sent.feed(frame(frames.PONG, b"a", masked=True))
    assert owed == [False, False]
    sent.feed(frame(frames.PING, masked=True))
    assert owed == [False, True]
    received.feed(frame(frames.PONG, masked=False))
    assert owed == [False, False]


@pytest.mark.parametrize("size", [1, 5, 10, 14])
def test_gateway_may_close_while_it_holds_a_part_of_our_pong(rig: Rig, size: int) -> None:
    rig.session.scanners[0].our_ping = PAYLOAD
    raw = rig.client.frame(frames.PONG, PAYLOAD)
    rig.client.sends(rig.client.frame(frames.TEXT, b"text"))
    relayed = rig.upstream.relayed
    rig.client.sends(raw[:size])
    rig.gateway_ends(errors.DRAINING)
    assert rig.upstream.relayed == relayed
    assert rig.client.told == rig.upstream.told == [(1001, "draining")]
    if raw[size:]:
        rig.client.sends(raw[size:])
    rig.client.sends(rig.client.close_frame(1001))
    assert rig.client.closed


@DIRECTIONS
@given(data=st.data(), sizes=chunk_sizes)
def test_stream_passes_without_our_pongs_and_with_all_else(
    data: st.DataObject, sizes: list[int], *, masked: bool
) -> None:
    parts = data.draw(streams(masked=masked, extensions=Extensions.NONE))
    stream = Watched(masked=masked)
    mixed = []
    count = 0
    for part in parts:
        ours = data.draw(st.integers(0, 2))
        mixed += [stream.ours] * ours + [part]
        count += ours
    for chunk in chunked(b"".join(mixed), sizes):
        stream.feed(chunk)
    assert stream.forwarded == b"".join(parts)
    assert stream.answers == count
    assert stream.scanner.bytes == len(stream.forwarded)


# Any order -----------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """A strict leg under whatever may happen: given up neither too soon nor too late."""

    def __init__(self) -> None:
        super().__init__()
        self.leg = Swept(STRICT)
        # When it was heard of last, and when bytes were last pending, as the sweep saw it.
        self.heard_at = 1000.0
        self.pending_at = 1000.0
        self.is_dead = False

    @rule(seconds=st.integers(1, 30))
    def time_passes(self, seconds: int) -> None:
        leg = self.leg
        for _ in range(0 if self.is_dead else seconds):
            arrives = leg.received != leg.liveness._received
            self.is_dead = leg.sweep(1)
            if arrives:
                self.heard_at = leg.now
            if leg.pending:
                self.pending_at = leg.now
            silence = leg.now - self.heard_at
            if self.is_dead:
                assert silence >= INTERVAL + TIMEOUT - ROUNDING
                return
            # A sweep late to ask, a sweep late to see that the question has left.
            assert leg.now - max(self.heard_at, self.pending_at) < INTERVAL + TIMEOUT + 2

    @rule(seconds=st.floats(0, 100))
    def reading_is_paused(self, seconds: float) -> None:
        self.leg.now += seconds
        self.heard_at += seconds
        self.pending_at += seconds
        self.leg.liveness.stood_still(seconds)

    @rule()
    def byte_arrives(self) -> None:
        self.leg.received += 1

    @rule(pending=st.sampled_from((0, 0, 10)))
    def buffer_changes(self, pending: int) -> None:
        self.leg.pending = pending

    @rule(owes=st.booleans())
    def other_side_pings(self, *, owes: bool) -> None:
        self.leg.owes = owes

    @rule()
    def answers(self) -> None:
        if self.leg.liveness.payload is not None:
            rtt = self.leg.answers()
            assert rtt is None or rtt >= 0
            self.heard_at = self.leg.now


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestAnyOrder = AnyOrder.TestCase


# Idleness and lifetime -----------------------------------------------------------------------


class Idling:
    """A session that is looked at now and then."""

    def __init__(self) -> None:
        self.sent, self.received = (
            Scanner(masked=masked, extensions=Extensions.NONE, traffic=Traffic())
            for masked in (True, False)
        )
        self.clock = IdleClock(60.0, 1000.0)

    def is_idle(self, at: float) -> bool:
        return self.clock.look(1000.0 + at, (self.sent, self.received))


def test_session_is_idle_without_a_message_for_so_long() -> None:
    session = Idling()
    assert not session.is_idle(59)
    assert session.is_idle(60)


@pytest.mark.parametrize("masked", [True, False])
def test_message_either_way_ends_idleness(*, masked: bool) -> None:
    session = Idling()
    scanner = session.sent if masked else session.received
    assert not session.is_idle(50)
    scanner.feed(frame(frames.TEXT, masked=masked))
    assert not session.is_idle(55)
    assert not session.is_idle(114)
    assert session.is_idle(115)


def test_pings_and_pongs_do_not_count() -> None:
    session = Idling()
    for at in range(1, 60):
        session.sent.feed(frame(frames.PING, b"ping", masked=True))
        session.received.feed(frame(frames.PONG, b"ping", masked=False))
        assert not session.is_idle(at)
    assert session.is_idle(60)


def test_long_message_is_no_idleness_as_long_as_it_goes_on() -> None:
    session = Idling()
    session.received.feed(frames.header(frames.BINARY, 10**6))
    for at in range(10, 200, 10):
        session.received.feed(bytes(100))
        assert not session.is_idle(at)
    assert not session.is_idle(249)
    assert session.is_idle(250)


def test_fragments_are_no_idleness_either() -> None:
    session = Idling()
    session.sent.feed(frame(frames.TEXT, b"a", fin=False, masked=True))
    for at in range(10, 200, 10):
        session.sent.feed(frame(frames.CONTINUATION, b"a", fin=False, masked=True))
        assert not session.is_idle(at)
    assert session.is_idle(250)


def test_pings_inside_a_message_do_not_count() -> None:
    session = Idling()
    session.sent.feed(frame(frames.TEXT, b"a", fin=False, masked=True))
    for at in range(1, 61):
        session.sent.feed(frame(frames.PING, b"ping", masked=True))
        assert not session.is_idle(at)
    assert session.is_idle(61)


@pytest.mark.parametrize(
    ("chance", "seconds"), [(0.0, 90), (0.25, 95), (0.5, 100), (0.999999, 110)]
)
def test_lifetime_varies_by_a_tenth(chance: float, seconds: float) -> None:
    assert lifetime_of(100, chance) == pytest.approx(seconds, abs=0.01)

"""Who is silent is asked; who answered once and is silent now is gone; nobody else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy.relay.liveness import Keepalive
from proxy.sessions.rules import SessionRules
from proxy.sessions.sweeper import Sweeper
from tests.harness import frames
from tests.unit.sessions.scene import (
    CLIENT,
    CLIENT_CLOSE,
    CLOSE_TIMEOUT,
    HELLO,
    REPLY,
    RULES,
    UPSTREAM,
    UPSTREAM_CLOSE,
    Scene,
    make,
)

if TYPE_CHECKING:
    from proxy.relay.commands import Side

NOISE = bytes(range(1, 9))
PING = frames.frame(frames.PING, NOISE)
MASKED_PING = frames.frame(frames.PING, NOISE, mask=NOISE[:4])
ANSWERS = {CLIENT: frames.masked(frames.PONG, NOISE), UPSTREAM: frames.frame(frames.PONG, NOISE)}
SIDES = pytest.mark.parametrize("side", [CLIENT, UPSTREAM])
QUICK = Keepalive(interval=5, timeout=3, strict=False)


def close(code: int, reason: str, *, mask: bytes | None = None) -> bytes:
    return frames.frame(frames.CLOSE, frames.close_payload(code, reason), mask=mask)


class Swept:
    """A session that is swept once a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **how: Any) -> None:
        self.scene: Scene = make(monkeypatch, **how)
        self.sweeper = Sweeper(
            self.scene.registry,
            wall=self.scene.house.wall,
            noise=lambda size: NOISE[:size],
            loop=self.scene.loop,  # type: ignore[arg-type]
        )

    def lasts(self, seconds: int) -> None:
        for _ in range(seconds):
            self.scene.loop.advance(1)
            self.sweeper.sweep(self.scene.loop.now)

    def told(self, side: Side) -> bytes:
        """What a side was sent since the last call."""
        transport = self.scene.transports[side]
        told, transport.written = transport.written, b""
        return told

    @property
    def reason(self) -> str:
        return self.scene.session.state.reason

    @property
    def answered(self) -> list[int]:
        return [sum(histogram.counts) for histogram in self.scene.registry.ping_rtt]


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> Swept:
    return Swept(monkeypatch, keepalive=QUICK)


def test_silent_legs_are_asked_after_the_interval_and_not_before(swept: Swept) -> None:
    swept.lasts(4)
    assert (swept.told(CLIENT), swept.told(UPSTREAM)) == (b"", b"")
    swept.lasts(1)
    assert (swept.told(CLIENT), swept.told(UPSTREAM)) == (PING, MASKED_PING)


def test_leg_that_speaks_is_not_asked(swept: Swept) -> None:
    for _ in range(6):
        swept.lasts(2)
        swept.scene.receives(CLIENT, HELLO)
    assert PING not in swept.told(CLIENT)
    assert MASKED_PING in swept.told(UPSTREAM)


@SIDES
def test_answer_is_kept_back_and_timed(swept: Swept, side: Side) -> None:
    swept.lasts(5)
    for transport in swept.scene.transports:
        transport.written = b""
    swept.scene.loop.advance(0.25)
    swept.scene.receives(side, ANSWERS[side])
    assert swept.told(side.other) == b""
    assert swept.answered == [side is CLIENT, side is UPSTREAM]
    liveness = swept.scene.session.legs[side].liveness
    assert liveness is not None
    assert liveness.rtt == 0.25


@SIDES
def test_answer_in_pieces_between_messages_is_kept_back_alone(swept: Swept, side: Side) -> None:
    swept.lasts(5)
    swept.told(side.other)
    before, behind = (HELLO, HELLO) if side is CLIENT else (REPLY, REPLY)
    for byte in before + ANSWERS[side] + behind:
        swept.scene.receives(side, bytes([byte]))
        swept.scene.loop.advance()
    assert swept.told(side.other) == before + behind
    assert sum(swept.answered) == 1


@SIDES
def test_pongs_that_nobody_asked_for_travel(swept: Swept, side: Side) -> None:
    other = frames.masked if side is CLIENT else frames.frame
    pong = other(frames.PONG, b"87654321")
    swept.scene.receives(side, pong)
    assert swept.told(side.other) == pong
    assert swept.answered == [0, 0]


@pytest.mark.parametrize(
    ("side", "reason", "code", "level"),
    [
        (CLIENT, "client_timeout", 1008, "info"),
        (UPSTREAM, "upstream_timeout", 1012, "warning"),
    ],
)
def test_leg_that_answered_once_and_falls_silent_is_gone(
    swept: Swept, side: Side, reason: str, code: int, level: str
) -> None:
    swept.lasts(5)
    swept.scene.receives(side, ANSWERS[side])
    for _ in range(10):
        if swept.reason:
            break
        other = REPLY if side is CLIENT else HELLO
        swept.scene.receives(side.other, other)
        swept.lasts(1)
    assert swept.reason == reason
    assert swept.told(CLIENT).endswith(close(code, reason))
    if side is CLIENT:
        assert swept.told(UPSTREAM).endswith(close(1001, "peer_error", mask=bytes(4)))
    else:
        assert swept.scene.upstream.aborted
    swept.scene.gone()
    told, line = swept.scene.closed_line
    assert told == level
    assert (line["initiator"], line["code"], line["reason"]) == ("gateway", code, reason)


def test_leg_that_never_answered_is_asked_for_ever(swept: Swept) -> None:
    swept.lasts(60)
    assert swept.reason == ""
    assert swept.told(CLIENT).count(PING) > 5


def test_strict_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = Swept(monkeypatch, keepalive=Keepalive(interval=5, timeout=3, strict=True))
    swept.lasts(8)
    assert swept.reason == "client_timeout"


def test_nothing_is_put_into_a_frame_that_is_under_way(swept: Swept) -> None:
    half = frames.frame(frames.BINARY, bytes(100))[:50]
    swept.scene.receives(UPSTREAM, half)
    swept.lasts(30)
    assert swept.told(CLIENT) == half


@SIDES
def test_ping_follows_the_frame_that_was_under_way(swept: Swept, side: Side) -> None:
    whole = (frames.frame if side is UPSTREAM else frames.masked)(frames.BINARY, bytes(100))
    swept.scene.receives(side, whole[:50])
    swept.lasts(20)
    swept.told(side.other)
    swept.scene.receives(side, whole[50:])
    swept.lasts(1)
    ping = PING if side is UPSTREAM else MASKED_PING
    assert swept.told(side.other) == whole[50:] + ping


@pytest.mark.parametrize("end", ["client's Close", "upstream's Close", "client's FIN"])
def test_nothing_is_sent_behind_a_close_or_an_end(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    # Strict: they would be ended, too, if they were asked.
    swept = Swept(monkeypatch, keepalive=Keepalive(1, 1, strict=True))
    if end == "client's Close":
        swept.scene.receives(CLIENT, CLIENT_CLOSE)
    elif end == "upstream's Close":
        swept.scene.receives(UPSTREAM, UPSTREAM_CLOSE)
    else:
        swept.scene.fin(CLIENT)
    before = swept.told(CLIENT), swept.told(UPSTREAM)
    swept.lasts(int(CLOSE_TIMEOUT) - 1)
    assert not any(transport.is_closing() for transport in swept.scene.transports)
    assert (swept.told(CLIENT), swept.told(UPSTREAM)) == (b"", b""), before
    assert swept.scene.session.state.initiator == ("upstream" if "up" in end else "client")


@SIDES
def test_ping_that_passed_before_the_first_look_is_remembered(swept: Swept, side: Side) -> None:
    ping = frames.masked if side is CLIENT else frames.frame
    swept.scene.receives(side, ping(frames.PING, b"theirs"))
    swept.told(side.other)
    swept.lasts(5)
    assert swept.told(side.other) == b"", "it owes a pong: one ping at a time"
    swept.scene.receives(side.other, ANSWERS[side.other])
    swept.lasts(6)
    assert swept.told(side.other) in {PING, MASKED_PING}


def test_leg_that_takes_nothing_is_not_asked(swept: Swept) -> None:
    swept.scene.client.pending = 10
    swept.lasts(10)
    assert swept.told(CLIENT) == b""


def test_socket_that_closes_is_left_alone(swept: Swept) -> None:
    swept.scene.client.closed = True
    swept.lasts(10)
    assert swept.told(CLIENT) == b""


def test_clock_stands_still_while_a_leg_is_not_read(swept: Swept) -> None:
    swept.lasts(5)
    swept.scene.receives(CLIENT, ANSWERS[CLIENT])
    swept.scene.receives(UPSTREAM, REPLY)
    leg = swept.scene.session.legs[UPSTREAM]
    leg.pause_writing()  # The upstream is slow: the client is not read.
    swept.lasts(29)
    assert swept.reason == ""
    leg.resume_writing()
    swept.told(CLIENT)
    swept.lasts(4)
    assert swept.told(CLIENT) == b"", "the silence was not its own"


def test_pause_that_lasts_is_told_while_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = Swept(monkeypatch, keepalive=None, write_timeout=None)
    backpressure = swept.scene.registry.totals["chat"].backpressure
    client, leg = swept.scene.session.legs
    began = swept.scene.loop.time()
    leg.pause_writing()
    swept.lasts(3)
    assert backpressure == [3.0, 0.0]
    assert client.paused_at == began, "the console tells of the whole pause"
    swept.scene.loop.advance(0.5)
    leg.resume_writing()
    assert backpressure == [3.5, 0.0]
    assert client.paused_at is None
    swept.lasts(2)
    assert backpressure == [3.5, 0.0]


def test_silence_before_the_first_look_is_not_that_of_a_leg_not_read(swept: Swept) -> None:
    leg = swept.scene.session.legs[UPSTREAM]
    leg.pause_writing()
    swept.scene.loop.advance(500)
    swept.lasts(2)
    leg.resume_writing()
    swept.told(CLIENT)
    swept.lasts(2)
    assert swept.reason == ""
    assert swept.told(CLIENT) == b""


# Idle time and lifetimes ---------------------------------------------------------------------


def test_session_is_idle_when_no_message_passes_whatever_pings_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swept = Swept(monkeypatch, idle_timeout=5.0, keepalive=None)
    for _ in range(4):
        swept.lasts(1)
        swept.scene.receives(CLIENT, frames.masked(frames.PING, b"x"))
    assert swept.reason == ""
    swept.lasts(1)
    assert swept.reason == "idle_timeout"
    assert swept.told(CLIENT) == close(1001, "idle_timeout")
    assert swept.told(UPSTREAM).endswith(close(1001, "idle_timeout", mask=bytes(4)))


def test_message_begins_the_idle_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = Swept(monkeypatch, idle_timeout=5.0)
    for _ in range(5):
        swept.lasts(4)
        swept.scene.receives(UPSTREAM, REPLY)
    assert swept.reason == ""


def test_session_lives_as_long_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = Swept(monkeypatch, max_lifetime=100.0, write_timeout=None)
    swept.lasts(99)
    assert swept.reason == ""
    swept.lasts(1)
    assert swept.reason == "max_lifetime"


def test_codes_of_the_configuration_are_on_the_wire_and_in_the_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swept = Swept(monkeypatch, max_lifetime=2.0, close_codes={"max_lifetime": 4001})
    swept.lasts(2)
    state = swept.scene.session.state
    assert (state.code, state.reason) == (4001, "max_lifetime")
    assert swept.told(CLIENT) == close(4001, "max_lifetime")
    assert swept.told(UPSTREAM) == close(4001, "max_lifetime", mask=bytes(4))
    swept.scene.gone()
    assert swept.scene.closed_line[1]["code"] == 4001


# Rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "every"),
    [
        ({}, 3),
        ({"write_timeout": None}, 1),
        ({"write_timeout": 5.0}, 1),
        ({"write_timeout": 600.0}, 10),
        ({"write_timeout": 600.0, "keepalive": Keepalive(60, 40, strict=False)}, 4),
        ({"write_timeout": 600.0, "idle_timeout": 20.0}, 2),
    ],
)
def test_legs_are_looked_at_as_often_as_the_shortest_deadline_asks(
    rules: dict[str, Any], every: int
) -> None:
    made = {name: getattr(RULES, name) for name in RULES.__slots__ if name != "look_every"}
    assert SessionRules(**{**made, **rules}).look_every == every

"""A client that may send only so fast: it is read more slowly, or closed; no byte is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import errors
from proxy.limits.buckets import TokenBucket
from proxy.limits.limit import Limit
from proxy.relay.liveness import Keepalive
from proxy.relay.scanner import MAX_FRAMES
from proxy.sessions.recorder import Recorders
from proxy.sessions.rules import MeteredRate, SessionLimits
from proxy.sessions.sweeper import Sweeper
from tests.harness import frames
from tests.unit.sessions.scene import (
    CLIENT,
    CLIENT_CLOSE,
    REPLY,
    UPSTREAM,
    UPSTREAM_CLOSE,
    Scene,
    make,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

MESSAGES = Limit("messages_per_second", 2, "limits.messages_per_second")
BYTES = Limit("bytes_per_second", 100, "routes.chat.limits.bytes_per_second")


def limits(*rates: Limit, closes: bool = False) -> SessionLimits:
    return SessionLimits(
        rates=tuple(
            MeteredRate(
                "messages" if limit.name == MESSAGES.name else "bytes",
                limit,
                TokenBucket(limit.value),
            )
            for limit in rates
        ),
        closes=closes,
    )


def text(payload: bytes = b"hello") -> bytes:
    return frames.masked(frames.TEXT, payload)


def test_excess_waits_and_the_socket_is_not_read_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES))
    scene.receives(CLIENT, text() * 6)
    assert scene.upstream.written == text() * 4
    assert not scene.client.reading
    scene.loop.advance(0.5)
    assert scene.upstream.written == text() * 5
    scene.loop.advance(0.5)
    assert scene.upstream.written == text() * 6
    assert scene.client.reading
    assert scene.registry.limited == {("chat", "messages_per_second"): 1}
    (line,) = scene.log.events("limited")
    assert line["set_in"] == "limits.messages_per_second"


@pytest.mark.parametrize("closes", [True, False])
def test_clock_that_goes_on_within_a_turn_lets_nobody_drip_through(
    monkeypatch: pytest.MonkeyPatch, *, closes: bool
) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES._replace(value=1000), closes=closes))

    def time() -> float:  # As asyncio's own loop tells it, on a slow machine.
        scene.loop.now += 0.002
        return scene.loop.now

    monkeypatch.setattr(scene.loop, "time", time)
    scene.receives(CLIENT, text() * 3000)
    for _ in range(10):
        scene.loop.turn()
    assert scene.registry.limited == {("chat", "messages_per_second"): 1}
    assert (scene.session.state.reason == "message_rate") is closes
    assert closes or not scene.client.reading


def test_other_direction_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES))
    reply = frames.frame(frames.TEXT, b"reply")
    scene.receives(UPSTREAM, reply * 50)
    assert scene.client.written == reply * 50


def test_limit_that_is_told_is_the_one_that_is_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES._replace(value=1000), BYTES))
    scene.receives(CLIENT, text(bytes(500)))
    assert len(scene.upstream.written) == 200
    (line,) = scene.log.events("limited")
    assert (line["limit"], line["value"]) == ("bytes_per_second", 100)


@pytest.mark.parametrize("half_close", [True, False])
def test_what_waits_is_passed_on_when_the_client_leaves(
    monkeypatch: pytest.MonkeyPatch, *, half_close: bool
) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES), half_close=half_close)
    scene.receives(CLIENT, text() * 6)
    if half_close:
        scene.fin(CLIENT)
    else:
        scene.lost(CLIENT)
    assert scene.upstream.written == text() * 6


def test_client_that_is_closed_hears_why_between_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, limits=limits(BYTES, closes=True))
    message = text(bytes(500))
    scene.receives(CLIENT, message + text(b"and more"))
    assert scene.client.written == frames.frame(
        frames.CLOSE, frames.close_payload(1008, "message_rate")
    )
    scene.loop.advance(0)
    told = frames.frame(frames.CLOSE, frames.close_payload(1001, "peer_error"), mask=bytes(4))
    assert scene.upstream.written == message + told, "the frame under way is whole"
    assert scene.registry.limited == {("chat", "bytes_per_second"): 1}
    scene.receives(CLIENT, CLIENT_CLOSE)
    assert scene.client.closed
    scene.gone()
    _, line = scene.closed_line
    assert (line["initiator"], line["code"], line["reason"]) == ("gateway", 1008, "message_rate")
    assert len(scene.log.events("limited")) == 1


def test_client_that_is_closed_between_frames_has_its_last_ones_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES, closes=True))
    scene.receives(CLIENT, text() * 6)
    scene.loop.advance(0)
    told = frames.frame(frames.CLOSE, frames.close_payload(1001, "peer_error"), mask=bytes(4))
    assert scene.upstream.written == text() * 4 + told


@pytest.mark.parametrize("waiting", [text() * 3, text() * 3 + CLIENT_CLOSE])
def test_answer_of_a_client_that_waits_is_heard_when_the_gateway_ends_the_session(
    monkeypatch: pytest.MonkeyPatch, waiting: bytes
) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES._replace(value=0.05)))
    scene.receives(CLIENT, waiting)
    assert not scene.client.reading
    scene.session.end(errors.DRAINING)
    scene.loop.advance(0)
    if not waiting.endswith(CLIENT_CLOSE):
        assert scene.client.reading
        scene.receives(CLIENT, CLIENT_CLOSE)
    assert (scene.client.closed, scene.client.aborted) == (True, False)
    scene.loop.advance(100)  # The bucket is full again, which is of no matter.


@pytest.mark.parametrize("early", [True, False])
def test_answer_of_a_client_that_waits_passes_when_the_upstream_closes(
    monkeypatch: pytest.MonkeyPatch, *, early: bool
) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES._replace(value=0.05)))
    sent = text() * 2000 + CLIENT_CLOSE
    scene.receives(CLIENT, sent if early else text() * 3)
    assert scene.upstream.written == text()
    scene.receives(UPSTREAM, UPSTREAM_CLOSE)
    scene.loop.advance(0)
    if not early:
        assert scene.upstream.written == text() * 3
        assert scene.client.reading
        sent = text() * 3 + CLIENT_CLOSE
        scene.receives(CLIENT, CLIENT_CLOSE)
    assert scene.upstream.written == sent
    assert (scene.client.closed, scene.client.aborted) == (True, False)
    scene.loop.advance(100)  # The bucket is full again, which is of no matter.


def test_what_stands_behind_the_last_close_exceeds_no_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES))
    scene.receives(UPSTREAM, UPSTREAM_CLOSE)
    scene.receives(CLIENT, text() * 4 + CLIENT_CLOSE + text())
    scene.loop.advance(0)
    assert scene.client.closed
    assert scene.upstream.written.startswith(text() * 4 + CLIENT_CLOSE)
    assert scene.log.events("limited") == []


def test_message_that_is_too_big_is_told_as_the_limit_it_exceeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    largest = Limit("message_size", 50, "limits.message_size")
    scene = make(monkeypatch, limits=limits(BYTES)._replace(message_sizes=(largest, None)))
    scene.receives(CLIENT, text(bytes(294)))
    assert scene.session.state.reason == "message_too_big"
    assert scene.registry.limited == {("chat", "message_size"): 1}
    (line,) = scene.log.events("limited")
    assert (line["limit"], line["set_in"]) == ("message_size", "limits.message_size")


@pytest.mark.parametrize("reset", [True, False])
def test_what_waits_of_a_tls_client_goes_with_a_reset_and_passes_with_a_good_end(
    monkeypatch: pytest.MonkeyPatch, *, reset: bool
) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES), half_close=False)
    scene.receives(CLIENT, text() * 6)
    assert scene.client.reading, "it loses what it holds when it is not read"
    scene.receives(CLIENT, text(b"later"))
    if reset:
        scene.lost(CLIENT, ConnectionResetError())
        assert scene.upstream.written == text() * 4
        return
    assert scene.fin(CLIENT) is False
    scene.lost(CLIENT)
    assert scene.upstream.written == text() * 6 + text(b"later")


def test_turns_are_taken_where_the_rate_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES._replace(value=1e6)))
    stream = text(b"") * (MAX_FRAMES + 5)
    scene.receives(CLIENT, stream)
    assert scene.upstream.written == text(b"") * MAX_FRAMES
    scene.loop.advance(0)
    assert scene.upstream.written == stream
    assert scene.log.events("limited") == []


def test_client_that_waits_behind_a_slow_reader_is_read_when_both_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES))
    scene.receives(CLIENT, text() * 5)
    scene.upstream.protocol.pause_writing()
    scene.loop.advance(5)
    assert scene.upstream.written == text() * 5
    assert not scene.client.reading
    scene.upstream.protocol.resume_writing()
    assert scene.client.reading


def test_session_may_end_while_its_client_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES))
    scene.receives(CLIENT, text() * 6)
    scene.session.abort()
    scene.gone()
    scene.loop.advance(5)
    assert scene.upstream.written == text() * 4
    assert len(scene.registry) == 0


def test_time_of_waiting_is_no_silence_of_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    keepalive = Keepalive(interval=5, timeout=5, strict=False)
    scene = make(monkeypatch, limits=limits(MESSAGES), keepalive=keepalive)
    sweeper = Sweeper(
        scene.registry,
        wall=scene.house.wall,
        noise=bytes,
        loop=scene.loop,  # type: ignore[arg-type]
    )
    scene.loop.advance(5)
    sweeper.sweep(scene.loop.now)
    assert scene.client.written == frames.frame(frames.PING, bytes(8))
    scene.upstream.written = b""
    scene.receives(CLIENT, text() * 6 + frames.masked(frames.PONG, bytes(8)))
    scene.loop.advance(5)
    assert scene.upstream.written == text() * 6, "the answer is kept back"
    liveness = scene.session.legs[CLIENT].liveness
    assert liveness is not None
    assert (liveness.rtt, sum(scene.registry.ping_rtt[CLIENT].counts)) == (None, 0)


def test_client_that_waits_for_long_is_not_taken_for_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keepalive = Keepalive(interval=2, timeout=2, strict=True)
    slow = limits(MESSAGES._replace(value=0.05))
    scene = make(monkeypatch, limits=slow, keepalive=keepalive)
    sweeper = Sweeper(
        scene.registry,
        wall=scene.house.wall,
        noise=bytes,
        loop=scene.loop,  # type: ignore[arg-type]
    )
    scene.receives(CLIENT, text() * 2)
    for _ in range(19):
        scene.receives(UPSTREAM, REPLY)
        scene.loop.advance(1)
        sweeper.sweep(scene.loop.now)
    assert (scene.session.state.reason, scene.upstream.written) == ("", text())
    assert scene.client.written == REPLY * 19, "nor is it pinged"
    scene.loop.advance(1)
    for _ in range(5):  # From here on it is read, and silent of its own.
        scene.receives(UPSTREAM, REPLY)
        sweeper.sweep(scene.loop.now)
        scene.loop.advance(1)
    assert scene.session.state.reason == "client_timeout"


def test_somebody_who_watches_sees_what_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES))
    recorder = Recorders(scene.house.deadlines, scene.loop).look(scene.session)
    sizes = range(1, 7)
    stream = b"".join(text(bytes(size)) for size in sizes)
    scene.receives(CLIENT, stream)
    scene.loop.advance(2)
    assert scene.upstream.written == stream
    assert [frame.length for _, frame in recorder.frames()][::-1] == list(sizes)
    recorder.stop()
    scene.receives(CLIENT, text() * 6)
    scene.loop.advance(0.5)
    assert len(scene.upstream.written) < len(stream + text() * 6), "its rates hold as before"
    scene.loop.advance(5)
    assert scene.upstream.written == stream + text() * 6
    assert len(recorder.frames()) == len(sizes)


def test_client_that_waits_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = limits(MESSAGES._replace(value=0.05))
    scene = make(monkeypatch, limits=slow, idle_timeout=5.0)
    sweeper = Sweeper(
        scene.registry,
        wall=scene.house.wall,
        noise=bytes,
        loop=scene.loop,  # type: ignore[arg-type]
    )
    scene.receives(CLIENT, text() * 2)

    def lasts(seconds: int) -> str:
        for _ in range(seconds):
            scene.loop.advance(1)
            sweeper.sweep(scene.loop.now)
        return scene.session.state.reason

    assert (lasts(24), scene.upstream.written) == ("", text() * 2)
    assert lasts(3) == "idle_timeout"


def test_client_is_not_closed_for_the_rest_of_a_message_or_for_what_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES, closes=True))
    stream = text() * 3 + text(bytes(500)) + frames.masked(frames.PONG, b"here") + CLIENT_CLOSE
    for at in range(0, len(stream), 100):
        scene.receives(CLIENT, stream[at : at + 100])
        scene.loop.advance(0)
    assert scene.upstream.written == stream
    assert scene.session.state.initiator == "client"
    assert scene.log.events("limited") == []


def test_what_a_session_sent_is_missing_in_the_bucket_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = TokenBucket(100_000)
    shared = SessionLimits(rates=(MeteredRate("bytes", BYTES, bucket),))
    scene = make(monkeypatch, limits=shared)
    for _ in range(10):
        scene.receives(CLIENT, text(bytes(500)))
    scene.lost(CLIENT)
    scene.gone()
    assert bucket.level(scene.loop.now) == pytest.approx(200_000 - 10 * len(text(bytes(500))))


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=12),
    cuts=st.lists(st.integers(1, 200), min_size=1, max_size=30),
    rates=st.sampled_from([(MESSAGES,), (BYTES,), (MESSAGES, BYTES)]),
    waits=st.lists(st.floats(0, 2), min_size=1, max_size=30),
)
def test_stream_arrives_whole_and_in_order_however_it_is_cut(
    sizes: list[int], cuts: list[int], rates: Sequence[Limit], waits: list[float]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        scene = _made(patch, rates)
        stream = b"".join(text(bytes([number]) * size) for number, size in enumerate(sizes))
        position, turn = 0, 0
        while position < len(stream):
            size = cuts[turn % len(cuts)]
            if scene.client.reading:
                scene.receives(CLIENT, stream[position : position + size])
                position += size
            scene.loop.advance(waits[turn % len(waits)] + 0.01)
            turn += 1
            assert stream.startswith(scene.upstream.written)
        scene.loop.advance(1000)
        assert scene.upstream.written == stream
        assert scene.client.reading


def _made(patch: pytest.MonkeyPatch, rates: Sequence[Limit]) -> Any:
    scene: Scene = make(patch, limits=limits(*rates))
    patch.setattr(asyncio, "get_running_loop", lambda: scene.loop)
    return scene

"""A client that may send only so fast: it is read more slowly, or closed; no byte is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limits.buckets import TokenBucket
from proxy.limits.limit import Limit
from proxy.relay.liveness import Keepalive
from proxy.sessions.rules import MeteredRate, SessionLimits
from tests.harness import frames
from tests.unit.sessions.scene import CLIENT, UPSTREAM, Scene, make

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.relay.scanner import Cut

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
    scene.receives(CLIENT, message)
    assert scene.session.state.reason == "message_rate"
    assert b"message_rate" in scene.client.written
    scene.loop.advance(0)
    assert scene.upstream.written.startswith(message), "the frame under way is whole"
    assert scene.upstream.written.count(b"peer_error") == 0 or len(scene.upstream.written) > len(
        message
    )
    assert scene.registry.limited == {("chat", "bytes_per_second"): 1}


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
    liveness = scene.session.legs[CLIENT].liveness
    assert liveness is not None
    scene.receives(CLIENT, text() * 6)
    assert not liveness.look(scene.loop.now, scene.session.state.scanners[CLIENT].bytes)
    scene.loop.advance(1)
    received = scene.session.state.scanners[CLIENT].bytes
    liveness.look(scene.loop.now, received)
    assert not liveness.look(scene.loop.now + 4.9, received)


def test_somebody_who_watches_sees_what_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, limits=limits(MESSAGES))
    seen: list[bytes] = []
    scanner = scene.session.state.scanners[CLIENT]

    def watch(data: bytes) -> Cut | None:
        seen.append(data)
        return scanner.feed(data)

    scene.session.legs[CLIENT].feed_by(watch)
    scene.receives(CLIENT, text() * 6)
    scene.loop.advance(2)
    assert b"".join(seen).startswith(text() * 4)
    assert scene.upstream.written == text() * 6


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

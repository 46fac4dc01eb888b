"""The legs: a slow reader stops its peer, and a flood of frames takes turns with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import errors
from proxy.relay.scanner import MAX_FRAMES
from tests.harness import frames
from tests.unit.sessions.scene import (
    CLIENT,
    CLIENT_CLOSE,
    HELLO,
    UPSTREAM,
    Scene,
)

if TYPE_CHECKING:
    import pytest

# Back-pressure -------------------------------------------------------------------------------


def test_slow_reader_stops_its_peer_and_time_is_counted(scene: Scene) -> None:
    scene.client.protocol.pause_writing()
    assert not scene.upstream.reading
    assert scene.client.reading
    scene.client.protocol.pause_writing()
    scene.loop.advance(1.5)
    scene.client.protocol.resume_writing()
    assert scene.upstream.reading
    scene.client.protocol.resume_writing()
    assert scene.registry.totals["chat"].backpressure == [0.0, 1.5]


def test_pauses_are_minded_while_ending_too(scene: Scene) -> None:
    scene.session.end(errors.DRAINING)
    scene.upstream.protocol.pause_writing()
    assert not scene.client.reading
    scene.loop.advance(1)
    scene.upstream.protocol.resume_writing()
    assert scene.client.reading
    assert scene.registry.totals["chat"].backpressure == [1.0, 0.0]


def test_reader_that_is_gone_keeps_nobody_waiting(scene: Scene) -> None:
    scene.client.protocol.pause_writing()
    scene.lost(CLIENT, ConnectionResetError())
    assert scene.upstream.reading


def test_peer_that_is_gone_is_not_read_again(scene: Scene) -> None:
    scene.client.protocol.pause_writing()
    scene.lost(UPSTREAM)
    scene.client.protocol.resume_writing()
    assert not scene.upstream.reading


# Fairness ------------------------------------------------------------------------------------


def test_many_small_frames_are_taken_in_turns_and_in_order(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = b"".join(
        frames.masked(frames.TEXT, n.to_bytes(2, "big")) for n in range(2 * MAX_FRAMES + 5)
    )
    resumed: list[int] = []
    monkeypatch.setattr(
        scene.client, "resume_reading", lambda: resumed.append(len(scene.upstream.written))
    )
    scene.receives(CLIENT, read)
    assert scene.upstream.written == read[: MAX_FRAMES * 8]
    assert not scene.client.reading
    scene.loop.advance()
    assert scene.upstream.written == read
    assert resumed == [len(read)]
    assert scene.session.state.scanners[CLIENT].bytes == len(read)


def test_paused_sender_stays_paused_behind_its_turns(scene: Scene) -> None:
    read = frames.masked(frames.PING) * (MAX_FRAMES + 1)
    scene.receives(CLIENT, read)
    scene.upstream.protocol.pause_writing()
    scene.upstream.protocol.resume_writing()
    assert not scene.client.reading  # The rest of its read comes first.
    scene.upstream.protocol.pause_writing()
    scene.loop.advance()
    assert scene.upstream.written == read
    assert not scene.client.reading  # The upstream is slow still.
    scene.upstream.protocol.resume_writing()
    assert scene.client.reading


def test_rest_of_a_read_is_the_ending_sessions_to_judge(scene: Scene) -> None:
    scene.receives(CLIENT, frames.masked(frames.PING) * MAX_FRAMES + HELLO + CLIENT_CLOSE)
    scene.session.end(errors.DRAINING)
    scene.loop.advance()
    assert HELLO not in scene.upstream.written
    assert scene.client.closed


def test_rest_of_a_read_dies_with_its_socket(scene: Scene) -> None:
    scene.receives(CLIENT, frames.masked(frames.PING) * MAX_FRAMES + HELLO)
    scene.lost(CLIENT, ConnectionResetError())
    scene.loop.advance()
    assert HELLO not in scene.upstream.written


def test_many_frames_of_an_ending_session_are_read_at_once(scene: Scene) -> None:
    scene.session.end(errors.DRAINING)
    scene.receives(CLIENT, frames.masked(frames.PING) * (3 * MAX_FRAMES) + CLIENT_CLOSE)
    assert scene.client.closed

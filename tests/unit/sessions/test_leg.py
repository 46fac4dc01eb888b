"""The legs: a slow reader stops its peer, and a flood of frames takes turns with others."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors
from proxy.relay.scanner import MAX_FRAMES
from proxy.sessions import leg
from proxy.sessions.leg import MAX_WAITING
from tests.harness import frames
from tests.unit.sessions.scene import (
    CLIENT,
    CLIENT_CLOSE,
    HELLO,
    UPSTREAM,
    Scene,
    make,
)

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


# A peer that is gone while it is not read ----------------------------------------------------


class Told(NamedTuple):
    """What the kernel says of a socket, told by the tests."""

    reset: bool
    finished: bool

    def __call__(self, _sock: Any, *, or_half: bool) -> bool:
        return self.reset or (self.finished and or_half)


def kernel_tells(told: Told, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leg, "is_over", told)
    monkeypatch.setattr(scene.client, "get_extra_info", lambda _: object())


LIVES, FINISHED, RESET = Told(False, False), Told(False, True), Told(True, True)


@pytest.mark.parametrize(("told", "reads"), [(LIVES, False), (FINISHED, False), (RESET, True)])
def test_peer_of_a_slow_reader_is_read_again_when_it_is_reset(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, told: Told, *, reads: bool
) -> None:
    kernel_tells(told, scene, monkeypatch)
    scene.upstream.protocol.pause_writing()
    scene.session.legs[CLIENT].notice_end()
    assert scene.client.reading is reads


@pytest.mark.parametrize(("told", "reads"), [(LIVES, False), (FINISHED, True), (RESET, True)])
def test_peer_whose_bytes_wait_is_read_again_when_it_has_gone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, told: Told, *, reads: bool
) -> None:
    kernel_tells(told, scene, monkeypatch)
    scene.receives(CLIENT, frames.masked(frames.TEXT, b"") * (MAX_FRAMES + 1))
    assert not scene.client.reading
    scene.session.legs[CLIENT].notice_end()
    assert scene.client.reading is reads


def test_socket_that_closes_is_not_asked(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_tells(RESET, scene, monkeypatch)
    scene.upstream.protocol.pause_writing()
    scene.client.closed = True
    scene.session.legs[CLIENT].notice_end()
    assert not scene.client.reading


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


def test_what_cannot_travel_any_more_is_not_counted(scene: Scene) -> None:
    scene.receives(CLIENT, FLOOD)
    scene.upstream.close()
    scene.lost(CLIENT)
    assert scene.session.state.scanners[CLIENT].bytes == MAX_FRAMES * 6


def test_many_frames_of_an_ending_session_are_looked_at_in_turns(scene: Scene) -> None:
    scene.session.end(errors.DRAINING)
    scene.receives(CLIENT, frames.masked(frames.PING) * (3 * MAX_FRAMES))
    scene.receives(CLIENT, CLIENT_CLOSE)
    for _ in range(3):
        assert not scene.client.closed
        assert not scene.client.reading
        scene.loop.turn()
    assert scene.client.closed


def test_ending_session_is_read_on_behind_a_flood(scene: Scene) -> None:
    scene.session.end(errors.DRAINING)
    scene.receives(CLIENT, frames.masked(frames.PING) * (2 * MAX_FRAMES))
    scene.loop.advance()
    assert scene.client.reading
    assert not scene.client.closed
    scene.receives(CLIENT, CLIENT_CLOSE)
    assert scene.client.closed


FLOOD = frames.masked(frames.PING) * (2 * MAX_FRAMES + 500)


def test_turns_are_single(scene: Scene) -> None:
    scene.receives(CLIENT, FLOOD)
    scene.loop.turn()
    assert scene.upstream.written == FLOOD[: 2 * MAX_FRAMES * 6]
    assert not scene.client.reading
    scene.loop.turn()
    assert scene.upstream.written == FLOOD
    assert scene.client.reading


def test_what_arrives_between_turns_comes_behind_what_waits(scene: Scene) -> None:
    scene.receives(CLIENT, FLOOD)
    scene.receives(CLIENT, HELLO)
    scene.loop.turn()
    scene.receives(CLIENT, HELLO)
    assert HELLO not in scene.upstream.written
    scene.loop.advance()
    assert scene.upstream.written == FLOOD + HELLO + HELLO


def test_tls_leg_is_read_on_while_little_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, half_close=False)
    scene.receives(CLIENT, FLOOD)
    assert scene.client.reading
    scene.receives(CLIENT, frames.masked(frames.BINARY, bytes(MAX_WAITING)))
    assert not scene.client.reading
    scene.loop.advance()
    assert scene.client.reading
    assert len(scene.upstream.written) == scene.session.state.scanners[CLIENT].bytes


@pytest.mark.parametrize("half_close", [True, False])
def test_what_waits_survives_a_good_end(
    monkeypatch: pytest.MonkeyPatch, *, half_close: bool
) -> None:
    scene = make(monkeypatch, half_close=half_close)
    scene.receives(CLIENT, FLOOD + HELLO)
    assert scene.fin(CLIENT) is half_close
    assert scene.upstream.written == FLOOD + HELLO
    assert scene.upstream.finished is half_close
    scene.lost(CLIENT)
    scene.loop.advance()
    assert scene.upstream.written == FLOOD + HELLO
    assert scene.upstream.closed


def test_violation_in_what_waits_is_found_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, half_close=False)
    scene.receives(CLIENT, FLOOD + b"\x83\x80" + FLOOD)
    scene.lost(CLIENT)
    assert scene.upstream.written.startswith(FLOOD)
    assert b"peer_error" in unmasked_close(scene.upstream.written[len(FLOOD) :])


def unmasked_close(raw: bytes) -> bytes:
    frame = frames.take(bytearray(raw))
    assert frame is not None
    assert frame.raw == raw
    assert frame.opcode == frames.CLOSE
    return frame.payload


def test_answer_in_what_waits_is_heard_while_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    for end in (False, True):
        scene = make(monkeypatch, half_close=False)
        scene.receives(CLIENT, FLOOD + CLIENT_CLOSE)
        scene.session.end(errors.DRAINING)
        if end:
            scene.lost(CLIENT)
        else:
            scene.receives(CLIENT, HELLO)
            scene.loop.advance()
        assert scene.client.closed
        assert scene.upstream.written.startswith(FLOOD[: MAX_FRAMES * 6])
        assert HELLO not in scene.upstream.written


def test_close_that_waits_comes_before_the_end_of_its_socket(scene: Scene) -> None:
    scene.receives(CLIENT, FLOOD + CLIENT_CLOSE)
    scene.lost(CLIENT)
    assert scene.upstream.written == FLOOD + CLIENT_CLOSE
    assert scene.session.state.code == 1000


steps = st.lists(
    st.sampled_from(("flood", "hello", "half", "turn", "turn", "pause", "resume")), max_size=12
)


@given(steps=steps, half_close=st.booleans())
def test_order_is_kept_whoever_has_their_turn(steps: list[str], *, half_close: bool) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        scene = make(monkeypatch, half_close=half_close)
        sent, halves = b"", 0
        frame = frames.masked(frames.BINARY, b"in two halves")
        reads = {
            "flood": lambda: FLOOD,
            "hello": lambda: HELLO,
            "half": lambda: half(frame, halves),
        }
        for step in steps:
            if (
                step in reads
                and (scene.client.reading or not half_close)
                and (step == "half" or halves % 2 == 0)
            ):
                data = reads[step]()
                halves += step == "half"
                sent += data
                scene.receives(CLIENT, data)
            elif step == "turn":
                scene.loop.turn()
            elif step == "pause":
                scene.upstream.protocol.pause_writing()
            elif step == "resume":
                scene.upstream.protocol.resume_writing()
            assert sent.startswith(scene.upstream.written)
        scene.loop.advance()
        assert scene.upstream.written == sent


def half(frame: bytes, halves: int) -> bytes:
    """The first or the second half of a frame, in turns."""
    middle = len(frame) // 2
    return frame[middle:] if halves % 2 else frame[:middle]


def test_socket_that_was_reset_unnoticed_is_not_written_to(scene: Scene) -> None:
    scene.upstream.abort()
    scene.receives(CLIENT, CLIENT_CLOSE)
    assert scene.upstream.written == b""

"""One session in words and little charts."""

from __future__ import annotations

import pytest

from proxy.console.session_view import FRAMES, flows, frame_rows, polyline
from proxy.relay.frame_record import FrameHeader
from proxy.sessions.recorder import Recorders
from tests.harness import frames
from tests.unit.sessions.scene import CLIENT, HELLO, UPSTREAM, Scene, make


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return make(monkeypatch)


def header(at: float, opcode: int, rsv: int = 0, **more: bool) -> FrameHeader:
    return FrameHeader(at, opcode, more.pop("fin", True), rsv << 4, more.pop("masked", False), 5)


@pytest.mark.parametrize(
    ("frame", "opcode", "flags"),
    [
        (header(0.0, frames.TEXT), "text", "FIN"),
        (header(0.0, frames.BINARY, 4, fin=False, masked=True), "binary", "RSV1 MASK"),
        (header(0.0, frames.CONTINUATION, 3), "continuation", "FIN RSV2 RSV3"),
        (header(0.0, frames.CLOSE), "close", "FIN"),
        (header(0.0, frames.PING), "ping", "FIN"),
        (header(0.0, frames.PONG), "pong", "FIN"),
        (header(0.0, 0xB), "0xb", "FIN"),
    ],
)
def test_frame_is_told_in_words(frame: FrameHeader, opcode: str, flags: str) -> None:
    (row,) = frame_rows([(UPSTREAM, frame)], now=2.5)
    assert row == (2.5, "upstream", opcode, flags, 5, False)


def test_only_the_latest_frames_are_told() -> None:
    rows = frame_rows([(CLIENT, header(float(-n), frames.TEXT)) for n in range(FRAMES + 1)], 0.0)
    assert [row.ago for row in rows] == list(map(float, range(FRAMES)))


def test_flows_tell_what_each_side_sends(scene: Scene) -> None:
    recorders = Recorders(scene.house.deadlines, scene.loop)
    recorder = recorders.look(scene.session)
    client, upstream = flows(scene.session, recorder, scene.loop.now)
    assert (client.sender, client.receiver, client.bytes_per_second) == ("client", "upstream", None)
    assert (upstream.sender, upstream.line, upstream.peak) == ("upstream", "", 0.0)
    for size in (1, 3):
        scene.receives(CLIENT, HELLO * size)
        scene.loop.advance(1)
        recorders.look(scene.session)
    scene.upstream.pending = 4711
    scene.upstream.protocol.pause_writing()
    scene.loop.advance(2)
    client, upstream = flows(scene.session, recorder, scene.loop.now)
    assert (client.messages, client.bytes) == (4, 4 * len(HELLO))
    assert (client.messages_per_second, client.peak) == (2.0, 3 * len(HELLO))
    assert client.line == "228.0,27.3 232.0,2.0"
    assert (client.paused_for, client.pending) == (2.0, 4711)
    assert (upstream.paused_for, upstream.pending, upstream.messages) == (None, 0, 0)


def test_nothing_is_pending_for_a_side_that_is_gone(scene: Scene) -> None:
    recorder = Recorders(scene.house.deadlines, scene.loop).look(scene.session)
    scene.client.pending = 9
    scene.lost(CLIENT)
    assert [flow.pending for flow in flows(scene.session, recorder, scene.loop.now)] == [0, 0]


@pytest.mark.parametrize(
    ("points", "line"),
    [
        ([], ""),
        ([(60.0, 1.0)], ""),
        ([(-1.0, 9.0), (60.0, 1.0)], ""),
        ([(0.0, 0.0), (60.0, 0.0)], "0.0,40.0 240.0,40.0"),
        ([(0.0, 5.0), (30.0, 10.0), (60.0, 0.0)], "0.0,21.0 120.0,2.0 240.0,40.0"),
    ],
)
def test_chart_fits_its_box(points: list[tuple[float, float]], line: str) -> None:
    assert polyline(points, 60.0) == line

"""The record of a session that somebody watches: it begins with a look and ends by itself."""

from __future__ import annotations

import pytest

from proxy import errors
from proxy.relay.scanner import MAX_FRAMES
from proxy.sessions.recorder import MOST_WATCHED, WATCHED_FOR, Rates, Recorders
from tests.harness import frames
from tests.unit.sessions.scene import (
    CLIENT,
    CLIENT_CLOSE,
    HELLO,
    REPLY,
    UPSTREAM,
    Scene,
)


@pytest.fixture
def recorders(scene: Scene) -> Recorders:
    return Recorders(scene.house.deadlines, scene.loop)


def seen(recorders: Recorders, scene: Scene) -> list[tuple[int, int]]:
    """Who sent the last frames, and how long they are."""
    return [(side, frame.length) for side, frame in recorders.look(scene.session).frames()]


def test_frames_of_both_sides_are_seen_latest_first(scene: Scene, recorders: Recorders) -> None:
    scene.receives(CLIENT, HELLO)
    assert seen(recorders, scene) == []
    scene.receives(CLIENT, HELLO)
    scene.loop.advance(1)
    scene.receives(UPSTREAM, REPLY + frames.frame(frames.PING, b"123"))
    scene.loop.advance(1)
    scene.receives(CLIENT, frames.masked(frames.PONG, b"123"))
    assert seen(recorders, scene) == [(CLIENT, 3), (UPSTREAM, 3), (UPSTREAM, 5), (CLIENT, 5)]


def test_what_passes_is_what_arrived_whether_recorded_or_not(
    scene: Scene, recorders: Recorders
) -> None:
    for _ in range(2):
        scene.receives(CLIENT, HELLO)
        scene.receives(UPSTREAM, REPLY[:3])
        recorders.look(scene.session)
        scene.receives(UPSTREAM, REPLY[3:])
        scene.loop.advance(WATCHED_FOR)
    assert scene.told() == (REPLY * 2, HELLO * 2)


def test_record_ends_when_nobody_looks_any_more(scene: Scene, recorders: Recorders) -> None:
    recorders.look(scene.session)
    scene.loop.advance(WATCHED_FOR - 1)
    recorders.look(scene.session)
    scene.loop.advance(WATCHED_FOR - 1)
    scene.receives(CLIENT, HELLO)
    assert seen(recorders, scene) == [(CLIENT, 5)]
    scene.loop.advance(WATCHED_FOR)
    assert len(recorders) == 0
    scene.receives(CLIENT, HELLO)
    assert seen(recorders, scene) == []


def test_record_outlives_a_pause_for_others(scene: Scene, recorders: Recorders) -> None:
    recorders.look(scene.session)
    many = frames.masked(frames.TEXT, b"") * (MAX_FRAMES + 5)
    scene.receives(CLIENT, many)
    recorders.look(scene.session)
    scene.loop.advance(1)
    scene.receives(CLIENT, HELLO)
    assert scene.upstream.written == many + HELLO
    assert seen(recorders, scene)[:2] == [(CLIENT, 5), (CLIENT, 0)]


def test_record_may_begin_while_others_have_their_turn(scene: Scene, recorders: Recorders) -> None:
    many = frames.masked(frames.TEXT, b"") * MAX_FRAMES
    scene.receives(CLIENT, many + HELLO)
    recorders.look(scene.session)
    scene.receives(CLIENT, HELLO)
    assert scene.upstream.written == many
    scene.loop.advance()
    assert scene.upstream.written == many + HELLO * 2
    assert seen(recorders, scene) == [(CLIENT, 5), (CLIENT, 5)]


def test_end_of_a_record_passes_on_nothing_of_an_ending_session(
    scene: Scene, recorders: Recorders
) -> None:
    recorders.look(scene.session)
    scene.session.end(errors.DRAINING)
    told = scene.told()
    recorders.look(scene.session).stop()
    scene.receives(CLIENT, HELLO + CLIENT_CLOSE)
    assert scene.told() == told
    assert scene.client.closed


def test_session_may_end_while_it_is_watched(scene: Scene, recorders: Recorders) -> None:
    recorders.look(scene.session)
    scene.receives(CLIENT, HELLO)
    scene.gone()
    assert seen(recorders, scene) == [(CLIENT, 5)]
    scene.loop.advance(WATCHED_FOR)
    assert len(recorders) == 0
    assert seen(recorders, scene) == []


def test_new_session_under_an_old_id_has_a_record_of_its_own(
    scene: Scene, recorders: Recorders
) -> None:
    recorders.look(scene.session)
    scene.receives(CLIENT, HELLO)
    scene.gone()
    later = Scene(scene.house)
    assert seen(recorders, later) == []
    later.receives(UPSTREAM, REPLY)
    assert seen(recorders, later) == [(UPSTREAM, 5)]
    assert len(recorders) == 1


def test_only_so_many_sessions_are_recorded_at_a_time(
    monkeypatch: pytest.MonkeyPatch, scene: Scene
) -> None:
    house = scene.house
    recorders = Recorders(house.deadlines, house.loop)
    watched = [Scene(house, id=str(n)) for n in range(MOST_WATCHED + 1)]
    for one in watched[:-1]:
        recorders.look(one.session)
    recorders.look(watched[0].session)
    recorders.look(watched[-1].session)
    assert len(recorders) == MOST_WATCHED
    for one in watched:
        one.receives(CLIENT, HELLO)
    assert seen(recorders, watched[0]) == [(CLIENT, 5)]
    assert seen(recorders, watched[-1]) == [(CLIENT, 5)]
    assert seen(recorders, watched[1]) == []


def test_rates_are_told_from_the_second_look_on(recorders: Recorders, scene: Scene) -> None:
    recorder = recorders.look(scene.session)
    assert recorder.rates() is None
    scene.receives(CLIENT, HELLO * 4)
    scene.loop.advance(2)
    recorders.look(scene.session)
    assert recorder.rates() == Rates((2.0, 0.0), (2.0 * len(HELLO), 0.0))
    scene.loop.advance(0.1)
    recorders.look(scene.session)  # Too soon to be of use.
    assert recorder.rates() == Rates((2.0, 0.0), (2.0 * len(HELLO), 0.0))
    scene.loop.advance(20)
    recorders.look(scene.session)
    assert recorder.rates() == Rates((0.0, 0.0), (0.0, 0.0))


def test_history_reaches_back_a_minute(recorders: Recorders, scene: Scene) -> None:
    for _ in range(9):
        scene.receives(UPSTREAM, REPLY)
        recorder = recorders.look(scene.session)
        scene.loop.advance(10)
    history = recorder.history()
    assert len(history) == 6
    assert history[-1] == (1080.0, Rates((0.0, 0.1), (0.0, len(REPLY) / 10)))

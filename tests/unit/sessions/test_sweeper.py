"""The sweep over all sessions: who accepts nothing is ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy import errors
from proxy.keys.principal import bearer_of
from proxy.sessions.sweeper import INTERVAL, Sweeper
from tests.harness import frames
from tests.unit.sessions.scene import (
    CLIENT,
    UPSTREAM,
    WALL,
    Scene,
    make,
)

if TYPE_CHECKING:
    from proxy.relay.commands import Side

# The registry and the sweep ------------------------------------------------------------------


def test_all_sessions_can_be_ended(scene: Scene) -> None:
    scene.registry.end_all(errors.DRAINING)
    assert b"draining" in scene.client.written
    assert b"draining" in scene.upstream.written


def sweeper_of(scene: Scene) -> Sweeper:
    return Sweeper(scene.registry, wall=scene.house.wall, noise=bytes, loop=scene.loop)


def sweep(scene: Scene, seconds: int, sweeper: Sweeper) -> None:
    for _ in range(seconds):
        scene.loop.advance(1)
        sweeper.sweep(scene.loop.now)


@pytest.mark.parametrize(
    ("stalled", "told"),
    [(CLIENT, (UPSTREAM, b"client_stalled")), (UPSTREAM, (CLIENT, b"upstream_stalled"))],
)
def test_leg_that_accepts_nothing_is_aborted(
    scene: Scene, stalled: Side, told: tuple[Side, bytes]
) -> None:
    sweeper = sweeper_of(scene)
    scene.transports[stalled].pending = 1000
    sweep(scene, 30, sweeper)
    assert not scene.transports[stalled].aborted
    sweep(scene, 3, sweeper)  # The first look began to count; there is one every 3 s.
    assert scene.transports[stalled].aborted
    assert told[1] in scene.transports[told[0]].written


def test_leg_that_accepts_something_lives(scene: Scene) -> None:
    sweeper = sweeper_of(scene)
    scene.client.pending = 1000
    for _ in range(10):
        sweep(scene, 20, sweeper)
        scene.client.pending -= 1
    assert not scene.client.aborted


def test_bytes_that_are_held_are_not_accepted_by_anybody(scene: Scene) -> None:
    sweeper = sweeper_of(scene)
    ping = frames.masked(frames.PING)
    for _ in range(6):
        for at in range(len(ping)):
            sweep(scene, 1, sweeper)
            # What is written to a leg that accepts nothing is pending.
            scene.upstream.pending = 1000 + len(scene.upstream.written)
            if not scene.upstream.aborted:
                scene.receives(CLIENT, ping[at : at + 1])
    assert scene.upstream.aborted


def test_leg_with_nothing_pending_lives(scene: Scene) -> None:
    sweeper = sweeper_of(scene)
    sweep(scene, 100, sweeper)
    scene.client.pending = 10
    sweep(scene, 20, sweeper)
    scene.client.pending = 0
    sweep(scene, 20, sweeper)
    scene.client.pending = 10
    sweep(scene, 20, sweeper)
    assert not scene.client.aborted


def test_write_deadline_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, write_timeout=None)
    scene.client.pending = 1000
    sweep(scene, 100, sweeper_of(scene))
    assert not scene.client.aborted


def test_leg_that_is_gone_is_not_asked(scene: Scene) -> None:
    scene.lost(CLIENT)
    scene.client.pending = 1000
    sweep(scene, 100, sweeper_of(scene))
    assert b"client_stalled" not in scene.upstream.written


def test_sweeper_looks_every_second_and_knows_how_late_it_is(scene: Scene) -> None:
    looks: list[float] = []
    sweeper = sweeper_of(scene)
    sweeper.sweep = looks.append
    sweeper.start()
    scene.loop.advance(3 * INTERVAL)
    assert len(looks) == 3
    assert sweeper.lag == 0
    scene.loop.now += 2.5  # The loop was busy.
    scene.loop.advance()
    assert sweeper.lag == pytest.approx(1.5)
    sweeper.stop()
    sweeper.stop()
    scene.loop.advance(10)
    assert len(looks) == 4


def test_session_ends_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    who = bearer_of("jwt", "ada", {}, until=WALL + 10)
    scene = make(monkeypatch, principal=who, write_timeout=None)
    sweeper = sweeper_of(scene)
    sweep(scene, 9, sweeper)
    assert scene.told() == (b"", b"")
    sweep(scene, 1, sweeper)
    assert scene.client.written == frames.frame(8, frames.close_payload(3000, "token_expired"))
    before = scene.told()
    sweep(scene, 1, sweeper)
    assert scene.told() == before
    scene.gone()
    assert scene.closed_line[1]["reason"] == "token_expired"


def test_fault_in_one_sweep_is_not_the_last_of_them(scene: Scene) -> None:
    sweeper = sweeper_of(scene)
    sweeps: list[float] = []

    def sweep(now: float) -> None:
        sweeps.append(now)
        if len(sweeps) == 1:
            raise ValueError("a fault")

    sweeper.sweep = sweep
    sweeper.start()
    with pytest.raises(ValueError, match="a fault"):
        scene.loop.advance(INTERVAL)
    scene.loop.advance(INTERVAL)
    assert len(sweeps) == 2
    sweeper.stop()

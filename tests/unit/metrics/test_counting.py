"""A count that takes many turns: each session exactly once, whatever happens meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.metrics import counting
from proxy.metrics.counting import Count, count
from tests.unit.metrics.scene import ROUTES, Scene, Steps
from tests.unit.sessions.scene import WALL


def counted(scene: Scene) -> Steps:
    return Steps(count(tuple(scene.routes), scene.registry, scene.ring, WALL))


@pytest.fixture
def in_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn for each session and each key."""
    monkeypatch.setattr(counting, "SLICE", 1)


def crowd(scene: Scene, number: int) -> list[Any]:
    """Sessions of one key each that have said something."""
    scene.registry.key_totals.keep(kept=True)
    sessions = [
        scene.session(str(n), ROUTES[n % 2], key=scene.key(f"key-{n}")) for n in range(number)
    ]
    for session in sessions:
        scene.talk(session)
    return sessions


def test_nothing_takes_no_turn() -> None:
    steps = counted(Scene())
    assert list(steps) == []
    assert steps.result.routes["chat"].messages == [0, 0]


def test_others_get_a_turn_between_slices() -> None:
    scene = Scene()
    crowd(scene, counting.SLICE + 1)
    assert len(list(counted(scene))) == 2 + 2  # Of the sessions, and of the keys.


@pytest.mark.usefixtures("in_ones")
@pytest.mark.parametrize("turn", range(4))
def test_a_session_that_ends_meanwhile_counts_once(turn: int) -> None:
    for ending in range(4):
        scene = Scene()
        sessions = crowd(scene, 4)
        steps = counted(scene)
        for number, _ in enumerate(steps):
            if number == turn:
                scene.ended(sessions[ending])
        result: Count = steps.result
        assert sum(one.messages[0] for one in result.routes.values()) == 4
        assert sum(one.connections for one in result.routes.values()) == 4
        assert result.keys.used is not None
        assert all(one.messages == [1, 1] for one in result.keys.used.values())


@pytest.mark.usefixtures("in_ones")
def test_a_session_that_begins_meanwhile_is_for_the_next_count() -> None:
    scene = Scene()
    crowd(scene, 2)
    steps = counted(scene)
    for number, _ in enumerate(steps):
        if number == 0:
            scene.talk(scene.session("late"))
    assert steps.result.routes["chat"].messages == [1, 1]
    assert counted(scene).whole().routes["chat"].messages == [2, 2]


@pytest.mark.usefixtures("in_ones")
def test_a_route_that_is_taken_away_meanwhile_is_still_told() -> None:
    scene = Scene()
    crowd(scene, 2)
    steps = counted(scene)
    for _ in steps:
        scene.registry.totals.pop("echo", None)
    assert steps.result.totals.keys() == set(ROUTES)
    assert "echo" not in scene.registry.totals


@pytest.mark.usefixtures("in_ones")
def test_a_key_that_is_deleted_meanwhile_is_still_told_once() -> None:
    scene = Scene()
    crowd(scene, 2)
    steps = counted(scene)
    for _ in steps:
        scene.ring.put("key-1", None)
    assert steps.result.keys.used.keys() == {"key-0's name", "key-1's name"}
    assert counted(scene).whole().keys.used.keys() == {"key-0's name"}


EVENT = st.sampled_from(["turn", "open", "talk", "talk", "end", "scrape"])


@given(st.lists(EVENT, min_size=30, max_size=90), st.randoms(use_true_random=False))
def test_no_counter_ever_falls(events: list[str], chance: Any) -> None:
    """Sessions come, talk and go between any two turns of any number of counts."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(counting, "SLICE", 2)
        scene = Scene()
        scene.registry.key_totals.keep(kept=True)
        keys = [scene.key("a"), scene.key("b")]
        live: list[Any] = []
        opened = said = 0
        seen: dict[str, int] = {}

        def turn() -> None:
            """One more turn of the count that is under way."""
            nonlocal running
            if running is not None and next(running[1], "over") == "over":
                check(running[0].result)
                running = None

        def check(result: Count) -> None:
            assert result.keys.used is not None
            for name, one in (*result.routes.items(), *result.keys.used.items()):
                numbers = [*one.messages, *one.bytes]
                for place, number in enumerate(numbers):
                    assert number >= seen.get(f"{name} {place}", 0)
                    seen[f"{name} {place}"] = number

        running: tuple[Steps, Any] | None = None
        for event in events:
            if event == "scrape" and running is None:
                steps = counted(scene)
                running = steps, iter(steps)
                turn()
            elif event == "turn":
                turn()
            elif event == "open":
                opened += 1
                live.append(
                    scene.session(str(opened), chance.choice(ROUTES), key=chance.choice(keys))
                )
            elif live and event == "talk":
                said += 1
                scene.talk(chance.choice(live))
            elif live and event == "end":
                scene.ended(live.pop(chance.randrange(len(live))))
        while running is not None:
            turn()
        result = counted(scene).whole()
        check(result)
        assert sum(one.messages[0] for one in result.routes.values()) == said
        assert sum(one.messages[1] for one in result.keys.used.values()) == said
        assert sum(one.connections for one in result.routes.values()) == len(live)

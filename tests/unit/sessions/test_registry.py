"""The registry: live sessions by id, by whom they belong to, and how one is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.errors import DRAINING, closed_by_admin
from proxy.keys.key import Key, Secret
from proxy.keys.principal import NOBODY, Principal, holder_of
from proxy.sessions.closing import SLICE
from proxy.sessions.description import described
from tests.harness import frames
from tests.unit.sessions.scene import CLIENT, HELLO, REPLY, UPSTREAM, WALL, House, Scene


def principal(id: str, **fields: Any) -> Principal:
    return holder_of(Key(id, f"name of {id}", (Secret(b"d"),)), b"d")._replace(**fields)


def sample(house: House) -> dict[str, Scene]:
    return {
        name: Scene(house, id=name, principal=who, route=route)
        for name, who, route in (
            ("1", principal("one"), "chat"),
            ("2", principal("one", subject="ada"), "echo"),
            ("3", principal("two", subject="ada"), "chat"),
            ("4", NOBODY, "chat"),
        )
    }


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, "1234"),
        ({"route": "chat"}, "134"),
        ({"key": "one"}, "12"),
        ({"key": "name of one"}, "12"),
        ({"key": "on"}, ""),
        ({"subject": "ada"}, "23"),
        ({"subject": ""}, ""),
        ({"key": "one", "route": "chat"}, "1"),
        ({"key": "two", "route": "chat", "subject": "ada"}, "3"),
        ({"key": "two", "route": "echo"}, ""),
    ],
)
def test_sessions_are_found_by_whom_they_belong_to(asked: dict[str, str], found: str) -> None:
    house = House()
    sample(house)
    assert "".join(session.id for session in house.registry.select(**asked)) == found


def test_session_is_found_by_its_id_while_it_lives() -> None:
    house = House()
    scenes = sample(house)
    assert house.registry.get("2") is scenes["2"].session
    scenes["2"].gone()
    assert house.registry.get("2") is None
    assert len(house.registry) == 3


def test_places_are_given_back_when_sessions_end() -> None:
    house = House()
    scenes = sample(house)
    assert house.registry.occupancy.of("one") == 2
    for left, name in ((1, "1"), (1, "4"), (1, "3"), (0, "2")):
        scenes[name].gone()
        assert house.registry.occupancy.of("one") == left
    assert len(house.registry.occupancy) == 0


@pytest.mark.parametrize("kept", [True, False])
def test_totals_of_keys_are_kept_while_they_are_wanted(*, kept: bool) -> None:
    house = House()
    house.registry.key_totals.keep(kept=kept)
    for scene in sample(house).values():
        scene.receives(CLIENT, HELLO)
        scene.gone()
    messages = {key_id: seen.messages for key_id, seen in house.registry.key_totals.now().items()}
    assert messages == ({"one": (2, 0), "two": (1, 0)} if kept else {})


def test_ordered_end_reaches_both_peers_with_its_code_and_reason() -> None:
    house = House()
    scenes = sample(house)
    chosen = house.registry.select(key="one")
    assert house.registry.end(chosen, closed_by_admin(4001, "bye for now")) == 2
    close = frames.frame(frames.CLOSE, frames.close_payload(4001, "bye for now"))
    for name, scene in scenes.items():
        assert scene.client.written == (close if name in "12" else b"")
        assert bool(scene.upstream.written) is (name in "12")
    scenes["1"].gone()
    (line,) = house.log.events("connection_closed")
    assert (line["initiator"], line["code"], line["reason"]) == ("gateway", 4001, "closed_by_admin")


def test_many_are_ended_in_slices_and_all_of_them_at_once_when_the_gateway_goes() -> None:
    house = House()
    scenes = [Scene(house, id=str(n)) for n in range(2 * SLICE)]
    house.registry.end(list(house.registry), closed_by_admin())
    assert sum(bool(scene.client.written) for scene in scenes) == SLICE
    house.registry.end_all(DRAINING)
    assert [b"draining" in scene.client.written for scene in scenes] == [
        *[False] * SLICE,
        *[True] * SLICE,
    ]
    house.loop.turn()  # What waited for its turn has ended already.
    assert b"closed_by_admin" not in scenes[-1].client.written


# As people see one ---------------------------------------------------------------------------


def test_session_is_described() -> None:
    house = House()
    who = principal("one", subject="ada")
    scene = Scene(house, principal=who, origin=b"https://app.test", address="2001:db8::7")
    scene.receives(CLIENT, HELLO + HELLO)
    scene.receives(UPSTREAM, REPLY)
    house.loop.advance(61.2344)
    shown = described(scene.session, now=house.loop.now, wall=house.wall())
    assert shown == {
        "id": "the-id",
        "route": "chat",
        "auth": "api_key",
        "key_id": "one",
        "key_name": "name of one",
        "subject": "ada",
        "client": "2001:db8::7",
        "upstream": "ws://up:1",
        "opened_at": "2023-11-14T22:13:20.000Z",
        "duration_s": 61.234,
        "messages_from_client": 2,
        "messages_from_upstream": 1,
        "bytes_from_client": 2 * len(HELLO),
        "bytes_from_upstream": len(REPLY),
    }
    assert json.loads(json.dumps(shown)) == shown


def test_session_of_nobody_is_described() -> None:
    house = House()
    scene = Scene(house, principal=NOBODY)
    shown = described(scene.session, now=house.loop.now, wall=WALL + 0.5)
    assert (shown["auth"], shown["key_id"], shown["key_name"], shown["subject"]) == (
        "none",
        None,
        None,
        None,
    )
    assert shown["opened_at"] == "2023-11-14T22:13:20.500Z"
    assert shown["duration_s"] == 0

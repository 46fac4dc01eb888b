"""Routes and what happened on them, and the totals of the whole gateway."""

from __future__ import annotations

from collections import Counter

from proxy.relay.commands import Side
from tests.harness.frames import frame, masked

NOTHING = {
    "messages_from_client": 0,
    "messages_from_upstream": 0,
    "bytes_from_client": 0,
    "bytes_from_upstream": 0,
}
HELLO = masked(1, b"hello")
WORLD = frame(1, b"world!")
TALK = {
    "messages_from_client": 2,
    "messages_from_upstream": 1,
    "bytes_from_client": 2 * len(HELLO),
    "bytes_from_upstream": len(WORLD),
}


def talk(session):
    session.receives(Side.CLIENT, HELLO + HELLO)
    session.receives(Side.UPSTREAM, WORLD)


def test_routes_are_told_with_their_sessions(scene):
    scene.open("a1", route="echo")
    chat, echo = scene.ask("GET", "/api/v1/routes").data["routes"]
    assert chat == {
        "name": "chat",
        "host": None,
        "path": "/chat",
        "auth": "required",
        "carriers": [{"header": "X-Api-Key"}],
        "targets": [{"url": "ws://127.0.0.1:9000/ws", "up": True, "connections": 0}],
        "connections": 0,
        "outcomes": {},
        **NOTHING,
    }
    assert (echo["host"], echo["connections"]) == ("echo.test", 1)
    assert echo["carriers"] == ["bearer", {"query": "api_key"}, {"cookie": "session"}]


def test_a_target_is_told_with_its_state_and_its_sessions(scene):
    url = "ws://127.0.0.1:9000/ws"
    scene.down.add(("chat", url))
    scene.open("a1").session.upstream = url
    scene.open("b2", route="echo").session.upstream = url
    chat, echo = scene.ask("GET", "/api/v1/routes").data["routes"]
    assert chat["targets"] == [{"url": url, "up": False, "connections": 1}]
    assert echo["targets"] == [{"url": url, "up": True, "connections": 1}]


def test_what_became_of_handshakes_is_told(scene):
    scene.registry.totals["chat"].outcomes.update({"accepted": 2, "key_unknown": 1})
    chat, _ = scene.ask("GET", "/api/v1/routes").data["routes"]
    assert chat["outcomes"] == {"accepted": 2, "key_unknown": 1}


def test_traffic_counts_sessions_that_live_and_those_that_have_ended(scene):
    live, ended = scene.open("a1"), scene.open("b2")
    talk(live)
    talk(ended)
    both = {name: 2 * count for name, count in TALK.items()}
    before = scene.ask("GET", "/api/v1/routes").data["routes"][0]
    ended.gone()
    after = scene.ask("GET", "/api/v1/routes").data["routes"][0]
    for told, connections in ((before, 2), (after, 1)):
        assert told["connections"] == connections
        assert {name: told[name] for name in TALK} == both
    totals = scene.ask("GET", "/api/v1/status").data["totals"]
    assert {name: totals[name] for name in TALK} == both


def test_totals_add_up_over_routes_those_that_are_gone_too(scene):
    for route in ("chat", "echo", "gone", "none"):
        scene.registry.totals[route].outcomes.update(
            {"accepted": 2, "client_gone": 1, "key_unknown": 3}
        )
    scene.registry.totals["none"].outcomes["no_route"] += 1
    scene.limited.update(
        Counter({("chat", "handshake_rate"): 2, ("echo", "handshake_rate"): 3, ("none", "x"): 1})
    )
    talk(scene.open("a1", route="gone"))
    assert scene.ask("GET", "/api/v1/status").data["totals"] == {
        "accepted": 8,
        "client_gone": 4,
        "refused": {"key_unknown": 12, "no_route": 1},
        "limited": {"handshake_rate": 5, "x": 1},
        **TALK,
    }

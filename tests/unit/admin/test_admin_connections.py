"""Live sessions through the API: seen, chosen and closed, never all by a slip."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest

from proxy.errors import PROTOCOL_ERROR
from proxy.keys.key import Key, Secret
from proxy.relay.commands import Side
from proxy.relay.frames import close_frame
from tests.harness import frames
from tests.harness.frames import masked
from tests.unit.admin.scene import CANARY, TOKENS

CONNECTIONS = "/api/v1/connections"
OTHER = Key("other-id", "other", (Secret(b"o" * 32),))


@pytest.fixture
def house(scene):
    """Four sessions: by key legacy and other, on chat and echo, for ann and bob."""
    scene.open("a1", subject="ann")
    scene.open("b2", subject="bob", route="echo")
    scene.open("c3", key=OTHER)
    scene.open("d4", key=OTHER, route="echo", subject="ann")
    return scene


def ids(scene, query=""):
    return [one["id"] for one in scene.ask("GET", CONNECTIONS + query).data["connections"]]


def test_a_session_is_described(house):
    shown = house.ask("GET", f"{CONNECTIONS}/d4").data
    assert (
        house.ask("GET", CONNECTIONS).data["connections"][3].items()
        >= {
            "id": "d4",
            "route": "echo",
            "key_id": "other-id",
            "key_name": "other",
            "subject": "ann",
            "client": "192.0.2.7",
            "upstream": "ws://up:1",
            "messages_from_client": 0,
            "bytes_from_upstream": 0,
        }.items()
    )
    assert {"opened_at", "duration_s"} <= shown.keys()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["a1", "b2", "c3", "d4"]),
        ("?route=echo", ["b2", "d4"]),
        ("?key=other", ["c3", "d4"]),
        ("?key=other-id&route=chat", ["c3"]),
        ("?subject=ann&key=legacy", ["a1"]),
        ("?subject=nobody", []),
        ("?limit=2&after=b2", ["c3", "d4"]),
        ("?after=b3", ["c3", "d4"]),
    ],
)
def test_sessions_are_chosen_by_filters(house, query, found):
    assert ids(house, query) == found


def test_sessions_come_in_pages(house):
    first = house.ask("GET", f"{CONNECTIONS}?limit=3").data
    assert (len(first["connections"]), first["next"]) == (3, "c3")
    last = house.ask("GET", f"{CONNECTIONS}?limit=3&after={first['next']}").data
    assert ([one["id"] for one in last["connections"]], last["next"]) == (["d4"], None)


@pytest.mark.parametrize(
    ("query", "closed"),
    [
        ("?key=other", 2),
        ("?key=legacy", 2),
        ("?subject=ann", 2),
        ("?route=echo", 2),
        ("?route=nowhere", 0),
        ("/c3", 1),
    ],
)
def test_an_operator_closes_what_is_named(house, query, closed):
    before = {session.id: session for session in house.registry}
    answer = house.ask("DELETE", CONNECTIONS + query)
    assert answer.data == {"closed": closed}
    ended = [session for session in before.values() if session.state.reason == "closed_by_admin"]
    assert len(ended) == closed
    assert {session.state.code for session in ended} <= {1008}
    event = house.log.events("admin_closed")[0]
    assert (event["by"], event["closed"]) == ("admin:admin", closed)


@pytest.mark.parametrize(
    "query",
    ["", "?", "?code=1000", "?key=other&route=echo", "?key=other&subject=ann&route=echo"],
)
def test_nothing_is_closed_without_exactly_one_filter(house, query):
    assert house.ask("DELETE", CONNECTIONS + query).code == "400 filter_needed"
    assert all(session.state.reason == "" for session in house.registry)


@pytest.mark.parametrize(
    "query",
    ["?kee=other", "?key=", "?key=other&key=legacy", "?key=other&force=1", "?key=a%00"],
)
def test_nothing_is_closed_by_a_filter_that_is_mistyped(house, query):
    assert house.ask("DELETE", CONNECTIONS + query).code == "400 bad_parameter"
    assert all(session.state.reason == "" for session in house.registry)


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1008, 1013, 3000, 3999, 4000, 4999])
def test_the_client_is_told_the_code_and_reason(scene, code):
    session = scene.open("a1")
    reason = "%C3%BCber"  # über
    assert scene.ask("DELETE", f"{CONNECTIONS}/a1?code={code}&reason={reason}").data == {
        "closed": 1
    }
    assert session.client.written == close_frame(code, "über")


def test_without_words_the_client_is_told_1008_closed_by_admin(scene):
    session = scene.open("a1")
    scene.ask("DELETE", f"{CONNECTIONS}/a1")
    assert session.client.written == close_frame(1008, "closed_by_admin")


@pytest.mark.parametrize(
    "code",
    [
        "999",
        "0",
        "-1",
        "1004",
        "1005",
        "1006",
        "1014",
        "1015",
        "1016",
        "2999",
        "5000",
        "65536",
        "x",
        "1e3",
        "%EF%BC%91000",
        "9" * 500,
    ],
)
def test_a_code_that_may_not_travel_is_refused(house, code):
    assert house.ask("DELETE", f"{CONNECTIONS}/a1?code={code}").code == "400 bad_parameter"
    assert PROTOCOL_ERROR != house.registry.get("a1").state.code is None


@pytest.mark.parametrize(
    "reason", ["x" * 124, "%C3%BC" * 62, "line%0Aend", "%1B[31m", "%E2%80%AE", ""]
)
def test_a_reason_that_is_too_long_or_unprintable_is_refused(house, reason):
    answer = house.ask("DELETE", f"{CONNECTIONS}/a1?reason={reason}")
    assert answer.code == "400 bad_parameter"


def test_a_reason_may_fill_the_frame(scene):
    session = scene.open("a1")
    scene.ask("DELETE", f"{CONNECTIONS}/a1?reason={'%C3%BC' * 61}x")
    assert session.client.written == close_frame(1008, "ü" * 61 + "x")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_session_that_is_not_there_is_not_found(house, method):
    assert house.ask(method, f"{CONNECTIONS}/nothing").code == "404 no_such_connection"


def test_the_log_does_not_repeat_a_filter(house):
    house.ask("DELETE", f"{CONNECTIONS}?key={CANARY}")
    assert CANARY not in str(house.log.lines)
    assert house.log.events("admin_closed")[0]["filter"] == "key"


class TestOrder:
    @pytest.fixture
    def talkative(self, scene):
        """Three sessions, opened one after another, of which the second says most."""
        for name, said in (("z1", 1), ("m2", 3), ("a3", 2)):
            session = scene.open(name)
            for _ in range(said):
                session.receives(Side.CLIENT, masked(frames.TEXT, b"x" * said))
            scene.house.loop.advance(1)
        return scene

    @pytest.mark.parametrize(
        ("sort", "found"),
        [
            ("id", ["a3", "m2", "z1"]),
            ("opened_at", ["z1", "m2", "a3"]),
            ("-opened_at", ["a3", "m2", "z1"]),
            ("-messages", ["m2", "a3", "z1"]),
            ("-bytes", ["m2", "a3", "z1"]),
        ],
    )
    def test_sessions_come_in_the_order_that_is_asked_for(self, talkative, sort, found):
        assert ids(talkative, f"?sort={sort}") == found
        after, walked = "", []
        for _ in range(3):
            page = talkative.ask("GET", f"{CONNECTIONS}?sort={sort}&limit=1{after}").data
            walked += [one["id"] for one in page["connections"]]
            after = f"&after={quote(page['next'] or '')}"
        assert (walked, page["next"]) == (found, None)

    def test_sessions_that_are_equal_are_ordered_by_id(self, house):
        assert ids(house, "?sort=-messages") == ["a1", "b2", "c3", "d4"]
        assert ids(house, "?sort=-messages&limit=2&after=0%20b2") == ["c3", "d4"]

    @pytest.mark.parametrize("query", ["sort=colour", "sort=-id", "sort=-bytes&after=b2"])
    def test_an_order_that_is_none_is_refused(self, house, query):
        assert house.ask("GET", f"{CONNECTIONS}?{query}").code == "400 bad_parameter"

    def test_a_place_that_is_nowhere_has_nothing_behind_it(self, house):
        assert ids(house, "?sort=-bytes&after=nan%20x") == []
        assert ids(house, "?sort=-bytes&after=inf%20x") == []

    def test_many_sessions_are_listed_without_keeping_the_loop_busy(self, scene):
        for number in range(2000):
            scene.open(f"s{number:04}")
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = scene.loop.create_task(count(), name="count")
        walked, after = [], ""
        while after is not None:
            page = scene.ask("GET", f"{CONNECTIONS}?limit=700&after={after or '!'}").data
            walked += [one["id"] for one in page["connections"]]
            after = page["next"]
        counting.cancel()
        assert walked == [f"s{number:04}" for number in range(2000)]
        # Four slices to look at and two to describe, thrice.
        assert turns > 15


def test_one_session_is_told_in_detail(scene):
    scene.now += 0.5
    session = scene.open("a1", origin=b"https://app.test")
    session.session.until = 1_800_000_060.0
    session.client.pending = 7
    shown = scene.ask("GET", f"{CONNECTIONS}/a1").data
    listed = scene.ask("GET", CONNECTIONS).data["connections"][0]
    assert listed.keys() < shown.keys()
    assert shown["origin"] == "https://app.test"
    assert shown["credential_ends_at"] == "2027-01-15T08:01:00Z"
    quiet = {"waiting_bytes": 0, "reading_paused": False, "ping_rtt_s": None}
    assert shown["legs"] == {"client": {**quiet, "waiting_bytes": 7}, "upstream": quiet}


def test_closing_one_session_is_logged_with_its_id(house):
    house.ask("DELETE", f"{CONNECTIONS}/d4", token=TOKENS["operator"])
    assert house.log.events("admin_closed") == [
        {"request_id": "d4", "by": "admin:operator", "filter": "id", "closed": 1, "code": 1008}
    ]

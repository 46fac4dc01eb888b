"""Usage, the gateway's state and its routes through the API."""

from __future__ import annotations

import pytest

from proxy.keys.key import Key, Secret
from proxy.stores.store import Usage
from tests.unit.admin.scene import NOW, Scene

USAGE = "/api/v1/usage"
HOUR = 3600
START = int(NOW)  # A whole hour.
PARTNER = Key("partner-id", "partner", (Secret(b"p" * 32),))


@pytest.fixture
def used(scene):
    scene.hold(PARTNER)
    scene.use(
        Usage("partner-id", START - HOUR, 1, 1.25, (1, 2), (10, 20)),
        Usage("partner-id", START, 2, 2.5, (3, 4), (30, 40), NOW),
        Usage("gone-id", START, 1, 1.0, (1, 1), (1, 1), NOW),
        Usage("partner-id", START - 8 * 24 * HOUR, 100, 1.0, (1, 1), (1, 1)),
    )
    return scene


def test_usage_is_told_by_hour_and_in_all(used):
    shown = used.ask("GET", USAGE).data
    assert shown["since"] == "2027-01-08T08:00:00Z"
    assert {
        "key_id": "partner-id",
        "key_name": "partner",
        "hour": "2027-01-15T07:00:00Z",
        "connections": 1,
        "connected_seconds": 1.25,
        "messages_from_client": 1,
        "messages_from_upstream": 2,
        "bytes_from_client": 10,
        "bytes_from_upstream": 20,
    } in shown["usage"]
    assert len(shown["usage"]) == 3
    totals = {total["key_id"]: total for total in shown["totals"]}
    assert totals["partner-id"] == {
        "key_id": "partner-id",
        "key_name": "partner",
        "connections": 3,
        "connected_seconds": 3.75,
        "messages_from_client": 4,
        "messages_from_upstream": 6,
        "bytes_from_client": 40,
        "bytes_from_upstream": 60,
    }
    assert totals["gone-id"]["key_name"] is None


@pytest.mark.parametrize(
    ("query", "connections"),
    [
        ("?key=partner", [1, 2]),
        ("?key=partner-id&since=1m", [2]),
        ("?since=3600", [1, 1, 2]),
        ("?key=gone-id", [1]),
        ("?since=30d&key=partner", [1, 2, 100]),
        ("?key=legacy", []),
    ],
)
def test_usage_is_chosen_by_key_and_time(used, query, connections):
    used.now += HOUR / 2
    rows = used.ask("GET", USAGE + query).data["usage"]
    assert sorted(row["connections"] for row in rows) == connections


@pytest.mark.parametrize("since", ["soon", "0", "-1", "0s", "99999d", "1" * 400, "9" * 12])
def test_a_time_that_is_none_is_refused(used, since):
    answer = used.ask("GET", f"{USAGE}?since={since}")
    assert answer.code == "400 bad_parameter"
    assert "since" in answer.problem["detail"]


def test_usage_of_nobody_is_not_found(used):
    assert used.ask("GET", f"{USAGE}?key=nobody").code == "404 no_such_key"


def test_usage_needs_the_store(used):
    used.away()
    assert used.ask("GET", USAGE).code == "503 store_unavailable"


def test_status_says_how_the_gateway_is(scene):
    scene.hold(PARTNER)
    scene.open("a1")
    status = scene.ask("GET", "/api/v1/status").data
    assert status.pop("totals")["accepted"] == 0
    assert status == {
        "version": "1.2.3",
        "started_at": "2027-01-15T07:59:00Z",
        "uptime_s": 60.0,
        "ready": True,
        "draining": False,
        "connections": 1,
        "connections_limit": 100,
        "store": {"place": "memory:", "up": True},
        "keys": {"active": 2, "suspended": 0, "expired": 0, "revoked": 0},
        "routes": 2,
        "last_reload": {"successful": True, "succeeded_at": "2027-01-15T07:59:00Z"},
    }


def test_status_is_told_while_the_store_is_away(scene):
    scene.away()
    assert scene.ask("GET", "/api/v1/keys").status == 503
    assert scene.ask("GET", "/api/v1/status").data["store"]["up"] is False
    assert scene.ask("GET", "/api/v1/routes").status == 200


@pytest.mark.parametrize("path", ["/api/v1/status", "/api/v1/routes", "/api/v1/keys/legacy"])
def test_what_takes_no_parameters_says_so(scene, path):
    assert scene.ask("GET", path + "?verbose=1").code == "400 bad_parameter"


@pytest.mark.parametrize(
    ("ready", "draining", "status", "text"),
    [
        (True, False, 200, b"ready\n"),
        (False, True, 503, b"draining\n"),
        (False, False, 503, b"not ready\n"),
    ],
)
def test_readiness_is_told_to_all(ready, draining, status, text):
    with Scene(ready=ready, draining=draining) as scene:
        answer = scene.ask("GET", "/readyz", token=None)
        assert (answer.status, answer.body) == (status, text)
        assert scene.ask("GET", "/livez", token=None).body == b"alive\n"

"""Revocation is live: what becomes of a key is felt by its sessions within a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.harness import frames
from tests.harness.accounts import log_faults
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.operators import AdminApi, epoch
from tests.harness.process import BUSY, wait_until
from tests.integration.key_scene import (
    AT_ONCE,
    Operator,
    Scene,
    asking,
    configuration,
    echoes,
    metric,
    new_name,
    scene,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.client import Client

pytestmark = pytest.mark.timeout(60)

PAGE, OTHER_PAGE = "https://one.example", "https://two.example"
HERE, THERE = "192.0.2.7", "198.51.100.7"


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("revocation")) as made:
        yield made
        made.leave()
        assert made.gateway.stop() == 0
        assert not log_faults(made.gateway.log)


@pytest.fixture
def house(everything: Scene) -> Iterator[Scene]:
    yield everything
    everything.leave()


@pytest.fixture(params=["line", "api"])
def way(request: pytest.FixtureRequest) -> str:
    return request.param


class Change(NamedTuple):
    """What an operator does to a key, and what becomes of its sessions and next handshakes."""

    verb: str | None
    fields: dict[str, Any]
    reason: str
    refusal: tuple[int, str]

    def make(self, operator: Operator, key: str) -> dict[str, Any] | None:
        if self.verb is None:
            return operator.update(key, **self.fields)
        return operator.act(self.verb, key)


ENDS = {
    "revoked": Change("revoke", {}, "key_revoked", (401, "key_revoked")),
    "suspended": Change("suspend", {}, "key_suspended", (401, "key_suspended")),
    "deleted": Change("delete", {}, "key_revoked", (401, "key_unknown")),
    "expired": Change(None, {"expires_in": "400ms"}, "key_expired", (401, "key_expired")),
    "shut out": Change(
        None,
        {"addresses": {"deny": ["127.0.0.0/8"]}},
        "address_forbidden",
        (403, "address_forbidden"),
    ),
}


def hear(client: Client, reason: str, since: float) -> float:
    """How many seconds after `since` (on the wall) a session was closed for that reason."""
    client.expect_close(1008, reason)
    took = time.time() - since
    assert took < AT_ONCE + BUSY, f"closed {took:.2f} s after the change"
    return took


def live(house: Scene) -> tuple[float, float]:
    """How many sessions there are on the two routes."""
    metrics = house.gateway.metrics()
    app, other = (
        metric(metrics, "wskeeper_connections", route=route) for route in ("app", "other")
    )
    return app, other


@pytest.mark.parametrize("case", ENDS)
def test_sessions_of_a_key_end_with_it(house: Scene, way: str, case: str) -> None:
    change, operator = ENDS[case], house.operator(way)
    made, bystander = house.create(), house.create()["secret"]
    clients = [house.open(made["secret"], target) for target in ("/app", "/app/x", "/other")]
    others = [house.open(bystander, target) for target in ("/app", "/other")]
    assert all(echoes(client) for client in [*clients, *others])
    behind = [house.upstream.connection() for _ in range(5)][:3]
    before = house.gateway.metrics()

    after = change.make(operator, made["name"])
    since = time.time()
    if after is not None and after["expires_at"] is not None:
        since = epoch(after["expires_at"])
    for client in clients:
        hear(client, change.reason, since)
    for client in clients:
        client.send(frames.masked(frames.CLOSE, frames.close_payload(1008)))
        client.expect_end(1)

    assert all(echoes(client) for client in others)
    for connection in behind:
        assert connection.done.wait(2), "the service was not told"
    with house.upstream.untouched():
        answer = house.ask(made["secret"])
    assert (answer.status, answer.code) == change.refusal
    assert wait_until(lambda: live(house) == (1, 1)), "sessions are still counted"
    metrics = house.gateway.metrics()
    for route, count in (("app", 2), ("other", 1)):
        closed = {"route": route, "initiator": "gateway", "code": "1008"}
        name = "wskeeper_closes_total"
        assert metric(metrics, name, **closed) - metric(before, name, **closed) == count
    events = house.gateway.wait_for_events(3, "connection_closed", key_id=made["id"])
    assert [(event["initiator"], event["code"], event["reason"]) for event in events] == [
        ("gateway", 1008, change.reason)
    ] * 3


def test_a_revocation_in_another_terminal_is_told_by_all_witnesses(house: Scene) -> None:
    """Two terminals: a session echoes in one, `wskeeper keys revoke` runs in the other."""
    made = house.create()
    name = made["name"]
    client = house.open(made["secret"])
    before = house.gateway.metrics()
    for number in range(5):
        assert echoes(client, f"message {number}")

    after = house.line.act("revoke", name)
    assert after is not None
    took = hear(client, "key_revoked", epoch(after["revoked_at"]))
    client.send(frames.masked(frames.CLOSE, frames.close_payload(1008)))
    client.expect_end(1)
    print(f"closed {took * 1e3:.0f} ms after the revocation")  # what `pytest -s` is for

    closed = house.gateway.wait_for_event("connection_closed", key_id=made["id"])
    assert (closed["initiator"], closed["code"]) == ("gateway", 1008)
    assert house.gateway.wait_for_event("key_revoked", key_id=made["id"])["by"].startswith("cli:")
    now = house.gateway.metrics()
    directions = {"client_to_upstream": "from_client", "upstream_to_client": "from_upstream"}
    counted = {
        f"{what}_{field}": metric(now, name, route="app", direction=direction)
        - metric(before, name, route="app", direction=direction)
        for what, name in (
            ("messages", "wskeeper_messages_total"),
            ("bytes", "wskeeper_bytes_total"),
        )
        for direction, field in directions.items()
    }
    assert counted["messages_from_client"] == counted["messages_from_upstream"] == 5
    assert counted["bytes_from_client"] >= 5 * (6 + len("message 0"))
    assert {field: closed[field] for field in counted} == counted
    # The gateway writes usage down every five seconds.
    assert wait_until(lambda: house.api.do("GET", f"/usage?key={name}")["totals"] != [], 8, 0.2)
    for operator in (house.line, house.api):
        used = operator.usage(name)
        assert used["connections"] == 1
        assert {field: used[field] for field in counted} == counted
        assert used["connected_seconds"] == pytest.approx(closed["duration_s"], abs=0.01)
    assert house.line.show(name)["last_used_at"] is not None


def test_a_key_that_reaches_its_end_closes_its_sessions(house: Scene, way: str) -> None:
    made = house.operator(way).create(new_name(), expires_in="3s")
    house.wait_for("key_created", made)
    client = house.open(made["secret"])
    end = epoch(made["expires_at"])
    client.timeout = 5
    hear(client, "key_expired", end)
    assert time.time() >= end, "closed before its time"
    assert house.ask(made["secret"]).code == "key_expired"


def test_a_key_that_loses_a_route_keeps_the_others(house: Scene, way: str) -> None:
    operator, made = house.operator(way), house.create()
    secret, name = made["secret"], made["name"]
    lost, kept = house.open(secret, "/app"), house.open(secret, "/other")
    operator.update(name, routes=["other"])
    hear(lost, "route_forbidden", time.time())
    assert echoes(kept)
    answer = house.ask(secret, "/app")
    assert (answer.status, answer.code) == (403, "route_forbidden")
    assert echoes(house.open(secret, "/other"))


def test_a_key_that_loses_a_page_keeps_the_others(house: Scene, way: str) -> None:
    operator, made = house.operator(way), house.create()
    secret, name = made["secret"], made["name"]
    kept, lost, program = (house.open(secret, origin=origin) for origin in (PAGE, OTHER_PAGE, None))
    operator.update(name, origins=[PAGE])
    hear(lost, "origin_forbidden", time.time())
    assert echoes(kept)
    assert echoes(program)
    answer = house.ask(secret, origin=OTHER_PAGE)
    assert (answer.status, answer.code) == (403, "origin_forbidden")


def test_a_key_that_loses_addresses_keeps_the_others(house: Scene, way: str) -> None:
    operator, made = house.operator(way), house.create()
    secret, name = made["secret"], made["name"]
    kept, lost = house.open(secret, client=HERE), house.open(secret, client=THERE)
    operator.update(name, addresses={"allow": [HERE + "/32"]})
    hear(lost, "address_forbidden", time.time())
    assert echoes(kept)
    assert house.ask(secret, client=THERE).code == "address_forbidden"
    operator.update(name, addresses={"deny": [HERE + "/32"]})
    hear(kept, "address_forbidden", time.time())


def test_a_change_that_admits_as_before_closes_nothing(house: Scene, way: str) -> None:
    operator, made = house.operator(way), house.create()
    secret, name = made["secret"], made["name"]
    client = house.open(secret, origin=PAGE, client=HERE)
    for fields in (
        {"routes": ["app"]},
        {"origins": [PAGE]},
        {"addresses": {"allow": ["192.0.2.0/24"]}},
        {"limits": {"connections": 1}},
        {"metadata": {"plan": "gold"}},
        {"expires_in": "1h"},
    ):
        operator.update(name, **fields)
    client.expect_silence(0.5)
    assert echoes(client)


def test_rotation_closes_at_the_end_of_the_overlap_what_the_old_secret_opened(
    house: Scene, way: str
) -> None:
    made = house.create()
    old = made["secret"]
    first = house.open(old)
    rotated = house.rotate(way, made, "3s")
    new = rotated["secret"]
    (end,) = [
        epoch(secret["valid_until"]) for secret in rotated["secrets"] if secret["valid_until"]
    ]
    opened = time.time()
    late, fresh = house.open(old, "/other"), house.open(new)
    assert all(echoes(client) for client in (first, late, fresh))
    assert opened < end, "too slow to see the overlap"
    for client in (first, late):
        client.timeout = 6
        hear(client, "key_expired", end)
        assert time.time() >= end, "closed before its time"
    assert echoes(fresh)
    with house.upstream.untouched():
        assert house.ask(old).code == "key_expired"
    assert echoes(house.open(new))


def test_rotation_without_an_overlap_closes_only_what_the_old_secret_opened(
    house: Scene, way: str
) -> None:
    made = house.create()
    old = made["secret"]
    middle = house.rotate(way, made, "1h")["secret"]
    ending = [house.open(old), house.open(middle)]
    new = house.rotate(way, made, "0")["secret"]
    for client in ending:
        hear(client, "key_expired", time.time())
    assert echoes(house.open(new))
    assert [house.ask(secret).code for secret in (old, middle)] == ["key_expired"] * 2


def test_a_resumed_key_is_admitted_again(house: Scene, way: str) -> None:
    operator, made = house.operator(way), house.create()
    secret, name = made["secret"], made["name"]
    client = house.open(secret)
    operator.act("suspend", name)
    hear(client, "key_suspended", time.time())
    assert house.ask(secret).code == "key_suspended"
    operator.act("resume", name)
    assert wait_until(lambda: house.door.send(asking(secret)).read_response().status == 101, 1)


IN_FLIGHT = {
    **ENDS,
    "deleted": Change("delete", {}, "key_revoked", (401, "key_revoked")),
    "without the route": Change(
        None, {"routes": ["other"]}, "route_forbidden", (403, "route_forbidden")
    ),
}


@pytest.mark.parametrize("case", IN_FLIGHT)
def test_no_handshake_in_flight_slips_through(house: Scene, way: str, case: str) -> None:
    """The key changes after it was checked and before the service has answered."""
    change, operator, made = IN_FLIGHT[case], house.operator(way), house.create()
    secret = made["secret"]
    with house.upstream.by_hand():
        client = house.door.send(asking(secret))
        connection = house.upstream.connection()
        connection.read_request()
    change.make(operator, made["name"])
    # The gateway knows of it when a further handshake is refused.
    assert wait_until(lambda: house.ask(secret).status in {401, 403}, AT_ONCE)
    connection.send(connection.switching())
    answer = client.read_response()
    assert (answer.status, answer.code) == change.refusal
    connection.expect_end(1)
    assert wait_until(
        lambda: metric(house.gateway.metrics(), "wskeeper_connections", route="app") == 0, 1, 0.1
    )


def test_a_handshake_in_flight_survives_a_rotation(house: Scene, way: str) -> None:
    made = house.create()
    with house.upstream.by_hand():
        client = house.door.send(asking(made["secret"]))
        connection = house.upstream.connection()
        connection.read_request()
        house.rotate(way, made, "1h")
        connection.send(connection.switching())
        assert client.read_response().status == 101


def test_a_session_ends_behind_the_frame_that_is_under_way(house: Scene) -> None:
    """Close frames are written at frame boundaries; the half frame is not forwarded past one."""
    made = house.create()
    with house.upstream.by_hand():
        client = house.door.send(asking(made["secret"]))
        connection = house.upstream.connection()
        connection.read_request()
        connection.send(connection.switching())
        assert client.read_response().status == 101
        connection.send(b"\x82\x7e\x01\x00" + b"x" * 100)
        assert client.read_exactly(104)
        house.api.act("revoke", made["name"])
        client.expect_silence(0.2)
        connection.send(b"x" * 156)
        assert client.read_exactly(156) == b"x" * 156
        client.expect_close(1008, "key_revoked")


def test_two_gateways_share_one_file(house: Scene, tmp_path: Any) -> None:
    """What is done through one of them is felt at the other within a second."""
    config = configuration(house.upstream, house.store)
    with Gateway(tmp_path, config) as second, Door(second.public) as door:
        made = house.create()
        since = time.monotonic()
        request = asking(made["secret"])
        assert wait_until(lambda: door.send(request).read_response().status == 101, AT_ONCE)
        print(f"known to the other gateway after {(time.monotonic() - since) * 1e3:.0f} ms")
        there, here = door.open(request), house.open(made["secret"])
        assert echoes(there)
        after = house.api.act("revoke", made["name"])
        assert after is not None
        for client in (there, here):
            hear(client, "key_revoked", epoch(after["revoked_at"]))
        assert door.ask(request).code == "key_revoked"
        # And the other way round, on the command line.
        api = AdminApi(second)
        other = api.create(new_name())
        assert wait_until(lambda: house.ask(other["secret"]).status == 101, AT_ONCE)
        client = house.open(other["secret"])
        removed = time.time()
        api.act("delete", other["id"])
        hear(client, "key_revoked", removed)
        event = house.gateway.wait_for_event("key_deleted", key_id=other["id"])
        assert event["by"] == "admin:local"
        door.close_all()

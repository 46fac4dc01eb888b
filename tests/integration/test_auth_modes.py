"""`auth: report_only` and `auth: none`: everybody is let in, nobody's credential leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.accounts import log_faults
from tests.harness.client import handshakes
from tests.harness.heads import upgrade
from tests.harness.process import wait_until
from tests.harness.upstream import Upstream
from tests.integration.key_scene import Scene, asking, echoes, metric, new_name, scene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.heads import Request

pytestmark = pytest.mark.timeout(60)

UNKNOWN = "CANARY-unknown-0f1e2d3c4b5a6978"
EVERY_CARRIER = [
    {"header": "X-Api-Key"},
    "bearer",
    {"query": "api_key"},
    "subprotocol",
]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Upstream() as upstream:
        common = {"upstream": upstream.url, "carriers": EVERY_CARRIER}
        routes = [
            {"name": "strict", "path": "/strict", **common},
            {"name": "trial", "path": "/trial", "auth": "report_only", **common},
            {
                "name": "gated",
                "path": "/gated",
                "auth": "report_only",
                "origins": ["https://good.example"],
                "addresses": {"deny": ["198.51.100.0/24"]},
                **common,
            },
            {"name": "open", "path": "/open", "auth": "none", **common},
        ]
        with scene(tmp_path_factory.mktemp("modes"), routes=routes) as made:
            here = made._replace(upstream=upstream)
            yield here
            here.leave()
            assert made.gateway.stop() == 0
            # What it has to say about such a configuration comes before its log.
            log = [line for line in made.gateway.log if not line.startswith("warning: ")]
            assert not log_faults(log)


@pytest.fixture
def house(everything: Scene) -> Iterator[Scene]:
    yield everything
    everything.leave()


def sent_on(house: Scene, request: bytes) -> Request:
    """What the service was asked when this request was let in."""
    house.leave()
    with house.door.open(request) as client:
        assert echoes(client)
    found = house.upstream.connection().request
    assert found is not None
    return found


def would_refuse(house: Scene, route: str, code: str) -> float:
    metrics = house.gateway.metrics()
    return metric(metrics, "wskeeper_would_refuse_total", route=route, outcome=code)


def _carried(key: str, target: str) -> dict[str, bytes]:
    """Requests with the key in each of the carriers."""
    return {
        "header": upgrade(target, key=key),
        "bearer": upgrade(target, lines=(f"Authorization: Bearer {key}",)),
        "query": upgrade(f"{target}?a=1&api_key={key}&b=2"),
        "subprotocol": upgrade(
            target, lines=(f"Sec-WebSocket-Protocol: wskeeper, wskeeper.key.{key}, chat",)
        ),
    }


def _applications_own(key: str) -> set[str]:
    """In which carriers a value that cannot be a key of ours belongs to the application."""
    return {"bearer", "query"} if key == UNKNOWN else set()


# report_only -------------------------------------------------------------------------------


def test_report_only_knows_who_comes_with_a_key(house: Scene) -> None:
    made = house.create(metadata={"plan": "gold"})
    for name, request in _carried(made["secret"], "/trial").items():
        before = sum(_reported(house).values())
        seen = sent_on(house, request)
        assert seen.get("X-Wskeeper-Auth") == "api_key", name
        assert seen.get("X-Wskeeper-Key-Id") == made["id"]
        assert seen.get("X-Wskeeper-Meta-plan") == "gold"
        assert made["secret"].encode() not in seen.raw, name
        assert sum(_reported(house).values()) == before


def _reported(house: Scene) -> dict[str, float]:
    return {
        series: value
        for series, value in house.gateway.metrics().items()
        if series.startswith("wskeeper_would_refuse_total{")
    }


def _refused(house: Scene) -> dict[str, tuple[int, bytes]]:
    """Requests on `/trial` that a strict route refuses with the code that names them."""
    revoked, suspended, elsewhere, away = (house.create() for _ in range(4))
    house.api.act("revoke", revoked["name"])
    house.api.act("suspend", suspended["name"])
    house.api.update(elsewhere["name"], routes=["open"])
    house.api.update(away["name"], addresses={"allow": ["192.0.2.0/24"]})
    paged = house.create(origins=["https://one.example"])
    brief = house.create(expires_in="100ms")
    assert wait_until(lambda: house.api.show(brief["name"])["state"] == "expired", 2)
    full = house.create(limits={"connections": 1})
    house.open(full["secret"], "/strict")
    return {
        "key_missing": (401, upgrade("/trial")),
        "key_unknown": (401, asking(UNKNOWN, "/trial")),
        "key_revoked": (401, asking(revoked["secret"], "/trial")),
        "key_suspended": (401, asking(suspended["secret"], "/trial")),
        "key_expired": (401, asking(brief["secret"], "/trial")),
        "route_forbidden": (403, asking(elsewhere["secret"], "/trial")),
        "address_forbidden": (403, asking(away["secret"], "/trial")),
        "origin_forbidden": (
            403,
            asking(paged["secret"], "/trial", origin="https://two.example"),
        ),
        "key_connections": (429, asking(full["secret"], "/trial")),
        "key_ambiguous": (
            400,
            upgrade("/trial", key=UNKNOWN, lines=(f"Authorization: Bearer {full['secret']}",)),
        ),
    }


def test_report_only_lets_in_and_counts_what_it_would_refuse(house: Scene) -> None:
    for code, (status, request) in _refused(house).items():
        before = would_refuse(house, "trial", code)
        counted = handshakes(house.gateway.metrics())
        client = house.door.open(request)
        assert echoes(client), code
        assert would_refuse(house, "trial", code) == before + 1, code
        now = handshakes(house.gateway.metrics())
        assert now["accepted"] == counted["accepted"] + 1
        assert now[code] == counted[code]
        event = house.gateway.wait_for_event("would_refuse", route="trial", code=code)
        assert event["status"] == status
        assert event["client"] == "127.0.0.1"
        opened = house.gateway.wait_for_event("connection_opened", request_id=event["request_id"])
        assert opened.get("key_id") is None
        client.close()
        strict = house.door.ask(request.replace(b"/trial", b"/strict", 1))
        assert (strict.status, strict.code) == (status, code)


def test_report_only_hides_what_was_shown_from_the_service(house: Scene) -> None:
    revoked = house.create()
    house.api.act("revoke", revoked["name"])
    for key in (UNKNOWN, revoked["secret"]):
        for name, request in _carried(key, "/trial").items():
            seen = sent_on(house, request)
            assert seen.get("X-Wskeeper-Auth") == "none", name
            assert not [header for header, _ in seen.headers if "Wskeeper-Key" in header], name
            assert (key.encode() in seen.raw) == (name in _applications_own(key)), name
            if name == "query" and key != UNKNOWN:
                assert seen.target == "/trial?a=1&b=2"


def test_report_only_still_refuses_what_no_key_would_open(house: Scene) -> None:
    """Routes, origins, addresses and forms are no matter of keys."""
    with house.upstream.untouched():
        for request, code in (
            (upgrade("/gated", lines=("Origin: https://evil.example",)), "origin_forbidden"),
            (
                upgrade("/gated", lines=("X-Forwarded-For: 198.51.100.7",)),
                "address_forbidden",
            ),
            (upgrade("/trial", changed={"Sec-WebSocket-Key": "x"}), "bad_request"),
            (upgrade("/trial/../strict"), "bad_path"),
            (upgrade("/trial", method="POST"), "method_not_allowed"),
        ):
            assert house.door.ask(request).code == code


def test_report_only_closes_nobody_when_a_key_ends(house: Scene) -> None:
    made = house.create()
    trial, strict = (house.open(made["secret"], target) for target in ("/trial", "/strict"))
    house.api.act("revoke", made["name"])
    strict.expect_close(1008, "key_revoked")
    trial.expect_silence(0.5)
    assert echoes(trial)


def test_report_only_lets_a_key_in_that_ends_during_its_handshake(house: Scene) -> None:
    made = house.create()
    with house.upstream.by_hand():
        client = house.door.send(asking(made["secret"], "/trial"))
        connection = house.upstream.connection()
        connection.read_request()
        house.api.act("revoke", made["name"])
        connection.send(connection.switching())
        assert client.read_response().status == 101


# none --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nobody", "unknown", "known", "revoked"])
def test_a_route_without_auth_asks_nobody(house: Scene, kind: str) -> None:
    made = house.create(metadata={"plan": "gold"})
    if kind == "revoked":
        house.api.act("revoke", made["name"])
    requests = {"nothing": upgrade("/open")}
    key = UNKNOWN if kind == "unknown" else made["secret"]
    if kind != "nobody":
        requests = _carried(key, "/open")
    reported = _reported(house)
    for name, request in requests.items():
        seen = sent_on(house, request)
        assert seen.get("X-Wskeeper-Auth") == "none", name
        assert seen.get("X-Wskeeper-Route") == "open"
        assert not [header for header, _ in seen.headers if "Wskeeper-Key" in header]
        assert not [header for header, _ in seen.headers if "Wskeeper-Meta" in header]
        assert (key.encode() in seen.raw) == (name in _applications_own(key)), name
    assert _reported(house) == reported


@pytest.mark.parametrize("target", ["/open", "/trial"])
def test_nobody_pretends_to_have_been_checked(house: Scene, target: str) -> None:
    forged: tuple[Any, ...] = (
        "X-Wskeeper-Auth: api_key",
        "X-Wskeeper-Key-Id: forged",
        "X-Wskeeper-Key-Name: forged",
        "X_Wskeeper_Key_Name: forged",
        "X-Wskeeper-Subject: forged",
        "X-Wskeeper-Meta-Plan: forged",
        "X-Wskeeper-Route: forged",
    )
    seen = sent_on(house, upgrade(target, lines=forged))
    assert seen.all("X-Wskeeper-Auth") == ["none"]
    assert seen.all("X-Wskeeper-Route") == [target[1:]]
    assert b"forged" not in seen.raw


def test_a_key_is_not_used_up_where_none_is_asked_for(house: Scene) -> None:
    made = house.create(limits={"connections": 1})
    clients = [house.open(made["secret"], "/open") for _ in range(3)]
    clients.append(house.open(made["secret"], "/strict"))
    assert all(echoes(client) for client in clients)
    used = house.api.do("GET", f"/connections?key={made['name']}")["connections"]
    assert [session["route"] for session in used] == ["strict"]
    house.api.act("delete", made["name"])
    clients[-1].expect_close(1008, "key_revoked")
    assert all(echoes(client) for client in clients[:-1])
    assert house.api.ask("GET", f"/keys/{new_name()}")[0] == 404

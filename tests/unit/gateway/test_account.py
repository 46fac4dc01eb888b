"""The account of handshakes: each counted once, told to the log as loud as its row says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.errors import REFUSALS, Refused
from proxy.gateway.account import Account
from proxy.gateway.limit_met import LimitMet
from proxy.limits.limit import Limit
from tests.unit.gateway.scene import Gateway, key
from tests.unit.sessions.scene import House

if TYPE_CHECKING:
    from proxy.gateway.request import HandshakeRequest

FIVE = Limit("connections", 5, "keys.a.limits.connections")


class Scene:
    def __init__(self) -> None:
        self.house = House()
        self.log = self.house.log
        self.account = Account(self.house.registry, self.log)

    def outcomes(self, route: str) -> dict[str, int]:
        return dict(self.house.registry.totals[route].outcomes)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def judged() -> HandshakeRequest:
    """A request whose caller is known."""
    gateway = Gateway()
    gateway.asks()
    (door,) = gateway.house.opening
    request = door._request
    assert request.principal.key == key()
    return request


@pytest.mark.parametrize("code", REFUSALS)
def test_refusal_is_counted_and_told_by_its_row(scene: Scene, code: str) -> None:
    scene.account.note_refusal(Refused(code), None, client="192.0.2.1", id="an-id")
    assert scene.outcomes("none") == {code: 1}
    row = REFUSALS[code]
    assert scene.log.lines == [
        (
            row.level,
            "handshake_refused",
            {
                "request_id": "an-id",
                "route": "none",
                "client": "192.0.2.1",
                "status": row.status,
                "code": code,
            },
        )
    ]


def test_refusal_of_a_known_key_names_it(scene: Scene) -> None:
    refused = Refused("key_revoked")
    refused.key_id = "alice"
    scene.account.note_refusal(refused, None, client="192.0.2.1", id="an-id")
    ((_, _, fields),) = scene.log.lines
    assert fields["key_id"] == "alice"


def test_request_tells_of_itself(scene: Scene) -> None:
    request = judged()
    refused = Refused("upstream_invalid", cause="it said something else")
    scene.account.note_refusal(refused, request, client="unused", id="unused")
    (line,) = scene.log.events("handshake_refused")
    assert (line["request_id"], line["route"], line["key_id"]) == (request.id, "chat", "one")
    assert (line["cause"], line["upstream"]) == (
        "it said something else",
        "ws://127.0.0.1:9000/ws",
    )
    assert "unused" not in line.values()
    assert scene.outcomes("chat") == {"upstream_invalid": 1}


def test_subject_is_told_of_too(scene: Scene) -> None:
    request = judged()
    assert request.principal is not None
    request.principal = request.principal._replace(subject="ada", key=None)
    scene.account.note_client_gone(request, client="", id="")
    (line,) = scene.log.events("handshake_refused")
    assert line["subject"] == "ada"
    assert "key_id" not in line
    assert scene.log.lines[0][0] == "debug"
    assert scene.outcomes("chat") == {"client_gone": 1}


def test_refusal_of_the_upstream_s_own(scene: Scene) -> None:
    scene.account.note_upstream_refusal(judged(), 418)
    assert scene.outcomes("chat") == {"upstream_refused": 1}
    (line,) = scene.log.events("handshake_refused")
    assert (line["status"], line["code"]) == (418, "upstream_refused")


def test_who_would_be_refused_is_no_outcome(scene: Scene) -> None:
    scene.account.note_would_refuse(Refused("key_missing"), judged())
    assert scene.account.would_refuse == {("chat", "key_missing"): 1}
    assert scene.outcomes("chat") == {}
    assert scene.log.events("would_refuse")


def test_fault_of_ours_is_told_and_counted_by_its_refusal_alone(scene: Scene) -> None:
    failure = RuntimeError("broken")
    scene.account.note_failure(failure, None, client="192.0.2.1", id="an-id")
    assert scene.outcomes("none") == {}
    ((level, event, fields),) = scene.log.lines
    assert (level, event, fields["failure"]) == ("error", "internal_error", failure)


def test_limit_is_told_with_where_it_stands(scene: Scene) -> None:
    told = {"limit": "connections", "value": 5, "set_in": "keys.a.limits.connections"}
    who = {"request_id": "an-id", "route": "chat", "client": "192.0.2.1"}
    for _ in range(2):
        scene.account.note_limit(FIVE, who)
    assert scene.account.limited == {("chat", "connections"): 2}
    assert scene.log.lines == 2 * [("warning", "limited", {**who, **told})]


@pytest.mark.parametrize("event", ["handshake_refused", "http_refused", "would_refuse"])
def test_limit_is_told_before_the_refusal_that_it_is_met_by(scene: Scene, event: str) -> None:
    refused = LimitMet("key_connections", "Close one.", FIVE)
    refused.key_id = "alice"
    request = judged()
    request.principal = None
    request.ordinary = event == "http_refused"
    if event == "would_refuse":
        scene.account.note_would_refuse(refused, request)
    else:
        scene.account.note_refusal(refused, request, client="", id="")
    assert [line[1] for line in scene.log.lines] == ["limited", event]
    (limited,), (refusal,) = scene.log.events("limited"), scene.log.events(event)
    assert scene.account.limited == {("chat", "connections"): 1}
    for who in (limited, refusal):
        assert (who["request_id"], who["route"], who["key_id"], who["client"]) == (
            request.id,
            "chat",
            "alice",
            request.client.text,
        )


def test_ordinary_requests_have_books_of_their_own(scene: Scene) -> None:
    request = judged()
    request.ordinary = True
    scene.account.note_refusal(Refused("upstream_timeout"), request, client="", id="")
    scene.account.note_client_gone(request, client="", id="")
    scene.account.note_http(request, "answered", status=204, duration=1.5, sizes=(1, 2))
    assert not scene.outcomes("chat")
    totals = scene.house.registry.totals["chat"]
    assert totals.http_outcomes == {"upstream_timeout": 1, "client_gone": 1, "answered": 1}
    assert [line[:2] for line in scene.log.lines] == [
        ("warning", "http_refused"),
        ("debug", "http_refused"),
        ("debug", "http_request"),
    ]
    told = scene.log.lines[-1][2]
    assert (told["method"], told["path"], told["status"]) == ("GET", "/chat", 204)
    assert (told["bytes_from_client"], told["bytes_from_upstream"]) == (1, 2)

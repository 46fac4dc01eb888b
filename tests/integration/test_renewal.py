"""A session that is renewed lives on; one of somebody else's does not exist."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.heads import upgrade
from tests.harness.process import BUSY
from tests.harness.upstream import echo
from tests.integration.key_scene import echoes
from tests.integration.ways_scene import (
    BEARER,
    KEY,
    OTHER_KEY,
    TICKET_QUERY,
    Answer,
    Scene,
    ask,
    jwt,
    scene,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.client import Client

RENEW = "/.wskeeper/renew"


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("gateway")) as made:
        with made.upstream.plays(echo):
            yield made
        made.leave()
        shown = made.shown()
    assert "CANARY" not in shown
    assert "raceback" not in shown


@pytest.fixture(autouse=True)
def _clean_up(ways: Scene) -> Iterator[None]:
    yield
    ways.leave()


def by_token(ways: Scene, **claims: Any) -> tuple[Client, str]:
    """A session opened by a token, and its id."""
    client = ways.door.send(BEARER.request(jwt(**claims)))
    response = client.read_response()
    assert response.status == 101
    return client, response.get("X-Request-Id") or ""


def renew(ways: Scene, session: Any, credential: str, **body: Any) -> Answer:
    headers = {"Authorization": f"Bearer {credential}"}
    return ask(ways.gateway, RENEW, {"session": session, **body}, headers=headers)


def test_session_lives_on_until_the_end_of_the_fresh_token(ways: Scene) -> None:
    began = time.monotonic()
    client, session = by_token(ways, sub="ada", lasts=2)
    answer = renew(ways, session, jwt(sub="ada", lasts=5))
    assert (answer.status, answer.body) == (204, b"")
    # Past the sweep behind the first end.
    time.sleep(max(0.0, began + 3.2 - time.monotonic()))
    assert echoes(client)
    client.expect_close(3000, "token_expired")
    assert 4 <= time.monotonic() - began <= 8 + BUSY


def test_session_can_be_made_to_end_sooner(ways: Scene) -> None:
    client, session = by_token(ways, sub="ada")
    assert renew(ways, session, jwt(sub="ada"), expires_in="100ms").status == 204
    client.expect_close(3000, "token_expired")


def test_fresh_token_bounds_what_is_asked_for(ways: Scene) -> None:
    client, session = by_token(ways, sub="ada")
    assert renew(ways, session, jwt(sub="ada", lasts=1.5), expires_in="1h").status == 204
    client.expect_close(3000, "token_expired")


def test_key_renews_what_its_ticket_opened(ways: Scene) -> None:
    made = ways.ticket(subject="ada", expires_in="2s")
    client = ways.door.open(TICKET_QUERY.request(made["ticket"]))
    began = time.monotonic()
    answer = ask(
        ways.gateway, RENEW, {"session": made["session"], "expires_in": "1h"}, key=OTHER_KEY
    )
    assert (answer.status, answer.code) == (404, "session_unknown")
    answer = renew(ways, made["session"], KEY, expires_in="1h")
    assert answer.status == 204
    time.sleep(max(0.0, began + 3.2 - time.monotonic()))
    assert echoes(client)


def test_session_that_a_rotated_key_renewed_outlives_the_old_secret(ways: Scene) -> None:
    made = ways.api.create("rotating")
    by_new, by_old = (ways.ticket(made["secret"]) for _ in range(2))
    renewed, left = (ways.door.open(TICKET_QUERY.request(it["ticket"])) for it in (by_new, by_old))
    rotated = ways.api.rotate("rotating", "2s")
    assert renew(ways, by_new["session"], rotated["secret"]).status == 204
    # Another backend may not have the new one yet.
    assert renew(ways, by_new["session"], made["secret"]).status == 204
    left.expect_close(1008, "key_expired")
    assert echoes(renewed)
    ways.api.act("revoke", "rotating")
    renewed.expect_close(1008, "key_revoked")


def test_token_renews_what_its_ticket_opened(ways: Scene) -> None:
    headers = {"Authorization": f"Bearer {jwt(sub='ada', lasts=2)}"}
    answer = ask(ways.gateway, "/.wskeeper/ticket", {"route": "ticket"}, headers=headers)
    client = ways.door.open(TICKET_QUERY.request(answer.json["ticket"]))
    assert renew(ways, answer.json["session"], jwt(sub="eve")).status == 404
    assert renew(ways, answer.json["session"], jwt(sub="ada")).status == 204
    assert echoes(client)


def test_what_is_not_ones_own_is_not_there(ways: Scene) -> None:
    _, ada = by_token(ways, sub="ada")
    _, nameless = by_token(ways, sub=...)
    keyed = ways.door.send(upgrade("/header", key=KEY)).read_response().get("X-Request-Id")
    answers = [
        renew(ways, "no-such-session", jwt(sub="ada")),
        renew(ways, ada, jwt(sub="eve")),
        renew(ways, ada, jwt(sub=...)),
        renew(ways, ada, KEY),
        renew(ways, nameless, jwt(sub="ada")),
        renew(ways, keyed, OTHER_KEY),
        renew(ways, keyed, jwt(sub="ada")),
    ]
    for answer in answers:
        assert (answer.status, answer.code) == (404, "session_unknown")
        # None tells more than another.
        assert answer.body == answers[0].body
    assert renew(ways, ada, jwt(sub="ada")).status == 204


@pytest.mark.parametrize("what", ["unknown", "old", "none"])
def test_renewal_takes_a_valid_credential(ways: Scene, what: str) -> None:
    _, session = by_token(ways, sub="ada")
    credential = {
        "unknown": "wsk_CANARYbad000_" + "0" * 40,
        "old": jwt(sub="ada", lasts=-1),
        "none": "",
    }[what]
    answer = renew(ways, session, credential)
    assert answer.status == 401
    assert (
        answer.code
        == {
            "unknown": "key_unknown",
            "old": "token_invalid",
            "none": "key_missing",
        }[what]
    )


def test_ticket_renews_nothing(ways: Scene) -> None:
    made = ways.ticket(subject="ada")
    ways.door.open(TICKET_QUERY.request(made["ticket"]))
    another = ways.ticket(subject="ada")["ticket"]
    headers = {"Authorization": f"Bearer {another}"}
    assert ask(ways.gateway, RENEW, {"session": made["session"]}, headers=headers).status == 401
    path = f"{RENEW}?wskeeper_ticket={another}"
    assert ask(ways.gateway, path, {"session": made["session"]}).status == 404


def test_session_that_has_ended_is_not_there(ways: Scene) -> None:
    client, session = by_token(ways, sub="ada")
    connection = ways.upstream.connection()
    client.reset()
    assert connection.done.wait(5)
    ways.gateway.wait_for_event("connection_closed", request_id=session)
    assert renew(ways, session, jwt(sub="ada")).status == 404


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "session"),
        ({"session": 5}, "session"),
        ({"session": ""}, "session"),
        ({"session": "x" * 300}, "session"),
        ({"session": "x", "expires_in": "CANARY"}, "expires_in"),
        ({"session": "x", "ttl": 5}, "fields"),
    ],
)
def test_body_that_is_wrong_is_told_where(ways: Scene, body: Any, named: str) -> None:
    answer = ask(ways.gateway, RENEW, body, key=KEY)
    assert (answer.status, answer.code) == (422, "body_invalid")
    assert named in answer.json["detail"]
    assert b"CANARY" not in answer.body


def test_renewal_is_asked_for_by_post(ways: Scene) -> None:
    answer = ask(ways.gateway, RENEW, key=KEY, method="GET")
    assert (answer.status, answer.code) == (405, "method_not_allowed")

"""The operator's own Python decides who gets in."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness.client import handshakes
from tests.harness.heads import upgrade
from tests.harness.process import BUSY, wait_until
from tests.integration.ways_scene import KEY, ORIGIN, Scene, ask, jwt, scene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.heads import Response

SECRET = "CANARY-for-the-plugin"
PLUGIN = """
import asyncio
import time

from proxy.plugin import HandshakeRequest, Principal, Refusal

NOTHING = object()


async def first(request, credential):
    return None


async def authenticate(request, credential):
    what = request.header("x-what")
    if what == "admit":
        return Principal(request.header("x-who"), {"route": request.route, "city": "Zürich"})
    if what == "credential":
        assert credential == "CANARY-for-the-plugin", "another credential"
        return Principal("known")
    if what == "cookie":
        assert credential is None
        assert "id=5" in request.header("cookie")
        assert (request.path, request.query, request.client) == (
            "/header/x", "?a=%20b", "127.0.0.1",
        )
        return Principal("cookie")
    if what == "briefly":
        return Principal("brief", expires_at=time.time() + 1)
    if what == "refuse":
        return Refusal("You are not on the list.")
    if what == "refuse at length":
        return Refusal("\\N{PILE OF POO}" * 500)
    if what == "raise":
        raise RuntimeError(f"no good: {credential}")
    if what == "hang":
        await asyncio.sleep(3600)
    return {
        "text": "ada",
        "true": True,
        "subject": Principal("a\\r\\nX-Evil: 1"),
        "number": Principal(5),
        "name": Principal(None, {"a b": "c"}),
        "value": Principal(None, {"a": "\\ud800"}),
        "no metadata": Principal(None, None),
        "end": Principal(None, {}, float("nan")),
        "far end": Principal(None, {}, 10**400),
        "no detail": Refusal(NOTHING),
    }.get(what)
"""


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "our_plugin.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        plugins = ["our_plugin:first", "our_plugin:authenticate"]
        with scene(folder, plugins=plugins) as made:
            yield made
            made.leave()
            assert handshakes(made.gateway.metrics())["internal_error"] == 0
            shown = made.shown()
    assert "CANARY" not in shown
    assert "raceback" not in shown


@pytest.fixture(autouse=True)
def _clean_up(ways: Scene) -> Iterator[None]:
    yield
    ways.leave()


def asking(what: str, *lines: str, target: str = "/header", key: str | None = None) -> bytes:
    return upgrade(target, key=key, lines=(f"X-What: {what}", *lines))


def refused(ways: Scene, what: str, key: str | None = None) -> Response:
    with ways.upstream.untouched(0.1):
        response = ways.door.ask(asking(what, key=key))
    assert (response.status, response.code) == (403, "plugin_refused")
    assert len(response.body) <= 1000
    assert b"CANARY" not in response.raw + response.body
    return response


def test_plugin_lets_somebody_in(ways: Scene) -> None:
    connection = ways.served(ways.door.open(asking("admit", "X-Who: Ada L.")))
    request = connection.request
    assert request is not None
    assert request.get("X-Wskeeper-Auth") == "plugin"
    assert request.get("X-Wskeeper-Subject") == "Ada L."
    assert request.get("X-Wskeeper-Meta-route") == "header"
    assert request.get("X-Wskeeper-Meta-city") == "Z%C3%BCrich"
    assert request.get("X-Wskeeper-Key-Id") is None
    (session,) = ways.api.do("GET", "/connections?subject=Ada%20L.")["connections"]
    assert session["subject"] == "Ada L."


def test_plugin_is_shown_the_credential_and_the_upstream_is_not(ways: Scene) -> None:
    connection = ways.served(ways.door.open(asking("credential", key=SECRET)))
    assert connection.request is not None
    assert SECRET.encode() not in connection.request.raw


def test_plugin_is_shown_the_request(ways: Scene) -> None:
    request = asking("cookie", "Cookie: id=5; x=y", target="/header/x?a=%20b")
    ways.served(ways.door.open(request))


def test_message_is_shown_to_the_plugin(ways: Scene) -> None:
    client = ways.says({"type": "auth", "token": SECRET}, lines=("X-What: credential",))
    assert client.read_frame().payload == b'{"type": "auth_ok"}'
    ways.served(client)


def test_key_and_token_are_good_whatever_a_plugin_says(ways: Scene) -> None:
    for key in (KEY, jwt()):
        connection = ways.served(ways.door.open(asking("refuse", key=key)))
        assert connection.request is not None
        assert connection.request.get("X-Wskeeper-Auth") in {"api_key", "jwt"}


def test_session_ends_when_the_plugin_said_so(ways: Scene) -> None:
    client = ways.door.open(asking("briefly"))
    client.expect_close(3000, "token_expired")


def test_plugin_keeps_somebody_out(ways: Scene) -> None:
    assert refused(ways, "refuse").problem["detail"] == "You are not on the list."
    refused(ways, "refuse at length")


def test_none_passes_on_to_what_there_would_be_without_plugins(ways: Scene) -> None:
    for key, code in ((None, "key_missing"), (SECRET, "key_unknown")):
        response = ways.door.ask(asking("nothing", key=key))
        assert (response.status, response.code) == (401, code)
        assert "X-Api-Key" in (response.get("WWW-Authenticate") or "")


def test_plugin_that_fails_lets_nobody_in(ways: Scene) -> None:
    response = refused(ways, "raise", key=SECRET)
    event = ways.gateway.wait_for_event(
        "plugin_failed", request_id=response.get("X-Request-Id") or ""
    )
    assert event["level"] == "error"
    assert event["plugin"] == "our_plugin:authenticate"
    assert event["cause"] == "RuntimeError"
    # Where, and not in which words: they quote the credential.
    assert "our_plugin.py:" in event["at"]


@pytest.mark.parametrize(
    "what",
    [
        "text",
        "true",
        "subject",
        "number",
        "name",
        "value",
        "no metadata",
        "end",
        "far end",
        "no detail",
    ],
)
def test_nonsense_lets_nobody_in(ways: Scene, what: str) -> None:
    response = refused(ways, what)
    ways.gateway.wait_for_event("plugin_failed", request_id=response.get("X-Request-Id") or "")


def test_plugin_that_hangs_is_given_up(ways: Scene) -> None:
    client = ways.door.send(asking("hang"))
    # Nobody else waits for it.
    ways.served(ways.door.open(asking("admit")))
    began = time.monotonic()
    client.timeout = 6 + BUSY
    response = client.read_response()
    assert (response.status, response.code) == (403, "plugin_refused")
    assert time.monotonic() - began <= 6 + BUSY


def test_client_that_leaves_is_waited_for_no_more(ways: Scene) -> None:
    before = handshakes(ways.gateway.metrics())["client_gone"]
    for _ in range(5):
        ways.door.send(asking("hang")).reset()
    assert wait_until(lambda: handshakes(ways.gateway.metrics())["client_gone"] == before + 5)


def test_many_who_hang_keep_no_key_holder_out(ways: Scene) -> None:
    clients = [ways.door.send(asking("hang")) for _ in range(101)]
    # One too many is told so at once.
    assert wait_until(lambda: handshakes(ways.gateway.metrics())["gateway_connections"] > 0)
    ways.served(ways.door.open(asking("hang", key=KEY)))
    for client in clients:
        client.reset()


def test_plugin_s_caller_buys_tickets(ways: Scene) -> None:
    headers = {"X-What": "admit", "X-Who": "ada", "Origin": ORIGIN}
    answer = ask(ways.gateway, "/.wskeeper/ticket", {"route": "ticket"}, headers=headers)
    assert answer.status == 201
    ticket = answer.json["ticket"]
    connection = ways.served(ways.door.open(upgrade(f"/ticket?wskeeper_ticket={ticket}")))
    assert connection.request is not None
    assert connection.request.get("X-Wskeeper-Subject") == "ada"
    assert connection.request.get("X-Wskeeper-Meta-city") == "Z%C3%BCrich"

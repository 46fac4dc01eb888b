"""Ordinary requests over TLS, with tickets and plugins, through revocations and a stop."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.harness.certificates import Certificates
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import plain, upgrade
from tests.harness.operators import AdminApi
from tests.harness.process import SLOWNESS
from tests.harness.upstream import Upstream, echo
from tests.integration.passthrough_scene import OK, PASSING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.client import Client
    from tests.harness.upstream import UpstreamConnection

AT_ONCE = 1.0 * SLOWNESS
EVENTS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
PLUGIN = """
import asyncio
import time

from proxy.plugin import Principal


async def authenticate(request, credential):
    name = request.header("x-who")
    if name is None:
        return None
    await asyncio.sleep(0.01)
    until = time.time() + 0.3 if name == "brief" else None
    return Principal(name, expires_at=until)
"""


class Scene(NamedTuple):
    """A gateway with TLS at both ends, and what is around it."""

    gateway: Gateway
    upstream: Upstream
    door: Door
    api: AdminApi

    def streaming(self, *lines: str) -> tuple[Client, UpstreamConnection]:
        """A request whose answer has begun."""
        client = self.door.send(plain("/app/events", *lines))
        connection = self.upstream.connection()
        connection.read_request()
        connection.send(EVENTS)
        client.read_head()
        client.read_exactly(10)
        return client, connection


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def scene(request, tmp_path_factory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "our_http_plugin.py").write_text(PLUGIN)
    certificates = Certificates(folder)
    with Upstream(None, tls=certificates.server_context()) as upstream:
        config = {
            "tls": {
                "certificate": str(certificates.certificate),
                "private_key": str(certificates.private_key),
            },
            "store": "sqlite:keys.db",
            "plugins": ["our_http_plugin:authenticate"],
            "drain": {"spread": "0s", "timeout": "2s"},
            "routes": [
                {
                    "name": "app",
                    "path": "/app",
                    "carriers": [{"header": "X-Api-Key"}, "ticket"],
                    "upstream": {
                        "targets": [upstream.url],
                        "tls": {"ca": str(certificates.authority), "server_name": "localhost"},
                    },
                    **PASSING,
                }
            ],
        }
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        environment = {"WSKEEPER_EVENT_LOOP": request.param, "PYTHONPATH": path}
        with Gateway(folder, config, environment=environment) as gateway:
            with Door(gateway.public, certificates.client_context()) as door:
                yield Scene(gateway, upstream, door, AdminApi(gateway))
            assert gateway.stop() == 0
            for trouble in ("internal_error", "library", "unhandled"):
                assert not gateway.events(trouble)


@pytest.fixture(autouse=True)
def _clean_up(scene) -> Iterator[None]:
    yield
    scene.door.close_all()
    scene.upstream.forget()


_names = iter(f"key-{number}" for number in range(1000))


@pytest.fixture
def key(scene) -> dict[str, str]:
    return scene.api.create(next(_names))


def test_request_travels_over_tls_at_both_ends(scene, key):
    client = scene.door.connect()
    for _ in range(2):  # The connection is kept.
        body = b"x" * 300_000
        lines = (f"X-Api-Key: {key['secret']}", f"Content-Length: {len(body)}")
        client.send(plain("/app", *lines, method="POST") + body)
        connection = scene.upstream.connection()
        assert connection.read_request().get("X-Forwarded-Proto") == "https"
        assert connection.read_exactly(len(body)) == body
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert client.read_response().body == body


def test_answer_over_tls_is_whole_where_the_connection_ends(scene, key):
    body = b"y" * 3_000_000
    client = scene.door.send(plain("/app", f"X-Api-Key: {key['secret']}", "Connection: close"))
    connection = scene.upstream.connection()
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)
    connection.sock.unwrap().close()  # with TLS's own goodbye
    data = client.read_to_end()
    assert data.count(b"y") == len(body)
    assert data.endswith(b"0\r\n\r\n")


def test_plugin_says_who_asks(scene):
    client = scene.door.send(plain("/app", "X-Who: ada", "Content-Length: 2", method="PUT") + b"hi")
    connection = scene.upstream.connection()
    assert connection.read_request().get("X-Wskeeper-Subject") == "ada"
    assert connection.read_exactly(2) == b"hi"
    connection.send(OK)
    assert client.read_response().status == 200


def test_ticket_is_not_used_up(scene, key):
    lines = (f"X-Api-Key: {key['secret']}", "Content-Length: 0")
    sold = scene.door.ask(plain("/.wskeeper/ticket", *lines, method="POST"))
    ticket = json.loads(sold.body)["ticket"]
    with scene.upstream.untouched(0.05):
        response = scene.door.ask(plain(f"/app?wskeeper_ticket={ticket}"))
    assert (response.status, response.code) == (401, "ticket_invalid")
    assert "not used up" in response.problem["detail"]
    with scene.upstream.plays(echo):
        scene.door.open(upgrade(f"/app?wskeeper_ticket={ticket}"))


@pytest.mark.parametrize("verb", ["revoke", "suspend", "delete"])
def test_answer_ends_with_its_key(scene, key, verb):
    client, connection = scene.streaming(f"X-Api-Key: {key['secret']}")
    other, still = scene.streaming(f"X-Api-Key: {scene.api.create(next(_names))['secret']}")
    scene.api.act(verb, key["id"])
    client.expect_end(AT_ONCE)
    assert connection.read_to_end(AT_ONCE) == b""
    still.send(b"4\r\nlast\r\n0\r\n\r\n")
    assert other.read_exactly(14) == b"4\r\nlast\r\n0\r\n\r\n"
    code = "key_suspended" if verb == "suspend" else "key_revoked"
    scene.gateway.wait_for_event("http_request", key_id=key["id"], outcome=code)


def test_request_that_waits_for_its_answer_hears_that_its_key_was_revoked(scene, key):
    client = scene.door.send(plain("/app/poll", f"X-Api-Key: {key['secret']}"))
    scene.upstream.connection().read_request()
    scene.api.act("revoke", key["id"])
    response = client.read_response(within=AT_ONCE + 1)
    assert (response.status, response.code) == (401, "key_revoked")
    assert 'header="X-Api-Key"' in (response.get("WWW-Authenticate") or "")


def test_request_that_waits_for_its_answer_hears_that_nothing_vouches_for_it(scene):
    client = scene.door.send(plain("/app/poll", "X-Who: brief"))
    scene.upstream.connection().read_request()
    response = client.read_response(within=0.3 + AT_ONCE + 1)
    assert (response.status, response.code) == (401, "token_invalid")


def test_answer_ends_with_what_vouched_for_its_reader(scene):
    client, _ = scene.streaming("X-Who: brief")
    client.expect_end(0.3 + AT_ONCE)
    scene.gateway.wait_for_event("http_request", subject="brief", outcome="token_expired")


def test_stop_lets_requests_come_to_their_end(scene, key):  # The last: it stops the gateway.
    with_key = f"X-Api-Key: {key['secret']}"
    idle = scene.door.send(plain("/app", with_key))
    connection = scene.upstream.connection()
    connection.read_request()
    connection.send(OK)
    idle.read_response()
    client, connection = scene.streaming(with_key)
    endless, cut = scene.streaming(with_key)
    scene.gateway.signal(signal.SIGTERM)
    scene.gateway.wait_for_event("draining")
    idle.send(plain("/app", with_key))
    refused = idle.read_response()
    assert (refused.status, refused.code) == (503, "draining")
    connection.send(b"4\r\nlast\r\n0\r\n\r\n")
    assert client.read_exactly(14) == b"4\r\nlast\r\n0\r\n\r\n"
    endless.expect_end(3.0)
    assert cut.read_to_end(1.0) == b""
    assert scene.gateway.wait() == 0

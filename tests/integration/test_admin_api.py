"""The admin API of a running gateway: the next handshake and live sessions see what it changes."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import time
from typing import TYPE_CHECKING

import pytest

from proxy.keys.secret import make_secret
from tests.harness import frames
from tests.harness.frames import close_payload, masked
from tests.harness.process import BUSY
from tests.integration.conftest import asking

if TYPE_CHECKING:
    from tests.harness.certificates import Certificates
    from tests.harness.gateway import Gateway

TOKENS = {role: f"CANARY-{role}-token-4c1e8a" for role in ("viewer", "operator", "admin")}
WITH_TOKENS = {
    "listen": "127.0.0.1:0",
    "tokens": [
        {"name": f"the-{role}", "role": role, "sha256": hashlib.sha256(token.encode()).hexdigest()}
        for role, token in TOKENS.items()
    ],
}


class Api:
    """Asks a gateway's admin listener."""

    def __init__(self, gateway: Gateway, *, token: str | None = None, tls=None) -> None:
        self.gateway = gateway
        self.token = token
        self.tls = tls

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self.gateway.admin
        if self.tls is not None:
            return http.client.HTTPSConnection("localhost", port, timeout=10, context=self.tls)
        connection = http.client.HTTPConnection("localhost", port, timeout=10)
        if not port:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(host)
        return connection

    def ask(self, method, path, body=None, **headers):
        """The status and the JSON of an answer."""
        sent = {} if method == "GET" else {"Content-Type": "application/json"}
        sent |= {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = self._connection()
        try:
            raw = None if body is None else json.dumps(body)
            connection.request(method, f"/api/v1{path}", raw, sent)
            answer = connection.getresponse()
            said = answer.read()
            return answer.status, json.loads(said) if said else None
        finally:
            connection.close()

    def do(self, method, path, body=None):
        """What is answered, if it was done."""
        status, data = self.ask(method, path, body)
        assert status < 300, (status, data)
        return data


@pytest.fixture
def api(start) -> Api:
    return Api(start())


def eventually(question, deadline=5.0):
    """Waits until a question is answered with something."""
    end = time.monotonic() + deadline
    while not (answer := question()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
    return answer


class TestKeys:
    def test_a_created_key_opens_a_session_at_once(self, api, connect):
        made = api.do("POST", "/keys", {"name": "partner", "routes": ["app"]})
        door = connect(api.gateway)
        assert door.open(asking(key=made["secret"]))
        one = api.do("GET", "/connections?key=partner")["connections"]
        assert [(session["key_id"], session["route"]) for session in one] == [(made["id"], "app")]
        event = api.gateway.wait_for_event("key_created", key_id=made["id"])
        assert (event["key_name"], event["by"]) == ("partner", "admin:local")

    def test_revoking_closes_its_sessions_and_refuses_it(self, api, connect):
        made = api.do("POST", "/keys", {"name": "partner"})
        door = connect(api.gateway)
        client = door.open(asking(key=made["secret"]))
        other = door.open(asking())
        began = time.monotonic()
        assert api.do("POST", "/keys/partner/revoke")["state"] == "revoked"
        client.expect_close(1008, "key_revoked")
        assert time.monotonic() - began < 1 + BUSY
        assert door.ask(asking(key=made["secret"])).code == "key_revoked"
        other.expect_silence()

    def test_a_suspended_key_rests_until_it_is_resumed(self, api, connect):
        made = api.do("POST", "/keys", {"name": "partner"})
        door = connect(api.gateway)
        client = door.open(asking(key=made["secret"]))
        api.do("POST", "/keys/partner/suspend")
        client.expect_close(1008, "key_suspended")
        assert door.ask(asking(key=made["secret"])).code == "key_suspended"
        api.do("POST", "/keys/partner/resume")
        assert door.open(asking(key=made["secret"]))

    def test_a_deleted_key_is_gone(self, api, connect):
        made = api.do("POST", "/keys", {"name": "partner"})
        door = connect(api.gateway)
        client = door.open(asking(key=made["secret"]))
        assert api.do("DELETE", f"/keys/{made['id']}") is None
        client.expect_close(1008)
        assert door.ask(asking(key=made["secret"])).code == "key_unknown"
        assert api.ask("GET", "/keys/partner")[0] == 404

    def test_rotation_lets_both_secrets_in_while_they_overlap(self, api, connect):
        old = api.do("POST", "/keys", {"name": "partner"})["secret"]
        door = connect(api.gateway)
        client = door.open(asking(key=old))
        new = api.do("POST", "/keys/partner/rotate", {"overlap": "1h"})["secret"]
        assert door.open(asking(key=old))
        assert door.open(asking(key=new))
        client.expect_silence()

    def test_rotation_without_an_overlap_ends_the_old_secret(self, api, connect):
        old = api.do("POST", "/keys", {"name": "partner"})["secret"]
        door = connect(api.gateway)
        client = door.open(asking(key=old))
        new = api.do("POST", "/keys/partner/rotate", {"overlap": 0})["secret"]
        client.expect_close(1008, "key_expired")
        assert door.ask(asking(key=old)).code == "key_expired"
        assert door.open(asking(key=new))

    def test_an_imported_key_opens_and_an_update_binds_it(self, api, connect):
        secret = "an-existing-secret-of-elsewhere"
        api.do("POST", "/keys", {"name": "legacy", "secret": secret})
        door = connect(api.gateway)
        client = door.open(asking(key=secret))
        api.do("PATCH", "/keys/legacy", {"addresses": ["192.0.2.0/24"]})
        client.expect_close(1008, "address_forbidden")
        assert door.ask(asking(key=secret)).code == "address_forbidden"

    def test_a_key_that_expires_ends_its_sessions(self, api, connect):
        made = api.do("POST", "/keys", {"name": "brief", "expires_in": "500ms"})
        door = connect(api.gateway)
        door.open(asking(key=made["secret"])).expect_close(1008, "key_expired")
        assert api.do("GET", "/keys/brief")["state"] == "expired"

    def test_keys_outlive_the_gateway(self, start, connect):
        first = start()
        made = Api(first).do("POST", "/keys", {"name": "partner"})
        first.stop()
        second = start()
        assert connect(second).open(asking(key=made["secret"]))
        del made["secret"]
        shown = Api(second).do("GET", "/keys/partner")
        assert {**shown, "last_used_at": None} == made

    def test_the_configurations_keys_are_fixed(self, api):
        assert api.do("GET", "/keys/test")["source"] == "configuration"
        status, problem = api.ask("POST", "/keys/test/revoke")
        assert (status, problem["code"]) == (409, "fixed_key")


class TestConnections:
    def test_an_operator_closes_sessions_with_words_of_its_own(self, api, connect):
        door = connect(api.gateway)
        clients = [door.open(asking()) for _ in range(3)]
        listed = api.do("GET", "/connections?route=app")["connections"]
        assert len(listed) == 3
        assert api.do("DELETE", f"/connections/{listed[0]['id']}") == {"closed": 1}
        assert api.do("DELETE", "/connections?key=test&code=4001&reason=bye%20now")["closed"] >= 2
        assert sorted(client.read_frame().payload for client in clients) == [
            close_payload(1008, "closed_by_admin"),
            close_payload(4001, "bye now"),
            close_payload(4001, "bye now"),
        ]
        event = api.gateway.wait_for_event("admin_closed", filter="key")
        assert (event["by"], event["code"]) == ("admin:local", 4001)
        assert api.gateway.wait_for_event("connection_closed", reason="closed_by_admin")

    def test_a_session_tells_what_it_carried(self, api, connect):
        client = connect(api.gateway).open(asking())
        client.send(masked(frames.TEXT, b"hello"))
        client.read_frame()
        session = api.do("GET", "/connections")["connections"][0]
        shown = api.do("GET", f"/connections/{session['id']}")
        changing = {"duration_s": 0, "opened_at": 0}
        assert {**session, **changing}.items() <= {**shown, **changing, "legs": 0}.items()
        assert shown["legs"]["client"]["waiting_bytes"] == 0
        assert session["messages_from_client"] == 1
        assert session["messages_from_upstream"] == 1
        assert session["client"] == "127.0.0.1"

    def test_nothing_is_closed_by_a_request_that_names_nothing(self, api, connect):
        client = connect(api.gateway).open(asking())
        for query in ("", "?code=1000", "?kee=test", "?key=test&route=app"):
            assert api.ask("DELETE", f"/connections{query}")[0] == 400
        client.expect_silence()


def test_usage_is_told(api, connect):
    client = connect(api.gateway).open(asking())
    client.send(masked(frames.TEXT, b"hello"))
    client.read_frame()
    api.do("DELETE", "/connections?key=test")
    api.gateway.wait_for_event("connection_closed")
    totals = eventually(lambda: api.do("GET", "/usage?since=1h&key=test")["totals"], 15)
    assert totals[0]["key_name"] == "test"
    assert totals[0]["connections"] == 1


def test_status_and_routes_say_what_runs(api, connect, upstream):
    connect(api.gateway).open(asking())
    status = api.do("GET", "/status")
    assert status["ready"] is True
    assert status["connections"] == 1
    assert status["store"]["up"] is True
    assert status["keys"]["active"] == 1
    route = api.do("GET", "/routes")["routes"][0]
    assert (route["name"], route["connections"]) == ("app", 1)
    assert route["targets"] == [{"url": upstream.url, "up": True, "connections": 1}]
    assert route["outcomes"]["accepted"] == status["totals"]["accepted"] == 1


class TestAccess:
    def test_roles_decide_and_the_audit_names_the_token(self, start):
        gateway = start(admin=WITH_TOKENS)
        viewer, operator, admin = (Api(gateway, token=TOKENS[role]) for role in TOKENS)
        assert admin.ask("POST", "/keys", {"name": "partner"})[0] == 201
        assert viewer.do("GET", "/keys/partner")["name"] == "partner"
        for who, method, path in (
            (viewer, "POST", "/keys/partner/suspend"),
            (viewer, "DELETE", "/connections?route=app"),
            (operator, "POST", "/keys/partner/rotate"),
            (operator, "DELETE", "/keys/partner"),
        ):
            status, problem = who.ask(method, path)
            assert (status, problem["code"]) == (403, "role_forbidden")
        operator.do("POST", "/keys/partner/suspend")
        event = gateway.wait_for_event("key_suspended")
        assert event["by"] == "admin:the-operator"
        for token, code in ((None, "token_missing"), (TOKENS["admin"] + "x", "token_unknown")):
            status, problem = Api(gateway, token=token).ask("GET", "/status")
            assert (status, problem["code"]) == (401, code)
        gateway.stop()
        assert "CANARY" not in "\n".join([*gateway.log, *gateway.output])

    def test_no_secret_is_logged(self, api, connect):
        made = api.do("POST", "/keys", {"name": "partner"})
        mine = make_secret(lambda below: below // 2).text
        api.do("POST", "/keys", {"name": "imported", "secret": mine})
        new = api.do("POST", "/keys/partner/rotate")["secret"]
        door = connect(api.gateway)
        for secret in (made["secret"], mine, new):
            door.open(asking(key=secret))
            api.ask("DELETE", f"/connections?key={secret}")
            api.ask("GET", f"/keys/{secret}")
        api.ask("POST", "/keys", {"name": "twin", "secret": mine})
        api.gateway.stop()
        log = "\n".join([*api.gateway.log, *api.gateway.output])
        for secret in (made["secret"], mine, new):
            assert secret not in log
            assert hashlib.sha256(secret.encode()).hexdigest() not in log

    def test_a_page_of_another_site_is_refused(self, api):
        for headers in (
            {"Host": "evil.example"},
            {"Origin": "http://evil.example"},
            {"Sec_Fetch_Site": "cross-site"},
        ):
            status, problem = api.ask("POST", "/keys", {"name": "x"}, **headers)
            assert (status, problem["code"]) == (403, "cross_site")
        status, problem = api.ask("POST", "/keys", {"name": "x"}, Content_Type="text/plain")
        assert (status, problem["code"]) == (415, "json_needed")
        assert [key["name"] for key in api.do("GET", "/keys")["keys"]] == ["test"]

    def test_the_api_is_served_on_a_unix_socket(self, start, tmp_path):
        gateway = start(admin={"listen": f"unix:{tmp_path}/admin.sock"})
        assert Api(gateway).do("GET", "/status")["ready"] is True

    def test_the_api_is_served_over_tls(self, start, certificates: Certificates):
        gateway = start(
            admin={
                **WITH_TOKENS,
                "tls": {
                    "certificate": str(certificates.certificate),
                    "private_key": str(certificates.private_key),
                },
            }
        )
        api = Api(gateway, token=TOKENS["viewer"], tls=certificates.client_context())
        assert api.do("GET", "/status")["ready"] is True

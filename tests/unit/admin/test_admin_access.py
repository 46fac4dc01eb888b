"""Who may do what: roles, tokens, and pages of other sites that a browser here has open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.access import (
    ROLES,
    Access,
    AdminToken,
    Asked,
    Operator,
    refuse_other_origins,
    tokens_of,
)
from proxy.admin.failures import MOST, TokenFailures
from proxy.admin.problems import Problem
from proxy.admin.server import ENDPOINTS
from proxy.config.model import Admin
from proxy.keys.key import digest_of
from proxy.limits.failures import WINDOW
from tests.unit.admin.scene import CANARY, TOKENS, Scene

# What each endpoint needs; it stands here again, as no slip in the code's table is to go unseen.
NEEDS = {
    ("GET", "/api/v1/status"): "viewer",
    ("GET", "/api/v1/routes"): "viewer",
    ("GET", "/api/v1/events"): "viewer",
    ("GET", "/api/v1/openapi.json"): "viewer",
    ("POST", "/api/v1/reload"): "operator",
    ("GET", "/api/v1/usage"): "viewer",
    ("GET", "/api/v1/connections"): "viewer",
    ("GET", "/api/v1/connections/{connection}"): "viewer",
    ("DELETE", "/api/v1/connections"): "operator",
    ("DELETE", "/api/v1/connections/{connection}"): "operator",
    ("GET", "/api/v1/keys"): "viewer",
    ("GET", "/api/v1/keys/{key}"): "viewer",
    ("POST", "/api/v1/keys"): "admin",
    ("PATCH", "/api/v1/keys/{key}"): "admin",
    ("DELETE", "/api/v1/keys/{key}"): "admin",
    ("POST", "/api/v1/keys/{key}/rotate"): "admin",
    ("POST", "/api/v1/keys/{key}/revoke"): "operator",
    ("POST", "/api/v1/keys/{key}/suspend"): "operator",
    ("POST", "/api/v1/keys/{key}/resume"): "operator",
}
FORM = "application/x-www-form-urlencoded"


def path_of(pattern: str) -> str:
    path = pattern.replace("{key}", "nobody").replace("{connection}", "nothing")
    return path + "?format=json" if path.endswith("/events") else path  # A stream has no end.


def test_every_endpoint_is_in_the_matrix():
    assert {(method, path): role for method, path, role, _ in ENDPOINTS} == NEEDS


class TestRoles:
    @pytest.mark.parametrize("role", ROLES)
    @pytest.mark.parametrize(("method", "pattern"), NEEDS)
    def test_a_role_opens_what_it_is_for_and_nothing_else(self, scene, role, method, pattern):
        answer = scene.ask(method, path_of(pattern), token=TOKENS[role])
        needed = NEEDS[method, pattern]
        if ROLES.index(role) >= ROLES.index(needed):
            assert answer.status not in {401, 403}
        else:
            assert answer.code == "403 role_forbidden"
            assert needed in answer.problem["detail"]

    @pytest.mark.parametrize(("method", "pattern"), NEEDS)
    def test_nobody_passes_without_a_token(self, scene, method, pattern):
        for token, code in ((None, "401 token_missing"), ("wrong", "401 token_unknown")):
            answer = scene.ask(method, path_of(pattern), token=token)
            assert answer.code == code
            assert answer.headers["www-authenticate"] == 'Bearer realm="wskeeper admin"'

    def test_a_head_needs_what_a_get_needs(self, scene):
        answer = scene.ask("HEAD", "/api/v1/status", token=TOKENS["viewer"])
        assert (answer.status, answer.body) == (200, b"")
        assert scene.ask("HEAD", "/api/v1/status", token=None).status == 401

    def test_the_audit_names_the_token(self, scene):
        scene.ask("POST", "/api/v1/keys", {"name": "partner"})
        scene.ask("POST", "/api/v1/keys/partner/suspend", {}, token=TOKENS["operator"])
        assert scene.log.events("key_suspended")[0]["by"] == "admin:operator"
        scene.ask("DELETE", "/api/v1/connections?route=chat", token=TOKENS["operator"])
        assert scene.log.events("admin_closed")[0]["by"] == "admin:operator"


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer",
        "Authorization: Bearer  ",
        "Authorization: Basic YTpi",
        f"Authorization: {TOKENS['admin']}",
        f"Authorization: Bearer {TOKENS['admin']}\r\nAuthorization: Bearer {TOKENS['admin']}",
        f"X-Api-Key: {TOKENS['admin']}",
        f"Cookie: token={TOKENS['admin']}",
    ],
)
def test_a_token_shown_in_another_way_is_none(scene, line):
    answer = scene.ask("GET", "/api/v1/status", lines=[line], token=None)
    # Of two lines the parser may have the first word.
    assert answer.code in {"401 token_missing", "400 bad_request"}


def test_the_scheme_of_a_token_has_no_case(scene):
    lines = [f"authorization: BEARER {TOKENS['viewer']}"]
    assert scene.ask("GET", "/api/v1/status", lines=lines, token=None).status == 200


@pytest.mark.parametrize("token", ["\udcff\udcfe", TOKENS["admin"] + "x", TOKENS["admin"][:-1]])
def test_a_wrong_token_is_logged_without_it(scene, token):
    assert scene.ask("GET", "/api/v1/status", token=token).code == "401 token_unknown"
    assert scene.log.events("admin_refused") == [{"client": "127.0.0.1", "code": "token_unknown"}]


def test_what_a_role_may_not_is_logged_with_whom_and_without_the_path(scene):
    scene.ask("DELETE", f"/api/v1/keys/{CANARY}", token=TOKENS["viewer"])
    assert scene.log.events("admin_refused") == [
        {
            "by": "admin:viewer",
            "client": "127.0.0.1",
            "code": "role_forbidden",
            "asked": "DELETE /api/v1/keys/{key}",
        }
    ]


class TestGuessing:
    def test_ten_wrong_tokens_silence_an_address_for_a_minute(self, scene):
        for number in range(MOST):
            answer = scene.ask("GET", "/api/v1/status", token=f"guess-{number}")
            assert answer.code == "401 token_unknown"
            scene.now += 1
        for token in ("another", TOKENS["admin"], None):
            answer = scene.ask("GET", "/api/v1/status", token=token)
            assert answer.code == "429 token_failures"
            assert answer.headers["retry-after"] == "50"
        assert scene.ask("GET", "/livez").status == 200
        scene.now += 50
        assert scene.ask("GET", "/api/v1/status").status == 200

    def test_an_outdated_token_shown_again_and_again_counts_once(self, scene):
        for _ in range(3 * MOST):
            assert scene.ask("GET", "/api/v1/status", token="outdated").status == 401
        assert scene.ask("GET", "/api/v1/status").status == 200

    def test_addresses_are_counted_apart_and_ipv6_by_network(self):
        failures = TokenFailures(lambda: 0.0)
        for number in range(MOST):
            failures.note("2001:db8::1", bytes([number]))
            failures.note("::ffff:192.0.2.1", bytes([number]))
        assert failures.wait("2001:db8::2") == WINDOW
        assert failures.wait("2001:db8:0:1::2") is None
        assert failures.wait("192.0.2.1") == WINDOW
        assert failures.wait("192.0.2.2") is None
        assert failures.wait("") is None

    def test_a_clients_name_that_is_no_address_counts_too(self):
        failures = TokenFailures(lambda: 0.0)
        for number in range(MOST):
            failures.note("", bytes([number]))
        assert failures.wait("") == WINDOW

    @given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 40)), max_size=60))
    def test_never_more_than_so_many_guesses_a_minute(self, steps):
        now = 0.0
        failures = TokenFailures(lambda: now)
        counted: dict[int, float] = {}
        for pause, guess in steps:
            now += pause
            wait = failures.wait("192.0.2.1")
            if wait is not None:
                assert 0 < wait <= WINDOW
                continue
            failures.note("192.0.2.1", bytes([guess]))
            if counted.get(guess, -WINDOW) <= now - WINDOW:
                counted[guess] = now
            assert sum(at > now - WINDOW for at in counted.values()) <= MOST


class TestOpenListener:
    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST:8081", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:65535"]
    )
    def test_answers_to_the_names_of_this_machine(self, open_scene, host):
        assert open_scene.ask("GET", "/api/v1/status", host=host).status == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:8081",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:",
            "localhost:80x",
            "127.0.0.2",
            "::1",
            "0.0.0.0",
            "",
            None,
        ],
    )
    @pytest.mark.parametrize("target", ["/api/v1/status", "/api/v1/nothing", "/", "/api/v1/keys"])
    def test_refuses_other_names_as_after_dns_rebinding(self, open_scene, host, target):
        answer = open_scene.ask("GET", target, host=host)
        # Without a Host line HTTP/1.1 is broken already.
        assert answer.code in {"403 cross_site", "400 bad_request"}

    def test_refuses_two_hosts(self, open_scene):
        answer = open_scene.ask("GET", "/api/v1/status", lines=["Host: localhost"])
        assert answer.code in {"403 cross_site", "400 bad_request"}

    @pytest.mark.parametrize("target", ["/livez", "/readyz", "/metrics"])
    def test_probes_are_open_to_every_name(self, open_scene, target):
        assert open_scene.ask("GET", target, host="gateway:8081").status == 200

    @pytest.mark.parametrize("origin", ["http://localhost", "HTTP://LOCALHOST"])
    def test_serves_pages_of_its_own(self, open_scene, origin):
        lines = [f"Origin: {origin}", "Sec-Fetch-Site: same-origin"]
        made = open_scene.ask("POST", "/api/v1/keys", {"name": "partner"}, lines=lines)
        assert made.status == 201
        assert open_scene.log.events("key_created")[0]["by"] == "admin:local"

    @pytest.mark.parametrize(
        "lines",
        [
            ["Origin: http://evil.example"],
            ["Origin: http://localhost:3000"],
            ["Origin: https://localhost"],
            ["Origin: null"],
            ["Origin: "],
            ["Origin: http://localhost", "Origin: http://evil.example"],
            ["Sec-Fetch-Site: cross-site"],
            ["Sec-Fetch-Site: Cross-Site", "Origin: http://localhost"],
        ],
    )
    def test_refuses_pages_of_others(self, open_scene, lines):
        for method in ("GET", "POST", "HEAD", "OPTIONS"):
            answer = open_scene.ask(method, "/api/v1/keys", lines=lines)
            assert answer.status in {403, 400}
        assert len(open_scene.ring) == 1

    def test_on_a_unix_socket_any_host_will_do_but_not_any_page(self):
        with Scene(tokens=False, unix=True) as scene:
            for host in ("localhost", "whatever", ""):
                assert scene.ask("GET", "/api/v1/status", host=host).status == 200
            lines = ["Origin: http://evil.example"]
            assert scene.ask("GET", "/api/v1/status", lines=lines).code == "403 cross_site"

    def test_a_form_of_another_site_changes_nothing(self, open_scene):
        for kind in (FORM, "text/plain", "multipart/form-data; boundary=x", ""):
            answer = open_scene.ask(
                "POST",
                "/api/v1/keys",
                b'{"name": "x"}',
                lines=[f"Content-Type: {kind}"],
                json_type=False,
            )
            assert answer.code == "415 json_needed"
        assert len(open_scene.ring) == 1

    def test_a_preflight_gets_no_permission(self, open_scene):
        lines = ["Origin: http://evil.example", "Access-Control-Request-Method: POST"]
        answer = open_scene.ask("OPTIONS", "/api/v1/keys", lines=lines)
        assert answer.status == 403
        assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    ("method", "pattern"), [endpoint for endpoint in NEEDS if endpoint[0] != "GET"]
)
def test_whatever_changes_something_must_say_that_it_carries_json(scene, method, pattern):
    path = path_of(pattern)
    assert scene.ask(method, path, json_type=False).code == "415 json_needed"
    lines = ["Content-Type: application/json; charset=utf-8"]
    assert scene.ask(method, path, json_type=False, lines=lines).status != 415


def test_a_page_of_another_site_cannot_use_a_token_either(scene):
    lines = ["Sec-Fetch-Site: cross-site"]
    assert scene.ask("GET", "/api/v1/status", lines=lines).code == "403 cross_site"


class TestMetrics:
    def test_are_open_unless_the_configuration_says_otherwise(self, scene):
        assert b"wskeeper_example" in scene.ask("GET", "/metrics", token=None).body

    def test_ask_for_any_token_when_it_does(self):
        with Scene(public_metrics=False) as scene:
            assert scene.ask("GET", "/metrics", token=None).code == "401 token_missing"
            for token in TOKENS.values():
                assert scene.ask("GET", "/metrics", token=token).status == 200
            assert scene.ask("GET", "/livez", token=None).status == 200

    def test_come_as_openmetrics_when_asked_for(self, scene):
        answer = scene.ask("GET", "/metrics", lines=["Accept: application/openmetrics-text"])
        assert answer.headers["content-type"].startswith("application/openmetrics-text")


class TestTokens:
    def test_the_short_form_is_one_named_admin(self):
        admin = Admin.model_validate(
            {
                "token": "x" * 24,
                "tokens": [{"name": "grafana", "role": "viewer", "sha256": "ab" * 32}],
            }
        )
        assert tokens_of(admin) == (
            AdminToken("grafana", "viewer", bytes.fromhex("ab" * 32)),
            AdminToken("admin", "admin", digest_of(b"x" * 24)),
        )
        assert tokens_of(Admin()) == ()

    def test_a_token_does_not_show_its_digest(self):
        digest = digest_of(b"x")
        assert digest.hex() not in repr(AdminToken("a", "viewer", digest))
        assert str(digest) not in repr(AdminToken("a", "viewer", digest))

    @given(st.binary(min_size=1, max_size=20), st.binary(min_size=1, max_size=20))
    def test_only_the_very_token_is_taken(self, held, shown):
        access = Access(
            [AdminToken("a", "operator", digest_of(held))],
            unix=False,
            failures=TokenFailures(lambda: 0.0),
        )
        text = shown.decode("utf-8", "surrogateescape")
        asked = Asked("192.0.2.1", "http", ["x"], authorizations=[f"Bearer {text}"])
        stripped = shown.strip(b" ")
        if stripped == held:
            assert access.admit(asked) == Operator("a", "operator")
        else:
            with pytest.raises(Problem) as refused:
                access.admit(asked)
            assert refused.value.code == ("token_unknown" if stripped else "token_missing")


def test_an_origin_over_tls_is_one_of_https():
    asked = Asked("::1", "https", ["localhost:8081"], origins=["https://localhost:8081"])
    refuse_other_origins(asked)
    with pytest.raises(Problem):
        refuse_other_origins(asked._replace(origins=["http://localhost:8081"]))

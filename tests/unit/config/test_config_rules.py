"""Rules that span several fields, and warnings."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.config.model import Admin, Carrier, Config, FixedKey, ListenerTls
from proxy.config.values import TcpAddress

if TYPE_CHECKING:
    from proxy.config.faults import Fault
    from tests.unit.config.conftest import ConfigFolder

UP = "upstream: 'ws://h'"
ECHO = f"routes: [{{name: echo, path: /echo, {UP}}}]\n"
DIGEST = "ab" * 32
KEYS = f"keys: [{{name: app, sha256: {DIGEST}}}]\n"
LONG = "0123456789" * 3


def shown(faults: list[Fault]) -> list[tuple[str, str]]:
    return [(fault.path, fault.problem) for fault in faults]


def route(fields: str) -> str:
    return f"routes:\n- {{name: echo, path: /echo, {UP}, {fields}}}\n"


def test_routes_are_told_apart_by_name_and_by_host_and_path(folder: ConfigFolder) -> None:
    faults = folder.faults(f"""\
        routes:
          - {{name: a, path: /x, {UP}}}
          - {{name: b, path: /x, host: A.example, {UP}}}
          - {{name: c, path: /x, host: a.example, {UP}}}
          - {{name: a, path: /y, {UP}}}
          - {{name: d, path: /x, {UP}}}
        """)
    assert shown(faults) == [
        ("routes[2].path", "is also the path of `routes[1]`, for the same host"),
        ("routes[3].name", "is also the name of `routes[0]`"),
        ("routes[4].path", "is also the path of `routes[0]`, for the same host"),
    ]


def test_keys_are_told_apart_by_name_and_by_secret(folder: ConfigFolder) -> None:
    digest = hashlib.sha256(f"{LONG}x".encode()).hexdigest()
    faults = folder.faults(f"""\
        {ECHO}
        keys:
          - {{name: a, secret: {LONG}x}}
          - {{name: b, sha256: {digest.upper()}}}
          - {{name: a, sha256: {DIGEST}}}
        """)
    assert shown(faults) == [
        ("keys[1]", "has the same secret as `keys[0]`"),
        ("keys[2].name", "is also the name of `keys[0]`"),
    ]


def test_metadata_has_one_spelling_of_each_name(folder: ConfigFolder) -> None:
    faults = folder.faults(
        f"{ECHO}keys: [{{name: a, sha256: {DIGEST}, metadata: {{Team: a, team: b, x: c}}}}]\n"
    )
    assert [fault.path for fault in faults] == ["keys[0].metadata.Team", "keys[0].metadata.team"]


def test_tokens_are_told_apart_by_name_and_by_digest(folder: ConfigFolder) -> None:
    digest = hashlib.sha256(LONG.encode()).hexdigest()
    faults = folder.faults(
        f"""\
        {ECHO}
        admin:
          token: "${{TOKEN}}"
          tokens:
            - {{name: admin, role: viewer, sha256: {DIGEST}}}
            - {{name: a, role: viewer, sha256: {digest.upper()}}}
            - {{name: a, role: operator, sha256: {DIGEST}}}
        """,
        {"TOKEN": LONG},
    )
    assert shown(faults) == [
        ("admin.tokens[0].name", "is also the name of `admin.token`"),
        ("admin.tokens[1].sha256", "is the digest of `admin.token` too"),
        ("admin.tokens[2].name", "is also the name of `admin.tokens[1]`"),
        ("admin.tokens[2].sha256", "is the digest of `admin.tokens[0]` too"),
    ]


def test_carriers_of_a_route_for_everybody_have_no_effect(folder: ConfigFolder) -> None:
    first, second = folder.load(route("auth: none, carriers: [bearer]")).warnings
    assert first.path == "routes[0].auth"
    assert (second.path, second.problem) == (
        "routes[0].carriers",
        "has no effect beside `auth: none`",
    )


def test_an_upstreams_key_needs_its_certificate(folder: ConfigFolder) -> None:
    fault = folder.fault(
        "routes: [{name: x, path: /x, upstream: {targets: [wss://h], tls: {private_key: k}}}]\n"
    )
    assert fault.path == "routes[0].upstream.tls.certificate"


@pytest.mark.parametrize(
    ("path", "found", "mend"),
    [
        ("/chat/*", "*", "`/chat`"),
        ("/*", "*", "`/`"),
        ("/a/**/b", "**", "`/a`"),
        ("/a/x*.json", "x*.json", "`/a`"),
        ("/rooms/:id/socket", ":id", "`/rooms`"),
        ("/a:b/c", None, None),
        ("/a/:", None, None),
    ],
)
def test_a_path_that_looks_like_a_pattern_deserves_a_warning(
    folder: ConfigFolder, path: str, found: str | None, mend: str | None
) -> None:
    text = f"{KEYS}routes: [{{name: x, path: '{path}', upstream: 'ws://h'}}]"
    warnings = [fault for fault in folder.load(text).warnings if fault.path == "routes[0].path"]
    assert [fault.problem.split("`")[1] for fault in warnings] == ([found] if found else [])
    assert all(f"write {mend}," in fault.mend for fault in warnings)


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        (route("auth: none"), "routes[0].auth", "admits everybody"),
        (route("auth: report_only"), "routes[0].auth", "refuses nobody"),
        (f"{KEYS}{ECHO}trusted_proxies: ['0.0.0.0/0']\n", "trusted_proxies", "trusts everybody"),
        (f"{KEYS}{ECHO}trusted_proxies: ['::/0']\n", "trusted_proxies", "trusts everybody"),
        (f"{KEYS}{ECHO}health_path: /echo/ready\n", "health_path", "lies under the path"),
        (f"{KEYS}{ECHO}admin: {{token: {LONG}x}}\n", "admin.token", "everybody who may read"),
        (
            f"keys: [{{name: a, secret: {LONG}x}}]\n{ECHO}",
            "keys[0].secret",
            "everybody who may read",
        ),
        (
            KEYS + "routes: [{name: x, path: /x, upstream: {targets: ['wss://h'], "
            "tls: {verify: false}}}]",
            "routes[0].upstream.tls.verify",
            "any certificate",
        ),
        (
            KEYS
            + "routes: [{name: x, path: /x, upstream: {targets: ['ws://h'], tls: {ca: a.pem}}}]",
            "routes[0].upstream.tls",
            "has no effect",
        ),
    ],
)
def test_a_warning_does_not_keep_the_gateway_from_starting(
    folder: ConfigFolder, text: str, path: str, problem: str
) -> None:
    [warning] = folder.load(text).warnings
    assert (warning.severity, warning.path) == ("warning", path)
    assert problem in warning.problem


@pytest.mark.parametrize("environ", [{"SECRET": "x" * 19}, {"SECRET_FILE": "secret"}])
def test_short_secrets_are_warned_about_wherever_they_come_from(
    folder: ConfigFolder, environ: dict[str, str]
) -> None:
    (folder.path / "secret").write_text("y" * 19)
    text = f"keys: [{{name: a, secret: '${{SECRET}}'}}]\n{ECHO}admin: {{token: '${{SECRET}}'}}\n"
    warnings = folder.load(text, environ).warnings
    assert [warning.path for warning in warnings] == ["keys[0].secret", "admin.token"]
    assert all("shorter than 20" in warning.problem for warning in warnings)


def test_nothing_is_warned_about_in_a_good_configuration(folder: ConfigFolder) -> None:
    text = f"{KEYS}{ECHO}health_path: /.wskeeper/ready\ntrusted_proxies: [private_ranges]\n"
    assert folder.load(text).warnings == ()
    assert folder.load(text, {"WSKEEPER_ADMIN_TOKEN": LONG}).warnings == ()


def test_a_health_path_under_the_root_route_is_no_matter(folder: ConfigFolder) -> None:
    root = f"routes: [{{name: x, path: /, {UP}}}]\n"
    assert folder.load(f"{KEYS}{root}health_path: /health\n").warnings == ()


def test_both_listeners_may_leave_the_port_to_the_system(folder: ConfigFolder) -> None:
    text = f"{KEYS}{ECHO}listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0'}}\n"
    assert folder.load(text).warnings == ()


@pytest.mark.parametrize("listen", ["localhost:1", "'[::1]:1'", "unix:a.sock", "null"])
def test_an_admin_listener_out_of_reach_needs_no_token(folder: ConfigFolder, listen: str) -> None:
    assert folder.load(f"{KEYS}{ECHO}admin: {{listen: {listen}}}\n").config.admin.token is None


def test_an_admin_token_from_the_environment_satisfies_the_rule(folder: ConfigFolder) -> None:
    text = f"{KEYS}{ECHO}admin: {{listen: '0.0.0.0:1'}}\n"
    assert folder.load(text, {"WSKEEPER_ADMIN_TOKEN": LONG}).config.admin.token is not None
    assert folder.fault(text, {"WSKEEPER_ADMIN_TOKEN": ""}).path == "admin.token"


def test_any_admin_token_satisfies_the_rule(folder: ConfigFolder) -> None:
    token = f"{{name: grafana, role: viewer, sha256: {DIGEST}}}"
    config = folder.load(f"{ECHO}admin: {{listen: '0.0.0.0:1', tokens: [{token}]}}\n").config
    assert [(token.name, token.role) for token in config.admin.tokens] == [("grafana", "viewer")]
    assert config.admin.tokens[0].sha256 == DIGEST
    assert folder.fault(f"{ECHO}admin: {{listen: '0.0.0.0:1', tokens: []}}\n").path == "admin.token"


def test_a_token_named_admin_may_stand_alone(folder: ConfigFolder) -> None:
    token = f"{{name: admin, role: admin, sha256: {DIGEST}}}"
    assert folder.load(f"{ECHO}admin: {{tokens: [{token}]}}\n").warnings == ()


def test_a_keys_digest_is_the_same_whichever_way_it_is_given() -> None:
    secret = FixedKey.model_validate({"name": "a", "secret": LONG + "é"})
    digest = hashlib.sha256(f"{LONG}é".encode()).hexdigest()
    assert secret.digest == FixedKey(name="a", sha256=digest).digest == bytes.fromhex(digest)


@pytest.mark.parametrize("origins", ["same", "null", "[]"])
def test_origins_may_be_a_word_or_nothing(folder: ConfigFolder, origins: str) -> None:
    text = f"routes: [{{name: x, path: /x, {UP}, origins: {origins}}}]\n"
    read = folder.load(text).config.routes[0].origins
    assert read == {"same": "same", "null": None, "[]": ()}[origins]


def test_values_stand_for_their_text_where_code_makes_a_section() -> None:
    address, certificate = TcpAddress("127.0.0.1", 1), Path("a.pem")
    assert Admin(listen=address).listen is address
    assert ListenerTls(certificate=certificate, private_key=certificate).certificate is certificate


def test_short_forms_and_long_forms_are_equal() -> None:
    def config(route_fields: dict[str, object]) -> Config:
        return Config.model_validate({"routes": [{"name": "x", "path": "/x", **route_fields}]})

    assert config({"upstream": "ws://h"}) == config({"upstream": {"targets": ["ws://h"]}})
    carriers = config({"upstream": "ws://h", "carriers": [{"bearer": None}]}).routes[0].carriers
    assert carriers == (Carrier(kind="bearer"),)

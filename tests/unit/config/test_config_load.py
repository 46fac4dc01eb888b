"""A whole configuration: defaults, precedence, and every fault at once."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from proxy.config.faults import ConfigInvalid, path_text
from proxy.config.load import load, load_admin, load_store
from proxy.config.values import TcpAddress, UnixAddress

if TYPE_CHECKING:
    from tests.unit.config.conftest import ConfigFolder

ECHO = "routes: [{name: echo, path: /echo, upstream: 'ws://127.0.0.1:9001'}]\n"
KEYS = "keys: [{name: app, sha256: " + "ab" * 32 + "}]\n"

FIVE_FAULTS = """\
listen: 127.0.0.1
trusted_proxys: [10.0.0.0/8]
timeouts: {handshake: 10 parsecs}
keys:
  - {name: app, sha256: "${DIGEST}"}
routes:
  - {name: echo, path: /a/../b, upstream: ws://127.0.0.1:9001}
"""


def test_defaults_are_the_documented_ones(folder: ConfigFolder) -> None:
    config = folder.load(ECHO).config
    [route] = config.routes
    assert config.listen == TcpAddress("127.0.0.1", 8080)
    assert config.tls is None
    assert config.trusted_proxies == ()
    assert config.client_address_header == "X-Forwarded-For"
    assert config.health_path is None
    assert (config.log.level, config.log.format) == ("info", "auto")
    assert config.admin.listen == TcpAddress("127.0.0.1", 8081)
    assert config.admin.token is None
    assert config.admin.public_metrics is True
    assert [(carrier.kind, carrier.header) for carrier in config.carriers] == [
        ("header", "X-Api-Key")
    ]
    assert config.admin.tls is None
    assert config.admin.tokens == ()
    assert config.store == f"sqlite:{folder.path}/wskeeper.db"
    assert config.store_grace == 60.0
    assert config.keys == ()
    limits = {name: value for name, value in config.limits.model_dump().items() if value}
    assert limits == {
        "total_connections": 10_000,
        "unauthenticated": 100,
        "auth_failures_per_minute": 30,
        "head_size": 65_536,
    }
    assert set(route.limits.model_dump().values()) == {None}
    assert config.timeouts.model_dump() == {
        "handshake": 10.0,
        "upstream_connect": 5.0,
        "upstream_handshake": 10.0,
        "first_message": 5.0,
        "close": 5.0,
        "write": 30.0,
        "idle": None,
    }
    assert config.keepalive is not None
    assert config.keepalive.model_dump() == {"interval": 20.0, "timeout": 20.0, "strict": False}
    assert config.keepalive_of(route) == config.keepalive
    assert (config.max_lifetime, config.max_lifetime_of(route)) == (None, None)
    assert route.close_codes == {}
    assert config.metrics.model_dump() == {"per_key": False, "listen": None}
    assert config.proxy_protocol is False
    assert config.tickets.ttl == 30.0
    assert config.jwt is None
    assert config.plugins == ()
    assert route.subprotocols == ()
    assert (route.host, route.auth, route.refuse_with, route.http) == (
        None,
        "required",
        "http",
        "refuse",
    )
    assert (route.origins, route.compression) == (None, "passthrough")
    assert (route.addresses.allow, route.addresses.deny) == (None, ())
    assert route.upstream.tls.model_dump() == {
        "ca": None,
        "certificate": None,
        "private_key": None,
        "verify": True,
        "server_name": None,
    }
    assert config.timeouts_of(route) == config.timeouts
    assert config.carriers_of(route) == config.carriers


def test_every_field_that_is_built_is_taken(folder: ConfigFolder) -> None:
    config = folder.load(
        """\
        listen: unix:run/public.sock
        tls: {certificate: fullchain.pem, private_key: /etc/key.pem}
        trusted_proxies: [10.0.0.0/8]
        proxy_protocol: true
        client_address_header: CF-Connecting-IP
        health_path: /.wskeeper/ready
        store: memory
        store_grace: 0
        log: {level: WARNING, format: json}
        admin:
          listen: "[::1]:9000"
          tls: {certificate: admin.pem, private_key: admin.key}
          token: "${TOKEN}"
          tokens: [{name: ops, role: operator, sha256: "${DIGEST}"}]
          public_metrics: false
        carriers: [bearer, header: X-Key, query: key, subprotocol, ticket]
        tickets: {ttl: 1m}
        jwt: {issuer: "https://idp.example", audience: wskeeper}
        plugins: ["package.module:callable", "a:b.c"]
        keys:
          - name: a
            secret: "${TOKEN}"
            routes: [chat]
            expires_at: 2030-01-01
            suspended_at: 2026-01-31T12:00:00+02:00
            revoked_at: null
            limits: {connections: 5}
            origins: [https://Example.com:443]
            addresses: [10.0.0.0/8]
            metadata: {team: red}
        limits:
          total_connections: null
          unauthenticated: "7"
          head_size: 8KiB
          auth_failures_per_minute: null
          connections: 9
          connections_per_address: 8
          connections_per_subject: 7
          handshakes_per_second: 0.5
          message_size: 64KiB
          messages_per_second: 10
          bytes_per_second: 1MiB
          on_exceed: close
        timeouts: {handshake: 3s, upstream_connect: null, close: 500ms, write: 1m, idle: 1h}
        keepalive: {interval: 5s, strict: true}
        max_lifetime: 1d
        metrics: {per_key: true, listen: "0.0.0.0:9100"}
        routes:
          - name: chat
            host: "*.Example.com"
            path: /chat
            upstream:
              targets: ["wss://chat-1:9002/ws"]
              tls: {ca: ca.pem, certificate: c.pem, private_key: k.pem, server_name: chat}
            auth: report_only
            carriers: [header: X-Chat-Key, first_message]
            subprotocols: [chat.v2, chat.v1, chat.v2]
            refuse_with: auto
            origins: [https://Example.com:443, null]
            addresses: {allow: [private_ranges], deny: [10.9.0.0/16]}
            compression: off
            http: refuse
            timeouts: {first_message: 2s, close: 1s, write: null, idle: null}
            close_codes: {upstream_lost: 1013, key_unknown: 4001}
            limits: {message_size: {upstream_to_client: 1MiB}, auth_failures_per_minute: 3}
            keepalive: {timeout: 9}
            max_lifetime: null
        """,
        {"TOKEN": "0123456789" * 4, "DIGEST": "cd" * 32},
    ).config
    [route] = config.routes
    assert config.listen == UnixAddress(str(folder.path / "run/public.sock"))
    assert config.tls is not None
    assert config.tls.certificate == folder.path / "fullchain.pem"
    assert str(config.tls.private_key) == "/etc/key.pem"
    assert config.trusted_proxies == (ipaddress.ip_network("10.0.0.0/8"),)
    assert config.log.level == "warning"
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == "0123456789" * 4
    kinds = ["bearer", "header", "query", "subprotocol", "ticket"]
    assert [carrier.kind for carrier in config.carriers] == kinds
    assert [carrier.header for carrier in config.carriers_of(route)] == ["X-Chat-Key", None]
    assert route.subprotocols == ("chat.v2", "chat.v1")
    assert config.limits.message_size is not None
    assert config.limits.message_size.model_dump() == {
        "client_to_upstream": 65_536,
        "upstream_to_client": None,
    }
    assert (config.limits.handshakes_per_second, config.limits.bytes_per_second) == (0.5, 1 << 20)
    assert route.limits.message_size is not None
    assert route.limits.message_size.upstream_to_client == 1 << 20
    keepalive = config.keepalive_of(route)
    assert keepalive is not None
    assert keepalive.model_dump() == {"interval": 5.0, "timeout": 9.0, "strict": True}
    assert (config.max_lifetime, config.max_lifetime_of(route)) == (86_400.0, None)
    assert config.timeouts_of(route).idle is None
    assert route.close_codes == {"upstream_lost": 1013, "key_unknown": 4001}
    assert (config.metrics.per_key, str(config.metrics.listen)) == (True, "0.0.0.0:9100")
    assert config.proxy_protocol is True
    assert config.tickets.ttl == 60.0
    assert config.jwt is not None
    assert config.jwt.audience == ("wskeeper",)
    assert config.plugins == ("package.module:callable", "a:b.c")
    assert config.keys[0].routes == ("chat",)
    assert config.keys[0].metadata == {"team": "red"}
    assert config.keys[0].expires_at == 1893456000.0
    assert config.keys[0].suspended_at == 1769853600.0
    assert config.keys[0].revoked_at is None
    assert config.keys[0].limits.connections == 5
    assert config.keys[0].origins == ("https://example.com",)
    assert config.keys[0].addresses.allow == (ipaddress.ip_network("10.0.0.0/8"),)
    assert (config.store, config.store_grace) == ("memory:", 0.0)
    assert config.admin.tls is not None
    assert config.admin.tls.certificate == folder.path / "admin.pem"
    assert [(token.name, token.role) for token in config.admin.tokens] == [("ops", "operator")]
    assert route.auth == "report_only"
    assert (config.limits.total_connections, config.limits.unauthenticated) == (None, 7)
    assert config.limits.head_size == 8192
    assert route.host == "*.example.com"
    assert str(route.upstream.target) == "wss://chat-1:9002/ws"
    assert route.upstream.tls.ca == folder.path / "ca.pem"
    assert route.origins == ("https://example.com", "null")
    assert ipaddress.ip_network("fd00::/8") in (route.addresses.allow or ())
    assert route.compression == "off"
    assert config.timeouts_of(route).model_dump() == {
        "handshake": 3.0,
        "upstream_connect": None,
        "upstream_handshake": 10.0,
        "first_message": 2.0,
        "close": 1.0,
        "write": None,
        "idle": None,
    }


def test_a_configuration_cannot_be_changed(folder: ConfigFolder) -> None:
    config = folder.load(ECHO).config
    with pytest.raises(ValidationError, match="frozen"):
        config.listen = TcpAddress("0.0.0.0", 80)  # type: ignore[misc]


def test_five_faults_are_shown_as_five(folder: ConfigFolder) -> None:
    faults = folder.faults(FIVE_FAULTS)
    assert [(fault.line, fault.path) for fault in faults] == [
        (1, "listen"),
        (2, "trusted_proxys"),
        (3, "timeouts.handshake"),
        (5, "keys[0].sha256"),
        (7, "routes[0].path"),
    ]
    assert all(fault.file == "wskeeper.yaml" and fault.problem and fault.mend for fault in faults)


def test_faults_across_fields_are_shown_beside_faults_of_fields(folder: ConfigFolder) -> None:
    faults = folder.faults("""\
        admin: {listen: "0.0.0.0:8081"}
        limits: {head_size: huge}
        keys:
          - {name: app}
          - {name: app, sha256: nonsense, routes: [nowhere]}
        routes:
          - {name: echo, path: /x, upstream: "ws://h"}
          - {name: echo, path: /x, upstream: "http://h"}
        """)
    assert sorted(fault.path for fault in faults) == [
        "admin.token",
        "keys[0]",
        "keys[1].name",
        "keys[1].routes[0]",
        "keys[1].sha256",
        "limits.head_size",
        "routes[1].name",
        "routes[1].path",
        "routes[1].upstream",
    ]


def test_a_fault_reads_as_file_line_path_problem_mend(folder: ConfigFolder) -> None:
    fault = folder.fault(f"{KEYS}{ECHO}listen: 8080\n")
    assert str(fault).startswith(
        "wskeeper.yaml:3: listen: names a port alone; write `127.0.0.1:8080`"
    )
    assert path_text(("routes", 1, "upstream", "targets", 0)) == "routes[1].upstream.targets[0]"


def test_the_exception_says_everything_and_hides_nothing_behind_it(folder: ConfigFolder) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        folder.load(FIVE_FAULTS)
    assert len(str(caught.value).splitlines()) == len(caught.value.faults)
    assert caught.value.__context__ is None


def test_a_value_from_a_variable_is_blamed_on_it(folder: ConfigFolder) -> None:
    fault = folder.fault(f"{ECHO}listen: ${{ADDRESS}}\n", {"ADDRESS": "nowhere"})
    assert fault.path == "listen"
    assert "it comes from `ADDRESS`" in fault.problem


def test_a_missing_variable_causes_one_fault(folder: ConfigFolder) -> None:
    text = "routes: [{name: x, path: /x, upstream: '${UP}', carriers: [header: '${H}']}]\n"
    assert [fault.path for fault in folder.faults(text)] == [
        "routes[0].upstream",
        "routes[0].carriers[0].header",
    ]


def test_numbers_and_truth_values_may_come_from_variables(folder: ConfigFolder) -> None:
    config = folder.load(
        ECHO + "limits: {total_connections: '${N}'}\nadmin: {public_metrics: '${P}'}\n",
        {"N": "12", "P": "false"},
    ).config
    assert config.limits.total_connections == 12
    assert config.admin.public_metrics is False


def test_sections_left_empty_by_comments(folder: ConfigFolder) -> None:
    assert folder.load(ECHO + "keys:\ntrusted_proxies:\n").config.keys == ()
    assert [fault.path for fault in folder.faults(ECHO + "log:\nlimits:\n")] == ["log", "limits"]


def test_relative_paths_in_the_file_lie_in_its_folder(folder: ConfigFolder) -> None:
    (folder.path / "etc").mkdir()
    (folder.path / "etc/c.yaml").write_text(
        "listen: unix:a.sock\nroutes: [{name: x, path: /x, upstream: 'ws+unix:b.sock'}]\n"
    )
    config = load(Path("etc/c.yaml"), environ={}).config
    assert config.listen == UnixAddress(str(folder.path / "etc/a.sock"))
    assert config.routes[0].upstream.target.socket_path == str(folder.path / "etc/b.sock")


def test_without_file_and_service_both_ways_are_told(folder: ConfigFolder) -> None:
    fault = folder.fault()
    assert "`wskeeper.yaml`" in fault.mend
    assert "--upstream ws://" in fault.mend


def test_the_file_is_named_by_argument_before_variable_before_its_usual_name(
    folder: ConfigFolder,
) -> None:
    for number, name in enumerate(("wskeeper.yaml", "b.yaml", "c.yaml"), 1):
        (folder.path / name).write_text(f"{ECHO}listen: 127.0.0.1:{number}\n")
    environ = {"WSKEEPER_CONFIG": "b.yaml"}
    assert load(None, environ={}).config.listen == TcpAddress("127.0.0.1", 1)
    assert load(None, environ=environ).config.listen == TcpAddress("127.0.0.1", 2)
    third = folder.path / "c.yaml"
    assert load(third, environ=environ).config.listen == TcpAddress("127.0.0.1", 3)
    assert load(third, environ=environ).path == third


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"WSKEEPER_CONFIG": "absent.yaml"}, "absent.yaml: cannot be read (No such file"),
        ({"WSKEEPER_CONFIG": "."}, ".: cannot be read (Is a directory"),
        ({"WSKEEPER_CONFIG_FILE": "absent"}, "environment: WSKEEPER_CONFIG: needs the file"),
    ],
)
def test_a_file_that_cannot_be_read(
    folder: ConfigFolder, environ: dict[str, str], place: str
) -> None:
    assert str(folder.fault(environ=environ)).startswith(place)


def test_yaml_that_cannot_be_read(folder: ConfigFolder) -> None:
    fault = folder.fault("a: 1\nb: c: d\n")
    assert (fault.line, fault.path) == (2, "")
    assert str(fault).startswith("wskeeper.yaml:2: holds a `: `")


def test_smaller_faults_of_yaml_stand_beside_the_others(folder: ConfigFolder) -> None:
    faults = folder.faults(f"{ECHO}listen: '127.0.0.1:80'\nlisten: x\nhealth_path: y\n")
    assert [(fault.line, fault.path) for fault in faults] == [(3, "listen"), (4, "health_path")]


def test_an_unknown_name_that_is_no_word_hides_behind_its_parent(folder: ConfigFolder) -> None:
    fault = folder.fault(f"{ECHO}'no word': 1\nlog: {{level: '${{ABSENT:-info}}'}}\n")
    assert (fault.path, fault.problem) == ("", "has an unknown field")


def test_the_admin_section_can_be_read_alone(folder: ConfigFolder) -> None:
    (folder.path / "wskeeper.yaml").write_text(
        "listen: nonsense\nadmin: {listen: 127.0.0.1:7}\nroutes: nonsense\n"
    )
    assert load_admin(None, environ={}).listen == TcpAddress("127.0.0.1", 7)
    environ = {"WSKEEPER_ADMIN_LISTEN": "127.0.0.1:8"}
    assert load_admin(None, environ=environ).listen == TcpAddress("127.0.0.1", 8)


def test_without_a_file_the_admin_section_has_its_defaults(folder: ConfigFolder) -> None:
    assert list(folder.path.iterdir()) == []
    assert load_admin(None, environ={}).listen == TcpAddress("127.0.0.1", 8081)


def test_a_fault_in_the_admin_section_is_told_alone(folder: ConfigFolder) -> None:
    (folder.path / "wskeeper.yaml").write_text(
        "listen: nonsense\nadmin: {token: '${ABSENT}', listen: 5}\n"
    )
    with pytest.raises(ConfigInvalid) as caught:
        load_admin(None, environ={})
    assert [fault.path for fault in caught.value.faults] == ["admin.token", "admin.listen"]


def test_the_store_can_be_read_alone(folder: ConfigFolder) -> None:
    (folder.path / "etc").mkdir()
    (folder.path / "etc/c.yaml").write_text("listen: nonsense\nstore: sqlite:keys.db\nroutes: 5\n")
    read = load_store(Path("etc/c.yaml"), environ={})
    assert read == (f"sqlite:{folder.path}/etc/keys.db", folder.path / "etc")
    environ = {"WSKEEPER_STORE": "sqlite:other.db"}
    assert load_store(Path("etc/c.yaml"), environ=environ)[0] == f"sqlite:{folder.path}/other.db"


def test_without_a_file_the_store_is_the_usual_one_in_the_working_directory(
    folder: ConfigFolder,
) -> None:
    assert load_store(None, environ={}) == (f"sqlite:{folder.path}/wskeeper.db", folder.path)


def test_a_store_that_is_named_needs_no_file(folder: ConfigFolder) -> None:
    (folder.path / "wskeeper.yaml").write_text("not: [yaml\n")
    read = load_store(None, environ={"WSKEEPER_STORE": "memory:"}, url="sqlite:a/b.db")
    assert read == (f"sqlite:{folder.path}/a/b.db", folder.path)


@pytest.mark.parametrize(
    ("url", "place"), [("redis://x:CANARY@h", "command line: --store: "), (None, "wskeeper.yaml:1")]
)
def test_a_fault_in_the_store_is_told_alone(
    folder: ConfigFolder, url: str | None, place: str
) -> None:
    (folder.path / "wskeeper.yaml").write_text("store: mysql:CANARY\nlisten: nonsense\n")
    with pytest.raises(ConfigInvalid) as caught:
        load_store(None, environ={}, url=url)
    [fault] = caught.value.faults
    assert str(fault).startswith(place)
    assert "CANARY" not in str(fault)

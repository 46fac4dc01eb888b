"""What each field refuses, and what the fault says: one line of YAML each."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.config.conftest import ConfigFolder

UP = "upstream: 'ws://h'"
ECHO = f"routes: [{{name: echo, path: /echo, {UP}}}]\n"
DIGEST = "ab" * 32
LONG = "0123456789" * 3


def route(fields: str) -> str:
    return f"routes:\n- {{name: echo, path: /echo, {UP}, {fields}}}\n"


@pytest.mark.parametrize(
    ("text", "path", "problem", "mend"),
    [
        ("routes: []", "routes", "names no route", "path: /echo"),
        ("listen: 127.0.0.1:1", "routes", "names no route", "path: /echo"),
        ("routes: {echo: 1}", "routes", "is not a list", "`- `"),
        ("routes: [echo]", "routes[0]", "is not a mapping", "indented"),
        (f"routes: [{{path: /x, {UP}}}]", "routes[0].name", "is missing", "name:"),
        (f"routes: [{{name: x, {UP}}}]", "routes[0].path", "is missing", "path: /chat"),
        ("routes: [{name: x, path: /x}]", "routes[0].upstream", "is missing", "ws://"),
        (
            "routes: [{name: x, path: /x, upstream: {}}]",
            "routes[0].upstream.targets",
            "is missing",
            "ws://",
        ),
        (
            f"routes: [{{name: none, path: /x, {UP}}}]",
            "routes[0].name",
            "is kept for metrics",
            "another",
        ),
        (f"routes: [{{name: a b, path: /x, {UP}}}]", "routes[0].name", "is not a name", "letters"),
        (
            f"routes: [{{name: 5, path: /x, {UP}}}]",
            "routes[0].name",
            "number or truth value",
            "quotes",
        ),
        (
            f"routes: [{{name: on, path: /x, {UP}}}]",
            "routes[0].name",
            "number or truth value",
            "quotes",
        ),
        (f"routes: [{{name: [x], path: /x, {UP}}}]", "routes[0].name", "is not text", "text"),
        (f"routes: [{{name: x, path: /.wskeeper, {UP}}}]", "routes[0].path", "is kept", "outside"),
        (
            "routes: [{name: x, path: /x, upstream: {targets: []}}]",
            "routes[0].upstream.targets",
            "is not a list with",
            "targets: [",
        ),
        (
            "routes: [{name: x, path: /x, upstream: {targets: [ws://a, http://b]}}]",
            "routes[0].upstream.targets[1]",
            "begins with `http://`",
            "`ws://`",
        ),
        (
            "routes: [{name: x, path: /x, upstream: 5}]",
            "routes[0].upstream",
            "is not a mapping",
            "indented below it: `targets`, `balance`, ",
        ),
        (f"{ECHO}keepalive: 20s", "keepalive", "is not a mapping", ": `interval`, `timeout`, `s"),
        (f"{ECHO}upstream: ws://h", "upstream", "unknown field", "move it to `routes[].upstream`;"),
        (
            f"{ECHO}level: debug",
            "level",
            "unknown field",
            "move it to `log.level`; the fields here",
        ),
        (
            f"{ECHO}log: {{listen: x}}",
            "log.listen",
            "unknown field",
            "to `listen`, `admin.listen`, ",
        ),
        (route("timeout: 5s"), "routes[0].timeout", "unknown field", "did you mean `timeouts`?"),
        (route("auth: null"), "routes[0].auth", "is not a word", "`report_only` or `none`"),
        (route("addresses: 10.0.0.0/8"), "routes[0].addresses", "is not a mapping", "fields"),
        (
            route("addresses: [10.0.0.1/8]"),
            "routes[0].addresses[0]",
            "behind its prefix",
            "`10.0.0.0/8`",
        ),
        (route("auth: requird"), "routes[0].auth", "is not a word", "did you mean `required`?"),
        (route("http: pasthrough"), "routes[0].http", "is not a word", "`passthrough`"),
        (
            route("refuse_with: teapot"),
            "routes[0].refuse_with",
            "is not a word",
            "`http`, `close` or `auto`",
        ),
        (route("compression: on"), "routes[0].compression", "is not a word", "`off`"),
        (route("origins: https://example.com"), "routes[0].origins", "is neither", "[https://"),
        (
            route("origins: [https://example.com/]"),
            "routes[0].origins[0]",
            "is more than an origin",
            "slash",
        ),
        (route("origins: [5]"), "routes[0].origins[0]", "is not text", "https://"),
        (
            route("addresses: {allow: [10.0.0.1/8]}"),
            "routes[0].addresses.allow[0]",
            "behind its prefix",
            "`10.0.0.0/8`",
        ),
        (
            route("timeouts: {handshake: 1s}"),
            "routes[0].timeouts.handshake",
            "one route",
            "top level",
        ),
        (
            route("timeouts: {close: null}"),
            "routes[0].timeouts.close",
            "cannot be `null`",
            "duration",
        ),
        (route("host: '*'"), "routes[0].host", "every host", "host: null"),
        ("tls: {certificate: a.pem}\n" + ECHO, "tls.private_key", "is missing", "PEM"),
        (
            "tls: {certificate: '', private_key: b}\n" + ECHO,
            "tls.certificate",
            "names no file",
            "path",
        ),
        (
            "client_address_header: Forwarded\n" + ECHO,
            "client_address_header",
            "is not read",
            "X-Forwarded-For",
        ),
        ("health_path: /echo\n" + ECHO, "health_path", "path of `routes[0]`", "/.wskeeper/ready"),
        ("health_path: /.wskeeper/ticket\n" + ECHO, "health_path", "is kept", "ready"),
        ("health_path: ready\n" + ECHO, "health_path", "does not begin", "write `/ready`"),
        ("health_path: /a/../b\n" + ECHO, "health_path", "segment", "path"),
        ("log: {level: warn}\n" + ECHO, "log.level", "is not a word", "`warning`?"),
        ("log: {colour: red}\n" + ECHO, "log.colour", "is an unknown field", "`level`, `format`"),
        (
            "admin: {listen: '0.0.0.0:1'}\n" + ECHO,
            "admin.token",
            "is missing",
            "WSKEEPER_ADMIN_TOKEN",
        ),
        (
            "admin: {listen: '127.0.0.1:8080'}\n" + ECHO,
            "admin.listen",
            "same address",
            "of its own",
        ),
        (
            f"admin: {{tokens: [{{name: a, sha256: {DIGEST}}}]}}\n" + ECHO,
            "admin.tokens[0].role",
            "is missing",
            "`viewer`",
        ),
        (
            f"admin: {{tokens: [{{name: a, role: root, sha256: {DIGEST}}}]}}\n" + ECHO,
            "admin.tokens[0].role",
            "is not a word",
            "`viewer`, `operator` or `admin`",
        ),
        (
            "admin: {tokens: [{name: a, role: viewer}]}\n" + ECHO,
            "admin.tokens[0].sha256",
            "is missing",
            "sha256sum",
        ),
        (
            f"admin: {{tokens: [{{name: a, role: viewer, sha256: {DIGEST}, token: x}}]}}\n" + ECHO,
            "admin.tokens[0]",
            "has an unknown field",
            "`sha256`",
        ),
        (
            "admin: {tls: {certificate: a.pem}}\n" + ECHO,
            "admin.tls.private_key",
            "is missing",
            "PEM",
        ),
        (
            "proxy_protocol: true\n" + ECHO,
            "proxy_protocol",
            "needs `trusted_proxies`",
            "networks",
        ),
        ("tickets: {ttl: 500ms}\n" + ECHO, "tickets.ttl", "out of range", "`1s` to `1h`"),
        ("tickets: {ttl: 61m}\n" + ECHO, "tickets.ttl", "out of range", "`1s` to `1h`"),
        ("plugins: [package.module]\n" + ECHO, "plugins[0]", "names no callable", ":callable"),
        ("plugins: ['a:b', 'a b:c']\n" + ECHO, "plugins[1]", "names no callable", ":callable"),
        ("plugins: ['a:b', '.a:b']\n" + ECHO, "plugins[1]", "names no callable", ":callable"),
        ("plugins: ['a:b:c']\n" + ECHO, "plugins[0]", "names no callable", ":callable"),
        ("plugins: ['a:']\n" + ECHO, "plugins[0]", "names no callable", ":callable"),
        ("plugins: ['a:b', 'c:d', 'a:b']\n" + ECHO, "plugins[2]", "stands here twice", "keep"),
        ("plugins: a:b\n" + ECHO, "plugins", "is not a list", "`- `"),
        (
            "timeouts: {first_message: null}\n" + ECHO,
            "timeouts.first_message",
            "cannot be `null`",
            "protects",
        ),
        (
            route("timeouts: {first_message: null}"),
            "routes[0].timeouts.first_message",
            "cannot be `null`",
            "protects",
        ),
        ("store: 5\n" + ECHO, "store", "names no store", "`sqlite:PATH`"),
        ("store: wskeeper.db\n" + ECHO, "store", "names no store", "`sqlite:PATH`"),
        ("store: 'sqlite:'\n" + ECHO, "store", "names no file", "`sqlite:PATH`"),
        ("store: 'sqlite::memory:'\n" + ECHO, "store", "names no file", "`memory:`"),
        ("store: sqlite:///a.db\n" + ECHO, "store", "has `//`", "`sqlite:/a/b`"),
        ("store: redis://h\n" + ECHO, "store", "`redis:` is not built", "sqlite"),
        ("store: rediss://h\n" + ECHO, "store", "`redis:` is not built", "sqlite"),
        ("store: null\n" + ECHO, "store", "names no store", "`memory:`"),
        ("store_grace: null\n" + ECHO, "store_grace", "cannot be `null`", "`0`"),
        ("store_grace: -1\n" + ECHO, "store_grace", "less than nothing", "`0` or a duration"),
        ("admin: {token: ''}\n" + ECHO, "admin.token", "is empty", "remove"),
        (
            "admin: {public_metrics: maybe}\n" + ECHO,
            "admin.public_metrics",
            "neither true nor false",
            "`true`",
        ),
        (
            "admin: {public_metrics: null}\n" + ECHO,
            "admin.public_metrics",
            "neither true nor false",
            "`true`",
        ),
        ("admin: {password: x}\n" + ECHO, "admin", "has an unknown field", "`token`"),
        (
            "limits: {total_connections: 0}\n" + ECHO,
            "limits.total_connections",
            "is too small",
            "null",
        ),
        (
            "limits: {total_connections: 1.5}\n" + ECHO,
            "limits.total_connections",
            "whole number",
            "digits",
        ),
        (
            "limits: {total_connections: many}\n" + ECHO,
            "limits.total_connections",
            "whole number",
            "digits",
        ),
        (
            "limits: {total_connections: 1" + "0" * 30 + "}\n" + ECHO,
            "limits.total_connections",
            "too large",
            "smaller",
        ),
        ("limits: {head_size: 10MiB}\n" + ECHO, "limits.head_size", "out of range", "`1MiB`"),
        ("limits: {head_size: 100}\n" + ECHO, "limits.head_size", "out of range", "`1KiB`"),
        (
            "timeouts: {handshake: null}\n" + ECHO,
            "timeouts.handshake",
            "cannot be `null`",
            "protects",
        ),
        ("timeouts: {close: null}\n" + ECHO, "timeouts.close", "cannot be `null`", "protects"),
        ("timeouts: {write: 0}\n" + ECHO, "timeouts.write", "longer than nothing", "above 0"),
        (
            "trusted_proxies: [10.0.0.0/8, x]\n" + ECHO,
            "trusted_proxies[1]",
            "`x`",
            "private_ranges",
        ),
        ("keys: [{name: a}]\n" + ECHO, "keys[0]", "neither `secret` nor `sha256`", "sha256sum"),
        (
            f"keys: [{{name: a, secret: {LONG}x, sha256: {DIGEST}}}]\n" + ECHO,
            "keys[0]",
            "both",
            "one",
        ),
        ("keys: [{name: a, sha256: abc}]\n" + ECHO, "keys[0].sha256", "not a SHA-256", "64"),
        (
            f"keys: [{{name: a, sha256: {hashlib.sha256(b'').hexdigest()}}}]\n" + ECHO,
            "keys[0].sha256",
            "digest of nothing",
            "newline",
        ),
        ("keys: [{name: a, secret: ''}]\n" + ECHO, "keys[0].secret", "is empty", "set it"),
        (
            f"keys: [{{name: a, secret: 1{LONG}}}]\n" + ECHO,
            "keys[0].secret",
            "number or truth value",
            "quotes",
        ),
        (
            f"keys: [{{name: a, secret: ' {LONG}'}}]\n" + ECHO,
            "keys[0].secret",
            "white space",
            "header",
        ),
        (
            f'keys: [{{name: a, secret: "{LONG}\\x7f"}}]\n' + ECHO,
            "keys[0].secret",
            "control character",
            "header",
        ),
        (
            f"keys: [{{name: a b, sha256: {DIGEST}}}]\n" + ECHO,
            "keys[0].name",
            "is not a name",
            "letters",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, routes: []}}]\n" + ECHO,
            "keys[0].routes",
            "is empty",
            "null",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, routes: [nope]}}]\n" + ECHO,
            "keys[0].routes[0]",
            "not the name of a route",
            "`echo`",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, routes: [a b]}}]\n" + ECHO,
            "keys[0].routes[0]",
            "is not a name",
            "letters",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, expires_at: 90d}}]\n" + ECHO,
            "keys[0].expires_at",
            "is not a moment",
            "2030-12-31T23:59:59Z",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, suspended_at: true}}]\n" + ECHO,
            "keys[0].suspended_at",
            "is not a moment",
            "2030-12-31",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, revoked_at: 2026-02-30}}]\n" + ECHO,
            "keys[0].revoked_at",
            "does not exist",
            "2030-12-31",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, limits: {{connections: 0}}}}]\n" + ECHO,
            "keys[0].limits.connections",
            "is too small",
            "null",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, limits: {{message_size: much}}}}]\n" + ECHO,
            "keys[0].limits.message_size",
            "is not a size",
            "64KiB",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, limits: {{auth_failures_per_minute: 5}}}}]\n"
            + ECHO,
            "keys[0].limits.auth_failures_per_minute",
            "per client address",
            "top level",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, origins: same}}]\n" + ECHO,
            "keys[0].origins",
            "is neither `null` nor a list",
            "[https://",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, origins: [https://a/b]}}]\n" + ECHO,
            "keys[0].origins[0]",
            "is more than an origin",
            "slash",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, addresses: {{deny: [x]}}}}]\n" + ECHO,
            "keys[0].addresses.deny[0]",
            "`x`",
            "private_ranges",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, routes: echo}}]\n" + ECHO,
            "keys[0].routes",
            "is not a list",
            "`- `",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, metadata: {{x_y: z}}}}]\n" + ECHO,
            "keys[0].metadata.x_y",
            "cannot end",
            "letters",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, metadata: {{x: 7}}}}]\n" + ECHO,
            "keys[0].metadata.x",
            "number or truth value",
            "quotes",
        ),
        (
            f'keys: [{{name: a, sha256: {DIGEST}, metadata: {{x: "a\\nb"}}}}]\n' + ECHO,
            "keys[0].metadata.x",
            "control character",
            "remove",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, metadata: x}}]\n" + ECHO,
            "keys[0].metadata",
            "is not a mapping",
            "fields",
        ),
        (
            f"keys: [{{name: a, sha256: {DIGEST}, nmae: b}}]\n" + ECHO,
            "keys[0].nmae",
            "unknown field",
            "`name`?",
        ),
    ],
)
def test_a_fault_names_its_place_and_its_mend(
    folder: ConfigFolder, text: str, path: str, problem: str, mend: str
) -> None:
    fault = folder.fault(text)
    assert fault.path == path
    assert problem in fault.problem
    assert mend in fault.mend
    assert fault.line is not None or path in {"routes", "admin.token"}


def test_what_a_later_version_takes_is_refused_as_such(folder: ConfigFolder) -> None:
    fault = folder.fault(f"{ECHO}workers: 2\n")
    assert str(fault) == (
        "wskeeper.yaml:2: workers: `workers` is not built in this version of wskeeper; write `1`, "
        "or run several gateways on one store"
    )


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        ("limits: {handshakes_per_second: 0}\n" + ECHO, "limits.handshakes_per_second", "range"),
        ("limits: {messages_per_second: .nan}\n" + ECHO, "limits.messages_per_second", "range"),
        ("limits: {messages_per_second: ten}\n" + ECHO, "limits.messages_per_second", "number"),
        ("limits: {messages_per_second: true}\n" + ECHO, "limits.messages_per_second", "number"),
        ("limits: {bytes_per_second: fast}\n" + ECHO, "limits.bytes_per_second", "a size"),
        (
            f"limits: {{messages_per_second: {10**400}}}\n" + ECHO,
            "limits.messages_per_second",
            "range",
        ),
        (f"limits: {{message_size: {'1' * 400}.5}}\n" + ECHO, "limits.message_size", "size"),
        ("limits: {message_size: [1]}\n" + ECHO, "limits.message_size", "a size"),
        ("limits: {connections: yes}\n" + ECHO, "limits.connections", "whole number"),
        ("metrics: {listen: '127.0.0.1:8080'}\n" + ECHO, "metrics.listen", "same address"),
        ("limits: {message_size: 0}\n" + ECHO, "limits.message_size", "a size"),
        ("limits: {on_exceed: drop}\n" + ECHO, "limits.on_exceed", "throttle"),
        ("keepalive: {interval: 0}\n" + ECHO, "keepalive.interval", "duration"),
        (route("limits: {total_connections: 5}"), "routes[0].limits.total_connections", "unknown"),
        (route("close_codes: {gone: 1013}"), "routes[0].close_codes.gone", "no close reason"),
        (
            route("close_codes: {upstream_lost: 1006}"),
            "routes[0].close_codes.upstream_lost",
            "may carry",
        ),
        (
            route("close_codes: {upstream_lost: 1014}"),
            "routes[0].close_codes.upstream_lost",
            "may carry",
        ),
    ],
)
def test_limit_that_is_none_is_told(
    folder: ConfigFolder, text: str, path: str, problem: str
) -> None:
    fault = folder.fault(text)
    assert fault.path == path
    assert problem in str(fault)


def test_a_number_of_any_length_is_a_fault_like_any_other(folder: ConfigFolder) -> None:
    number = "0x" + "f" * 5000
    faults = folder.faults(
        f"{ECHO}listen: {number}\ntrusted_proxies: [{number}]\n"
        f"timeouts: {{write: {number}}}\nlimits: {{head_size: {number}}}\n"
    )
    assert [fault.line for fault in faults] == [2, 3, 4, 5]

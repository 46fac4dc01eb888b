"""`wskeeper explain`: each step in words, the verdict, what the service would be sent."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy.keys.secret import id_in, make_secret
from tests.unit.cli.keys_scene import NO_LIMITS, created, failed

if TYPE_CHECKING:
    from click.testing import Result

    from tests.unit.cli.keys_scene import Command

SECRET = "CANARY-of-the-fixed-key-7c1f"
CONFIG = f"""\
trusted_proxies: [127.0.0.1]
carriers: [{{header: X-Api-Key}}, bearer]
keys:
  - {{name: legacy, secret: {SECRET}, routes: [chat, seen, own], limits: {{connections: 5}}}}
routes:
  - name: chat
    path: /chat
    upstream: ws://chat-1:9002/ws
    origins: [https://app.example, https://b.example]
    refuse_with: auto
  - {{name: inside, path: /inside, upstream: "ws://127.0.0.1:1", addresses: {{allow: [10.0.0.0/8],
     deny: [10.9.0.0/16]}}}}
  - {{name: same, path: /same, upstream: "ws://127.0.0.1:1", origins: same, refuse_with: close}}
  - {{name: seen, path: /seen, upstream: "ws+unix:/run/s.sock", auth: report_only}}
  - name: own
    path: /own
    upstream:
      targets: [ws://inner:9002]
      preserve_host: false
      headers: {{Authorization: "Bearer CANARY-of-the-upstream-91d0"}}
  - {{name: open, path: /open, host: open.example, upstream: "ws://127.0.0.1:1", auth: none}}
"""


@pytest.fixture(autouse=True)
def nothing_is_contacted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def explain(wskeeper: Command) -> Command:
    """Runs the command on the configuration above, with a store that holds `alice`."""
    Path("wskeeper.yaml").write_text(CONFIG)

    def run(path: str, *arguments: str, **headers: str) -> Result:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        options = [option for line in lines for option in ("--header", line)]
        return wskeeper("explain", "--path", path, *options, *arguments)

    return run


def steps(result: Result) -> dict[str, str]:
    """What was told, by step; of the upstream its lines."""
    told: dict[str, str] = {}
    name = ""
    for line in result.stdout.splitlines():
        name = line[:10].strip() or name
        told[name] = (told[name] + "\n" if name in told else "") + line[11:]
    return told


# Admitted --------------------------------------------------------------------------------------


def test_every_step_is_told_in_order(explain: Command) -> None:
    result = explain("/chat/room1", X_Api_Key=SECRET, Origin="https://app.example")
    assert result.exit_code == 0
    told = steps(result)
    assert [name for name in told if name != "store"] == [
        "path",
        "client",
        "origin",
        "carrier",
        "key",
        "limits",
        "verdict",
        "upstream",
    ]
    assert told["path"] == (
        "/chat/room1 → route chat (path /chat), upstream ws://chat-1:9002/ws/room1"
    )
    assert told["origin"] == (
        "https://app.example: allowed by routes[chat].origins"
        " (https://app.example, https://b.example)"
    )
    assert told["carrier"] == "header X-Api-Key"
    assert told["key"] == (
        "legacy (legacy), active, expires never, routes chat own seen, connections ≤ 5,"
        " stands in the configuration"
    )
    assert told["limits"].startswith("connections of the key ≤ 5, total_connections ≤ 10000; ")
    assert told["verdict"] == "101, if the upstream answers"


def test_the_upstream_hears_of_the_caller_and_not_of_the_credential(explain: Command) -> None:
    result = explain("/chat/room1?room=1", X_Api_Key=SECRET, X_Forwarded_For="203.0.113.7")
    lines = steps(result)["upstream"].splitlines()
    assert lines[0] == "GET /ws/room1?room=*** HTTP/1.1"
    assert "X-Wskeeper-Key-Name: legacy" in lines
    assert "X-Real-IP: 203.0.113.7" in lines
    assert not any(line.startswith("X-Api-Key") for line in lines)


def test_a_key_of_the_store_is_found(wskeeper: Command, explain: Command) -> None:
    secret = created(
        wskeeper,
        *("--expires", "2130-12-31", "--origin", "https://app.example"),
        *("--address", "127.0.0.0/8", "--deny-address", "127.9.0.0/16"),
    )
    told = steps(explain("/chat", Authorization=f"Bearer {secret}"))
    assert "store" not in told
    assert told["carrier"] == "bearer"
    assert told["key"].startswith("alice (")
    assert "active, expires 2130-12-31 00:00 UTC, in " in told["key"]
    assert told["key"].endswith(
        "routes all, origins https://app.example, addresses 127.0.0.0/8, not from 127.9.0.0/16"
    )


def test_a_rotated_secret_is_told_from_the_new_one(wskeeper: Command, explain: Command) -> None:
    secret = created(wskeeper)
    wskeeper("keys", "rotate", "alice", "--overlap", "24h")
    assert "an older secret that ends 2" in steps(explain("/chat", X_Api_Key=secret))["key"]


def test_another_secret_of_a_known_id_is_told_from_a_stranger(
    wskeeper: Command, explain: Command
) -> None:
    secret = created(wskeeper)
    other = make_secret(lambda below: below - 1, id=id_in(secret)).text
    told = steps(explain("/chat", X_Api_Key=other))
    assert told["key"] == "not known: it has the id of alice, and is no secret of it any more"


def test_the_upstreams_own_credential_is_not_shown(explain: Command) -> None:
    result = explain("/own", X_Api_Key=SECRET)
    lines = steps(result)["upstream"].splitlines()
    assert "Host: inner:9002" in lines
    assert "Authorization: ***" in lines
    assert "CANARY" not in result.output


def test_an_open_route_asks_for_nothing(explain: Command) -> None:
    told = steps(explain("/open", "--host", "open.example", "--client", "192.0.2.1"))
    assert told["path"].startswith("/open → route open (path open.example/open)")
    assert told["client"] == "192.0.2.1 over http (its socket's)"
    assert told["carrier"] == "none needed (auth: none)"
    assert told["upstream"].endswith("X-Wskeeper-Auth: none")


def test_a_route_that_reports_lets_in_and_says_so(explain: Command) -> None:
    result = explain("/seen")
    assert result.exit_code == 0
    told = steps(result)
    assert told["auth"] == "report_only: let in as nobody, and counted as key_missing"
    assert told["path"].endswith("upstream ws+unix:/run/s.sock:/seen")


# The client ------------------------------------------------------------------------------------


def test_a_trusted_proxy_is_believed(explain: Command) -> None:
    told = steps(explain("/same", "--tls", X_Forwarded_For="203.0.113.7", X_Api_Key=SECRET))
    assert told["client"] == (
        "203.0.113.7 over https (socket 127.0.0.1, trusted by trusted_proxies)"
    )


def test_anybody_else_is_not(explain: Command) -> None:
    result = explain("/same", "--client", "192.0.2.1", X_Forwarded_For="203.0.113.7")
    assert steps(result)["client"] == (
        "192.0.2.1 over http (its socket's: 192.0.2.1 is not in trusted_proxies,"
        " so X-Forwarded-For is not believed)"
    )


def test_a_gateway_with_tls_is_spoken_to_over_https(explain: Command) -> None:
    Path("wskeeper.yaml").write_text(CONFIG + "tls: {certificate: c.pem, private_key: k.pem}\n")
    assert " over https " in steps(explain("/same", "--client", "192.0.2.1"))["client"]


@pytest.mark.parametrize(
    ("client", "told", "code"),
    [
        ("10.1.0.1", "served, by routes[inside].addresses", 401),
        ("10.9.0.1", "not served, by routes[inside].addresses.deny", 403),
        ("192.0.2.1", "not served, by routes[inside].addresses.allow", 403),
    ],
)
def test_addresses_are_held_against_the_route(
    explain: Command, client: str, told: str, code: int
) -> None:
    result = explain("/inside", "--client", client)
    assert steps(result)["address"] == told
    assert steps(result)["verdict"].startswith(f"{code} ")


@pytest.mark.parametrize(
    ("path", "origin", "told"),
    [
        ("/same", "http://localhost", "http://localhost: allowed by routes[same].origins (same)"),
        ("/same", "https://x.example", "https://x.example: not allowed by routes[same].origins"),
        ("/seen", "https://x.example", "https://x.example: any is allowed (routes[seen].origins"),
    ],
)
def test_origins_are_held_against_the_route(
    explain: Command, path: str, origin: str, told: str
) -> None:
    assert steps(explain(path, Origin=origin))["origin"].startswith(told)


# Refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["/nowhere"], "404 no_route"),
        (["/chat/../x"], "400 bad_path"),
        (["/chat x"], "400 bad_request"),
        (["/chat", "--host", "a b"], "400 bad_request"),
        (["/chat", "--plain"], "426 upgrade_required"),
        (["/chat", "--plain", "--header", "Sec-WebSocket-Version: 13"], "426 upgrade_stripped"),
        (["/chat", "--header", "Sec-WebSocket-Version: 8"], "426 unsupported_version"),
        (["/chat"], "401 key_missing"),
        (["/chat", "--header", "X-Api-Key: wrong"], "401 key_unknown"),
        (["/chat", "--header", "X-Api-Key: a", "--header", "X-Api-Key: a"], "400 key_ambiguous"),
        (["/same", "--header", f"X-Api-Key: {SECRET}"], "403 route_forbidden"),
        (["/chat", "--header", "Origin: https://evil.example"], "403 origin_forbidden"),
        (["/" + "x" * 40_000], "414 target_too_long"),
        (["/chat", *(["--header", "X-A: b"] * 300)], "431 head_too_large"),
    ],
)
def test_a_refusal_exits_1_and_says_why(
    explain: Command, arguments: list[str], refusal: str
) -> None:
    result = explain(*arguments)
    assert result.exit_code == 1
    assert steps(result)["verdict"].startswith(f"{refusal}: ")
    assert result.stderr == f"Error: it would be refused: {refusal}\n"
    assert "upstream" not in steps(result)


@pytest.mark.parametrize(
    ("path", "origin", "closes"),
    [("/chat", "https://app.example", True), ("/chat", "", False), ("/same", "", True)],
)
def test_a_refusal_by_a_close_frame_is_told(
    explain: Command, path: str, origin: str, *, closes: bool
) -> None:
    result = explain(path, **({"Origin": origin} if origin else {}))
    assert ("as Close 3000 key_missing" in steps(result)["verdict"]) is closes
    assert "Close" not in steps(explain(path, "--plain"))["verdict"]


def test_without_a_store_the_fixed_keys_are_judged(explain: Command) -> None:
    result = explain("/chat", X_Api_Key=SECRET)
    assert result.exit_code == 0
    assert "not read, so only the configuration's keys are known" in steps(result)["store"]
    assert "does not exist" in steps(result)["store"]
    assert not Path("wskeeper.db").exists()


def test_keys_in_memory_are_the_gateways_alone(explain: Command) -> None:
    result = explain("/chat", "--store", "memory:", X_Api_Key=SECRET)
    assert "only the gateway's process knows" in steps(result)["store"]


def test_the_gateways_own_services_open_nothing(explain: Command) -> None:
    Path("wskeeper.yaml").write_text(CONFIG + "health_path: /ready\n")
    result = explain("/ready", "--plain")
    failed_with = "Error: it would open no WebSocket\n"
    assert (result.exit_code, result.stderr) == (1, failed_with)
    assert steps(result)["verdict"] == "no WebSocket: 200 or 503, by the gateway's health"
    assert json.loads(explain("/ready", "--plain", "--json").stdout)["verdict"] == "answered"
    assert steps(explain("/ready"))["verdict"].startswith("404 ")
    assert steps(explain("/.wskeeper/ticket", "--plain"))["verdict"].startswith("404 ")


# Usage and JSON --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--header", SECRET],
        ["--header", f"X-Api-Key: a\r\nX-Other: {SECRET}"],
        ["--client", SECRET],
        ["--host", "a.example", "--header", "Host: b.example"],
    ],
)
def test_wrong_usage_exits_2_and_repeats_nothing(explain: Command, arguments: list[str]) -> None:
    result = explain("/chat", *arguments)
    failed(result, code=2)
    assert SECRET not in result.output


def test_headers_may_come_from_a_file_or_stdin(wskeeper: Command, explain: Command) -> None:
    Path("headers").write_text(f"X-Api-Key: {SECRET}\n\nOrigin: https://app.example\n")
    told = steps(explain("/chat", "--header", "@headers"))
    assert told["verdict"] == "101, if the upstream answers"
    assert told["origin"].startswith("https://app.example: allowed")
    line = f"X-Api-Key: {SECRET}\r\n".encode()
    result = wskeeper("explain", "--path", "/chat", "--header", "@-", stdin=line)
    assert steps(result)["carrier"] == "header X-Api-Key"
    told = ("--header", "`nowhere`", "No such file", "@ and the path")
    failed(explain("/chat", "--header", "@nowhere"), *told, code=2)
    failed(explain("/chat", "--header", "@."), "`.`", "Is a directory", code=2)


def test_a_faulty_configuration_is_one_line(explain: Command) -> None:
    Path("wskeeper.yaml").write_text("routes: 1\n")
    failed(explain("/chat"), "wskeeper.yaml:1")


def test_an_admission_as_json(explain: Command) -> None:
    told = json.loads(explain("/chat", "--json", X_Api_Key=SECRET).stdout)
    assert told["verdict"] == "admitted"
    assert (told["status"], told["code"], told["conditions"]) == (101, None, [])
    assert told["route"] == {"name": "chat", "host": None, "path": "/chat", "auth": "required"}
    assert told["client"]["address"] == "127.0.0.1"
    assert told["carriers"] == ["header X-Api-Key"]
    assert (told["auth"], told["subject"]) == ("api_key", None)
    assert (told["key"]["name"], told["key"]["source"]) == ("legacy", "configuration")
    assert told["key"]["limits"] == {**NO_LIMITS, "connections": 5}
    assert told["upstream"]["head"][0] == "GET /ws HTTP/1.1"
    assert told["steps"][0]["step"] == "path"


def test_a_refusal_as_json(explain: Command) -> None:
    result = explain("/nowhere", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["verdict"], told["status"], told["code"]) == ("refused", 404, "no_route")
    assert told["route"] is None
    assert told["key"] is None
    assert told["carriers"] == []


def test_what_comes_behind_a_refusal_is_null(explain: Command) -> None:
    malformed = json.loads(explain("/a b", "--json").stdout)
    assert malformed["client"] is None

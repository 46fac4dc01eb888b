"""`wskeeper explain` for ordinary HTTP requests, on a route that takes both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.cli.test_explain import steps

if TYPE_CHECKING:
    from tests.unit.cli.keys_scene import Command

SECRET = "CANARY-of-the-fixed-key-7c1f"
WITH_KEY = ("--header", f"X-Api-Key: {SECRET}")
CONFIG = f"""\
store: "memory:"
health_path: /ready
keys: [{{name: legacy, secret: {SECRET}, limits: {{connections: 5, handshakes_per_second: 2}}}}]
limits: {{total_connections: 50, auth_failures_per_minute: null}}
routes:
  - name: both
    path: /both
    upstream: {{targets: ["ws://inner:9002/in", "ws://outer:9003"]}}
    http: passthrough
    carriers: [{{header: X-Api-Key}}, subprotocol, ticket, first_message]
    limits: {{connections: 3, connections_per_address: 7, handshakes_per_second: 2.5,
     message_size: 1MiB, auth_failures_per_minute: 9}}
  - {{name: sockets, path: /sockets, upstream: "ws://127.0.0.1:1"}}
  - {{name: free, path: /free, upstream: "ws://127.0.0.1:1", http: passthrough, auth: none}}
"""


@pytest.fixture
def explain(wskeeper: Command) -> Command:
    """Runs the command on the configuration above."""
    Path("wskeeper.yaml").write_text(CONFIG)
    return lambda path, *arguments: wskeeper("explain", "--path", path, *arguments)


def test_ordinary_request_is_passed_on_where_the_route_takes_both(explain: Command) -> None:
    result = explain("/both/x?a=1", "--method", "POST", *WITH_KEY)
    assert result.exit_code == 0
    told = steps(result)
    assert told["path"] == (
        "/both/x → route both (path /both),"
        " upstream ws://inner:9002/in/x or ws://outer:9003/both/x by round_robin"
    )
    assert told["http"] == (
        "an ordinary POST and no handshake; the route takes both (http: passthrough)"
    )
    assert told["key"].startswith("legacy (legacy), active")
    assert told["limits"].startswith(
        "total_connections ≤ 50 with the requests under way,"
        " auth_failures_per_minute ≤ 9 (routes.both.limits); "
    )
    assert told["verdict"] == "passed on as an ordinary HTTP request, if the upstream answers"
    lines = told["upstream"].splitlines()
    assert lines[0] == "POST /in/x?a=*** HTTP/1.1"
    assert not any(line.startswith(("X-Api-Key", "Upgrade", "Connection")) for line in lines)


def test_handshake_on_the_same_route_is_one_with_its_limits(explain: Command) -> None:
    told = steps(explain("/both", *WITH_KEY))
    assert "http" not in told
    assert told["verdict"] == "101, if the upstream answers"
    assert told["limits"].startswith(
        "connections of the key ≤ 5, connections of the route ≤ 3 (routes.both.limits),"
        " connections_per_address ≤ 7 (routes.both.limits),"
        " handshakes_per_second ≤ 2 (keys.legacy.limits),"
        " message_size ≤ 1048576 from the client (routes.both.limits), total_connections ≤ 50; "
    )


@pytest.mark.parametrize("arguments", [("--plain",), ()])
def test_without_limits_none_is_told(explain: Command, arguments: tuple[str, ...]) -> None:
    Path("wskeeper.yaml").write_text(CONFIG.replace("connections: 50", "connections: null"))
    assert "limits" not in steps(explain("/free", *arguments))


def test_preflight_needs_no_key(explain: Command) -> None:
    asks = ("Origin: https://app.example", "Access-Control-Request-Method: PUT")
    lines = [part for line in asks for part in ("--header", line)]
    told = steps(explain("/both", "--method", "OPTIONS", *lines))
    assert told["carrier"] == "none needed: a CORS preflight, with which browsers send none"
    assert told["upstream"].endswith("X-Wskeeper-Auth: none")


@pytest.mark.parametrize(
    ("arguments", "refusal", "carrier"),
    [
        (["/both", "--plain"], "401 key_missing", "the route takes header X-Api-Key"),
        (["/both?wskeeper_ticket=wst_x", "--plain"], "401 ticket_invalid", "ticket"),
        (["/both", "--method", "TRACE"], "405 method_not_allowed", None),
        (["/sockets", "--method", "POST"], "405 method_not_allowed", None),
        (["/both", "--plain", "--header", "Content-Length: x"], "400 bad_request", None),
        (["/both", "--plain", "--header", "Sec-WebSocket-Key: x"], "426 upgrade_stripped", None),
    ],
)
def test_ordinary_request_is_refused_as_by_the_gateway(
    explain: Command, arguments: list[str], refusal: str, carrier: str | None
) -> None:
    result = explain(*arguments)
    assert result.exit_code == 1
    told = steps(result)
    assert told["verdict"].startswith(f"{refusal}: ")
    assert carrier is None or told["carrier"].endswith(carrier)


def test_route_that_only_takes_tickets_has_no_way_for_ordinary_requests(explain: Command) -> None:
    carriers = "carriers: [{header: X-Api-Key}, subprotocol, ticket, first_message]"
    Path("wskeeper.yaml").write_text(CONFIG.replace(carriers, "carriers: [ticket]"))
    told = steps(explain("/both", "--plain"))
    assert told["carrier"] == "none found; with an ordinary request the route takes none"


def test_ordinary_request_as_json(explain: Command) -> None:
    told = json.loads(explain("/both", "--plain", "--json", *WITH_KEY).stdout)
    assert (told["verdict"], told["ordinary"], told["status"]) == ("admitted", True, None)
    assert told["upstream"]["url"] == "ws://inner:9002/in"
    assert not json.loads(explain("/both", "--json", *WITH_KEY).stdout)["ordinary"]


@pytest.mark.parametrize(
    ("path", "method", "told"),
    [
        ("/ready", "HEAD", "200 or 503"),
        ("/ready", "POST", "405: health"),
        ("/.wskeeper/ticket", "GET", "405: tickets"),
        ("/.wskeeper/ticket", "POST", "the gateway itself sells a ticket"),
        ("/.wskeeper/renew", "POST", "the gateway itself renews"),
        ("/.wskeeper/renew", "OPTIONS", "the gateway itself says which pages may ask"),
    ],
)
def test_the_gateways_own_services_are_told_by_method(
    explain: Command, path: str, method: str, told: str
) -> None:
    result = explain(path, "--plain", "--method", method)
    assert result.exit_code == 1
    assert steps(result)["verdict"].startswith(f"no WebSocket: {told}")


def test_method_that_is_none_is_wrong_usage(explain: Command) -> None:
    result = explain("/both", "--method", f"GET /{SECRET}")
    assert result.exit_code == 2
    assert SECRET not in result.output

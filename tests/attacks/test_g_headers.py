"""G. Headers to the upstream: transparent but for what the contract lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import APP_ONLY, GOOD, assert_refused, good
from tests.harness.heads import DEFAULT_HOST, Request, upgrade

if TYPE_CHECKING:
    from tests.harness.client import Door
    from tests.harness.gateway import Gateway
    from tests.harness.upstream import Upstream

pytestmark = pytest.mark.timeout(60)

# What the gateway sets (contract, section 3), beside X-Wskeeper-Meta-<name>.
OURS = {
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "x-request-id",
    "x-wskeeper-key-id",
    "x-wskeeper-key-name",
    "x-wskeeper-subject",
    "x-wskeeper-route",
    "x-wskeeper-auth",
    "x-wskeeper-meta-plan",
}


def forwarded(door: Door, upstream: Upstream, request: bytes) -> Request:
    """What the upstream was asked for this request."""
    door.open(request).close()
    seen = upstream.connection().request
    assert seen is not None
    assert b"CANARY" not in seen.raw, "a key went upstream"
    return seen


def assert_ours(seen: Request) -> None:
    """The gateway's own values, once each."""
    assert seen.get("X-Forwarded-For") == "127.0.0.1"
    assert seen.get("X-Real-IP") == "127.0.0.1"
    assert seen.get("X-Forwarded-Proto") == "http"
    assert seen.get("X-Forwarded-Host") == DEFAULT_HOST
    assert seen.get("X-Wskeeper-Key-Name") == "good"
    assert seen.get("X-Wskeeper-Auth") == "api_key"
    assert seen.get("X-Wskeeper-Meta-Plan") == "gold"
    assert seen.get("X-Wskeeper-Route") in {"app", "bearer"}
    assert seen.get("X-Wskeeper-Key-Id")
    assert seen.get("X-Request-Id")


@pytest.mark.parametrize(
    "named", ["X-Api-Key", "x-api-key", "Host", "Sec-WebSocket-Key, X-Api-Key", "Origin, Cookie"]
)
def test_p59_naming_a_header_in_connection_does_not_unlock(
    door: Door, upstream: Upstream, named: str
) -> None:
    connection = {"Connection": f"Upgrade, {named}"}
    with upstream.untouched(0.1):
        assert_refused(door.ask(upgrade("/app", changed=connection)), {400, 401})
    with door.send(good(changed=connection)) as client:
        response = client.read_response()
    if response.status == 101:
        seen = upstream.connection().request
        assert seen is not None
        assert seen.get("X-Api-Key") is None
        assert_ours(seen)
    else:
        assert_refused(response, 400, "bad_request")


def test_p60_naming_our_headers_in_connection_removes_nothing(
    door: Door, upstream: Upstream
) -> None:
    names = (
        ", ".join(sorted(OURS))
        + ", Host, Origin, Cookie, Sec-WebSocket-Protocol, Sec-WebSocket-Key"
    )
    request = good(
        changed={"Connection": f"Upgrade, {names}"},
        lines=("Origin: https://a.example", "Cookie: c=1", "Sec-WebSocket-Protocol: chat"),
    )
    seen = forwarded(door, upstream, request)
    assert_ours(seen)
    assert seen.get("Host") == DEFAULT_HOST
    assert seen.get("Origin") == "https://a.example"
    assert seen.get("Cookie") == "c=1"
    assert seen.get("Sec-WebSocket-Protocol") == "chat"


def test_p61_forwarding_headers_of_an_untrusted_peer_are_replaced(
    door: Door, upstream: Upstream, gateway: Gateway
) -> None:
    forged = (
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-For: 5.6.7.8",
        "x-forwarded-for: 9.9.9.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Server: evil",
        "X-Forwarded-Anything: evil",
        "Forwarded: for=1.2.3.4;host=evil.example",
        "X-Real-IP: 1.2.3.4",
        "True-Client-IP: 1.2.3.4",
        "CF-Connecting-IP: 1.2.3.4",
        "X-Client-IP: 1.2.3.4",
        "X-Request-Id: forged-id",
    )
    seen = forwarded(door, upstream, good(lines=forged))
    assert_ours(seen)
    assert b"1.2.3.4" not in seen.raw
    assert b"evil" not in seen.raw
    for name in ("Forwarded", "X-Forwarded-Port", "X-Forwarded-Server", "True-Client-IP"):
        assert seen.get(name) is None, name
    request_id = seen.get("X-Request-Id")
    assert request_id != "forged-id"
    event = gateway.wait_for_event("connection_opened", request_id=request_id)
    assert event["client"].startswith("127.0.0.1")


@pytest.mark.parametrize(
    "name",
    [
        "X-Wskeeper-Key-Id",
        "X-Wskeeper-Key-Name",
        "X-Wskeeper-Subject",
        "X-Wskeeper-Route",
        "X-Wskeeper-Auth",
        "X-Wskeeper-Meta-Plan",
        "X-Wskeeper-Meta-Not-Of-This-Key",
        "X-Wskeeper-Client-Certificate",
        "X-Forwarded-For",
        "X-Real-IP",
        "X-Request-Id",
    ],
)
def test_p62_identity_headers_cannot_be_forged(door: Door, upstream: Upstream, name: str) -> None:
    spellings = {
        name,
        name.lower(),
        name.upper(),
        name.replace("-", "_"),
        name.replace("-", "_", 1),
        name.replace("-", "_").lower(),
        "_".join(name.rsplit("-", 1)),
    }
    seen = forwarded(door, upstream, good(lines=tuple(f"{s}: forged" for s in sorted(spellings))))
    assert b"forged" not in seen.raw
    assert_ours(seen)
    folded = [found.lower().replace("_", "-") for found, _ in seen.headers]
    assert folded.count(name.lower()) <= 1


def test_p63_the_key_stays_here(door: Door, upstream: Upstream) -> None:
    seen = forwarded(door, upstream, good("/app?a=1&b=2"))
    assert seen.get("X-Api-Key") is None
    assert seen.target == "/app?a=1&b=2"
    bearer = upgrade("/bearer", lines=(f"Authorization: Bearer {GOOD}",))
    assert forwarded(door, upstream, bearer).get("Authorization") is None
    both = upgrade("/bearer", key=GOOD, lines=(f"Authorization: Bearer {GOOD}",))
    with door.send(both) as client:
        response = client.read_response()
    if response.status == 101:  # one credential, twice
        seen_twice = upstream.connection().request
        assert seen_twice is not None
        assert b"CANARY" not in seen_twice.raw
    else:
        assert_refused(response, 400, "key_ambiguous")


def test_p63_authorization_that_is_not_ours_belongs_to_the_application(
    door: Door, upstream: Upstream
) -> None:
    for value in ("Bearer somebody-elses", "Basic dXNlcjpwYXNz", "Digest username=x"):
        for path in ("/app", "/bearer"):
            seen = forwarded(door, upstream, good(path, lines=(f"Authorization: {value}",)))
            assert seen.get("Authorization") == value


def test_p64_hop_by_hop_headers_stay_behind(door: Door, upstream: Upstream) -> None:
    hop_by_hop = (
        "TE: trailers",
        "Trailer: X-T",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eDp5",
        "X-Named: 1",
        "x-named: 2",
    )
    request = good(changed={"Connection": "keep-alive, Upgrade, X-Named, TE"}, lines=hop_by_hop)
    seen = forwarded(door, upstream, request)
    for line in hop_by_hop:
        assert seen.all(line.partition(":")[0]) == [], line
    assert [value.lower() for value in seen.all("Connection")] == ["upgrade"]
    assert [value.lower() for value in seen.all("Upgrade")] == ["websocket"]


def test_p65_the_second_client_carries_nothing_of_the_first(door: Door, upstream: Upstream) -> None:
    def lines(mark: str) -> tuple[str, ...]:
        return (
            f"Cookie: {mark}=1",
            f"Authorization: Basic {mark}",
            f"User-Agent: {mark}",
            f"Sec-WebSocket-Protocol: {mark}",
            f"X-{mark}: {mark}",
        )

    first = forwarded(door, upstream, good(lines=lines("first")))
    second = forwarded(door, upstream, upgrade("/app", key=APP_ONLY, lines=lines("second")))
    third = forwarded(door, upstream, upgrade("/app", key=APP_ONLY))
    assert b"second" not in first.raw
    assert b"first" not in second.raw
    assert b"first" not in third.raw
    assert b"second" not in third.raw
    assert third.get("Cookie") is None
    assert third.get("X-Wskeeper-Key-Name") == "app-only"
    assert third.get("X-Wskeeper-Meta-Plan") is None
    assert first.get("X-Request-Id") != second.get("X-Request-Id")


def test_p66_the_head_is_transparent(door: Door, upstream: Upstream) -> None:
    sent = [
        ("Host", DEFAULT_HOST),
        ("Origin", "https://a.example"),
        ("user-agent", "Odd/1.0 (a; b)"),
        ("Cookie", "a=1; b=2"),
        ("Cookie", "c=3"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "chat, talk"),
        ("Sec-WebSocket-Protocol", "more"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits=15, x-odd"),
        ("Accept-Language", "de;q=0.9"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("X-Empty", ""),
        ("X-Twice", "1"),
        ("X-Between", "2"),
        ("X-Twice", "3"),
        ("Authorization", "Basic dXNlcjpwYXNz"),
        ("X_Under_Score", "kept"),
        ("X-Inner-Space", "a  b\tc"),
        ("X-8-bit", "caf\xe9"),
    ]
    request = (
        "GET /app/x?y=z HTTP/1.1\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in sent[:3])
        + f"Upgrade: websocket\r\nConnection: Upgrade\r\nX-Api-Key: {GOOD}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in sent[3:])
        + "\r\n"
    ).encode("latin-1")
    seen = forwarded(door, upstream, request)
    assert seen.first_line == "GET /app/x?y=z HTTP/1.1"
    travelling = [
        (name, value)
        for name, value in seen.headers
        if name.lower() not in OURS and name.lower() not in {"connection", "upgrade"}
    ]
    assert travelling == sent
    assert_ours(seen)
    assert seen.get("Upgrade") == "websocket"
    assert seen.get("Connection") == "Upgrade"


def test_p66_a_bare_request_gets_nothing_but_the_documented_lines(
    door: Door, upstream: Upstream
) -> None:
    seen = forwarded(door, upstream, good())
    expected = {"host", "upgrade", "connection", "sec-websocket-version", "sec-websocket-key"}
    added = {name.lower() for name, _ in seen.headers} - expected
    assert added <= OURS, added - OURS

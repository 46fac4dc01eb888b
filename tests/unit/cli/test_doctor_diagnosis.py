"""What is made of what was seen: for each answer its meaning, and the mend where there is one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from proxy.cli import mends
from proxy.cli.diagnosis import (
    of_client,
    of_connection,
    of_idleness,
    of_origin,
    of_plain,
    of_refusal,
    of_switch,
    with_key,
    without_key,
)
from proxy.cli.observation import Connection, Idleness, Reply, Unreached, read_url
from proxy.config.model import Config
from proxy.errors import REFUSALS, Refused
from proxy.handshake.answer import accept_for
from proxy.handshake.head import parse_answer
from proxy.handshake.reply import refusing

if TYPE_CHECKING:
    from proxy.cli.diagnosis import Finding

PLACE = read_url("ws://gateway.example/chat")
SECURE = read_url("wss://gateway.example/chat")
NONCE = b"dGhlIHNhbXBsZSBub25jZQ=="
NOW = 1_800_000_000.0
DAY = 86_400


def answer(status: int, *lines: str, body: bytes = b"", nonce: bytes = NONCE) -> Reply:
    head = "\r\n".join((f"HTTP/1.1 {status} Word", *lines, "", "")).encode()
    return Reply(parse_answer(head), head[:64], body, nonce=nonce)


def refusal(code: str, *, nonce: bytes = NONCE) -> Reply:
    """What a wskeeper answers."""
    raw = refusing(Refused(code, "Do this."), request_id="r1")
    head, _, body = raw.partition(b"\r\n\r\n")
    return Reply(parse_answer(head + b"\r\n\r\n"), raw[:64], body, nonce=nonce)


def switch(*lines: str, close: tuple[int, str] | None = None, accept: bytes | None = None) -> Reply:
    told = (accept or accept_for(NONCE)).decode()
    right = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {told}")
    return answer(101, *right, *lines)._replace(close=close)


def silence(begin: bytes = b"", cause: str = "it hung up") -> Reply:
    return Reply(None, begin, nonce=NONCE, cause=cause)


def assert_found(finding: Finding, verdict: str, *words: str, mend: str = "") -> None:
    assert finding.verdict == verdict
    for word in words:
        assert word in finding.text
    assert mend in "\n".join(finding.mend)
    assert bool(mend) == bool(finding.mend)


# The socket ------------------------------------------------------------------------------------


def test_plain_socket_opens() -> None:
    assert_found(of_connection(PLACE, Connection("192.0.2.1", "192.0.2.9"), NOW), "ok", "plain TCP")


@pytest.mark.parametrize(
    ("days", "distrust", "verdict", "words", "mend"),
    [
        (90, None, "ok", "certificate of a.example, b.example, 90 days left", ""),
        (13, None, "unsure", "13 days left", "renew"),
        (-2, "certificate has expired", "bad", "ended 2 days ago; not trusted", "renew"),
        (90, "Hostname mismatch", "bad", "not trusted: Hostname mismatch", "--ca"),
    ],
)
def test_certificate_is_told(
    days: int, distrust: str | None, verdict: str, words: str, mend: str
) -> None:
    names = ("a.example", "b.example")
    found = Connection("192.0.2.1", "::1", "TLSv1.3", names, NOW + days * DAY, distrust)
    assert_found(of_connection(SECURE, found, NOW), verdict, "TLSv1.3", words, mend=mend)


def test_certificate_for_nobody_is_told() -> None:
    found = Connection("192.0.2.1", "::1", "TLSv1.3", (), NOW + 90 * DAY)
    assert_found(of_connection(SECURE, found, NOW), "ok", "certificate of nobody")


@pytest.mark.parametrize(
    ("unreached", "words", "mend"),
    [
        (Unreached("name", "Name not known"), "has no address: Name not known", "DNS"),
        (Unreached("tcp", "Connection refused"), "port 443: Connection refused", "listens"),
        (Unreached("tls", "WRONG_VERSION_NUMBER"), "does not speak TLS", "ws://"),
        (Unreached("tls", "RECORD_LAYER_FAILURE"), "does not speak TLS", "ws://"),
        (Unreached("tls", "TLSV1_ALERT_NO_APPLICATION_PROTOCOL"), "not speak HTTP/1.1", "ALPN"),
        (Unreached("tls", "HANDSHAKE_FAILURE"), "no TLS with gateway.example port 443", "versions"),
    ],
)
def test_socket_that_does_not_open_is_told_by_its_step(
    unreached: Unreached, words: str, mend: str
) -> None:
    assert_found(of_connection(SECURE, unreached, NOW), "bad", words, mend=mend)


# An ordinary GET -------------------------------------------------------------------------------


def test_a_wskeeper_shows_itself_by_wanting_an_upgrade() -> None:
    assert_found(of_plain(PLACE, refusal("upgrade_required", nonce=b"")), "ok", "a wskeeper")


def test_a_wskeeper_that_says_something_else_is_still_one() -> None:
    told = of_plain(PLACE, refusal("no_route", nonce=b""))
    assert_found(told, "unsure", "a wskeeper answers 404 no_route")


def test_route_that_takes_ordinary_requests_wants_a_key_of_them_too() -> None:
    told = of_plain(PLACE, refusal("key_missing", nonce=b""))
    assert_found(told, "ok", "a wskeeper answers: 401 key_missing", "http: passthrough")


def test_service_that_answers_behind_a_wskeeper_is_told_from_none() -> None:
    passed = answer(200, "Server: node", "X-Request-Id: r1", nonce=b"")
    assert_found(of_plain(PLACE, passed), "unsure", "node answers", "200", "http: passthrough")


def test_somebody_else_is_named() -> None:
    told = of_plain(PLACE, answer(200, "Server: nginx/1.22", nonce=b""))
    assert_found(told, "unsure", "no sign of a wskeeper: nginx/1.22 answers", "200", mend="hop")
    told = of_plain(PLACE, answer(200, nonce=b""))
    assert_found(told, "unsure", "does not name itself", mend="hop")


@pytest.mark.parametrize("lines", [(), ("X-Wskeeper-Code: no_such_path",)])
def test_listener_of_operators_is_told_from_that_of_clients(lines: tuple[str, ...]) -> None:
    told = of_plain(PLACE, answer(404, "Server: wskeeper", *lines, nonce=b""))
    usual = Config.model_fields["listen"].default
    assert_found(told, "bad", "serves its operators (`admin.listen`)", mend=f"{usual} unless set")


def test_redirect_of_an_ordinary_get_is_bad() -> None:
    told = of_plain(PLACE, answer(301, "Location: https://gateway.example/chat", nonce=b""))
    assert_found(told, "bad", "redirects to wss://gateway.example/chat", mend="dial wss://")


# Refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["upgrade_stripped", "upgrade_required"])
def test_upgrade_that_a_hop_ate_has_the_lines_for_nginx(code: str) -> None:
    told = without_key(PLACE, refusal(code))
    assert_found(told, "bad", code, "ate Upgrade", mend="proxy_set_header Upgrade $http_upgrade;")
    assert told.mend == mends.UPGRADE


@pytest.mark.parametrize("code", REFUSALS)
def test_every_refusal_of_a_wskeeper_is_told_in_its_words(code: str) -> None:
    told = with_key(PLACE, refusal(code), "header X-Api-Key")
    assert told.verdict == "bad"
    assert f"{REFUSALS[code].status} {code}" in told.text
    in_front = ("upgrade_stripped", "upgrade_required", "key_missing")
    assert ("Do this." in told.text) == (code not in in_front)


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        ("no_route", "Host $http_host"),
        ("address_forbidden", "trusted_proxies"),
        ("upstream_unreachable", "log"),
        ("key_expired", ""),
    ],
)
def test_refusal_has_the_mend_that_the_hop_in_front_needs(code: str, mend: str) -> None:
    assert_found(of_refusal("key", PLACE, refusal(code)), "bad", mend=mend)


def test_code_is_found_in_the_body_where_a_hop_ate_the_header() -> None:
    body = refusal("key_missing").body
    assert_found(without_key(PLACE, answer(401, body=body)), "ok", "401 key_missing")


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b"{", b'{"type": 1}', b'{"type": "a b"}', b"[" * 9999]
)
def test_body_of_another_kind_is_no_code(body: bytes) -> None:
    assert answer(401, body=body).code is None


def test_service_that_refuses_is_told_from_the_gateway() -> None:
    told = of_refusal("key", PLACE, answer(403, "X-Wskeeper-Code: upstream_refused"))
    assert_found(told, "bad", "403 upstream_refused", mend="service")


def test_code_that_a_later_version_has_is_shown() -> None:
    told = of_refusal("key", PLACE, answer(429, "X-Wskeeper-Code: something_new"))
    assert_found(told, "bad", "429 something_new")


@pytest.mark.parametrize(
    ("status", "words", "mend"),
    [
        (200, "as if no upgrade had been asked for", "Upgrade"),
        (400, "plain HTTP on a TLS port", ""),
        (403, "forbids", ""),
        (404, "nothing at this path", ""),
        (426, "lost the upgrade", "Upgrade"),
        (502, "cannot reach what is behind it", ""),
        (504, "did not answer in time", ""),
        (599, "599 by Caddy, not by a wskeeper", ""),
    ],
)
def test_answer_of_another_hop_is_told_by_its_status(status: int, words: str, mend: str) -> None:
    told = without_key(PLACE, answer(status, "Server: Caddy"))
    assert_found(told, "bad", f"{status} by Caddy, not by a wskeeper", words, mend=mend)


@pytest.mark.parametrize(
    ("location", "to"),
    [
        ("https://other.example/x?key=s#f", "wss://other.example/x"),
        ("http://other.example:8080", "ws://other.example:8080/"),
        ("//other.example/x", "ws://other.example/x"),
        ("/chat/", "ws://gateway.example/chat/"),
        ("https://user:pass@other.example/x", "wss://other.example/x"),
        ("http://[", "ws://gateway.example/"),
        ("", "ws://gateway.example/"),
    ],
)
def test_redirect_is_told_without_what_it_may_hold(location: str, to: str) -> None:
    told = without_key(PLACE, answer(302, f"Location: {location}"))
    assert_found(told, "bad", f"redirects to {to}, where no client follows", mend=f"dial {to},")


@pytest.mark.parametrize(
    ("place", "reply", "words", "mend"),
    [
        (PLACE, silence(b"\0\0\x12\x04\0\0\0\0\0"), "HTTP/2 alone", "ALPN"),
        (PLACE, silence(b"\x15\x03\x01\0\x02\x02\x46"), "speaks TLS", "wss://"),
        (PLACE, silence(b"SSH-2.0", "it does not speak HTTP/1.1"), "not speak HTTP", "port"),
        (PLACE, silence(), "no answer: it hung up", "wss://"),
        (SECURE, silence(), "no answer: it hung up", "--certificate"),
    ],
)
def test_what_is_no_answer_is_told(place: object, reply: Reply, words: str, mend: str) -> None:
    told = of_refusal("gateway", PLACE if place is PLACE else SECURE, reply)
    assert_found(told, "bad", words, mend=mend)
    assert of_plain(PLACE if place is PLACE else SECURE, reply) == told


# The upgrade -----------------------------------------------------------------------------------


def test_missing_key_shows_that_all_else_arrived() -> None:
    assert_found(without_key(PLACE, refusal("key_missing")), "ok", "401 key_missing")
    told = without_key(PLACE, switch(close=(3000, "key_missing")))
    assert_found(told, "ok", "key_missing (101, then Close 3000)")


def test_route_that_lets_everybody_in_is_told() -> None:
    assert_found(without_key(PLACE, switch()), "unsure", "opens without a key")


def test_key_opens() -> None:
    told = with_key(PLACE, switch(), "header X-Api-Key")
    assert_found(told, "ok", "with the key in header X-Api-Key")


def test_key_that_a_hop_ate_is_told() -> None:
    told = with_key(PLACE, refusal("key_missing"), "bearer")
    assert_found(told, "bad", "a hop", "ate the key, sent in bearer", mend="underscores")


@pytest.mark.parametrize(
    ("close", "words"),
    [
        ((3000, "key_revoked"), "key_revoked (101, then Close 3000): The key was revoked"),
        ((1013, "upstream_refused"), "upstream_refused (101, then Close 1013)"),
    ],
)
def test_refusal_by_close_is_told_as_one(close: tuple[int, str], words: str) -> None:
    assert words in with_key(PLACE, switch(close=close), "bearer").text


@pytest.mark.parametrize(
    ("close", "words"),
    [((1006, ""), "cut without a Close (1006)"), ((4000, "Go away!"), "Close 4000 Go away!")],
)
def test_socket_that_closes_at_once_did_not_open(close: tuple[int, str], words: str) -> None:
    reply = switch(close=close)
    assert not reply.opened
    assert_found(without_key(PLACE, reply), "bad", "closed at once", words, mend="behind")


def test_all_that_was_offered_is_found_in_the_answer() -> None:
    reply = switch(
        "Sec-WebSocket-Protocol: wskeeper",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "X-Request-Id: r1",
    )
    found = of_switch(reply, ["chat", "wskeeper"])
    assert [(finding.probe, finding.verdict) for finding in found] == [
        ("subprotocol", "ok"),
        ("compression", "ok"),
        ("request id", "ok"),
    ]


def test_subprotocol_that_a_hop_ate_is_told() -> None:
    [subprotocol, compression, _] = of_switch(switch("X-Request-Id: r1"), ["wskeeper"])
    assert_found(subprotocol, "bad", "ate Sec-WebSocket-Protocol", mend="both ways")
    assert_found(compression, "unsure", "ate Sec-WebSocket-Extensions")


def test_another_server_owes_us_nothing() -> None:
    [subprotocol, _, request_id] = of_switch(switch(), ["wskeeper"])
    assert_found(subprotocol, "unsure", "none was selected")
    assert_found(request_id, "unsure", "no X-Request-Id")


def test_answer_that_no_client_takes_is_told() -> None:
    [finding] = of_switch(switch(accept=b"wrong"), ["wskeeper"])
    assert_found(finding, "bad", "Sec-WebSocket-Accept is wrong", mend="Upgrade")


# What hops change ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "foreign", "verdict", "words", "mend"),
    [
        ("key_missing", "origin_forbidden", "ok", "others do not", ""),
        ("key_missing", "key_missing", "unsure", "a hop ate Origin", ""),
        ("origin_forbidden", "origin_forbidden", "bad", "may not connect", "`origins`"),
    ],
)
def test_origin(own: str, foreign: str, verdict: str, words: str, mend: str) -> None:
    told = of_origin(PLACE, "https://app.example", refusal(own), refusal(foreign))
    assert_found(told, verdict, "https://app.example", words, mend=mend)
    assert "Host" not in "\n".join(told.mend)


def test_own_origin_that_is_refused_points_to_the_host() -> None:
    refused = refusal("origin_forbidden")
    told = of_origin(SECURE, "https://Gateway.example", refused, refused)
    assert_found(told, "bad", mend="Host $http_host")
    assert "X-Forwarded-Proto" in "\n".join(told.mend)


def test_client_address() -> None:
    found = Connection("192.0.2.1", "198.51.100.7")
    assert_found(of_client(found, "198.51.100.7"), "ok", "which is our address")
    assert_found(of_client(found, "10.0.0.1"), "unsure", "10.0.0.1", mend="trusted_proxies")
    assert_found(of_client(found, None), "unsure", "--admin")


def test_silence_that_is_endured() -> None:
    told = of_idleness(Idleness(70.0, 10.0, None, pings=3), 70.0)
    assert_found(told, "ok", "still open after 70 s", "3 pings answered")
    assert "not one ping" in of_idleness(Idleness(70.0, 70.0, None), 70.0).text


@pytest.mark.parametrize(
    ("quiet", "hint"),
    [
        (60.1, "proxy_read_timeout, and of AWS"),
        (100.4, "Cloudflare"),
        (349.0, "NLB"),
        (45.0, None),
        (2.0, None),
    ],
)
def test_cut_is_told_with_whose_it_may_be(quiet: float, hint: str | None) -> None:
    told = of_idleness(Idleness(quiet + 20, quiet, "eof", pings=1), 400.0)
    assert_found(told, "bad", "cut without a Close (1006)", mend="proxy_read_timeout 1h;")
    assert len(told.mend) == len(mends.IDLE) + (hint is not None)
    assert hint is None or hint in told.mend[0]


def test_reset_is_a_cut() -> None:
    assert "was reset without" in of_idleness(Idleness(9.0, 9.0, "reset"), 10.0).text


@pytest.mark.parametrize(
    ("close", "mend"),
    [
        ((1001, "idle_timeout"), "timeouts.idle"),
        ((1012, "upstream_lost"), "behind the gateway"),
        ((1000, ""), ""),
    ],
)
def test_close_in_the_silence_is_told(close: tuple[int, str], mend: str) -> None:
    told = of_idleness(Idleness(9.0, 9.0, "close", close), 10.0)
    assert_found(told, "bad", f"Close {close[0]}", "after 9.0 s", mend=mend)


def test_findings_are_json() -> None:
    assert json.dumps(of_plain(PLACE, refusal("no_route"))._asdict())

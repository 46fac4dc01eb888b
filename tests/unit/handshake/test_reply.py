"""What the client is answered, to the byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import REFUSALS, Refused
from proxy.handshake.reply import (
    MAX_REFUSAL_BODY,
    accepting_to_refuse,
    refusing,
    relaying,
    switching,
)
from tests.harness.heads import Head, Response, accept_for
from tests.unit.build import answer, headers

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def read(raw: bytes) -> Response:
    head, blank, body = raw.partition(b"\r\n\r\n")
    response = Response.parse(head + blank)
    response.body = body
    return response


# Refusals of ours ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("detail", ["", "What is wrong and the mend: 'é' \"quoted\"."])
def test_refusal_is_whole_small_and_ends_the_connection(code: str, detail: str) -> None:
    row = REFUSALS[code]
    raw = refusing(Refused(code, detail), request_id="the-id")
    response = read(raw)
    assert len(raw) <= 1000
    assert response.status == row.status
    assert response.get("Content-Type") == "application/problem+json"
    assert response.get("Content-Length") == str(len(response.body))
    assert response.get("Cache-Control") == "no-store"
    assert response.get("Connection") == "close"
    assert response.get("X-Wskeeper-Code") == response.code == code
    assert response.get("X-Request-Id") == "the-id"
    assert response.get("Retry-After") == (row.retry_after and str(row.retry_after))
    assert response.problem == {
        "type": f"urn:wskeeper:{code}",
        "title": row.title,
        "status": row.status,
        "code": code,
        "detail": detail or row.title + ".",
    }


def test_refusal_sends_its_further_headers() -> None:
    refused = Refused("method_not_allowed", "Use GET.", (("Allow", "GET"),))
    assert read(refusing(refused, request_id="i")).get("Allow") == "GET"


def test_upgrade_is_named_in_connection_too() -> None:
    refused = Refused("upgrade_required", "", (("Upgrade", "websocket"),))
    response = read(refusing(refused, request_id="i"))
    assert response.get("Upgrade") == "websocket"
    assert response.get("Connection") == "Upgrade, close"


def test_cause_is_for_the_log_alone() -> None:
    refused = Refused("upstream_unreachable", "Gone.", cause="10.0.0.7 refused")
    assert b"10.0.0.7" not in refusing(refused, request_id="i")


# The upstream's refusal ----------------------------------------------------------------------


def test_upstreams_refusal_is_relayed_with_what_travels() -> None:
    found = answer(
        "HTTP/1.1 403 Nope",
        "Content-Type: text/plain",
        "Set-Cookie: a=1",
        "Content-Length: 99",
        "Transfer-Encoding: chunked",
        "Connection: keep-alive, X-Hop",
        "X-Hop: 1",
        "Upgrade: h2c",
        "X-Request-Id: theirs",
        "X-Wskeeper-Code: theirs",
    )
    response = read(relaying(found, b"go away", request_id="ours"))
    assert response.status == 403
    assert response.headers == [
        ("Content-Type", "text/plain"),
        ("Set-Cookie", "a=1"),
        ("Content-Length", "7"),
        ("X-Wskeeper-Code", "upstream_refused"),
        ("X-Request-Id", "ours"),
        ("Connection", "close"),
    ]
    assert response.body == b"go away"


@pytest.mark.parametrize("status", [400, 418, 499, 503, 599])
def test_any_status_has_a_phrase_of_ours(status: int) -> None:
    raw = relaying(answer(f"HTTP/1.1 {status} \x80\xff"), b"", request_id="i")
    assert read(raw).status == status
    assert raw.isascii()


def test_longest_body_is_relayed() -> None:
    response = read(relaying(answer("HTTP/1.1 500 x"), b"x" * MAX_REFUSAL_BODY, request_id="i"))
    assert response.get("Content-Length") == str(len(response.body)) == str(MAX_REFUSAL_BODY)


# The 101 -------------------------------------------------------------------------------------


def test_client_gets_the_upstreams_101_end_to_end() -> None:
    found = answer(
        "HTTP/1.1 101 Whatever they say",
        "upgrade: WebSocket",
        "connection: upgrade, X-Hop",
        "X-Hop: 1",
        "Sec-WebSocket-Accept: abc",
        "Sec-WebSocket-Protocol: chat",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
        "x-request-id: theirs",
        "Keep-Alive: 5",
    )
    head = Head.parse(switching(found, request_id="ours"))
    assert head.first_line == "HTTP/1.1 101 Switching Protocols"
    assert head.headers == [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "abc"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X-Request-Id", "ours"),
    ]


def test_subprotocol_of_ours_is_said_where_the_upstream_chose_none() -> None:
    found = answer("HTTP/1.1 101 x", "Sec-WebSocket-Accept: abc")
    head = Head.parse(switching(found, request_id="i", subprotocol=b"wskeeper"))
    assert head.get("Sec-WebSocket-Protocol") == "wskeeper"


# The 101 that is a refusal -------------------------------------------------------------------


def accepted(offer: str | None) -> Head:
    lines = [f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Extensions: permessage-deflate"]
    lines += [] if offer is None else [f"Sec-WebSocket-Protocol: {offer}"]
    return Head.parse(accepting_to_refuse(headers(*lines), request_id="i"))


def test_acceptance_that_refuses_is_a_right_answer_without_extensions() -> None:
    head = accepted(None)
    assert head.first_line.startswith("HTTP/1.1 101 ")
    assert head.headers == [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_for(KEY)),
        ("X-Request-Id", "i"),
    ]


@pytest.mark.parametrize(
    ("offer", "selected"),
    [
        ("wskeeper", "wskeeper"),
        ("chat, wskeeper, wskeeper.key.wsk_canary", "wskeeper"),
        ("chat, v2", "chat"),
        ("wskeeper.key.wsk_canary, chat", "chat"),
        ("wskeeper.ticket.canary, wskeeper.key.b64.canary, v2", "v2"),
        ("wskeeper.key.wsk_canary", None),
        ("WSKEEPER.KEY.wsk_canary", None),
        ("WsKeeper.key.wsk_canary, chat", "chat"),
        (",", None),
    ],
)
def test_name_that_carries_a_secret_is_never_selected(offer: str, selected: str | None) -> None:
    head = accepted(offer)
    assert head.get("Sec-WebSocket-Protocol") == selected
    assert b"canary" not in head.raw


# Anything ------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("X-A", "Connection", "Set-Cookie", "Content-Length", "TE")),
            st.binary(max_size=20),
        ),
        max_size=6,
    ),
    st.binary(max_size=50),
)
def test_no_answer_of_an_upstream_can_add_a_line(
    lines: list[tuple[str, bytes]], body: bytes
) -> None:
    clean = [
        name.encode() + b": " + bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F)
        for name, value in lines
    ]
    found = answer("HTTP/1.1 503 x", *clean)
    response = read(relaying(found, body, request_id="i"))
    assert response.body == body
    assert response.get("Content-Length") == str(len(body))
    assert len(response.headers) <= len(lines) + 4
    assert len(Head.parse(switching(found, request_id="i")).headers) <= len(lines) + 3

"""The upstream's answer: a tunnel opens on a 101 that is right in every respect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.handshake.answer import (
    MAX_ANSWER_HEAD,
    AnswerReader,
    accept_for,
    check_switch,
    end_to_end,
    read_answer,
)
from proxy.handshake.head import Malformed, parse_answer
from proxy.handshake.reply import switching
from proxy.relay.scanner import Extensions
from tests.harness import heads
from tests.unit.build import answer, head, headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.handshake.head import AnswerHead

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
LINES = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}")
SWITCH = head("HTTP/1.1 101 Switching Protocols", *LINES)


# Collecting ----------------------------------------------------------------------------------


def read(*pieces: bytes) -> tuple[AnswerHead, bytes] | str | None:
    """Head and rest; the code of a refusal; None when the answer is incomplete."""
    reader = AnswerReader()
    for at, piece in enumerate(pieces):
        try:
            result = reader.feed(piece)
        except Refused as refused:
            return refused.code
        if result is not None:
            return result[0], result[1] + b"".join(pieces[at + 1 :])
    return None


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


def test_answer_is_read_whole_byte_by_byte_and_with_a_tail() -> None:
    frame = b"\x81\x02hi"
    for pieces, rest in (
        ([SWITCH], b""),
        (bytewise(SWITCH), b""),
        ([SWITCH + frame], frame),
        (bytewise(SWITCH + frame), frame),
    ):
        result = read(*pieces)
        assert isinstance(result, tuple)
        assert result[0].status == 101
        assert result[0].headers.one(b"upgrade") == b"websocket"
        assert result[1] == rest


def test_reader_knows_whether_an_answer_began() -> None:
    reader = AnswerReader()
    assert not reader.begun
    reader.feed(b"H")
    assert reader.begun


def test_interim_answers_are_skipped() -> None:
    interim = head("HTTP/1.1 100 Continue") + head("HTTP/1.1 103 Early Hints", "Link: </a>")
    for pieces in ([interim + SWITCH], bytewise(interim + SWITCH), [interim, SWITCH]):
        result = read(*pieces)
        assert isinstance(result, tuple)
        assert result[0].status == 101


def test_interim_answer_is_a_beginning() -> None:
    reader = AnswerReader()
    assert reader.feed(head("HTTP/1.1 100 Continue")) is None
    assert reader.begun


@pytest.mark.parametrize("status", [101, 200, 204, 302, 400, 503, 999])
def test_every_other_status_is_final(status: int) -> None:
    result = read(head(f"HTTP/1.1 {status} Whatever"), b"body")
    assert isinstance(result, tuple)
    assert result[0].status == status
    assert result[1] == b"body"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01",
        b"SSH-2.0-x\r\n",
        b"\x88\x02\x03\xe8",
        b"HTTP/2 101\r\n",
        b"http/1.1 101",
        b"\r\nHTTP/1.1 101",
        b" HTTP/1.1",
        b"HTTX",
    ],
)
def test_what_is_no_http_is_refused_at_once(garbage: bytes) -> None:
    assert read(garbage) == "upstream_invalid"
    assert read(*bytewise(garbage)) == "upstream_invalid"


@pytest.mark.parametrize(
    "raw",
    [
        SWITCH.replace(b"\r\n", b"\n"),
        SWITCH.removesuffix(b"\r\n") + b"\n",
        SWITCH.replace(b"\r\nUpgrade", b"\nUpgrade").removesuffix(b"\r\n"),
        head("HTTP/1.1 100 Continue") + SWITCH.replace(b"\r\n", b"\n"),
    ],
)
def test_head_that_can_never_be_complete_is_not_waited_for(raw: bytes) -> None:
    assert read(raw) == "upstream_invalid"
    assert read(*bytewise(raw)) == "upstream_invalid"


@pytest.mark.parametrize(
    "raw",
    [
        SWITCH.replace(b"\r\nUpgrade", b"\nUpgrade"),
        SWITCH.replace(b"Upgrade: ", b"Upgrade : "),
        SWITCH.replace(b"\r\nConnection", b"\r\n Connection"),
        SWITCH.replace(b"websocket", b"web\x00socket"),
        SWITCH.replace(b"HTTP/1.1", b"HTTP/1.2"),
        SWITCH.replace(b" 101 ", b" 1001 "),
        head("HTTP/1.1 200 OK", *(f"X-{n}: v" for n in range(300))),
    ],
)
def test_malformed_answer_is_refused(raw: bytes) -> None:
    assert read(raw) == "upstream_invalid"
    assert read(*bytewise(raw)) == "upstream_invalid"


def test_answer_head_is_bounded() -> None:
    fits = b"HTTP/1.1 200 OK\r\nX: %b\r\n\r\n" % (b"v" * (MAX_ANSWER_HEAD - 20))
    assert isinstance(read(fits), tuple)
    assert read(fits.replace(b"X: ", b"X: v")) == "upstream_invalid"
    endless = b"HTTP/1.1 200 OK\r\n" + b"X: v\r\n" * (MAX_ANSWER_HEAD // 6)
    assert read(endless) == "upstream_invalid"


def test_interim_answers_count_against_the_bound() -> None:
    interim = head("HTTP/1.1 103 Early Hints", "Link: " + "x" * 1000)
    assert read(*[interim] * (MAX_ANSWER_HEAD // 1000)) == "upstream_invalid"
    assert read(interim * (MAX_ANSWER_HEAD // 1000)) == "upstream_invalid"


@given(raw=st.binary(max_size=100), http=st.booleans(), size=st.integers(1, 7))
def test_any_bytes_are_an_answer_or_refused(raw: bytes, *, http: bool, size: int) -> None:
    raw = b"HTTP/1.1 " + raw if http else raw
    raw += b"\r\n\r\n"
    whole = read(raw)
    pieces = read(*(raw[i : i + size] for i in range(0, len(raw), size)))
    if isinstance(whole, tuple):
        assert isinstance(pieces, tuple)
        assert (pieces[0].status, pieces[1]) == (whole[0].status, whole[1])
    else:
        assert pieces == whole


# Checking ------------------------------------------------------------------------------------


def check(
    found: AnswerHead,
    *,
    key: str = KEY,
    subprotocols: tuple[bytes, ...] = (b"chat", b"v2"),
    extensions: tuple[bytes, ...] = (b"permessage-deflate", b"x-odd"),
) -> Extensions:
    return check_switch(found, key=key.encode(), subprotocols=subprotocols, extensions=extensions)


def switch(*lines: str | bytes, without: str = "", status: int = 101) -> AnswerHead:
    kept = [line for line in LINES if not (without and line.startswith(without))]
    return answer(f"HTTP/1.1 {status} Whatever", *kept, *lines)


def test_accept_answers_the_key() -> None:
    assert accept_for(KEY.encode()) == ACCEPT.encode()
    key = heads.websocket_key()
    assert accept_for(key.encode()).decode() == heads.accept_for(key)


def test_right_answer_opens() -> None:
    assert check(switch()) is Extensions.NONE


@pytest.mark.parametrize(
    "lines",
    [
        ("upgrade: WebSocket", "Connection: keep-alive, upgrade"),
        ("UPGRADE: WEBSOCKET", "Connection: Keep-Alive", "Connection: UPGRADE"),
    ],
)
def test_right_answer_may_be_written_oddly(lines: tuple[str, ...]) -> None:
    found = answer("HTTP/1.1 101 x", *lines, f"Sec-WebSocket-Accept: {ACCEPT}")
    assert check(found) is Extensions.NONE


def cause_of(found: AnswerHead, **how: str) -> str:
    with pytest.raises(Refused) as caught:
        check(found, **how)
    assert caught.value.code == "upstream_invalid"
    assert caught.value.cause is not None
    assert "10.0" not in caught.value.detail
    return caught.value.cause


@pytest.mark.parametrize("status", [200, 204, 226, 300, 301, 302, 307, 308])
def test_other_status_opens_nothing_whatever_its_headers(status: int) -> None:
    found = switch("Location: ws://elsewhere.test/", status=status)
    assert cause_of(found) == f"it answered {status} in place of 101"


def test_http_1_0_knows_no_101() -> None:
    assert "HTTP/1.0" in cause_of(answer("HTTP/1.0 101 Switching Protocols", *LINES))


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Upgrade:",),
        ("Upgrade: foo",),
        ("Upgrade: websocket, h2c",),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Upgrade: websocket", "Upgrade: websocket"),
    ],
)
def test_upgrade_names_websocket_alone(lines: tuple[str, ...]) -> None:
    assert "upgrade to websocket" in cause_of(switch(*lines, without="Upgrade"))


@pytest.mark.parametrize("lines", [(), ("Connection: keep-alive",), ("Connection: upgraded",)])
def test_connection_names_upgrade(lines: tuple[str, ...]) -> None:
    assert "Connection" in cause_of(switch(*lines, without="Connection"))


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Sec-WebSocket-Accept:",),
        (f"Sec-WebSocket-Accept: {heads.accept_for('another key')}",),
        (f"Sec-WebSocket-Accept: {ACCEPT.lower()}",),
        (f"Sec-WebSocket-Accept: {ACCEPT} x",),
        (f"Sec-WebSocket-Accept: {ACCEPT}", f"Sec-WebSocket-Accept: {ACCEPT}"),
        (f"Sec-WebSocket-Accept: {KEY}",),
    ],
)
def test_accept_proves_that_the_key_was_read(lines: tuple[str, ...]) -> None:
    assert "Accept" in cause_of(switch(*lines, without="Sec-WebSocket-Accept"))


@pytest.mark.parametrize("chosen", ["chat", "v2"])
def test_offered_subprotocol_may_be_chosen(chosen: str) -> None:
    assert check(switch(f"Sec-WebSocket-Protocol: {chosen}")) is Extensions.NONE


@pytest.mark.parametrize(
    "lines",
    [
        ("Sec-WebSocket-Protocol: other",),
        ("Sec-WebSocket-Protocol: Chat",),
        ("Sec-WebSocket-Protocol: chat, v2",),
        ("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: v2"),
        ("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: chat"),
        ("Sec-WebSocket-Protocol:",),
        ("Sec-WebSocket-Protocol: wskeeper",),
    ],
)
def test_only_one_offered_subprotocol_may_be_chosen(lines: tuple[str, ...]) -> None:
    assert "subprotocol" in cause_of(switch(*lines))


@pytest.mark.parametrize(
    ("lines", "agreed"),
    [
        (("Sec-WebSocket-Extensions:",), Extensions.NONE),
        (("Sec-WebSocket-Extensions: permessage-deflate",), Extensions.DEFLATE),
        (
            ("Sec-WebSocket-Extensions: PerMessage-Deflate ; server_no_context_takeover",),
            Extensions.DEFLATE,
        ),
        (("Sec-WebSocket-Extensions: x-odd",), Extensions.OTHER),
        (("Sec-WebSocket-Extensions: permessage-deflate, x-odd",), Extensions.OTHER),
        (
            ("Sec-WebSocket-Extensions: x-odd", "Sec-WebSocket-Extensions: permessage-deflate"),
            Extensions.OTHER,
        ),
    ],
)
def test_what_was_agreed_on_follows_from_the_answer(
    lines: tuple[str, ...], agreed: Extensions
) -> None:
    assert check(switch(*lines)) is agreed


@pytest.mark.parametrize(
    "chosen", ["other", "permessage-deflate, other", "permessage_deflate", "; x", "x-odd2"]
)
def test_only_offered_extensions_may_be_chosen(chosen: str) -> None:
    assert "extension" in cause_of(switch(f"Sec-WebSocket-Extensions: {chosen}"))


# Known again ---------------------------------------------------------------------------------

RIGHT = f"Sec-WebSocket-Accept: {ACCEPT}".encode()
USUAL = (b"Upgrade: websocket", b"Connection: Upgrade")
ODD = (
    b"Sec-WebSocket-Accept: " + KEY.encode(),
    b"Sec-WebSocket-Accept: " + b"x" * 12 + b"\nX-Injected: 1 x",
    b"Sec-WebSocket-Accept: x\r\nX-Twenty-Eight: 1",
    RIGHT + b" ",
    RIGHT.lower(),
    RIGHT.replace(b": ", b":"),
    b"Connection: keep-alive",
    b"Upgrade: h2c",
    b"Sec-WebSocket-Protocol: chat",
    b"Sec-WebSocket-Protocol: other",
    b"Sec-WebSocket-Extensions: permessage-deflate",
    b"Set-Cookie: a=1",
    b"X-Long: " + b"v" * 1000,
    b"no header line",
)


def outcome(parse: Callable[[bytes], AnswerHead], raw: bytes) -> object:
    """What becomes of an answer: why it opens nothing, or what was agreed on and is passed on."""
    try:
        found = parse(raw)
        agreed = check(found)
    except Malformed:
        return "malformed"
    except Refused as refused:
        return refused.cause
    return agreed, sorted(switching(found, request_id="i").split(b"\r\n"))


@given(
    st.sampled_from((b"HTTP/1.1 101 x", b"HTTP/1.1 101", b"HTTP/1.0 101 x", b"HTTP/1.1 200 x")),
    st.lists(st.sampled_from((*USUAL, *USUAL, RIGHT, RIGHT, *ODD)), max_size=6),
)
def test_answer_that_is_known_again_is_judged_as_it_would_be_alone(
    first: bytes, lines: list[bytes]
) -> None:
    for raw in (head(first, *USUAL, RIGHT, *lines), head(first, *lines, RIGHT, *USUAL)):
        alone = outcome(parse_answer, raw)
        for _ in range(2):
            again = outcome(read_answer, raw)
            if alone == "malformed":
                assert isinstance(again, str)  # Of a value that is cut out, the rest is judged.
            else:
                assert again == alone


def test_long_answer_is_not_kept_to_be_known_again() -> None:
    for size, kept in ((100, True), (1000, False)):
        found = read_answer(head("HTTP/1.1 101 x", *LINES, "Set-Cookie: " + "v" * size))
        assert (found.accept is not None) is kept
        assert check(found) is Extensions.NONE


def test_answers_that_are_alike_keep_their_own_accept() -> None:
    for key in (KEY, heads.websocket_key(), KEY):
        accept = f"Sec-WebSocket-Accept: {heads.accept_for(key)}"
        found = read_answer(head("HTTP/1.1 101 x", *LINES[:2], accept, "Server: up"))
        assert check(found, key=key) is Extensions.NONE
        lines = switching(found, request_id="i").decode().split("\r\n")
        assert lines[3:5] == [accept, "Server: up"]


# What travels on -----------------------------------------------------------------------------


def test_end_to_end_headers_travel_in_order() -> None:
    found = headers(
        "Server: up",
        "Set-Cookie: a=1",
        "Connection: Upgrade, X-Secret, Sec-WebSocket-Accept",
        "X-Secret: s",
        "Keep-Alive: 5",
        "Upgrade: websocket",
        "Proxy-Authenticate: Basic",
        "Trailer: X",
        "Transfer-Encoding: chunked",
        "set-cookie: b=2",
        f"Sec-WebSocket-Accept: {ACCEPT}",
        b"X-Name: J\xf6rg",
    )
    assert end_to_end(found) == [
        b"Server: up",
        b"Set-Cookie: a=1",
        b"set-cookie: b=2",
        b"Sec-WebSocket-Accept: " + ACCEPT.encode(),
        b"X-Name: J\xf6rg",
    ]


@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, Upgrade", "Close"])
def test_connection_that_names_no_other_header_keeps_none_back(connection: str) -> None:
    found = headers(f"Connection: {connection}", "Upgrade: websocket", "Server: up", "Date: today")
    assert end_to_end(found) == [b"Server: up", b"Date: today"]


def test_end_to_end_headers_travel_less_those_not_wanted() -> None:
    found = headers("Content-Length: 4", "Server: up", "content-length: 4")
    assert end_to_end(found, less={b"content-length"}) == [b"Server: up"]

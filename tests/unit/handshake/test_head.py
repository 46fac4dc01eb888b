"""Heads by their grammar: what matches is kept to the byte, everything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.handshake.head import (
    MAX_HEADERS,
    AnswerHead,
    Malformed,
    RequestHead,
    TooManyHeaders,
    parse_answer,
    parse_request,
)
from tests.unit.build import head, headers

TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
REQUEST = b"GET /chat?a=%2f HTTP/1.1\r\nHost: a.test\r\nX-Odd:\t v w \r\nEmpty:\r\n\r\n"
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def test_request_head_is_read_to_the_byte() -> None:
    read = parse_request(REQUEST)
    assert (read.method, read.target, read.minor) == (b"GET", b"/chat?a=%2f", 1)
    assert read.headers.lines == [
        (b"Host", b"host", b"a.test"),
        (b"X-Odd", b"x-odd", b"v w"),
        (b"Empty", b"empty", b""),
    ]


def test_answer_head_is_read() -> None:
    read = parse_answer(ANSWER)
    assert read.status == 101
    assert read.headers.lines == [(b"Upgrade", b"upgrade", b"websocket")]


@pytest.mark.parametrize("raw", [REQUEST, ANSWER], ids=["request", "answer"])
def test_part_of_a_head_is_no_head_and_neither_is_one_with_a_tail(raw: bytes) -> None:
    parse = parse_request if raw is REQUEST else parse_answer
    for end in range(len(raw)):
        with pytest.raises(Malformed):
            parse(raw[:end])
    for tail in (b"x", b"\r\n", b"\n", b"\0"):
        with pytest.raises(Malformed):
            parse(raw + tail)


BAD_LINES = {
    "bare LF": b"A: 1\nB: 2\r\n",
    "bare CR": b"A: 1\rB: 2\r\n",
    "CR CR LF": b"A: 1\r\r\n",
    "folded": b"A: 1\r\n more\r\n",
    "folded by a tab": b"A: 1\r\n\tmore\r\n",
    "first line folded": b" A: 1\r\n",
    "space before the colon": b"X-Api-Key : k\r\n",
    "tab before the colon": b"X-Api-Key\t: k\r\n",
    "nameless": b": v\r\n",
    "without a colon": b"novalue\r\n",
    "name in quotes": b'"A": v\r\n',
    "name with an 8-bit byte": b"A\xe9: v\r\n",
    "NUL in the value": b"A: a\0b\r\n",
    "0x01 in the value": b"A: \x01\r\n",
    "0x0b around the value": b"A: \x0bv\r\n",
    "0x0c around the value": b"A: v\x0c\r\n",
    "ESC in the value": b"A: \x1b[31m\r\n",
    "DEL in the value": b"A: \x7f\r\n",
}


@pytest.mark.parametrize("lines", BAD_LINES.values(), ids=BAD_LINES)
def test_malformed_header_line_is_refused(lines: bytes) -> None:
    for parse, first in ((parse_request, b"GET / HTTP/1.1\r\n"), (parse_answer, ANSWER[:34])):
        assert parse(first + b"Host: a.test\r\n\r\n")
        with pytest.raises(Malformed):
            parse(first + b"Host: a.test\r\n" + lines + b"\r\n")
        with pytest.raises(Malformed):
            parse(first + lines + b"Host: a.test\r\n\r\n")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET / ",
        b"GET  / HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET\t/ HTTP/1.1",
        b"GET / HTTP/1.2",
        b"GET / HTTP/2.0",
        b"GET / HTTP/11",
        b"GET / HTTP/1.10",
        b"GET / http/1.1",
        b"GET / HTTPS/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /\xe9 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\0 HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"GET / HTTP/1.1\0",
        b"\x16\x03\x01\x02",
        b"PRI * HTTP/2.0",
        b"\xef\xbb\xbfGET / HTTP/1.1",
    ],
)
def test_malformed_request_line_is_refused(first: bytes) -> None:
    with pytest.raises(Malformed):
        parse_request(head(first, "Host: a.test"))


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/1.1 1O1 Switching",
        b"HTTP/1.1 99 Low",
        b"HTTP/1.1 099 Low",
        b"HTTP/1.1 1010 Long",
        b"HTTP/1.1  101 Two",
        b"HTTP/2.0 101 Two",
        b"HTTP/1.2 101 Two",
        b"http/1.1 101 Low",
        b"HTTP/1.1 101 A\x01",
        b"HTTP/1.1 101\tA",
        b"ICY 200 OK",
        b"\x88\x02\x03\xe8",
    ],
)
def test_malformed_status_line_is_refused(first: bytes) -> None:
    with pytest.raises(Malformed):
        parse_answer(head(first))


@pytest.mark.parametrize("first", ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.0 200 Tr\xe8s bien"])
def test_reason_phrase_may_be_anything_printable(first: str) -> None:
    assert parse_answer(head(first)).status == 200


def test_number_of_headers_is_bounded() -> None:
    lines = [f"X-{n}: v" for n in range(MAX_HEADERS + 1)]
    assert len(parse_request(head("GET / HTTP/1.1", *lines[1:])).headers.lines) == MAX_HEADERS
    with pytest.raises(TooManyHeaders):
        parse_request(head("GET / HTTP/1.1", *lines))
    with pytest.raises(TooManyHeaders):
        parse_answer(head("HTTP/1.1 200 OK", *lines))


def test_malformed_says_nothing_of_what_was_sent() -> None:
    with pytest.raises(Malformed) as caught:
        parse_request(b"GET / HTTP/1.1\r\nX-Api-Key: wsk_secret\x01\r\n\r\n")
    assert "wsk_" not in str(caught.value)


# Headers -------------------------------------------------------------------------------------


def test_lines_of_one_name_are_found_together_in_order() -> None:
    found = headers("A: 1", "B: x", "a: 2", "A : 3".replace(" :", ":"))
    assert found.all(b"a") == [b"1", b"2", b"3"]
    assert found.all(b"c") == []
    assert b"a" in found
    assert b"c" not in found


def test_one_is_the_value_of_the_only_line() -> None:
    found = headers("A: 1", "A: 1", "B: 2", "C:")
    assert found.one(b"a") is None
    assert found.one(b"b") == b"2"
    assert found.one(b"c") == b""
    assert found.one(b"d") is None


@pytest.mark.parametrize(
    "lines",
    [
        ["Connection: Upgrade"],
        ["Connection: keep-alive,\t UPGRADE"],
        ["Connection: close", "connection: upgrade"],
        ["Connection: upgrade", "connection: close"],
        ["Connection: ,upgrade"],
    ],
)
def test_element_is_found_in_a_list(lines: list[str]) -> None:
    assert headers(*lines).lists(b"connection", b"upgrade")


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Connection:"],
        ["Connection: ,"],
        ["Connection: upgraded"],
        ["Connection: close", "connection: keep-alive"],
        ["Connection: up", "connection: grade"],
    ],
)
def test_element_is_missed_in_a_list(lines: list[str]) -> None:
    assert not headers("Host: upgrade", *lines).lists(b"connection", b"upgrade")


def test_list_is_read_over_all_its_lines() -> None:
    found = headers("Connection: keep-alive,,\t Upgrade ", "Host: h", "connection: ,x", "Empty: ,")
    assert found.tokens(b"connection") == [b"keep-alive", b"Upgrade", b"x"]
    assert found.tokens(b"empty") == []
    assert found.tokens(b"missing") == []


# Anything ------------------------------------------------------------------------------------

tokens = st.lists(st.sampled_from(TOKEN_BYTES), min_size=1, max_size=12).map(bytes)
values = st.lists(
    st.one_of(st.integers(0x20, 0x7E), st.integers(0x80, 0xFF), st.just(0x09)), max_size=20
).map(bytes)
blanks = st.sampled_from((b"", b" ", b"\t", b" \t "))
header_lines = st.lists(st.tuples(tokens, blanks, values, blanks), max_size=8)


@given(
    tokens,
    st.lists(st.integers(0x21, 0x7E), min_size=1, max_size=40).map(bytes),
    st.sampled_from((0, 1)),
    header_lines,
)
def test_well_formed_request_comes_back_as_it_was(
    method: bytes, target: bytes, minor: int, lines: list[tuple[bytes, bytes, bytes, bytes]]
) -> None:
    raw = head(
        b"%b %b HTTP/1.%d" % (method, target, minor),
        *(name + b":" + before + value + after for name, before, value, after in lines),
    )
    read = parse_request(raw)
    assert (read.method, read.target, read.minor) == (method, target, minor)
    assert read.headers.lines == [
        (name, name.lower(), value.strip(b" \t")) for name, _, value, _ in lines
    ]
    for name, *_ in lines:
        assert read.headers.all(name.lower()) == [
            value.strip(b" \t") for other, _, value, _ in lines if other.lower() == name.lower()
        ]


@given(st.integers(100, 999), values, header_lines)
def test_well_formed_answer_comes_back_as_it_was(
    status: int, reason: bytes, lines: list[tuple[bytes, bytes, bytes, bytes]]
) -> None:
    raw = head(
        b"HTTP/1.1 %d %b" % (status, reason),
        *(name + b":" + before + value + after for name, before, value, after in lines),
    )
    read = parse_answer(raw)
    assert read.status == status
    assert [line[0] for line in read.headers.lines] == [line[0] for line in lines]


@st.composite
def near_heads(draw: st.DrawFn) -> bytes:
    """A good head with a few bytes changed, put in or taken out."""
    raw = bytearray(draw(st.sampled_from((REQUEST, ANSWER))))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw) - 1))
        raw[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(raw)


@given(st.one_of(st.binary(max_size=120), near_heads()))
@example(b"GET / HTTP/1.1\r\n\r\n")
@example(b"HTTP/1.1 200 \r\n\r\n")
def test_any_bytes_are_a_head_or_malformed(raw: bytes) -> None:
    for parse in (parse_request, parse_answer):
        try:
            read: RequestHead | AnswerHead = parse(raw)
        except Malformed:
            continue
        assert raw.endswith(b"\r\n\r\n")
        # What was taken stands in plain sight: one line each, nothing that ends or hides a line.
        assert len(read.headers.lines) == raw.count(b"\r\n") - 2
        for line, (name, _, value) in zip(raw.split(b"\r\n")[1:], read.headers.lines, strict=False):
            assert line.startswith(name + b":")
            assert line.partition(b":")[2].strip(b" \t") == value
            assert not any(byte < 0x20 and byte != 0x09 for byte in line)
            assert b"\x7f" not in line

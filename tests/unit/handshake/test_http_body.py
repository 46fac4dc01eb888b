"""Where the body of an ordinary request ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.handshake.head import Malformed
from proxy.handshake.http_body import (
    MAX_SIZE_LINE,
    MAX_TRAILERS,
    ChunkedBody,
    LengthBody,
    body_of,
)
from tests.unit.build import head, request

TAIL = b"GET /next HTTP/1.1\r\n"
END = b"0\r\n\r\n"


def in_chunks(*pieces: bytes, extension: bytes = b"", end: bytes = END) -> bytes:
    return b"".join(b"%X%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces) + end


def fed(body: LengthBody | ChunkedBody, *pieces: bytes) -> tuple[bytes, bytes]:
    """All of the body that came, and what lies behind it."""
    heard = rest = b""
    for piece in pieces:
        assert not rest
        part, rest = body.feed(piece)
        heard += part
    return heard, rest


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


# Length ----------------------------------------------------------------------------------------


@given(st.binary(), st.integers(1, 5))
def test_length_ends_a_body(data: bytes, step: int) -> None:
    body = LengthBody(len(data))
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert fed(body, *pieces) == (data, b"")
    assert body.complete
    assert body.feed(TAIL) == (b"", TAIL)


def test_what_lies_behind_a_length_is_given_back() -> None:
    body = LengthBody(4)
    assert not body.complete
    assert body.feed(b"body" + TAIL) == (b"body", TAIL)
    assert body.complete


# Chunks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", [b"", b";a", b" ; a=b", b';a="x y"', b"\t;x"])
@pytest.mark.parametrize("end", [END, b"000;x\r\n\r\n", b"0\r\nX-Sum: 1\r\nY:\r\n\r\n"])
@pytest.mark.parametrize("tail", [b"", TAIL, b"\r\n"])
def test_chunks_are_taken_out_of_their_framing(extension: bytes, end: bytes, tail: bytes) -> None:
    raw = in_chunks(b"first ", b"second" * 9, extension=extension, end=end)
    whole = ChunkedBody()
    assert whole.feed(raw + tail) == (b"first " + b"second" * 9, tail)
    assert whole.complete
    slow = ChunkedBody()
    assert fed(slow, *bytewise(raw)) == (b"first " + b"second" * 9, b"")
    assert slow.complete
    assert slow.feed(tail) == (b"", tail)


@given(st.lists(st.binary(min_size=1, max_size=40)), st.data())
def test_chunks_arrive_in_any_pieces(chunks: list[bytes], data: st.DataObject) -> None:
    raw = in_chunks(*chunks) + TAIL
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    body, heard, rest = ChunkedBody(), b"", b""
    for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        part, behind = body.feed(raw[begin:end])
        heard, rest = heard + part, rest + behind
    assert (heard, rest, body.complete) == (b"".join(chunks), TAIL, True)


@pytest.mark.parametrize("end", range(len(in_chunks(b"abc", b"defg")) - 1))
def test_chunks_are_incomplete_before_their_end(end: int) -> None:
    body = ChunkedBody()
    heard, rest = body.feed(in_chunks(b"abc", b"defg")[:end])
    assert b"abcdefg".startswith(heard)
    assert (rest, body.complete) == (b"", False)


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1\n",
        b"1\r\nab",
        b"1\r\na\n",
        b"1\r\na\r\r",
        b"1;a\x00\r\n",
        b"1;a\nb\r\n",
        b"1;a\rb\r\n",
        b"1" * 16 + b"\r\n",
        b"1;" + b"a" * MAX_SIZE_LINE,
        b"0\r\nno line\r\n\r\n",
        b"0\r\n folded: 1\r\n\r\n",
        b"0\r\nx: 1\n\r\n\r\n",
        b"0\r\nx:" + b"y" * MAX_TRAILERS,
    ],
)
def test_what_is_no_chunk_is_told(raw: bytes) -> None:
    with pytest.raises(Malformed):
        ChunkedBody().feed(raw)
    with pytest.raises(Malformed):
        fed(ChunkedBody(), *bytewise(raw))


@given(st.binary(max_size=60))
def test_noise_is_a_body_or_malformed(noise: bytes) -> None:
    body = ChunkedBody()
    try:
        heard, rest = body.feed(b"3\r\nabc\r\n" + noise)
    except Malformed:
        return
    assert heard.startswith(b"abc")
    assert not rest or body.complete


# Framing ---------------------------------------------------------------------------------------


def framed(*lines: str, version: str = "HTTP/1.1") -> LengthBody | ChunkedBody:
    return body_of(request(head(f"POST / {version}", "Host: h", *lines)))


def test_request_without_framing_has_no_body() -> None:
    assert framed().complete
    assert framed("Content-Length: 0").complete
    assert framed(version="HTTP/1.0").complete


def test_framing_says_where_a_body_ends() -> None:
    assert fed(framed("Content-Length: 003"), b"abcd") == (b"abc", b"d")
    assert isinstance(framed("Transfer-Encoding: Chunked"), ChunkedBody)


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 1", "Content-Length: 1"),
        ("Content-Length: 1, 1",),
        ("Content-Length: +1",),
        ("Content-Length: -1",),
        ("Content-Length: 0x1",),
        ("Content-Length:",),
        ("Content-Length: " + "1" * 19,),
        ("Content-Length: 1", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: identity",),
        ("Transfer-Encoding:",),
        ("Transfer-Encoding: xchunked",),
    ],
)
def test_framing_on_which_two_could_differ_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as refused:
        framed(*lines)
    assert refused.value.code == "bad_request"


def test_http_1_0_knows_no_chunks() -> None:
    with pytest.raises(Refused):
        framed("Transfer-Encoding: chunked", version="HTTP/1.0")

"""The head of the upstream's answer, as the client gets it."""

from __future__ import annotations

import pytest

from proxy.errors import Refused
from proxy.handshake.http_answer import Framing, answer_head, chunk, framing_of
from tests.unit.build import answer

LENGTH = "Content-Length: 3"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("status", "lines", "method", "minor", "framing"),
    [
        (200, (LENGTH,), b"GET", 1, Framing.LENGTH),
        (200, (LENGTH,), b"GET", 0, Framing.LENGTH),
        (200, (CHUNKED,), b"GET", 1, Framing.CHUNKED),
        (200, (CHUNKED, LENGTH), b"GET", 1, Framing.CHUNKED),
        (200, (CHUNKED,), b"GET", 0, Framing.END),
        (200, (), b"GET", 1, Framing.CHUNKED),
        (404, (), b"POST", 0, Framing.END),
        (200, (LENGTH,), b"HEAD", 1, Framing.NOTHING),
        (204, (), b"GET", 1, Framing.NOTHING),
        (304, (LENGTH,), b"GET", 1, Framing.NOTHING),
    ],
)
def test_framing_follows_the_answer_and_the_client(
    status: int, lines: tuple[str, ...], method: bytes, minor: int, framing: Framing
) -> None:
    said = answer(f"HTTP/1.1 {status} X", *lines)
    assert framing_of(said, method=method, minor=minor) is framing


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (101, ("Upgrade: websocket",)),
        (200, (LENGTH, LENGTH)),
        (200, ("Content-Length: +3",)),
        (200, ("Content-Length: 3, 3",)),
        (200, ("Transfer-Encoding: gzip, chunked",)),
        (200, ("Transfer-Encoding: identity",)),
    ],
)
def test_answer_that_does_not_say_where_it_ends_is_invalid(
    status: int, lines: tuple[str, ...]
) -> None:
    with pytest.raises(Refused) as refused:
        framing_of(answer(f"HTTP/1.1 {status} X", *lines), method=b"GET", minor=1)
    assert refused.value.code == "upstream_invalid"
    assert refused.value.cause is not None


def lines_of(*lines: str, framing: Framing, status: int = 200, keep: bool = True) -> list[bytes]:
    said = answer(f"HTTP/1.1 {status} X", *lines)
    raw = answer_head(said, b"Fine", framing, request_id="id-1", keep=keep)
    assert raw.endswith(b"\r\n\r\n")
    return raw[:-4].split(b"\r\n")


def test_head_holds_what_travels_and_what_we_say() -> None:
    hops = ("Connection: X-Hop", "X-Hop: 1", "Keep-Alive: 5", "Upgrade: h2c", CHUNKED)
    forged = ("X-Request-Id: theirs", "X-Wskeeper-Code: theirs")
    assert lines_of("Set-Cookie: a", "Set-Cookie: b", *hops, *forged, framing=Framing.CHUNKED) == [
        b"HTTP/1.1 200 Fine",
        b"Set-Cookie: a",
        b"Set-Cookie: b",
        b"Transfer-Encoding: chunked",
        b"X-Request-Id: id-1",
        b"Connection: keep-alive",
    ]


@pytest.mark.parametrize(
    ("framing", "status", "told"),
    [
        (Framing.LENGTH, 200, True),
        (Framing.NOTHING, 200, True),
        (Framing.NOTHING, 304, True),
        (Framing.NOTHING, 204, False),
        (Framing.END, 200, False),
        (Framing.CHUNKED, 200, False),
    ],
)
def test_length_is_told_where_it_says_something(
    framing: Framing, status: int, *, told: bool
) -> None:
    lines = lines_of(LENGTH, framing=framing, status=status, keep=False)
    assert (LENGTH.encode() in lines) is told
    assert (CHUNKED.encode() in lines) is (framing is Framing.CHUNKED)
    assert lines[-1] == b"Connection: close"


def test_reason_cannot_add_a_line() -> None:
    said = answer("HTTP/1.1 200 X")
    raw = answer_head(said, b"a\r\nSet-Cookie: b\x00", Framing.END, request_id="i", keep=False)
    assert raw.startswith(b"HTTP/1.1 200 aSet-Cookie: b\r\n")


def test_chunk_says_its_size() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"

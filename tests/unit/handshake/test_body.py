"""The body of an upstream's refusal, out of its framing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.handshake.body import MAX_FRAMED, RefusalBody
from proxy.handshake.http_body import MAX_SIZE_LINE
from proxy.handshake.reply import MAX_REFUSAL_BODY
from tests.unit.build import headers

if TYPE_CHECKING:
    from proxy.handshake.head import Headers

CHUNKED = headers("Transfer-Encoding: chunked")


def unframe(found: Headers, data: bytes, step: int | None = None) -> tuple[bytes, bool]:
    """What comes of bytes, whole or in pieces, and whether nothing more is to be waited for."""
    body, complete = RefusalBody(found), False
    for begin in range(0, max(1, len(data)), step or max(1, len(data))):
        complete = complete or body.feed(data[begin : begin + step] if step else data)
    return body.taken, complete


def chunked(*parts: bytes, extension: bytes = b"") -> bytes:
    return b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in (*parts, b""))


def test_body_ends_with_its_length() -> None:
    length = headers("Content-Length: 4")
    assert unframe(length, b"") == (b"", False)
    assert unframe(length, b"bod") == (b"bod", False)
    assert unframe(length, b"body") == (b"body", True)
    assert unframe(length, b"body and more") == (b"body", True)
    assert unframe(headers("Content-Length: 0"), b"") == (b"", True)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Content-Length: x",),
        ("Content-Length: -1",),
        ("Content-Length:",),
        ("Content-Length: 1", "Content-Length: 2"),
    ],
)
def test_body_without_a_length_ends_with_the_connection(lines: tuple[str, ...]) -> None:
    assert unframe(headers(*lines), b"body") == (b"body", False)


def test_absurd_length_is_bounded() -> None:
    found = headers("Content-Length: " + "9" * 5000)
    assert unframe(found, b"body") == (b"body", False)


@pytest.mark.parametrize("extension", [b"", b";a=b", b' ; a="b"'])
def test_chunks_are_joined(extension: bytes) -> None:
    raw = chunked(b"first ", b"second", extension=extension)
    assert unframe(CHUNKED, raw) == (b"first second", True)
    assert unframe(CHUNKED, raw + b"trailing") == (b"first second", True)


def test_chunks_are_taken_as_far_as_they_came() -> None:
    raw = chunked(b"first ", b"second")
    for end in range(len(raw)):
        body, complete = unframe(CHUNKED, raw[:end])
        assert b"first second".startswith(body)
        assert not complete
    assert unframe(CHUNKED, raw[:7]) == (b"firs", False)


def test_framing_by_chunks_wins_over_a_length() -> None:
    both = headers("Content-Length: 3", "Transfer-Encoding: chunked")
    assert unframe(both, chunked(b"first")) == (b"first", True)


@pytest.mark.parametrize(
    "bad",
    [b"x\r\n", b"-1\r\n", b"\r\n", b"1" * 16 + b"\r\n", b"5 x\r\n", b"1;" + b"x" * MAX_SIZE_LINE],
)
@pytest.mark.parametrize("step", [None, 1])
def test_malformed_chunk_ends_the_body(bad: bytes, step: int | None) -> None:
    assert unframe(CHUNKED, b"3\r\nabc\r\n" + bad, step) == (b"abc", True)


def test_a_coding_that_is_none_leaves_the_length_in_force() -> None:
    assert unframe(headers("Transfer-Encoding: identity", "Content-Length: 4"), b"body") == (
        b"body",
        True,
    )


def test_body_is_bounded_in_any_framing() -> None:
    huge = b"x" * (MAX_REFUSAL_BODY + 1)
    assert unframe(headers(f"Content-Length: {len(huge)}"), huge) == (huge[:-1], True)
    assert unframe(headers(), huge) == (huge[:-1], True)
    assert unframe(CHUNKED, chunked(huge)) == (huge[:-1], True)
    assert unframe(headers(), huge[:MAX_REFUSAL_BODY]) == (huge[:-1], True)


def test_framing_is_bounded_too() -> None:
    tiny = b"1\r\nx\r\n" * (MAX_FRAMED // 6 + 1)
    body, complete = unframe(CHUNKED, tiny)
    assert complete
    assert set(body) == set(b"x")


@given(
    raw=st.binary(max_size=200) | st.text("0123a;\r\n", max_size=60).map(str.encode),
    chunks=st.booleans(),
    step=st.integers(1, 7),
)
def test_any_bytes_give_a_body_no_longer_than_they_are_in_whatever_pieces(
    raw: bytes, step: int, *, chunks: bool
) -> None:
    found = CHUNKED if chunks else headers("Content-Length: 50")
    whole = unframe(found, raw)
    assert len(whole[0]) <= len(raw)
    assert unframe(found, raw, step) == whole


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 50))
def test_any_chunks_give_back_what_they_held(parts: list[bytes], step: int) -> None:
    assert unframe(CHUNKED, chunked(*parts), step) == (b"".join(parts), True)

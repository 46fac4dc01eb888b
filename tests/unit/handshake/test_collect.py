"""A head collected from the stream: the same in any pieces, bounded from its first byte on."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.handshake.collect import MAX_EMPTY_LINES, HeadCollector, whole_head
from proxy.handshake.head import Malformed, parse_request

HEAD = b"GET /chat HTTP/1.1\r\nHost: a.test\r\nX-Api-Key: k\r\n\r\n"
TAIL = b"\x81\x80\0\0\0\0"

Collected = tuple[bytes, bytes] | str | None


def collect(*pieces: bytes, limit: int = 65536) -> Collected:
    """Head and rest; the code of a refusal; None when the head is incomplete."""
    collector = HeadCollector(limit)
    for at, piece in enumerate(pieces):
        try:
            collected = collector.feed(piece)
        except Refused as refused:
            return refused.code
        if collected is not None:
            head, rest = collected
            return head, rest + b"".join(pieces[at + 1 :])
    return None


def cut(raw: bytes, *places: int) -> list[bytes]:
    edges = [0, *sorted(place for place in set(places) if 0 < place < len(raw)), len(raw)]
    return [raw[begin:end] for begin, end in itertools.pairwise(edges)]


def bytewise(raw: bytes) -> list[bytes]:
    return cut(raw, *range(len(raw)))


def test_head_is_collected_whole_byte_by_byte_and_with_a_tail() -> None:
    assert collect(HEAD) == (HEAD, b"")
    assert collect(*bytewise(HEAD)) == (HEAD, b"")
    assert collect(HEAD + TAIL) == (HEAD, TAIL)
    assert collect(*bytewise(HEAD + TAIL)) == (HEAD, TAIL)


@pytest.mark.parametrize("place", range(1, len(HEAD + TAIL)))
def test_head_is_collected_wherever_it_is_cut(place: int) -> None:
    assert collect(*cut(HEAD + TAIL, place)) == (HEAD, TAIL)


@pytest.mark.parametrize("tail", [b"", TAIL, b"\r\n\r\n"])
def test_head_that_comes_whole_needs_no_collector(tail: bytes) -> None:
    assert whole_head(HEAD + tail, 2 * len(HEAD)) == (HEAD, tail)


@pytest.mark.parametrize(
    "data", [b"", b"\r\n\r\n", HEAD[:-1], HEAD[:-4], b"\r\n" + HEAD, b"\r\n\r\n" + HEAD]
)
def test_collector_looks_at_what_is_not_that_plain(data: bytes) -> None:
    assert whole_head(data, 65536) is None


def test_collector_looks_at_a_head_in_which_a_line_may_be_too_long() -> None:
    assert whole_head(HEAD, 2 * len(HEAD) - 1) is None


@given(
    st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"a: b", b"GET / HTTP/1.1", b"\0"])).map(
        b"".join
    ),
    st.integers(8, 80),
)
def test_what_comes_whole_is_what_a_collector_finds(data: bytes, limit: int) -> None:
    found = whole_head(data, limit)
    assert found is None or found == collect(data, limit=limit)


def test_collector_knows_whether_a_head_began() -> None:
    collector = HeadCollector(1000)
    assert not collector.begun
    collector.feed(b"\r\n")
    assert collector.begun
    collector.feed(b"G")
    assert collector.begun


def test_next_head_is_collected_from_scratch() -> None:
    collector = HeadCollector(80)
    assert collector.feed(HEAD) == (HEAD, b"")
    assert not collector.begun
    assert collector.feed(HEAD) == (HEAD, b"")


@pytest.mark.parametrize("lines", [1, 2])
def test_empty_lines_in_front_are_skipped(lines: int) -> None:
    raw = b"\r\n" * lines + HEAD
    assert collect(raw) == (HEAD, b"")
    assert collect(*bytewise(raw)) == (HEAD, b"")


def test_empty_lines_in_front_are_bounded() -> None:
    raw = b"\r\n" * (MAX_EMPTY_LINES + 1) + HEAD
    assert collect(raw) == "bad_request"
    assert collect(*bytewise(raw)) == "bad_request"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00",
        b" GET / HTTP/1.1\r\n",
        b"\nGET / HTTP/1.1\r\n",
        b"\r\rGET",
        b"\r\n\x00",
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
        b"\xff" * 100,
        b'"',
        b"(",
    ],
)
def test_what_cannot_begin_a_head_is_refused_at_once(garbage: bytes) -> None:
    assert collect(garbage) == "bad_request"
    assert collect(*bytewise(garbage)) == "bad_request"


@pytest.mark.parametrize(
    "unfinished",
    [b"GET / HTTP/1.1\nHost: a", b"GET / HTTP/1.1\r\nHost: a\nX: y", b"GET / HTTP/1.1\rHost"],
)
def test_bare_line_end_is_refused_before_the_head_is_whole(unfinished: bytes) -> None:
    assert collect(unfinished) == "bad_request"
    assert collect(*bytewise(unfinished)) == "bad_request"


def head_of(size: int, line: int = 20) -> bytes:
    """A head of exactly so many bytes, out of lines of so many."""
    head = b"GET / HTTP/1.1\r\n"
    while len(head) + line + 2 + 4 <= size:
        head += b"X: %b\r\n" % (b"v" * (line - 3))
    head += b"Y:%b\r\n\r\n" % (b"v" * (size - len(head) - 6))
    assert len(head) == size
    return head


@pytest.mark.parametrize("pieces", [lambda raw: [raw], bytewise], ids=["whole", "bytewise"])
@pytest.mark.parametrize(
    ("raw", "verdict"),
    [
        (head_of(200), None),
        (head_of(201), "head_too_large"),
        (b"GET /%b HTTP/1.1\r\n\r\n" % (b"x" * 86), None),
        (b"GET /%b HTTP/1.1\r\n\r\n" % (b"x" * 87), "target_too_long"),
        (b"GET / HTTP/1.1\r\nX: %b\r\n\r\n" % (b"x" * 97), None),
        (b"GET / HTTP/1.1\r\nX: %b\r\n\r\n" % (b"x" * 98), "head_too_large"),
        (b"GET / HTTP/1.1\r\nA: b\r\nX: %b\r\n\r\n" % (b"x" * 98), "head_too_large"),
    ],
)
def test_size_is_bounded_as_a_whole_and_by_line(pieces, raw: bytes, verdict: str | None) -> None:
    expected = (raw, b"") if verdict is None else verdict
    assert collect(*pieces(raw), limit=200) == expected


@pytest.mark.parametrize("place", range(1, 121))
def test_longest_line_may_be_cut_anywhere(place: int) -> None:
    raw = b"GET / HTTP/1.1\r\nX: %b\r\n\r\n" % (b"x" * 97)
    assert collect(*cut(raw, place), limit=200) == (raw, b"")


@pytest.mark.parametrize(
    ("begun", "code"),
    [
        (b"GET /" + b"x" * 96, "target_too_long"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 98, "head_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 30 + b"A: bc", "head_too_large"),
    ],
)
def test_too_much_is_refused_before_it_ends(begun: bytes, code: str) -> None:
    assert collect(begun, limit=200) == code
    assert collect(*bytewise(begun), limit=200) == code
    assert collect(*bytewise(begun[:-1]), limit=200) is None


def test_early_data_does_not_count_as_head() -> None:
    assert collect(HEAD + b"x" * 500, limit=200) == (HEAD, b"x" * 500)


def test_dribbled_head_is_looked_at_once() -> None:
    """At 1 ms a byte, as when all is searched anew each time, this would take 20 s."""
    raw = head_of(20_000, line=64)
    began = time.process_time()
    assert collect(*bytewise(raw)) == (raw, b"")
    assert time.process_time() - began < 4


def verdict(pieces: list[bytes], limit: int) -> Collected:
    """As `collect`, with a head that is none refused."""
    collected = collect(*pieces, limit=limit)
    if isinstance(collected, tuple):
        try:
            parse_request(collected[0])
        except Malformed:
            return "bad_request"
    return collected


places = st.lists(st.integers(0, 300), max_size=12)
names = st.sampled_from((b"Host", b"X", b"Cookie"))
line_ends = st.sampled_from((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r\n", b""))


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Good heads of sizes around a limit of 200."""
    lines = [b"GET /" + b"p" * draw(st.integers(0, 110)) + b" HTTP/1.1"]
    lines += [
        draw(names) + b": " + b"v" * size
        for size in draw(st.lists(st.integers(0, 110), max_size=5))
    ]
    return b"\r\n" * draw(st.integers(0, 2)) + b"\r\n".join([*lines, b"", b""])


@given(heads(), places, st.binary(max_size=30))
@example(b"GET / HTTP/1.1\r\nX: %b\r\n\r\n" % (b"x" * 97), [117], b"")
def test_good_head_meets_the_same_verdict_in_any_pieces(
    raw: bytes, where: list[int], tail: bytes
) -> None:
    whole = collect(raw + tail, limit=200)
    assert whole is not None
    assert collect(*cut(raw + tail, *where), limit=200) == whole
    assert collect(*bytewise(raw + tail), limit=200) == whole


@st.composite
def near_heads(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.one_of(st.binary(max_size=20), st.just(b"A: b")), max_size=6))
    return b"GET / HTTP/1.1" + b"".join(draw(line_ends) + line for line in lines) + b"\r\n\r\n"


@given(st.one_of(near_heads(), st.binary(max_size=250)), places)
def test_no_pieces_get_through_what_the_whole_does_not(raw: bytes, where: list[int]) -> None:
    whole = verdict([raw], 200)
    for pieces in (cut(raw, *where), bytewise(raw)):
        found = verdict(pieces, 200)
        if isinstance(whole, str) or isinstance(found, str):
            # Which of its faults is named depends on which is seen first.
            assert isinstance(whole, str)
            assert isinstance(found, str)
        else:
            assert found == whole

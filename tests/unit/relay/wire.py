"""Streams of frames for the relay's tests, and a judge of them that shares no code with it."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st

from proxy.relay.scanner import Extensions, Scanner, Traffic
from tests.harness import frames

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DIRECTIONS = pytest.mark.parametrize("masked", [True, False], ids=["client", "upstream"])
MASK = frames.MASK

DATA = (frames.TEXT, frames.BINARY)
# RSV bits by extension: on a message's first frame, on any other frame.
RSV = {Extensions.NONE: (0, 0), Extensions.DEFLATE: (4, 0), Extensions.OTHER: (7, 7)}
TRAVELLING_CODES = (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999)
FORBIDDEN_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


# Chunks --------------------------------------------------------------------------------------


def byte_by_byte(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


def chunked(raw: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Cuts a stream into pieces of these sizes, over and over."""
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(raw):
            return
        yield raw[at : at + size]
        at += size


chunk_sizes = st.one_of(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.lists(st.integers(1, 3000), min_size=1, max_size=4),
)


# What the scanner makes of a stream ----------------------------------------------------------


@dataclass
class Scanned:
    """What became of a stream: `violation` ended it, unless None."""

    scanner: Scanner
    traffic: Traffic
    forwarded: bytes
    violation: str | None


def scan(
    chunks: Iterable[bytes], *, masked: bool = True, extensions: Extensions = Extensions.NONE
) -> Scanned:
    """Feeds a scanner as a leg does, up to the first violation."""
    traffic = Traffic()
    scanner = Scanner(masked=masked, extensions=extensions, traffic=traffic)
    forwarded = []
    violation = None
    for chunk in chunks:
        rest = chunk
        while rest and violation is None:
            cut = scanner.feed(rest)
            forwarded.append(rest if cut is None else cut.forward)
            violation = None if cut is None else cut.violation
            rest = b"" if cut is None else cut.later
        if violation is not None:
            break
    return Scanned(scanner, traffic, b"".join(forwarded), violation)


def frame(opcode: int, payload: bytes = b"", *, masked: bool, **fields: object) -> bytes:
    return frames.frame(opcode, payload, mask=MASK if masked else None, **fields)


def ways(raw: bytes, tail: bytes = b"", **how: object) -> list[Scanned]:
    """A stream read whole, byte by byte, and with a tail behind it."""
    return [scan([raw], **how), scan(byte_by_byte(raw), **how), scan([raw + tail], **how)]


# What it should make of it -------------------------------------------------------------------


@dataclass
class Judgement:
    """By RFC 6455 section 5, read off the whole stream.

    `forward` bytes may travel; `broken` says whether an offending frame stands behind them.
    """

    forward: int = 0
    broken: bool = False
    left: int = 0
    opcodes: Counter[int] = field(default_factory=Counter)
    messages: list[int] = field(default_factory=list)


def _header(raw: bytes, at: int) -> tuple[int, int, bool] | None:
    """Size of the header at a position, the length it declares, whether that is well-formed."""
    length, size = raw[at + 1] & 0x7F, 2
    wide = {126: 2, 127: 8}.get(length, 0)
    size += wide + (4 if raw[at + 1] & 0x80 else 0)
    if len(raw) - at < size:
        return None
    if not wide:
        return size, length, True
    length = int.from_bytes(raw[at + 2 : at + 2 + wide], "big")
    least, most = (126, 0xFFFF) if wide == 2 else (0x10000, 2**63 - 1)
    return size, length, least <= length <= most


def _close_is_sound(payload: bytes) -> bool:
    code = int.from_bytes(payload[:2], "big")
    registered = code in TRAVELLING_CODES or 3000 <= code <= 4999
    return not payload or (len(payload) >= 2 and registered)


def judge(raw: bytes, *, masked: bool, extensions: Extensions = Extensions.NONE) -> Judgement:
    """Walks over a whole stream and says how far it may travel."""
    seen = Judgement()
    size_so_far: int | None = None  # None outside of a message
    at = 0
    while len(raw) - at >= 2:
        fin, rsv, opcode = raw[at] >> 7, raw[at] >> 4 & 7, raw[at] & 15
        begins, control = opcode in DATA, opcode in {frames.CLOSE, frames.PING, frames.PONG}
        sound = bool(raw[at + 1] >> 7) == masked
        sound &= not rsv & ~RSV[extensions][0 if begins else 1]
        if control:
            sound &= bool(fin) and raw[at + 1] & 0x7F < 126
        elif begins:
            sound &= size_so_far is None
        else:
            sound &= opcode == frames.CONTINUATION and size_so_far is not None
        if not sound:
            seen.broken = True
            break
        header = _header(raw, at)
        if header is None:
            break
        size, length, minimal = header
        end = at + size + length
        if not minimal:
            seen.broken = True
            break
        if opcode == frames.CLOSE:
            if end > len(raw):
                break
            payload, mask = raw[at + size : end], raw[at + size - 4 : at + size]
            if not _close_is_sound(frames.apply_mask(payload, mask) if masked else payload):
                seen.broken = True
                break
        seen.opcodes[opcode] += 1
        if not control:
            size_so_far = (size_so_far or 0) + length
            if fin:
                seen.messages.append(size_so_far)
                size_so_far = None
        at = end
    seen.forward = min(at, len(raw))
    seen.left = max(0, at - len(raw))
    return seen


# Random streams ------------------------------------------------------------------------------

_LENGTHS = st.one_of(
    st.integers(0, 20),
    st.sampled_from((0, 1, 124, 125, 126, 127, 128, 1000)),
    st.sampled_from((0xFFFF, 0x10000)),
)
# Payloads repeat a few bytes, which look like frame headers as often as not.
_PATTERNS = st.binary(min_size=1, max_size=6)


@st.composite
def _payloads(draw: st.DrawFn, lengths: st.SearchStrategy[int]) -> bytes:
    length, pattern = draw(lengths), draw(_PATTERNS)
    return (pattern * (length // len(pattern) + 1))[:length]


@st.composite
def _controls(draw: st.DrawFn, *, masked: bool, rsv: int) -> bytes:
    opcode = draw(st.sampled_from((frames.PING, frames.PONG)))
    payload = draw(_payloads(st.sampled_from((0, 1, 4, 125))))
    return frames.frame(opcode, payload, mask=_mask(draw, masked=masked), rsv=rsv)


@st.composite
def _closes(draw: st.DrawFn, *, masked: bool, rsv: int) -> bytes:
    payload = draw(
        st.one_of(
            st.just(b""),
            st.builds(
                frames.close_payload, st.sampled_from(TRAVELLING_CODES), st.binary(max_size=123)
            ),
        )
    )
    return frames.frame(frames.CLOSE, payload, mask=_mask(draw, masked=masked), rsv=rsv)


def _mask(draw: st.DrawFn, *, masked: bool) -> bytes | None:
    return draw(st.binary(min_size=4, max_size=4)) if masked else None


@st.composite
def _messages(draw: st.DrawFn, *, masked: bool, rsv: tuple[int, int]) -> list[bytes]:
    """A message in one to four fragments, control frames between them."""
    count = draw(st.integers(1, 4))
    parts = []
    for index in range(count):
        parts += draw(st.lists(_controls(masked=masked, rsv=rsv[1]), max_size=1)) if index else []
        parts.append(
            frames.frame(
                frames.CONTINUATION if index else draw(st.sampled_from(DATA)),
                draw(_payloads(_LENGTHS)),
                fin=index == count - 1,
                rsv=draw(st.sampled_from((0, rsv[1] if index else rsv[0]))),
                mask=_mask(draw, masked=masked),
            )
        )
    return parts


@st.composite
def streams(draw: st.DrawFn, *, masked: bool, extensions: Extensions) -> list[bytes]:
    """The frames of a well-formed stream, a Close frame somewhere among them or not."""
    rsv = RSV[extensions]
    parts: list[bytes] = []
    for message in draw(st.lists(_messages(masked=masked, rsv=rsv), max_size=4)):
        parts += message
        parts += draw(st.lists(_controls(masked=masked, rsv=rsv[1]), max_size=2))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(parts)))
        parts.insert(at, draw(_closes(masked=masked, rsv=rsv[1])))
    return parts


@st.composite
def mutated(draw: st.DrawFn, parts: list[bytes]) -> bytes:
    """A stream with frames left out, doubled or swapped, and bits flipped, bytes cut or added."""
    parts = list(parts)
    for _ in range(draw(st.integers(0, 2))):
        if not parts:
            break
        at = draw(st.integers(0, len(parts) - 1))
        match draw(st.sampled_from(("drop", "double", "swap"))):
            case "drop":
                del parts[at]
            case "double":
                parts.insert(at, parts[at])
            case _:
                parts[at], parts[0] = parts[0], parts[at]
    raw = bytearray(b"".join(parts))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, min(len(raw), 400)))
        match draw(st.sampled_from(("flip", "cut", "add", "end"))):
            case "flip" if at < len(raw):
                raw[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del raw[at : at + draw(st.integers(1, 5))]
            case "add":
                raw[at:at] = draw(st.binary(min_size=1, max_size=5))
            case _:
                del raw[at:]
    return bytes(raw)

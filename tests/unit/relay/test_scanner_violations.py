"""The scanner against every way to break RFC 6455 section 5: nothing of it ever travels."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from proxy.relay.scanner import Extensions
from tests.harness import frames
from tests.unit.relay.wire import (
    DIRECTIONS,
    FORBIDDEN_CODES,
    MASK,
    frame,
    scan,
    ways,
)

Build = Callable[..., bytes]


# Violations, one by one ----------------------------------------------------------------------

BEGUN = functools.partial(frame, opcode=frames.TEXT, payload=b"begun", fin=False)
LENGTH = "a frame's length is not minimal or has its top bit set"
RSV_RULE = "RSV bits are set that no agreed extension uses"


def header(opcode: int, length: int, *, masked: bool, **fields: object) -> bytes:
    return frames.header(opcode, length, mask=MASK if masked else None, **fields)


VIOLATIONS: dict[str, tuple[Build | None, Build, str, Extensions]] = {}


def violation(
    name: str,
    bad: Build,
    rule: str,
    *,
    before: Build | None = None,
    extensions: Extensions = Extensions.NONE,
) -> None:
    VIOLATIONS[name] = (before, bad, rule, extensions)


for bit in (1, 2, 4):
    violation(f"rsv-{bit}", functools.partial(frame, opcode=2, rsv=bit), RSV_RULE)
for bit in (1, 2):
    violation(
        f"rsv-{bit}-beside-deflate",
        functools.partial(frame, opcode=1, rsv=bit),
        RSV_RULE,
        extensions=Extensions.DEFLATE,
    )
violation(
    "rsv1-on-a-continuation",
    functools.partial(frame, opcode=0, rsv=4),
    RSV_RULE,
    before=BEGUN,
    extensions=Extensions.DEFLATE,
)
for opcode in (frames.CLOSE, frames.PING, frames.PONG):
    violation(
        f"rsv1-on-control-{opcode:x}",
        functools.partial(frame, opcode=opcode, rsv=4),
        RSV_RULE,
        extensions=Extensions.DEFLATE,
    )
    violation(
        f"fragmented-control-{opcode:x}",
        functools.partial(frame, opcode=opcode, fin=False),
        "a control frame is fragmented",
    )
    violation(
        f"control-{opcode:x}-of-126-bytes",
        functools.partial(frame, opcode=opcode, payload=bytes(126)),
        "a control frame is longer than 125 bytes",
    )
    violation(
        f"control-{opcode:x}-in-64-bit-form",
        functools.partial(frame, opcode=opcode, payload=b"x", form=64),
        "a control frame is longer than 125 bytes",
    )
for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    violation(
        f"reserved-opcode-{opcode:x}",
        functools.partial(frame, opcode=opcode, payload=b"x"),
        "an opcode is reserved",
    )
for opcode in (frames.TEXT, frames.BINARY):
    violation(
        f"message-{opcode}-inside-another",
        functools.partial(frame, opcode=opcode, payload=b"x"),
        "a message begins inside another",
        before=BEGUN,
    )
for fin in (True, False):
    violation(
        f"continuation-of-nothing-fin-{fin}",
        functools.partial(frame, opcode=0, payload=b"x", fin=fin),
        "a continuation has nothing to continue",
    )
for length in (0, 5, 125):
    violation(
        f"16-bit-form-for-{length}",
        functools.partial(header, opcode=2, length=length, form=16),
        LENGTH,
    )
for length in (0, 5, 125, 126, 0xFFFF, 2**63, 2**64 - 1):
    violation(
        f"64-bit-form-for-{length:x}",
        functools.partial(header, opcode=2, length=length, form=64),
        LENGTH,
    )
violation(
    "close-of-one-byte",
    functools.partial(frame, opcode=frames.CLOSE, payload=b"\x03"),
    "a Close frame's payload is one byte",
)
for code in FORBIDDEN_CODES:
    violation(
        f"close-code-{code}",
        functools.partial(frame, opcode=frames.CLOSE, payload=frames.close_payload(code, "r")),
        "a Close frame carries a code that may not travel",
    )


@DIRECTIONS
@pytest.mark.parametrize("name", VIOLATIONS)
def test_nothing_of_an_offending_frame_travels(name: str, *, masked: bool) -> None:
    build_before, build_bad, rule, extensions = VIOLATIONS[name]
    before = frame(frames.TEXT, b"good", masked=masked) + (
        build_before(masked=masked) if build_before else b""
    )
    raw, tail = before + build_bad(masked=masked), frame(frames.TEXT, b"tail", masked=masked)
    for scanned in ways(raw, tail, masked=masked, extensions=extensions):
        assert scanned.forwarded == before
        assert scanned.violation == rule
        assert scanned.scanner.left == 0
        assert not scanned.scanner.truncated
        assert scanned.scanner.close is None


@DIRECTIONS
@pytest.mark.parametrize("opcode", [0, 1, 2, 8, 9, 10])
def test_frame_of_the_wrong_masking_never_travels(opcode: int, *, masked: bool) -> None:
    before = frame(frames.TEXT, b"x", fin=opcode != 0, masked=masked)
    raw, tail = (
        before + frame(opcode, b"x" * 4, masked=not masked),
        frame(frames.TEXT, masked=masked),
    )
    for scanned in ways(raw, tail, masked=masked):
        assert scanned.forwarded == before
        assert scanned.violation == (
            "a client's frame is not masked" if masked else "a server's frame is masked"
        )


@DIRECTIONS
def test_offending_first_bytes_are_refused_before_the_header_is_whole(*, masked: bool) -> None:
    raw = frame(3, bytes(0x10000), masked=masked)
    assert scan([raw[:2]], masked=masked).violation == "an opcode is reserved"

"""Frames of our own making, and the codes that may travel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.relay.frames import Opcode, close_code_may_travel, close_frame, unmask
from tests.harness import frames
from tests.unit.relay.wire import FORBIDDEN_CODES, TRAVELLING_CODES


def test_opcodes_are_those_of_the_rfc() -> None:
    assert {each.name.lower(): int(each) for each in Opcode} == {
        "continuation": 0,
        "text": 1,
        "binary": 2,
        "close": 8,
        "ping": 9,
        "pong": 10,
    }


@pytest.mark.parametrize("mask", [None, b"\x9a\x02\xff\x31"])
@pytest.mark.parametrize("reason", ["", "draining", "x" * 123])
def test_our_close_frame_reads_as_one(mask: bytes | None, reason: str) -> None:
    buffer = bytearray(close_frame(1001, reason, mask=mask))
    frame = frames.take(buffer)
    assert frame is not None
    assert not buffer
    assert (frame.opcode, frame.fin, frame.rsv) == (frames.CLOSE, True, 0)
    assert (frame.close_code, frame.close_reason) == (1001, reason)
    assert frame.mask == mask


@pytest.mark.parametrize("code", TRAVELLING_CODES)
def test_registered_code_may_travel(code: int) -> None:
    assert close_code_may_travel(code)


@pytest.mark.parametrize("code", FORBIDDEN_CODES)
def test_other_code_may_not_travel(code: int) -> None:
    assert not close_code_may_travel(code)


@given(st.binary(max_size=125), st.binary(min_size=4, max_size=4))
def test_unmask_undoes_a_mask(payload: bytes, mask: bytes) -> None:
    assert unmask(frames.apply_mask(payload, mask), mask) == payload

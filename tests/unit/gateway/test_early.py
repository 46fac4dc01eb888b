"""Bytes that come before there is an upstream for them: kept in order, in bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.early import MAX_EARLY, EarlyData
from tests.unit.loop import FakeTransport


@given(st.lists(st.binary(max_size=50)))
def test_bytes_are_kept_in_order_and_given_once(pieces: list[bytes]) -> None:
    early = EarlyData(FakeTransport())
    for piece in pieces:
        early.add(piece)
    assert early.taken() == b"".join(pieces)
    assert early.taken() == b""


def test_reading_pauses_when_there_are_too_many_and_goes_on_once_they_are_taken() -> None:
    transport = FakeTransport()
    early = EarlyData(transport)
    early.add(b"x" * MAX_EARLY)
    assert transport.reading
    early.add(b"x")
    assert not transport.reading
    early.add(b"x")
    assert len(early.taken()) == MAX_EARLY + 2
    assert transport.reading


def test_what_others_paused_stays_so() -> None:
    transport = FakeTransport()
    early = EarlyData(transport)
    early.add(b"x")
    transport.pause_reading()
    assert early.taken() == b"x"
    assert not transport.reading

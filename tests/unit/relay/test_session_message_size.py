"""A message that is too big: 1009 to who sends it, 1001 to the other, and an end in good order."""

from __future__ import annotations

import pytest

from proxy.relay.commands import Side
from tests.harness import frames
from tests.unit.relay.rig import Rig, both_are_gone

SIDES = pytest.mark.parametrize("side", Side)
LIMIT = 100


@pytest.fixture
def rig() -> Rig:
    return Rig(max_message=LIMIT)


@SIDES
def test_sender_is_told_1009_and_the_other_side_1001(rig: Rig, side: Side) -> None:
    sender, other = rig.peers[side], rig.peers[side.other]
    sound = sender.frame(frames.TEXT, bytes(LIMIT))
    sender.sends(sound + sender.frame(frames.BINARY, bytes(LIMIT + 1)))
    assert other.relayed == sound
    assert sender.told == [(1009, "message_too_big")]
    assert other.told == [(1001, "peer_error")]
    assert rig.account == ("gateway", 1009, "message_too_big")
    assert rig.session.violation == f"a message is longer than {LIMIT} bytes"


@SIDES
@pytest.mark.parametrize("size", [1, 7, 90, 5000])
def test_answer_behind_the_rest_of_the_message_ends_it(rig: Rig, side: Side, size: int) -> None:
    sender, other = rig.peers[side], rig.peers[side.other]
    raw = sender.frame(frames.BINARY, b"\x88\x82" * 1000, fin=False)
    raw += sender.frame(frames.CONTINUATION, b"\x88\x82" * 400)
    raw += sender.close_frame(1009)
    for at in range(0, len(raw), size):
        assert not sender.closed
        sender.sends(raw[at : at + size])
    assert sender.closed
    assert not sender.finished
    assert other.relayed == b""
    other.sends(other.close_frame(1001))
    assert both_are_gone(rig)


@SIDES
def test_fragments_of_a_message_that_grew_too_big_stay_incomplete(rig: Rig, side: Side) -> None:
    sender, other = rig.peers[side], rig.peers[side.other]
    begin = sender.frame(frames.TEXT, bytes(60), fin=False)
    sender.sends(begin)
    sender.sends(sender.frame(frames.CONTINUATION, bytes(41)))
    assert other.relayed == begin
    assert other.told == [(1001, "peer_error")]


@SIDES
def test_other_side_that_exceeds_it_too_is_read_no_more(rig: Rig, side: Side) -> None:
    sender, other = rig.peers[side], rig.peers[side.other]
    sender.sends(sender.frame(frames.TEXT, bytes(LIMIT + 1)))
    other.sends(other.frame(frames.TEXT, bytes(LIMIT + 1)) + other.close_frame(1001))
    assert not other.closed
    sender.sends(sender.close_frame(1009))
    assert sender.closed
    rig.time_is_over()
    assert both_are_gone(rig)

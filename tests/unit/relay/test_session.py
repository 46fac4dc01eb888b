"""A session while all is well, and the close handshake, as traces of the wire (section 5)."""

from __future__ import annotations

import pytest

from proxy.relay.commands import Side
from proxy.relay.session import LINGER, Phase
from tests.harness import frames
from tests.unit.relay.rig import CLOSE_TIMEOUT, Rig, both_are_gone

# While all is well ---------------------------------------------------------------------------


def test_frames_pass_both_ways_and_nothing_is_decided(rig: Rig) -> None:
    hello, reply = rig.client.frame(frames.TEXT, b"hello"), rig.upstream.frame(frames.TEXT, b"hi")
    rig.client.sends(hello)
    rig.upstream.sends(reply)
    assert rig.upstream.got == hello
    assert rig.client.got == reply
    assert rig.session.phase is Phase.RELAYING
    assert rig.deadline is None
    assert rig.account == (None, None, "")


def test_cut_header_is_passed_on_when_it_is_whole(rig: Rig) -> None:
    frame = rig.client.frame(frames.TEXT, b"hello")
    rig.client.sends(frame[:3])
    assert rig.upstream.got == b""
    rig.client.sends(frame[3:])
    assert rig.upstream.got == frame
    assert rig.session.phase is Phase.RELAYING


# The close handshake -------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
def test_close_passes_and_its_answer_passes_back(rig: Rig, side: Side) -> None:
    first, second = rig.peers[side], rig.peers[side.other]
    said, answer = first.close_frame(4001, "enough"), second.close_frame(4001, "enough")
    first.sends(said)
    assert second.got == said
    assert rig.deadline == CLOSE_TIMEOUT
    assert not first.closed
    assert not second.closed
    second.sends(answer)
    assert first.got == answer
    assert rig.account == (side.name.lower(), 4001, "enough")
    # Towards the client we are the server, which closes first (RFC 6455 section 7.1.1).
    assert rig.client.closed
    assert not rig.upstream.closed
    assert rig.deadline == LINGER
    rig.client.hangs_up()
    assert not rig.upstream.closed
    rig.upstream.fins()
    assert rig.upstream.closed
    assert rig.deadline == CLOSE_TIMEOUT
    assert both_are_gone(rig)


def test_upstream_that_does_not_hang_up_behind_both_closes_is_closed(rig: Rig) -> None:
    rig.client.sends(rig.client.close_frame(1000))
    rig.upstream.sends(rig.upstream.close_frame(1000))
    rig.time_is_over()
    assert rig.upstream.closed
    assert not rig.upstream.aborted
    assert rig.deadline == CLOSE_TIMEOUT
    rig.time_is_over()
    assert rig.client.aborted
    assert rig.upstream.aborted
    assert both_are_gone(rig)


def test_client_has_the_whole_timeout_to_read_what_is_pending_behind_both_closes(rig: Rig) -> None:
    rig.client.sends(rig.client.close_frame(1000))
    rig.upstream.sends(rig.upstream.close_frame(1000))
    assert rig.deadline == LINGER
    rig.upstream.hangs_up()
    assert rig.deadline == CLOSE_TIMEOUT
    assert not rig.client.aborted
    assert both_are_gone(rig)


def test_bytes_behind_both_closes_reach_nobody_and_gain_no_time(rig: Rig) -> None:
    rig.client.sends(rig.client.close_frame(1000))
    answer = rig.upstream.close_frame(1000)
    rig.upstream.sends(answer)
    rig.deadline = 0.25  # as if half of it were over
    rig.upstream.sends(rig.upstream.frame(frames.BINARY, b"more" * 100))
    rig.upstream.sends(rig.upstream.frame(frames.PING))
    assert rig.client.got == answer
    assert rig.deadline == 0.25


def test_close_that_is_not_answered_in_time_ends_both(rig: Rig) -> None:
    rig.client.sends(rig.client.close_frame(1000, "bye"))
    rig.time_is_over()
    assert rig.client.aborted
    assert rig.upstream.aborted
    assert rig.account == ("client", 1000, "bye")
    assert both_are_gone(rig)


@pytest.mark.parametrize("side", Side)
def test_frames_behind_a_close_pass_but_gain_no_time(rig: Rig, side: Side) -> None:
    talker, other = rig.peers[side], rig.peers[side.other]
    talker.sends(talker.close_frame(1000))
    rig.deadline = 1.0  # as if most of it were over
    talker.sends(talker.frame(frames.PING, b"still here"))
    talker.sends(talker.frame(frames.PING, b"and here")[:1])
    assert rig.deadline == 1.0
    assert other.got == talker.close_frame(1000) + talker.frame(frames.PING, b"still here")


@pytest.mark.parametrize("side", Side)
def test_other_side_may_go_on_until_it_answers(rig: Rig, side: Side) -> None:
    first, second = rig.peers[side], rig.peers[side.other]
    first.sends(first.close_frame(1000))
    rest = second.frame(frames.TEXT, b"one more thing")
    second.sends(rest)
    assert first.got == rest
    assert rig.deadline == CLOSE_TIMEOUT


def test_upstream_that_hangs_up_behind_its_close_leaves_the_client_time_to_answer(
    rig: Rig,
) -> None:
    rig.upstream.sends(rig.upstream.close_frame(4000, "done"))
    rig.upstream.hangs_up()
    assert rig.client.got == rig.upstream.close_frame(4000, "done")
    assert not rig.client.closed
    assert rig.deadline == CLOSE_TIMEOUT
    rig.client.sends(rig.client.frame(frames.TEXT, b"crossed your Close"))
    rig.client.sends(rig.client.close_frame(4000, "done"))
    assert rig.client.closed
    assert rig.account == ("upstream", 4000, "done")
    assert both_are_gone(rig)


def test_upstream_that_half_closes_behind_its_close_hears_the_answer(rig: Rig) -> None:
    rig.upstream.sends(rig.upstream.close_frame(1001))
    rig.upstream.fins()
    assert rig.client.finished
    assert not rig.client.told
    rig.client.sends(rig.client.close_frame(1001))
    assert rig.upstream.got == rig.client.close_frame(1001)
    assert rig.upstream.closed
    assert rig.client.closed
    assert rig.account == ("upstream", 1001, "")
    assert both_are_gone(rig)


@pytest.mark.parametrize("side", Side)
def test_peer_that_hangs_up_in_place_of_answering_a_close_ends_both(rig: Rig, side: Side) -> None:
    first, second = rig.peers[side], rig.peers[side.other]
    first.sends(first.close_frame(1000, "bye"))
    second.fins()
    assert first.closed
    assert second.closed
    assert not first.told
    assert rig.account == (side.name.lower(), 1000, "bye")
    assert both_are_gone(rig)


@pytest.mark.parametrize("reset", [True, False])
def test_upstream_lost_in_place_of_answering_a_close_ends_both(rig: Rig, *, reset: bool) -> None:
    rig.client.sends(rig.client.close_frame(1000, "bye"))
    (rig.upstream.resets if reset else rig.upstream.hangs_up)()
    assert rig.client.closed
    assert not rig.client.told
    assert rig.account == ("client", 1000, "bye")
    assert both_are_gone(rig)


def test_client_lost_in_place_of_answering_a_close_ends_both(rig: Rig) -> None:
    rig.upstream.sends(rig.upstream.close_frame(1000, "bye"))
    rig.client.resets()
    assert rig.upstream.closed
    assert rig.account == ("upstream", 1000, "bye")
    assert both_are_gone(rig)


def test_client_that_half_closes_behind_its_close_hears_the_answer(rig: Rig) -> None:
    rig.client.sends(rig.client.close_frame(1000))
    rig.client.fins()
    assert rig.upstream.finished
    rig.upstream.sends(rig.upstream.close_frame(1000))
    assert rig.client.got == rig.upstream.close_frame(1000)
    assert rig.client.closed
    rig.upstream.fins()
    assert both_are_gone(rig)

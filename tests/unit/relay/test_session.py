"""A session's decisions, as traces of what the wire would show (the contract's section 5)."""

from __future__ import annotations

import pytest

from proxy import errors
from proxy.relay.scanner import MAX_FRAMES
from proxy.relay.session import LINGER, Phase, Side
from tests.harness import frames
from tests.unit.relay.rig import CLOSE_TIMEOUT, Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


def both_are_gone(rig: Rig) -> bool:
    rig.sockets_close()
    return rig.client.lost and rig.upstream.lost and rig.session.phase is Phase.ENDED


BREACH = b"\x83\x00"  # a reserved opcode, masked or not: the mask bit alone breaks a rule


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


# A peer vanishes -----------------------------------------------------------------------------


@pytest.mark.parametrize("midway", [b"", b"\x82", b"\x82\xfe\x01\x00\x00\x00\x00\x00half"])
def test_client_that_vanishes_takes_the_upstream_with_it(rig: Rig, midway: bytes) -> None:
    if midway:
        rig.client.sends(midway)
    rig.client.hangs_up()
    assert rig.upstream.closed
    assert not rig.upstream.told
    assert rig.account == ("client", None, "")
    assert both_are_gone(rig)


def test_client_reset_resets_the_upstream(rig: Rig) -> None:
    rig.client.resets()
    assert rig.upstream.aborted
    assert rig.account == ("client", None, "")
    assert both_are_gone(rig)


@pytest.mark.parametrize("reset", [True, False])
def test_client_hears_1012_when_the_upstream_vanishes(rig: Rig, *, reset: bool) -> None:
    (rig.upstream.resets if reset else rig.upstream.hangs_up)()
    assert rig.client.told == [(1012, "upstream_lost")]
    assert rig.account == ("gateway", 1012, "upstream_lost")
    assert rig.deadline == CLOSE_TIMEOUT
    assert not rig.client.closed
    rig.client.sends(rig.client.frame(frames.TEXT, b"crossed your Close"))
    rig.client.sends(rig.client.close_frame(1012))
    assert rig.client.closed
    assert both_are_gone(rig)


def test_client_that_does_not_answer_our_close_is_aborted(rig: Rig) -> None:
    rig.upstream.resets()
    rig.time_is_over()
    assert rig.client.aborted
    assert both_are_gone(rig)


def test_upstream_lost_in_mid_frame_ends_the_client_without_a_close(rig: Rig) -> None:
    rig.upstream.sends(rig.upstream.frame(frames.BINARY, b"x" * 100)[:50])
    rig.upstream.resets()
    assert rig.client.closed
    assert not rig.client.told
    assert rig.account == ("gateway", 1012, "upstream_lost")
    assert both_are_gone(rig)


def test_upstream_lost_in_mid_header_still_lets_us_say_so(rig: Rig) -> None:
    rig.upstream.sends(rig.upstream.frame(frames.BINARY, b"x" * 100)[:1])
    rig.upstream.resets()
    assert rig.client.told == [(1012, "upstream_lost")]


def test_upstream_lost_behind_the_clients_fin_is_still_said(rig: Rig) -> None:
    rig.client.fins()
    rig.upstream.resets()
    assert rig.client.told == [(1012, "upstream_lost")]
    assert rig.client.closed
    assert rig.account == ("client", None, "")
    assert both_are_gone(rig)


# Half-close ----------------------------------------------------------------------------------


def test_client_half_closes_and_still_hears_the_answer(rig: Rig) -> None:
    question, answer = rig.client.frame(frames.TEXT, b"?"), rig.upstream.frame(frames.TEXT, b"!")
    rig.client.sends(question)
    rig.client.fins()
    assert rig.upstream.finished
    assert rig.deadline == CLOSE_TIMEOUT
    rig.upstream.sends(answer)
    assert rig.client.got == answer
    rig.upstream.fins()
    assert rig.client.closed
    assert rig.upstream.closed
    assert rig.account == ("client", None, "")
    assert both_are_gone(rig)


def test_half_close_is_not_endless(rig: Rig) -> None:
    rig.client.fins()
    rig.upstream.sends(rig.upstream.frame(frames.TEXT, b"!"))
    rig.time_is_over()
    assert rig.client.aborted
    assert rig.upstream.aborted
    assert both_are_gone(rig)


@pytest.mark.parametrize("sent", [1, 5, 50])
def test_client_fin_in_mid_frame_ends_both(rig: Rig, sent: int) -> None:
    rig.client.sends(rig.client.frame(frames.BINARY, b"x" * 100)[:sent])
    rig.client.fins()
    assert rig.upstream.closed
    assert rig.client.closed
    assert rig.account == ("client", None, "")
    assert both_are_gone(rig)


def test_upstream_fin_is_told_as_1012_and_the_client_may_finish(rig: Rig) -> None:
    rig.upstream.fins()
    assert rig.client.told == [(1012, "upstream_lost")]
    assert rig.client.finished
    assert rig.account == ("gateway", 1012, "upstream_lost")
    assert rig.deadline == CLOSE_TIMEOUT
    late = rig.client.frame(frames.TEXT, b"late but whole")
    rig.client.sends(late)
    assert rig.upstream.got == late
    rig.client.sends(rig.client.close_frame(1012))
    assert rig.client.closed
    assert rig.upstream.closed
    assert both_are_gone(rig)


def test_upstream_fin_in_mid_frame_ends_the_client_without_a_close(rig: Rig) -> None:
    rig.upstream.sends(rig.upstream.frame(frames.BINARY, b"x" * 100)[:50])
    rig.upstream.fins()
    assert not rig.client.told
    assert rig.client.closed
    assert rig.account == ("gateway", 1012, "upstream_lost")
    assert both_are_gone(rig)


def test_upstream_fin_in_mid_header_is_told_at_the_boundary(rig: Rig) -> None:
    whole = rig.upstream.frame(frames.TEXT, b"whole")
    rig.upstream.sends(whole + b"\x81")
    rig.upstream.fins()
    assert rig.client.relayed == whole
    assert rig.client.told == [(1012, "upstream_lost")]


@pytest.mark.parametrize("reset", [True, False])
def test_upstream_lost_behind_its_fin_changes_nothing_for_the_client(
    rig: Rig, *, reset: bool
) -> None:
    rig.upstream.fins()
    rig.client.sends(rig.client.frame(frames.TEXT, b"into the void"))
    (rig.upstream.resets if reset else rig.upstream.hangs_up)()
    assert rig.client.told == [(1012, "upstream_lost")]
    assert not rig.client.closed
    rig.client.sends(rig.client.close_frame(1012))
    assert rig.client.closed
    assert both_are_gone(rig)


def test_drain_behind_the_upstreams_fin_says_nothing_twice(rig: Rig) -> None:
    rig.upstream.fins()
    rig.gateway_ends(errors.DRAINING)
    assert rig.client.told == [(1012, "upstream_lost")]
    assert rig.account == ("gateway", 1012, "upstream_lost")
    rig.client.sends(rig.client.close_frame(1012))
    assert rig.client.closed
    rig.time_is_over()
    assert both_are_gone(rig)


def test_drain_behind_the_clients_fin_writes_nothing_behind_ours(rig: Rig) -> None:
    rig.client.fins()
    rig.gateway_ends(errors.DRAINING)
    assert rig.upstream.closed
    assert not rig.upstream.told
    assert rig.client.told == [(1001, "draining")]
    assert rig.client.closed
    assert both_are_gone(rig)


def test_upstream_breaks_protocol_behind_the_clients_fin(rig: Rig) -> None:
    rig.client.fins()
    rig.upstream.sends(BREACH)
    assert rig.client.told == [(1001, "peer_error")]
    assert rig.upstream.closed
    assert not rig.upstream.told
    assert both_are_gone(rig)


def test_client_breaks_protocol_behind_the_upstreams_fin(rig: Rig) -> None:
    rig.upstream.fins()
    rig.client.sends(BREACH)
    assert rig.client.told == [(1012, "upstream_lost")]
    assert rig.upstream.told == [(1001, "peer_error")]
    assert rig.upstream.closed
    rig.client.fins()
    assert both_are_gone(rig)


# A peer breaks the protocol ------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
def test_offender_hears_1002_and_the_innocent_1001(rig: Rig, side: Side) -> None:
    offender, innocent = rig.peers[side], rig.peers[side.other]
    good = offender.frame(frames.TEXT, b"good")
    offender.sends(good + BREACH + b"never seen")
    assert innocent.relayed == good
    assert offender.told == [(1002, "protocol_error")]
    assert innocent.told == [(1001, "peer_error")]
    assert rig.session.violation is not None
    assert rig.account == ("gateway", 1002, "protocol_error")
    assert rig.deadline == CLOSE_TIMEOUT


@pytest.mark.parametrize("side", Side)
def test_offender_is_read_until_it_hangs_up(rig: Rig, side: Side) -> None:
    offender, innocent = rig.peers[side], rig.peers[side.other]
    offender.sends(BREACH)
    assert offender.finished
    offender.sends(b"noise that may look like anything \x88\x80")
    assert not offender.closed
    innocent.sends(innocent.close_frame(1001))
    assert innocent.closed
    offender.fins()
    assert offender.closed
    assert both_are_gone(rig)


@pytest.mark.parametrize("side", Side)
def test_offender_that_stays_is_aborted(rig: Rig, side: Side) -> None:
    rig.peers[side].sends(BREACH)
    rig.time_is_over()
    assert rig.client.aborted
    assert rig.upstream.aborted
    assert both_are_gone(rig)


@pytest.mark.parametrize("side", Side)
def test_offender_in_the_middle_of_hearing_a_frame_hears_its_end_first(
    rig: Rig, side: Side
) -> None:
    offender, innocent = rig.peers[side], rig.peers[side.other]
    frame = innocent.frame(frames.BINARY, b"x" * 100)
    innocent.sends(frame[:40])
    offender.sends(BREACH)
    assert not offender.told
    assert innocent.told == [(1001, "peer_error")]
    innocent.sends(frame[40:])
    assert offender.relayed == frame
    assert offender.told == [(1002, "protocol_error")]
    assert offender.finished


def test_violation_behind_a_close_ends_both(rig: Rig) -> None:
    close = rig.client.close_frame(1000)
    rig.client.sends(close + BREACH)
    assert rig.upstream.got == close
    assert rig.upstream.closed
    assert rig.client.told == [(1002, "protocol_error")]
    assert rig.client.closed
    assert rig.account == ("client", 1000, "")
    assert rig.session.violation is not None
    assert both_are_gone(rig)


@pytest.mark.parametrize("side", Side)
def test_violation_while_ending_is_not_answered_again(rig: Rig, side: Side) -> None:
    peer = rig.peers[side]
    rig.gateway_ends(errors.DRAINING)
    peer.sends(BREACH)
    peer.sends(peer.close_frame(1001))  # no longer recognised
    assert peer.told == [(1001, "draining")]
    assert not peer.closed
    peer.fins()
    assert peer.closed
    rig.time_is_over()
    assert both_are_gone(rig)


# The gateway ends it -------------------------------------------------------------------------


def test_drain_tells_both_sides_and_waits_for_their_answers(rig: Rig) -> None:
    rig.gateway_ends(errors.DRAINING)
    assert rig.client.told == [(1001, "draining")]
    assert rig.upstream.told == [(1001, "draining")]
    assert rig.account == ("gateway", 1001, "draining")
    rig.client.sends(rig.client.close_frame(1001))
    assert rig.client.closed
    assert not rig.upstream.closed
    rig.upstream.sends(rig.upstream.close_frame(1001))
    assert rig.upstream.closed
    assert both_are_gone(rig)


def test_second_ending_changes_nothing(rig: Rig) -> None:
    rig.gateway_ends(errors.DRAINING)
    rig.deadline = 1.0
    rig.gateway_ends(errors.FAILED)
    assert rig.deadline == 1.0
    assert rig.account == ("gateway", 1001, "draining")


@pytest.mark.parametrize("side", Side)
def test_ending_in_mid_frame_waits_for_its_rest(rig: Rig, side: Side) -> None:
    talker, reader = rig.peers[side], rig.peers[side.other]
    frame = talker.frame(frames.BINARY, b"x" * 300)
    talker.sends(frame[:100])
    rig.gateway_ends(errors.DRAINING)
    assert not reader.told
    assert talker.told == [(1001, "draining")]
    talker.sends(frame[100:200])
    assert not reader.told
    talker.sends(frame[200:] + talker.frame(frames.TEXT, b"one more, dropped"))
    assert reader.relayed == frame
    assert reader.told == [(1001, "draining")]
    reader.sends(reader.close_frame(1001))
    talker.sends(talker.close_frame(1001))
    assert reader.closed
    assert talker.closed
    assert both_are_gone(rig)


def test_ending_with_both_in_mid_frame_waits_for_both(rig: Rig) -> None:
    to_upstream = rig.client.frame(frames.BINARY, b"c" * 300)
    to_client = rig.upstream.frame(frames.BINARY, b"u" * 300)
    rig.client.sends(to_upstream[:100])
    rig.upstream.sends(to_client[:100])
    rig.gateway_ends(errors.DRAINING)
    assert not rig.client.told
    assert not rig.upstream.told
    rig.client.sends(to_upstream[100:])
    assert rig.upstream.told == [(1001, "draining")]
    assert not rig.client.told
    rig.upstream.sends(to_client[100:] + rig.upstream.close_frame(1001))
    assert rig.client.told == [(1001, "draining")]
    assert rig.upstream.closed
    assert not rig.client.closed


def test_flood_behind_a_frame_under_way_changes_nothing(rig: Rig) -> None:
    frame = rig.upstream.frame(frames.BINARY, b"x" * 300)
    rig.upstream.sends(frame[:100])
    rig.gateway_ends(errors.DRAINING)
    flood = rig.upstream.frame(frames.PING) * (2 * MAX_FRAMES)
    rig.upstream.sends(frame[100:] + flood + rig.upstream.close_frame(1001))
    assert rig.client.relayed == frame
    assert rig.client.told == [(1001, "draining")]
    assert rig.upstream.closed


def test_ending_in_mid_header_is_at_a_boundary(rig: Rig) -> None:
    rig.upstream.sends(rig.upstream.frame(frames.BINARY, b"x" * 300)[:2])
    rig.gateway_ends(errors.DRAINING)
    assert rig.client.got == frames.frame(8, frames.close_payload(1001, "draining"))


def test_rest_and_answer_in_one_piece_are_told_apart(rig: Rig) -> None:
    frame = rig.upstream.frame(frames.BINARY, b"x" * 300)
    rig.upstream.sends(frame[:100])
    rig.gateway_ends(errors.DRAINING)
    rig.upstream.sends(frame[100:] + rig.upstream.close_frame(1001))
    assert rig.client.relayed == frame
    assert rig.client.told == [(1001, "draining")]
    assert rig.upstream.closed


def test_rest_that_never_comes_costs_the_reader_its_close(rig: Rig) -> None:
    rig.upstream.sends(rig.upstream.frame(frames.BINARY, b"x" * 300)[:100])
    rig.gateway_ends(errors.DRAINING)
    rig.time_is_over()
    assert not rig.client.told
    assert rig.client.aborted
    assert rig.upstream.aborted
    assert both_are_gone(rig)


@pytest.mark.parametrize("way", ["fins", "resets", "hangs_up"])
def test_talker_that_leaves_in_mid_frame_while_ending_costs_the_reader_its_close(
    rig: Rig, way: str
) -> None:
    rig.upstream.sends(rig.upstream.frame(frames.BINARY, b"x" * 300)[:100])
    rig.gateway_ends(errors.DRAINING)
    getattr(rig.upstream, way)()
    assert not rig.client.told
    assert rig.client.closed
    assert both_are_gone(rig)


def test_reader_that_half_closes_while_ending_still_hears_the_rest(rig: Rig) -> None:
    frame = rig.upstream.frame(frames.BINARY, b"x" * 300)
    rig.upstream.sends(frame[:100])
    rig.gateway_ends(errors.DRAINING)
    rig.client.fins()
    assert not rig.client.closed
    rig.upstream.sends(frame[100:])
    assert rig.client.relayed == frame
    assert rig.client.told == [(1001, "draining")]
    assert rig.client.closed


@pytest.mark.parametrize("way", ["resets", "hangs_up"])
def test_reader_lost_while_ending_is_sent_nothing_more(rig: Rig, way: str) -> None:
    frame = rig.upstream.frame(frames.BINARY, b"x" * 300)
    rig.upstream.sends(frame[:100])
    rig.gateway_ends(errors.DRAINING)
    got = rig.client.got
    getattr(rig.client, way)()
    rig.upstream.sends(frame[100:])
    assert rig.client.got == got
    rig.upstream.sends(rig.upstream.close_frame(1001))
    assert both_are_gone(rig)


@pytest.mark.parametrize("side", Side)
def test_ending_behind_a_close_of_that_side_needs_no_answer(rig: Rig, side: Side) -> None:
    closer, other = rig.peers[side], rig.peers[side.other]
    closer.sends(closer.close_frame(1000, "mine"))
    rig.gateway_ends(errors.DRAINING)
    assert closer.told == [(1001, "draining")]
    assert closer.closed
    assert other.closed  # It has a Close frame already: that of its peer.
    assert not other.told
    assert rig.account == (side.name.lower(), 1000, "mine")
    assert both_are_gone(rig)


def test_ending_behind_both_closes_changes_nothing(rig: Rig) -> None:
    rig.client.sends(rig.client.close_frame(1000))
    rig.upstream.sends(rig.upstream.close_frame(1000))
    rig.gateway_ends(errors.DRAINING)
    assert not rig.client.told
    assert not rig.upstream.told
    assert rig.deadline == LINGER


@pytest.mark.parametrize(
    ("ending", "stalled", "other"),
    [
        (errors.CLIENT_STALLED, Side.CLIENT, (1001, "client_stalled")),
        (errors.UPSTREAM_STALLED, Side.UPSTREAM, (1012, "upstream_stalled")),
    ],
)
def test_stalled_side_is_aborted_and_the_other_told(
    rig: Rig, ending: errors.Ending, stalled: Side, other: tuple[int, str]
) -> None:
    rig.gateway_ends(ending)
    assert rig.peers[stalled].aborted
    assert not rig.peers[stalled].told
    assert rig.peers[stalled.other].told == [other]
    rig.sockets_close()
    rig.peers[stalled.other].sends(rig.peers[stalled.other].close_frame(other[0]))
    assert both_are_gone(rig)


def test_answer_of_a_side_that_was_not_told_is_no_answer(rig: Rig) -> None:
    rig.upstream.sends(rig.upstream.frame(frames.BINARY, b"x" * 300)[:100])
    rig.gateway_ends(errors.DRAINING)
    rig.client.sends(rig.client.close_frame(4000))  # crosses the Close it has not got yet
    assert not rig.client.closed
    rig.upstream.sends(b"x" * 204)
    assert rig.client.told == [(1001, "draining")]
    assert rig.client.closed


def test_bytes_behind_the_end_are_dropped(rig: Rig) -> None:
    rig.client.hangs_up()
    before = rig.upstream.got
    rig.obey(rig.session.diverted(Side.UPSTREAM, b"late"))
    assert rig.upstream.got == before


def test_session_dropped_at_once_is_the_gateways_doing(rig: Rig) -> None:
    rig.obey(rig.session.overdue())
    assert rig.client.aborted
    assert rig.upstream.aborted
    assert rig.account == ("gateway", None, "")
    assert both_are_gone(rig)

"""A session that the gateway ends, for a broken rule or reasons of its own (section 5)."""

from __future__ import annotations

import pytest

from proxy import errors
from proxy.relay.commands import Side
from proxy.relay.scanner import MAX_FRAMES
from proxy.relay.session import LINGER
from tests.harness import frames
from tests.unit.relay.rig import BREACH, CLOSE_TIMEOUT, Rig, both_are_gone

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


@pytest.mark.parametrize("side", Side)
def test_bytes_behind_the_answer_to_our_close_change_nothing(rig: Rig, side: Side) -> None:
    """TLS hands over what it has decrypted, also when its socket is being closed."""
    peer = rig.peers[side]
    rig.gateway_ends(errors.DRAINING)
    peer.sends(peer.close_frame(1001))
    assert peer.closed
    assert list(rig.session.diverted(side, peer.frame(frames.PING))) == []


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

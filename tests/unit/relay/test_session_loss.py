"""A session whose peers vanish or half-close, as traces of the wire (section 5)."""

from __future__ import annotations

import pytest

from proxy import errors
from tests.harness import frames
from tests.unit.relay.rig import BREACH, CLOSE_TIMEOUT, Rig, both_are_gone

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

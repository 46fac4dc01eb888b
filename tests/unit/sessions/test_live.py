"""A live session: decisions carried out on two sockets, accounts kept, nothing left behind."""

from __future__ import annotations

import gc

import pytest

from proxy import errors
from proxy.relay.commands import Side
from proxy.relay.scanner import Extensions, Scanner
from proxy.relay.session import LINGER
from proxy.sessions.leg import WRITE_HIGH, WRITE_LOW, Leg
from proxy.sessions.live import LiveSession
from tests.harness import frames
from tests.unit.sessions.scene import (
    CLIENT,
    CLIENT_CLOSE,
    CLOSE_TIMEOUT,
    HELLO,
    REPLY,
    UPSTREAM,
    UPSTREAM_CLOSE,
    Scene,
    make,
)


def test_bytes_flow_and_the_session_is_known(scene: Scene) -> None:
    scene.receives(CLIENT, HELLO)
    scene.receives(UPSTREAM, REPLY)
    assert scene.upstream.written == HELLO
    assert scene.client.written == REPLY
    assert "the-id" in scene.registry
    assert list(scene.registry) == [scene.session]
    assert scene.log.lines == [
        (
            "info",
            "connection_opened",
            {
                "request_id": "the-id",
                "route": "chat",
                "key_id": "legacy-id",
                "client": "192.0.2.7",
                "upstream": "ws://up:1",
            },
        )
    ]


def test_tls_buffers_no_more_than_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, half_close=False)
    assert scene.client.limits == (WRITE_HIGH, WRITE_LOW) == (65536, 16384)


def test_bytes_before_the_beginning_go_nowhere() -> None:
    scene = Scene()
    traffic = scene.registry.totals["x"].traffic[0]
    scanner = Scanner(masked=True, extensions=Extensions.NONE, traffic=traffic)
    with pytest.raises(RuntimeError):
        Leg(scene.session, CLIENT, scanner).data_received(HELLO)


def test_close_handshake_is_carried_out_and_accounted(scene: Scene) -> None:
    scene.receives(CLIENT, HELLO)
    scene.loop.advance(2.5)
    scene.receives(CLIENT, CLIENT_CLOSE)
    scene.receives(UPSTREAM, UPSTREAM_CLOSE)
    assert scene.client.closed
    assert not scene.upstream.closed
    scene.lost(CLIENT)
    scene.fin(UPSTREAM)
    assert scene.upstream.closed
    scene.lost(UPSTREAM)
    assert len(scene.registry) == 0
    assert scene.closed_line == (
        "info",
        {
            "request_id": "the-id",
            "route": "chat",
            "key_id": "legacy-id",
            "client": "192.0.2.7",
            "upstream": "ws://up:1",
            "duration_s": 2.5,
            "initiator": "client",
            "code": 1000,
            "reason": "bye",
            "messages_from_client": 1,
            "messages_from_upstream": 0,
            "bytes_from_client": len(HELLO + CLIENT_CLOSE),
            "bytes_from_upstream": len(UPSTREAM_CLOSE),
        },
    )
    totals = scene.registry.totals["chat"]
    assert totals.closes == {("client", "1000"): 1}
    assert totals.messages == [1, 0]
    assert totals.bytes == [len(HELLO + CLIENT_CLOSE), len(UPSTREAM_CLOSE)]
    assert totals.connection_duration.sum == 2.5


def test_ended_session_leaves_no_timer_behind(scene: Scene) -> None:
    scene.session.end(errors.DRAINING)
    scene.lost(CLIENT)
    scene.lost(UPSTREAM)
    scene.loop.advance(100)
    assert not scene.client.aborted
    assert scene.loop.timers == 0


def test_ended_session_is_freed_without_the_garbage_collector(scene: Scene) -> None:
    scene.session.end(errors.DRAINING)
    was = id(scene.session)
    gc.disable()
    try:
        for side in Side:
            scene.lost(side)
            scene.transports[side].protocol = None  # As every transport does by itself.
        scene.session = None
        left = [each for each in gc.get_objects() if isinstance(each, LiveSession)]
        assert was not in map(id, left)
    finally:
        gc.enable()


def test_silent_peers_are_aborted_when_time_is_over(scene: Scene) -> None:
    scene.session.end(errors.DRAINING)
    assert scene.client.written == frames.frame(8, frames.close_payload(1001, "draining"))
    scene.loop.advance(CLOSE_TIMEOUT - 0.1)
    assert not scene.client.aborted
    scene.loop.advance(0.1)
    assert scene.client.aborted
    assert scene.upstream.aborted


def test_later_deadline_takes_the_place_of_the_earlier(scene: Scene) -> None:
    scene.receives(CLIENT, CLIENT_CLOSE)
    scene.loop.advance(CLOSE_TIMEOUT - 0.1)
    scene.receives(UPSTREAM, UPSTREAM_CLOSE)
    scene.loop.advance(LINGER - 0.1)
    assert not scene.upstream.closed
    assert not scene.upstream.aborted
    scene.loop.advance(0.1)
    assert scene.upstream.closed
    assert not scene.upstream.aborted


def test_ending_session_hears_its_answers(scene: Scene) -> None:
    scene.receives(UPSTREAM, frames.frame(frames.BINARY, b"x" * 100)[:50])
    scene.session.end(errors.DRAINING)
    scene.receives(UPSTREAM, b"x" * 52 + UPSTREAM_CLOSE)
    assert scene.upstream.closed
    assert scene.client.written.endswith(frames.close_payload(1001, "draining"))
    scene.receives(CLIENT, HELLO + CLIENT_CLOSE)
    assert scene.client.closed
    assert HELLO not in scene.upstream.written


def test_violation_is_logged_with_the_rule(scene: Scene) -> None:
    scene.receives(CLIENT, b"\x83\x80")
    assert scene.client.finished
    scene.lost(CLIENT)
    scene.lost(UPSTREAM)
    level, fields = scene.closed_line
    assert level == "warning"
    assert fields["rule"] == "an opcode is reserved"
    assert (fields["initiator"], fields["code"]) == ("gateway", 1002)
    assert fields["reason"] == "protocol_error"


def test_fin_is_passed_on_where_both_sockets_know_it(scene: Scene) -> None:
    assert scene.fin(CLIENT) is True
    assert scene.upstream.finished
    scene.receives(UPSTREAM, REPLY)
    assert scene.client.written == REPLY


def test_fin_ends_a_socket_that_knows_no_half_close(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, half_close=False)
    assert scene.fin(CLIENT) is False
    assert scene.fin(UPSTREAM) is False
    assert not scene.upstream.finished
    scene.receives(CLIENT, b"\x83\x80")  # Told 1002, then FIN: which TLS has not.
    assert not scene.client.finished


def test_upstream_death_behind_its_fin_is_survived(scene: Scene) -> None:
    """Writing behind a FIN raises in asyncio; what we forward to a dead process brings RST."""
    scene.fin(UPSTREAM)
    scene.receives(CLIENT, HELLO)
    scene.lost(UPSTREAM, ConnectionResetError())
    assert scene.client.written.count(b"upstream_lost") == 1
    scene.receives(CLIENT, CLIENT_CLOSE)
    scene.lost(CLIENT)
    level, fields = scene.closed_line
    assert level == "warning"
    assert (fields["code"], fields["reason"]) == (1012, "upstream_lost")


@pytest.mark.parametrize("first", [CLIENT, UPSTREAM])
def test_both_sockets_may_go_in_any_order(scene: Scene, first: Side) -> None:
    scene.lost(first, ConnectionResetError())
    scene.lost(first.other, ConnectionResetError())
    assert len(scene.registry) == 0
    assert scene.closed_line[1]["initiator"] == ("client" if first is CLIENT else "gateway")
    scene.session.end(errors.DRAINING)
    scene.session.abort()
    assert scene.log.lines[-1][1] == "connection_closed"


def test_reset_is_passed_on_as_a_reset_and_a_good_end_as_a_good_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = make(monkeypatch)
    scene.lost(CLIENT, ConnectionResetError())
    assert scene.upstream.aborted
    assert not scene.upstream.closed
    scene = make(monkeypatch)
    scene.lost(CLIENT)
    assert scene.upstream.closed
    assert not scene.upstream.aborted


def test_fault_of_ours_ends_the_session_with_1011_and_its_traceback_in_our_log(
    scene: Scene,
) -> None:
    scene.lost(CLIENT, RuntimeError("the loop closed it because we raised"))
    assert b"internal_error" in scene.upstream.written
    assert (scene.session.state.code, scene.session.state.reason) == (1011, "internal_error")
    level, _, fields = next(line for line in scene.log.lines if line[1] == "internal_error")
    assert level == "error"
    assert isinstance(fields["failure"], RuntimeError)


def test_abort_drops_both_at_once(scene: Scene) -> None:
    scene.session.abort()
    assert scene.client.aborted
    assert scene.upstream.aborted
    scene.lost(CLIENT)
    scene.lost(UPSTREAM)
    assert scene.closed_line[1]["initiator"] == "gateway"

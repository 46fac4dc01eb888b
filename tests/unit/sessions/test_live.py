"""A live session: decisions carried out on two sockets, accounts kept, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from proxy import errors
from proxy.deadlines import Deadlines
from proxy.relay.scanner import MAX_FRAMES, Extensions, Scanner
from proxy.relay.session import LINGER, Side
from proxy.sessions.leg import WRITE_HIGH, WRITE_LOW, Leg
from proxy.sessions.live import LiveSession
from proxy.sessions.registry import Registry
from proxy.sessions.sweeper import INTERVAL, Sweeper
from tests.harness import frames
from tests.unit.loop import FakeLoop, FakeTransport

CLOSE_TIMEOUT = 5.0


class Log:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.lines.append((level, event, fields))


class Scene:
    """One session between two sockets on paper."""

    def __init__(self, *, half_close: bool = True, write_timeout: float | None = 30.0) -> None:
        self.loop = FakeLoop()
        self.log = Log()
        self.registry = Registry()
        self.client = FakeTransport(half_close=half_close)
        self.upstream = FakeTransport()
        self.transports = (self.client, self.upstream)
        totals = self.registry.totals["chat"]
        self.session = LiveSession(
            id="the-id",
            route="chat",
            key_id="legacy",
            client="192.0.2.7",
            upstream="ws://up:1",
            scanners=(
                Scanner(masked=True, extensions=Extensions.NONE, traffic=totals.traffic[0]),
                Scanner(masked=False, extensions=Extensions.NONE, traffic=totals.traffic[1]),
            ),
            close_timeout=CLOSE_TIMEOUT,
            mask=bytes(4),  # so that what is said stays readable
            write_timeout=write_timeout,
            registry=self.registry,
            deadlines=Deadlines(self.loop),
            log=self.log,
            loop=self.loop,
        )
        self.session.begin(self.client, self.upstream)

    def receives(self, side: Side, data: bytes) -> None:
        self.transports[side].protocol.data_received(data)

    def fin(self, side: Side) -> bool:
        return self.transports[side].protocol.eof_received()

    def lost(self, side: Side, failure: Exception | None = None) -> None:
        self.transports[side].protocol.connection_lost(failure)

    @property
    def closed_line(self) -> tuple[str, dict[str, Any]]:
        level, event, fields = self.log.lines[-1]
        assert event == "connection_closed"
        return level, fields


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return make(monkeypatch)


def make(monkeypatch: pytest.MonkeyPatch, **how: Any) -> Scene:
    scene = Scene(**how)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: scene.loop)
    return scene


CLIENT, UPSTREAM = Side
HELLO = frames.masked(frames.TEXT, b"hello")
REPLY = frames.frame(frames.TEXT, b"reply")
CLIENT_CLOSE = frames.masked(frames.CLOSE, frames.close_payload(1000, "bye"))
UPSTREAM_CLOSE = frames.frame(frames.CLOSE, frames.close_payload(1000, "bye"))


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
                "key_id": "legacy",
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
            "key_id": "legacy",
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


def test_abort_drops_both_at_once(scene: Scene) -> None:
    scene.session.abort()
    assert scene.client.aborted
    assert scene.upstream.aborted
    scene.lost(CLIENT)
    scene.lost(UPSTREAM)
    assert scene.closed_line[1]["initiator"] == "gateway"


# Back-pressure -------------------------------------------------------------------------------


def test_slow_reader_stops_its_peer_and_time_is_counted(scene: Scene) -> None:
    scene.client.protocol.pause_writing()
    assert not scene.upstream.reading
    assert scene.client.reading
    scene.client.protocol.pause_writing()
    scene.loop.advance(1.5)
    scene.client.protocol.resume_writing()
    assert scene.upstream.reading
    scene.client.protocol.resume_writing()
    assert scene.registry.totals["chat"].backpressure == [0.0, 1.5]


def test_pauses_are_minded_while_ending_too(scene: Scene) -> None:
    scene.session.end(errors.DRAINING)
    scene.upstream.protocol.pause_writing()
    assert not scene.client.reading
    scene.loop.advance(1)
    scene.upstream.protocol.resume_writing()
    assert scene.client.reading
    assert scene.registry.totals["chat"].backpressure == [1.0, 0.0]


def test_reader_that_is_gone_keeps_nobody_waiting(scene: Scene) -> None:
    scene.client.protocol.pause_writing()
    scene.lost(CLIENT, ConnectionResetError())
    assert scene.upstream.reading


def test_peer_that_is_gone_is_not_read_again(scene: Scene) -> None:
    scene.client.protocol.pause_writing()
    scene.lost(UPSTREAM)
    scene.client.protocol.resume_writing()
    assert not scene.upstream.reading


# Fairness ------------------------------------------------------------------------------------


def test_many_small_frames_are_taken_in_turns_and_in_order(scene: Scene) -> None:
    read = b"".join(
        frames.masked(frames.TEXT, n.to_bytes(2, "big")) for n in range(2 * MAX_FRAMES + 5)
    )
    scene.receives(CLIENT, read)
    assert scene.upstream.written == read[: MAX_FRAMES * 8]
    assert not scene.client.reading
    scene.loop.advance()
    assert scene.upstream.written == read
    assert scene.client.reading
    assert scene.session.state.scanners[CLIENT].bytes == len(read)


def test_paused_sender_stays_paused_behind_its_turns(scene: Scene) -> None:
    read = frames.masked(frames.PING) * (MAX_FRAMES + 1)
    scene.receives(CLIENT, read)
    scene.upstream.protocol.pause_writing()
    scene.upstream.protocol.resume_writing()
    assert not scene.client.reading  # The rest of its read comes first.
    scene.upstream.protocol.pause_writing()
    scene.loop.advance()
    assert scene.upstream.written == read
    assert not scene.client.reading  # The upstream is slow still.
    scene.upstream.protocol.resume_writing()
    assert scene.client.reading


def test_rest_of_a_read_is_the_ending_sessions_to_judge(scene: Scene) -> None:
    scene.receives(CLIENT, frames.masked(frames.PING) * MAX_FRAMES + HELLO + CLIENT_CLOSE)
    scene.session.end(errors.DRAINING)
    scene.loop.advance()
    assert HELLO not in scene.upstream.written
    assert scene.client.closed


def test_rest_of_a_read_dies_with_its_socket(scene: Scene) -> None:
    scene.receives(CLIENT, frames.masked(frames.PING) * MAX_FRAMES + HELLO)
    scene.lost(CLIENT, ConnectionResetError())
    scene.loop.advance()
    assert HELLO not in scene.upstream.written


def test_many_frames_of_an_ending_session_are_read_at_once(scene: Scene) -> None:
    scene.session.end(errors.DRAINING)
    scene.receives(CLIENT, frames.masked(frames.PING) * (3 * MAX_FRAMES) + CLIENT_CLOSE)
    assert scene.client.closed


# The registry and the sweep ------------------------------------------------------------------


def test_all_sessions_can_be_ended(scene: Scene) -> None:
    scene.registry.end_all(errors.DRAINING)
    assert b"draining" in scene.client.written
    assert b"draining" in scene.upstream.written


def sweep(scene: Scene, seconds: int, sweeper: Sweeper) -> None:
    for _ in range(seconds):
        scene.loop.advance(1)
        sweeper.sweep(scene.loop.now)


@pytest.mark.parametrize(
    ("stalled", "told"),
    [(CLIENT, (UPSTREAM, b"client_stalled")), (UPSTREAM, (CLIENT, b"upstream_stalled"))],
)
def test_leg_that_accepts_nothing_is_aborted(
    scene: Scene, stalled: Side, told: tuple[Side, bytes]
) -> None:
    sweeper = Sweeper(scene.registry, scene.loop)
    scene.transports[stalled].pending = 1000
    sweep(scene, 30, sweeper)
    assert not scene.transports[stalled].aborted
    sweep(scene, 2, sweeper)
    assert scene.transports[stalled].aborted
    assert told[1] in scene.transports[told[0]].written


def test_leg_that_accepts_something_lives(scene: Scene) -> None:
    sweeper = Sweeper(scene.registry, scene.loop)
    scene.client.pending = 1000
    for _ in range(10):
        sweep(scene, 20, sweeper)
        scene.client.pending -= 1
    assert not scene.client.aborted


def test_leg_with_nothing_pending_lives(scene: Scene) -> None:
    sweeper = Sweeper(scene.registry, scene.loop)
    sweep(scene, 100, sweeper)
    scene.client.pending = 10
    sweep(scene, 20, sweeper)
    scene.client.pending = 0
    sweep(scene, 20, sweeper)
    scene.client.pending = 10
    sweep(scene, 20, sweeper)
    assert not scene.client.aborted


def test_write_deadline_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make(monkeypatch, write_timeout=None)
    scene.client.pending = 1000
    sweep(scene, 100, Sweeper(scene.registry, scene.loop))
    assert not scene.client.aborted


def test_leg_that_is_gone_is_not_asked(scene: Scene) -> None:
    scene.lost(CLIENT)
    scene.client.pending = 1000
    sweep(scene, 100, Sweeper(scene.registry, scene.loop))
    assert b"client_stalled" not in scene.upstream.written


def test_sweeper_looks_every_second_and_knows_how_late_it_is(scene: Scene) -> None:
    looks: list[float] = []
    sweeper = Sweeper(scene.registry, scene.loop)
    sweeper.sweep = looks.append
    sweeper.start()
    scene.loop.advance(3 * INTERVAL)
    assert len(looks) == 3
    assert sweeper.lag == 0
    scene.loop.now += 2.5  # The loop was busy.
    scene.loop.advance()
    assert sweeper.lag == pytest.approx(1.5)
    sweeper.stop()
    sweeper.stop()
    scene.loop.advance(10)
    assert len(looks) == 4

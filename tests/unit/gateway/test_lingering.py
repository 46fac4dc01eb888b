"""The end of a refused connection: its answer arrives, and it does not stay for ever."""

from __future__ import annotations

import asyncio
import errno

import pytest

from proxy.gateway.lingering import Lingering
from proxy.relay.scanner import MAX_FRAMES, Extensions, Scanner, Traffic
from tests.harness import frames
from tests.unit.loop import FakeLoop, FakeTransport

CLOSE = frames.masked(frames.CLOSE, frames.close_payload(3000, "key_missing"))


class Scene:
    """A client that was just answered."""

    def __init__(self, loop: FakeLoop, *, half_close: bool = True, until_close: bool = False):
        self.loop = loop
        self.transport = FakeTransport(half_close=half_close)
        self.transport.pause_reading()
        self.gone = 0
        scanner = Scanner(masked=True, extensions=Extensions.NONE, traffic=Traffic())
        Lingering(
            self.transport,
            seconds=2.0,
            gone=self._is_gone,
            scanner=scanner if until_close else None,
        )
        self.protocol = self.transport.protocol

    def _is_gone(self) -> None:
        self.gone += 1


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    loop = FakeLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return loop


def test_answered_client_is_told_nothing_more_comes_and_read_to_its_end(loop: FakeLoop) -> None:
    scene = Scene(loop)
    assert scene.transport.finished
    assert scene.transport.reading
    assert not scene.transport.is_closing()
    scene.protocol.data_received(b"GET /smuggled HTTP/1.1\r\n\r\n" * 1000)
    assert scene.protocol.eof_received() is False
    scene.protocol.connection_lost(None)
    assert scene.gone == 1
    loop.advance(10)
    assert not scene.transport.aborted
    assert loop.timers == 0


def test_answered_client_over_tls_is_closed(loop: FakeLoop) -> None:
    scene = Scene(loop, half_close=False)
    assert scene.transport.closed
    assert not scene.transport.finished


def test_client_that_reset_the_connection_ends_nothing_else(
    loop: FakeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_eof(_: FakeTransport) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(FakeTransport, "write_eof", write_eof)
    scene = Scene(loop)
    scene.protocol.connection_lost(None)
    assert scene.gone == 1


def test_client_that_does_not_leave_is_dropped(loop: FakeLoop) -> None:
    for until_close in (True, False):
        scene = Scene(loop, until_close=until_close)
        loop.advance(1.9)
        assert not scene.transport.aborted
        loop.advance(0.1)
        assert scene.transport.aborted


@pytest.mark.parametrize("half_close", [True, False])
def test_client_that_hears_its_refusal_in_a_close_may_answer(
    loop: FakeLoop, *, half_close: bool
) -> None:
    scene = Scene(loop, half_close=half_close, until_close=True)
    assert not scene.transport.finished
    assert not scene.transport.closed
    scene.protocol.data_received(frames.masked(frames.TEXT, b"crossed your Close") + CLOSE[:4])
    assert not scene.transport.closed
    scene.protocol.data_received(CLOSE[4:])
    assert scene.transport.closed


def test_client_that_closed_first_is_not_waited_for(loop: FakeLoop) -> None:
    scanner = Scanner(masked=True, extensions=Extensions.NONE, traffic=Traffic())
    assert scanner.feed(CLOSE) is not None
    transport = FakeTransport()
    Lingering(transport, seconds=2.0, gone=lambda: None, scanner=scanner)
    assert transport.closed
    assert not transport.aborted


def test_answer_behind_a_flood_is_heard(loop: FakeLoop) -> None:
    scene = Scene(loop, until_close=True)
    scene.protocol.data_received(frames.masked(frames.PING) * (2 * MAX_FRAMES))
    scene.protocol.data_received(CLOSE)
    assert not scene.transport.closed
    loop.advance()
    assert scene.transport.closed


def test_flood_is_looked_at_in_turns_and_read_on_behind(loop: FakeLoop) -> None:
    scene = Scene(loop, until_close=True)
    scene.protocol.data_received(frames.masked(frames.PING) * (3 * MAX_FRAMES))
    for _ in range(2):
        assert not scene.transport.reading
        loop.turn()
    assert scene.transport.reading
    scene.protocol.data_received(CLOSE)
    assert scene.transport.closed


def test_flood_of_a_client_that_left_is_not_looked_at(loop: FakeLoop) -> None:
    scene = Scene(loop, until_close=True)
    scene.protocol.data_received(frames.masked(frames.PING) * (2 * MAX_FRAMES))
    scene.protocol.connection_lost(None)
    loop.advance()
    assert not scene.transport.reading


def test_client_that_goes_on_with_nonsense_is_read_until_it_leaves_or_time_is_over(
    loop: FakeLoop,
) -> None:
    scene = Scene(loop, until_close=True)
    scene.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    # Closed now, with bytes unread, its socket would reset, and its Close with it.
    scene.protocol.data_received(CLOSE)
    assert not scene.transport.closed
    loop.advance(2.0)
    assert scene.transport.aborted

"""An attempt: one answer for its caller, whatever the upstream does, and nothing left behind."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from proxy.deadlines import Deadlines
from proxy.upstream.attempt import Attempt, Patience
from proxy.upstream.pool import COOLING
from tests.unit.loop import FakeLoop, FakeTransport
from tests.unit.upstream.scene import REFUSAL, REQUEST, SWITCH, Caller, Changes, member, route

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

# The protocol, on paper ----------------------------------------------------------------------


class Connecting:
    """A connecting that is under way."""

    def __await__(self) -> Generator[None]:
        yield


class Task:
    """What waits for it, by hand."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._coroutine.send(None)
        self.was_cancelled = False

    def cancel(self) -> None:
        self.was_cancelled = True

    def fails(self, failure: BaseException) -> None:
        with pytest.raises(StopIteration):
            self._coroutine.throw(failure)

    def is_over(self) -> None:
        """It was cancelled, and hears of it."""
        with pytest.raises(asyncio.CancelledError):
            self._coroutine.throw(asyncio.CancelledError())

    def succeeds(self) -> None:
        with pytest.raises(StopIteration):
            self._coroutine.send(None)


class Loop(FakeLoop):
    def create_task(self, coroutine: Any, *, name: str) -> Task:
        del name
        self.task = Task(coroutine)
        return self.task


class Scene:
    """A dial under way; times are those of the defaults: 5 s to connect, 10 s to answer."""

    def __init__(self, **timeouts: str | None) -> None:
        self.loop = Loop()
        self.caller = Caller()
        self.attempts: set[Attempt] = set()
        self.transport = FakeTransport()
        self.changes = Changes()
        self.member = member(changed=self.changes)
        patience = Patience.of(route(**timeouts).timeouts, Deadlines(self.loop))
        self.dial = Attempt(self.member, REQUEST, self.caller, patience, self.attempts)
        self.dial.begin(Connecting, patience.connect, self.loop)

    def connects(self) -> None:
        self.dial.connection_made(self.transport)
        self.loop.task.succeeds()

    @property
    def told(self) -> list[tuple[str, Any]]:
        return self.caller.told


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_request_is_sent_and_the_answer_told(scene: Scene) -> None:
    assert len(scene.attempts) == 1
    scene.loop.advance(2)
    scene.connects()
    assert scene.transport.written == REQUEST
    assert scene.dial.connected_in == 2
    scene.dial.data_received(SWITCH[:20])
    assert not scene.told
    scene.dial.data_received(SWITCH[20:] + b"\x81\x02hi")
    assert scene.told == [("answered", 101)]
    assert scene.dial.behind == b"\x81\x02hi"
    assert not scene.transport.aborted
    assert not scene.attempts
    scene.loop.advance(100)
    assert len(scene.told) == 1
    assert not scene.transport.aborted


def test_bytes_behind_the_answer_are_kept_in_order(scene: Scene) -> None:
    scene.connects()
    scene.dial.data_received(SWITCH)
    scene.dial.data_received(b"one")
    scene.dial.data_received(b"two")
    assert scene.dial.behind == b"onetwo"


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (OSError(111, "Connect call failed ('10.0.0.1', 1)"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("all of them failed"), "all of them failed"),
    ],
)
def test_upstream_that_cannot_be_reached(scene: Scene, failure: OSError, cause: str) -> None:
    scene.loop.task.fails(failure)
    assert scene.told == [("unanswered", ("upstream_unreachable", cause))]
    assert not scene.attempts
    scene.loop.advance(100)
    assert len(scene.told) == 1


def test_failure_of_ours_is_told_as_one(scene: Scene) -> None:
    failure = RuntimeError("a fault")
    scene.loop.task.fails(failure)
    assert scene.told == [("broken", failure)]
    assert not scene.attempts


def test_connection_that_takes_too_long(scene: Scene) -> None:
    scene.loop.advance(5)
    assert scene.told == [("unanswered", ("upstream_timeout", "no connection in time"))]
    assert scene.loop.task.was_cancelled
    assert not scene.attempts
    scene.dial.connection_made(scene.transport)  # It came at last.
    assert scene.transport.aborted
    assert not scene.transport.written


def test_answer_that_takes_too_long(scene: Scene) -> None:
    scene.loop.advance(4)
    scene.connects()
    scene.loop.advance(9.9)
    scene.dial.data_received(SWITCH[:-1])
    assert not scene.told
    scene.loop.advance(0.1)
    assert scene.told == [("unanswered", ("upstream_timeout", "no answer in time"))]
    assert scene.transport.aborted


def test_timeouts_can_be_switched_off() -> None:
    scene = Scene(upstream_connect=None, upstream_handshake=None)
    scene.loop.advance(1000)
    scene.connects()
    scene.loop.advance(1000)
    assert not scene.told


@pytest.mark.parametrize("way", ["eof_received", "connection_lost"])
@pytest.mark.parametrize(
    ("said", "code"), [(b"", "upstream_unreachable"), (b"HTTP/1.1 1", "upstream_invalid")]
)
def test_upstream_that_hangs_up(scene: Scene, way: str, said: bytes, code: str) -> None:
    scene.connects()
    if said:
        scene.dial.data_received(said)
    if way == "eof_received":
        assert scene.dial.eof_received() is False
        assert scene.told
    scene.dial.connection_lost(None)
    ((what, (told, _)),) = scene.told
    assert (what, told) == ("unanswered", code)
    assert scene.transport.aborted


def test_upstream_that_speaks_something_else(scene: Scene) -> None:
    scene.connects()
    scene.dial.data_received(b"SSH-2.0-OpenSSH\r\n")
    ((what, (told, _)),) = scene.told
    assert (what, told) == ("unanswered", "upstream_invalid")
    assert scene.transport.aborted


@pytest.mark.parametrize("connected", [True, False])
def test_caller_that_left_hears_nothing(scene: Scene, *, connected: bool) -> None:
    if connected:
        scene.connects()
    scene.dial.cancel()
    assert not scene.attempts
    if connected:
        assert scene.transport.aborted
        scene.dial.connection_lost(None)
    else:
        assert scene.loop.task.was_cancelled
        scene.loop.task.is_over()
        scene.dial.connection_made(scene.transport)
        assert scene.transport.aborted
    scene.loop.advance(100)
    assert not scene.told


def test_failure_after_the_caller_left_is_nobodys(scene: Scene) -> None:
    scene.dial.cancel()
    scene.loop.task.fails(OSError("late"))
    assert not scene.told


def test_fault_after_the_caller_left_is_nobodys(scene: Scene) -> None:
    scene.dial.cancel()
    scene.loop.task.fails(ValueError("late"))
    assert not scene.told


def test_what_is_in_the_socket_already_is_not_sent_again(scene: Scene) -> None:
    scene.dial.unsent = REQUEST[7:]
    scene.connects()
    assert scene.transport.written == REQUEST[7:]


def test_request_that_is_in_the_socket_already_is_not_written(scene: Scene) -> None:
    scene.dial.unsent = b""
    scene.connects()
    assert not scene.transport.written


# What its target is told ----------------------------------------------------------------------


def test_target_that_cannot_be_connected_to_is_left_alone(scene: Scene) -> None:
    scene.loop.task.fails(ConnectionRefusedError(111, "Connection refused"))
    assert scene.changes.told == [("ws://up.test:9000/ws", "Connection refused")]
    assert scene.member.cooling_until == scene.loop.now + COOLING


def test_target_that_is_silent_is_left_alone(scene: Scene) -> None:
    scene.loop.advance(5)
    assert scene.changes.told == [("ws://up.test:9000/ws", "no connection in time")]


def test_target_that_was_reached_is_back(scene: Scene) -> None:
    scene.member.missed(scene.loop.now, "away")
    scene.connects()
    assert scene.member.up
    assert [cause for _, cause in scene.changes.told] == ["away", None]


@pytest.mark.parametrize("way", ["hangs up", "is late", "talks nonsense"])
def test_target_that_was_reached_and_does_not_answer_stays_up(scene: Scene, way: str) -> None:
    scene.connects()
    if way == "hangs up":
        scene.dial.connection_lost(None)
    elif way == "is late":
        scene.loop.advance(10)
    else:
        scene.dial.data_received(b"SSH-2.0-OpenSSH\r\n")
    assert scene.told[0][0] == "unanswered"
    assert scene.member.up
    assert not scene.changes.told


def test_connection_that_nobody_waits_for_says_nothing_of_its_target(scene: Scene) -> None:
    scene.dial.cancel()
    scene.loop.advance(100)
    assert scene.member.up


# The body of a refusal -----------------------------------------------------------------------


@pytest.fixture
def refused(scene: Scene) -> Scene:
    scene.connects()
    scene.dial.data_received(REFUSAL + b"bo")
    assert scene.told.pop() == ("answered", 403)
    return scene


def test_body_is_read_to_its_end(refused: Scene) -> None:
    refused.dial.read_body(refused.caller)
    assert not refused.told
    refused.dial.data_received(b"dy")
    assert refused.told == [("body_read", b"body")]
    assert refused.transport.aborted
    assert not refused.attempts


def test_body_that_came_with_its_head_is_told_at_once(refused: Scene) -> None:
    refused.dial.data_received(b"dy and more")
    refused.dial.read_body(refused.caller)
    assert refused.told == [("body_read", b"body")]


@pytest.mark.parametrize("before", [True, False])
def test_body_that_ends_with_the_connection(refused: Scene, *, before: bool) -> None:
    if before:
        refused.dial.eof_received()
        refused.transport.close()  # As a transport does whose protocol says no to staying open.
        refused.dial.read_body(refused.caller)
    else:
        refused.dial.read_body(refused.caller)
        refused.dial.eof_received()
    refused.dial.connection_lost(None)
    assert refused.told == [("body_read", b"bo")]


def test_body_that_does_not_end_is_cut_in_time(refused: Scene) -> None:
    refused.dial.read_body(refused.caller)
    refused.loop.advance(5)
    assert refused.told == [("body_read", b"bo")]
    assert refused.transport.aborted


def test_caller_may_leave_while_the_body_is_read(refused: Scene) -> None:
    refused.dial.read_body(refused.caller)
    refused.dial.cancel()
    refused.dial.data_received(b"dy")
    refused.loop.advance(100)
    assert not refused.told
    assert not refused.attempts

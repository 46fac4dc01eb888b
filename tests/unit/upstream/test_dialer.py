"""Dialling: one answer for whoever called, whatever the upstream does, and nothing left behind."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from proxy.deadlines import Deadlines
from proxy.routes import Route
from proxy.upstream.dialer import Dial, Dialer
from proxy.upstream.resolver import Resolver
from tests.harness.certificates import Certificates
from tests.unit.build import config, head
from tests.unit.loop import FakeLoop, FakeTransport

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.errors import Refused
    from proxy.handshake.head import AnswerHead

REQUEST = b"GET /ws HTTP/1.1\r\nHost: up.test\r\n\r\n"
SWITCH = head("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket")
REFUSAL = head("HTTP/1.1 403 Forbidden", "Content-Length: 4")


class Caller:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.heard = asyncio.Event()

    def _hear(self, what: str, value: Any) -> None:
        self.told.append((what, value))
        self.heard.set()

    def answered(self, answer: AnswerHead) -> None:
        self._hear("answered", answer.status)

    def unanswered(self, refused: Refused) -> None:
        self._hear("unanswered", (refused.code, refused.cause))

    def broken(self, failure: BaseException) -> None:
        self._hear("broken", failure)

    def body_read(self, body: bytes) -> None:
        self._hear("body_read", body)


def route(upstream: Any = "ws://up.test:9000/ws", **timeouts: str | None) -> Route:
    made = config({"upstream": upstream, "timeouts": timeouts})
    return Route.of(made, made.routes[0])


# The protocol, on paper ----------------------------------------------------------------------


class Task:
    """A connecting that is under way."""

    def __init__(self) -> None:
        self.was_cancelled = False
        self.done: Any = None

    def add_done_callback(self, done: Any) -> None:
        self.done = done

    def cancel(self) -> None:
        self.was_cancelled = True

    def fails(self, failure: BaseException) -> None:
        self.failure = failure
        self.done(self)

    def succeeds(self) -> None:
        self.failure = None
        self.done(self)

    def exception(self) -> BaseException | None:
        return self.failure

    def cancelled(self) -> bool:
        return self.was_cancelled


class Loop(FakeLoop):
    def create_task(self, coroutine: Any, *, name: str) -> Task:
        del coroutine, name
        self.task = Task()
        return self.task


class Scene:
    """A dial under way; times are those of the defaults: 5 s to connect, 10 s to answer."""

    def __init__(self, **timeouts: str | None) -> None:
        self.loop = Loop()
        self.caller = Caller()
        self.dials: set[Dial] = set()
        self.transport = FakeTransport()
        self.dial = Dial(route(**timeouts), REQUEST, self.caller, Deadlines(self.loop), self.dials)
        self.dial.begin(None, self.loop)

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
    assert len(scene.dials) == 1
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
    assert not scene.dials
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
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("all of them failed"), "all of them failed"),
    ],
)
def test_upstream_that_cannot_be_reached(scene: Scene, failure: OSError, cause: str) -> None:
    scene.loop.task.fails(failure)
    assert scene.told == [("unanswered", ("upstream_unreachable", cause))]
    assert not scene.dials
    scene.loop.advance(100)
    assert len(scene.told) == 1


def test_failure_of_ours_is_told_as_one(scene: Scene) -> None:
    failure = RuntimeError("a fault")
    scene.loop.task.fails(failure)
    assert scene.told == [("broken", failure)]
    assert not scene.dials


def test_connection_that_takes_too_long(scene: Scene) -> None:
    scene.loop.advance(5)
    assert scene.told == [("unanswered", ("upstream_timeout", "no connection in time"))]
    assert scene.loop.task.was_cancelled
    assert not scene.dials
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
    assert not scene.dials
    if connected:
        assert scene.transport.aborted
        scene.dial.connection_lost(None)
    else:
        assert scene.loop.task.was_cancelled
        scene.loop.task.fails(asyncio.CancelledError())
        scene.dial.connection_made(scene.transport)
        assert scene.transport.aborted
    scene.loop.advance(100)
    assert not scene.told


def test_failure_after_the_caller_left_is_nobodys(scene: Scene) -> None:
    scene.dial.cancel()
    scene.loop.task.was_cancelled = False
    scene.loop.task.fails(OSError("late"))
    assert not scene.told


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
    assert not refused.dials


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
    assert not refused.dials


# The dialer, on loopback ---------------------------------------------------------------------


class Upstream(asyncio.Protocol):
    """Answers a request head with a 101 and hangs on."""

    requests: list[bytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert data == REQUEST
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.write(SWITCH)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


async def answer_of(to: Route) -> tuple[str, Any]:
    """What a caller is told who dials a route's upstream."""
    loop = asyncio.get_running_loop()
    resolver = Resolver(loop.time)
    deadlines = Deadlines(loop)
    dialer = Dialer([to], resolver, deadlines, loop)
    caller = Caller()
    dial = dialer.dial(to, REQUEST, caller)
    assert len(dialer) == 1
    await caller.heard.wait()
    assert len(dialer) == 0
    dial.cancel()
    deadlines.clear()
    await resolver.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (told,) = caller.told
    return told


def port_of(server: asyncio.Server) -> int:
    return server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_upstream_is_dialled_by_address_and_by_name(host: str) -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Upstream, "127.0.0.1", 0) as server:
        assert await answer_of(route(f"ws://{host}:{port_of(server)}")) == ("answered", 101)


async def test_upstream_is_dialled_over_a_unix_socket(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    path = tmp_path / "up.sock"
    async with await loop.create_unix_server(Upstream, path):
        assert await answer_of(route(f"ws+unix:{path}:/ws")) == ("answered", 101)
    what, (code, _) = await answer_of(route(f"ws+unix:{tmp_path}/missing.sock:/ws"))
    assert (what, code) == ("unanswered", "upstream_unreachable")


def secure(port: int, **tls: Any) -> Route:
    return route({"targets": [f"wss://localhost:{port}"], "tls": tls})


async def test_upstream_is_dialled_over_tls(certificates: Certificates) -> None:
    loop = asyncio.get_running_loop()
    context = certificates.server_context()
    async with await loop.create_server(Upstream, "127.0.0.1", 0, ssl=context) as server:
        port = port_of(server)
        trusted = secure(port, ca=str(certificates.authority))
        assert await answer_of(trusted) == ("answered", 101)
        what, (code, cause) = await answer_of(secure(port))
        assert (what, code) == ("unanswered", "upstream_unreachable")
        assert cause.startswith("TLS: ")
        wrong = secure(port, ca=str(certificates.authority), server_name="elsewhere.test")
        assert (await answer_of(wrong))[1][0] == "upstream_unreachable"


async def test_upstream_without_tls_is_no_wss_upstream() -> None:
    loop = asyncio.get_running_loop()

    class Plain(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            transport.close()

    async with await loop.create_server(Plain, "127.0.0.1", 0) as server:
        what, (code, cause) = await answer_of(secure(port_of(server)))
        assert (what, code) == ("unanswered", "upstream_unreachable")
        assert "127.0.0.1" not in cause


async def test_port_nobody_listens_on_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        to = route(f"ws://127.0.0.1:{unused.getsockname()[1]}")
        what, (code, _) = await answer_of(to)
    assert (what, code) == ("unanswered", "upstream_unreachable")

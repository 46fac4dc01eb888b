"""The dialer on loopback: over TCP, TLS and Unix sockets, to one target or the next."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest

from proxy.deadlines import Deadlines
from proxy.upstream.dialer import Dialer
from proxy.upstream.pool import Pool, pools_of
from proxy.upstream.resolver import Resolver
from tests.harness.certificates import Certificates
from tests.unit.upstream.scene import REQUEST, SWITCH, Caller, Changes, route

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.routes import Route
    from proxy.upstream.pool import Member


USER_TIMEOUT: Any = getattr(socket, "TCP_USER_TIMEOUT", None)


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


class Scene:
    """A route's pool, and dials of it."""

    def __init__(self, to: Route) -> None:
        self.route = to
        self.loop = asyncio.get_running_loop()
        self.changes = Changes()
        pools = pools_of([to], load=lambda _: 0, changed=self.changes)
        self.pool: Pool = pools[to.name]
        self.resolver = Resolver(self.loop.time)
        self.deadlines = Deadlines(self.loop)
        self.dialer = Dialer([to], pools, self.resolver, self.deadlines, self.loop)
        # The targets that were asked.
        self.asked: list[str] = []

    def request_for(self, member: Member) -> bytes:
        self.asked.append(member.text)
        return REQUEST

    async def dial(self) -> tuple[str, Any]:
        """What a caller is told."""
        caller = Caller()
        dial = self.dialer.dial(self.route, self.request_for, caller)
        assert len(self.dialer.attempts) <= 1
        await caller.heard.wait()
        assert len(self.dialer.attempts) == 0
        dial.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (told,) = caller.told
        return told

    async def close(self) -> None:
        self.deadlines.clear()
        await self.resolver.close()


async def answer_of(to: Route) -> tuple[str, Any]:
    """What a caller is told who dials a route's upstream."""
    scene = Scene(to)
    try:
        return await scene.dial()
    finally:
        await scene.close()


def port_of(server: asyncio.Server) -> int:
    return server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_upstream_is_dialled_by_address_and_by_name(host: str) -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Upstream, "127.0.0.1", 0) as server:
        assert await answer_of(route(f"ws://{host}:{port_of(server)}")) == ("answered", 101)


class Unready(socket.socket):
    """A socket whose connection takes its time."""

    waits = False

    def connect_ex(self, *place: Any) -> int:
        self.waits = True
        return super().connect_ex(*place)

    def send(self, *data: Any) -> int:
        if self.waits:
            self.waits = False
            raise BlockingIOError(errno.EAGAIN, "not yet")
        return super().send(*data)


class UnreadyOnBsd(Unready):
    """As on BSD, where asking again for what is done is a failure."""

    def send(self, *data: Any) -> int:
        if self.waits:
            self.waits = False
            raise OSError(errno.ENOTCONN, "not yet")
        return super().send(*data)

    def connect(self, *place: Any) -> None:
        raise OSError(errno.EISCONN, f"{place} is connected")


class Unroutable(socket.socket):
    """A socket whose system knows no way at once."""

    def connect_ex(self, *_: Any) -> int:
        return errno.ENETUNREACH


@pytest.mark.parametrize("kind", [Unready, UnreadyOnBsd])
async def test_upstream_that_is_further_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, kind: type[socket.socket]
) -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Upstream, "127.0.0.1", 0) as server:
        monkeypatch.setattr(socket, "socket", kind)
        assert await answer_of(route(f"ws://127.0.0.1:{port_of(server)}")) == ("answered", 101)


async def test_upstream_without_a_way_to_it_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Unroutable)
    what, (code, cause) = await answer_of(route("ws://127.0.0.1:9"))
    assert (what, code, cause) == ("unanswered", "upstream_unreachable", "Network is unreachable")


async def test_upstream_that_refuses_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    scene = Scene(route(f"ws://127.0.0.1:{port}"))
    try:
        for _ in range(2):  # The second time it is looked for anew.
            what, (code, cause) = await scene.dial()
            assert (what, code) == ("unanswered", "upstream_unreachable")
            assert "refused" in cause
    finally:
        await scene.close()


@pytest.mark.skipif(USER_TIMEOUT is None, reason="Linux alone has TCP_USER_TIMEOUT")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_kernel_gives_an_upstream_up_as_its_route_says(host: str) -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Upstream, "127.0.0.1", 0) as server:
        scene = Scene(route(f"ws://{host}:{port_of(server)}"))
        caller = Caller()
        dial = scene.dialer.dial(scene.route, scene.request_for, caller)
        await caller.heard.wait()
        sock = dial.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, USER_TIMEOUT) == 40_000
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        dial.transport.abort()
        await scene.close()


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


# Several targets -----------------------------------------------------------------------------


@pytest.fixture
def closed_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


@pytest.fixture
def silent_port():
    """A port whose queue of connections is full: it answers to nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            waiting.append(one)
        yield listener.getsockname()[1]
        for one in waiting:
            one.close()


async def test_first_target_refuses_and_the_second_serves(closed_port: int) -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Upstream, "127.0.0.1", 0) as server:
        bad, good = f"ws://127.0.0.1:{closed_port}", f"ws://127.0.0.1:{port_of(server)}/x"
        scene = Scene(route({"targets": [bad, good]}))
        assert await scene.dial() == ("answered", 101)
        assert scene.asked == [bad, good]
        assert [text for text, cause in scene.changes.told if cause] == [bad]
        for _ in range(3):
            assert await scene.dial() == ("answered", 101)
        assert scene.asked[2:] == [good] * 3
        await scene.close()


async def test_silent_target_leaves_time_for_the_next(silent_port: int) -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Upstream, "127.0.0.1", 0) as server:
        bad, good = f"ws://127.0.0.1:{silent_port}", f"ws://127.0.0.1:{port_of(server)}"
        scene = Scene(route({"targets": [bad, good]}, upstream_connect="600ms"))
        began = loop.time()
        assert await scene.dial() == ("answered", 101)
        assert 0.25 < loop.time() - began < 0.6
        assert scene.asked == [bad, good]
        await scene.close()


async def test_target_that_hangs_up_at_once_leaves_the_handshake_to_the_next() -> None:
    loop = asyncio.get_running_loop()

    class Leaving(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.close()

    async with (
        await loop.create_server(Leaving, "127.0.0.1", 0) as leaving,
        await loop.create_server(Upstream, "127.0.0.1", 0) as server,
    ):
        bad, good = f"ws://127.0.0.1:{port_of(leaving)}", f"ws://127.0.0.1:{port_of(server)}"
        scene = Scene(route({"targets": [bad, good]}))
        assert await scene.dial() == ("answered", 101)
        assert scene.asked == [bad, good]
        assert not scene.changes.told
        await scene.close()


async def test_targets_that_all_refuse_are_unreachable_every_time(closed_port: int) -> None:
    to = f"ws://127.0.0.1:{closed_port}"
    scene = Scene(route({"targets": [to, f"{to}/x"]}))
    for _ in range(2):
        what, (code, cause) = await scene.dial()
        assert (what, code) == ("unanswered", "upstream_unreachable")
        assert f"{to}: " in cause
        assert f"{to}/x: " in cause
    assert len(scene.asked) == 4
    await scene.close()


@pytest.mark.parametrize("count", [1, 2])
async def test_targets_that_are_all_unhealthy_are_not_asked(count: int) -> None:
    scene = Scene(route({"targets": ["ws://127.0.0.1:1", "ws://127.0.0.1:1/x"][:count]}))
    for member in scene.pool.members:
        member.judged(healthy=False, cause="it answered 500")
    assert await scene.dial() == ("unanswered", ("upstream_unhealthy", None))
    assert not scene.asked
    await scene.close()


async def test_name_that_moved_is_looked_up_before_the_next_try(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Upstream, "127.0.0.1", 0) as server:
        ports = [closed_port, port_of(server)]

        async def getaddrinfo(*_: Any, **__: Any) -> Any:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", ports.pop(0)))]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        scene = Scene(route("ws://moves.test:9000"))
        assert (await scene.dial())[0] == "unanswered"
        monkeypatch.undo()
        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        assert await scene.dial() == ("answered", 101)
        assert [cause is None for _, cause in scene.changes.told] == [False, True]
        await scene.close()


async def test_probe_is_no_dial_of_a_client() -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Upstream, "127.0.0.1", 0) as server:
        scene = Scene(route(f"ws://127.0.0.1:{port_of(server)}"))
        caller = Caller()
        dial = scene.dialer.probe(scene.route, scene.pool.members[0], REQUEST, caller)
        assert len(scene.dialer.attempts) == 0
        await caller.heard.wait()
        assert caller.told == [("answered", 101)]
        dial.transport.abort()
        await scene.close()
        await asyncio.sleep(0)

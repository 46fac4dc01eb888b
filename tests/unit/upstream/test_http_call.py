"""Ordinary requests to the targets of a route: whoever is reached first answers.

The tests lean on aiohttp as it is: they fail loudly when what `_Way`, `_Request` and `_Reader`
touch has changed.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from proxy.deadlines import Deadlines
from proxy.errors import Refused
from proxy.upstream.dialer import Dialer
from proxy.upstream.http_call import Asking, HttpCall, UpstreamLost
from proxy.upstream.pool import pools_of
from proxy.upstream.resolver import Resolver
from tests.harness.certificates import Certificates
from tests.unit.upstream.scene import Changes, route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from proxy.routes import Route
    from proxy.upstream.pool import Member

OK = b"HTTP/1.1 200 Fine\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\n\r\nbody"
GET = b"GET /x?y HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class Service(asyncio.Protocol):
    """Answers the head of a request, and keeps what it heard."""

    def __init__(self, answer: bytes, *, leaves: bool = False) -> None:
        self._answer = answer
        self._leaves = leaves
        self.heard = b""
        self.count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.count += 1

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if data and self.heard.count(b"\r\n\r\n") >= 1 and self._answer is not None:
            self.transport.write(self._answer)
            if self._leaves:
                self.transport.close()


class Scene:
    """Calls to the targets of a route."""

    def __init__(self, to: Route) -> None:
        self.loop = asyncio.get_running_loop()
        self.route = to
        self.changes = Changes()
        self._deadlines = Deadlines(self.loop)
        self._resolver = Resolver(self.loop.time)
        self.pools = pools_of([to], load=lambda _: 0, changed=self.changes)
        dialer = Dialer([to], self.pools, self._resolver, self._deadlines, self.loop)
        self.call = HttpCall(dialer, to, self.loop)
        # The targets that were asked.
        self.asked: list[str] = []

    def _asking(self, member: Member) -> Asking:
        self.asked.append(member.text)
        return Asking(self.method, b"/x?y", [b"Host: h"])

    async def ask(self, method: bytes = b"GET", body: Any = None) -> tuple[int, bytes]:
        """The status and the reason of the answer."""
        self.method = method
        answer, reason = await self.call.ask(self._asking, body, b"")
        self.headers = answer.headers
        return answer.status, reason

    async def read(self) -> bytes:
        """The whole body of the answer."""
        pieces = []
        while piece := await self.call.read():
            pieces.append(piece)
        return b"".join(pieces)

    async def close(self) -> None:
        await self.call.close()
        self._deadlines.clear()
        await self._resolver.close()


@asynccontextmanager
async def serving(make: Callable[[], asyncio.Protocol], **options: Any) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(make, "127.0.0.1", 0, **options) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def scene_of(upstream: Any, **timeouts: str | None) -> AsyncIterator[Scene]:
    scene = Scene(route(upstream, **timeouts))
    try:
        yield scene
    finally:
        await scene.close()


@pytest.fixture
def dead() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_request_is_sent_as_it_is_and_its_answer_read_as_it_is() -> None:
    service = Service(OK)
    async with serving(lambda: service) as port, scene_of(f"ws://127.0.0.1:{port}") as scene:
        assert await scene.ask() == (200, b"Fine")
        assert scene.headers.all(b"x-a") == [b"1", b"2"]
        assert await scene.read() == b"body"
        assert service.heard == GET


async def test_head_goes_before_the_body_is_there() -> None:
    service = Service(OK)
    wanted = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        await wanted.wait()
        yield b""

    async with serving(lambda: service) as port, scene_of(f"ws://127.0.0.1:{port}") as scene:
        assert await scene.ask(b"POST", body()) == (200, b"Fine")
        assert b"Transfer-Encoding: chunked\r\n" in service.heard
        wanted.set()


async def test_unix_socket_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "up.sock"
    service = Service(OK)
    async with (
        await asyncio.get_running_loop().create_unix_server(lambda: service, path),
        scene_of(f"ws+unix:{path}:/ws") as scene,
    ):
        assert await scene.ask() == (200, b"Fine")
        assert await scene.read() == b"body"


async def test_tls_is_that_of_the_route(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    service = Service(OK)
    context = certificates.server_context()
    async with serving(lambda: service, ssl=context) as port:
        targets = [f"wss://127.0.0.1:{port}"]
        tls = {"ca": str(certificates.authority), "server_name": "localhost"}
        async with scene_of({"targets": targets, "tls": tls}) as scene:
            assert await scene.ask() == (200, b"Fine")
            assert await scene.read() == b"body"
        async with scene_of({"targets": targets}) as scene:
            with pytest.raises(Refused) as refused:
                await scene.ask()
            assert refused.value.code == "upstream_unreachable"
            assert "TLS: " in (refused.value.cause or "")


async def test_next_target_is_asked_where_one_cannot_be_reached(dead: int) -> None:
    service = Service(OK)
    async with serving(lambda: service) as port:
        bad, good = f"ws://127.0.0.1:{dead}", f"ws://127.0.0.1:{port}"
        async with scene_of({"targets": [bad, good]}) as scene:
            assert await scene.ask(b"POST", pieces(b"once")) == (200, b"Fine")
            assert scene.asked == [bad, good]
            assert service.heard.count(b"POST") == 1
            assert [text for text, cause in scene.changes.told if cause is not None] == [bad]


async def test_refusal_names_every_target_in_the_log_alone(dead: int) -> None:
    targets = [f"ws://127.0.0.1:{dead}", f"ws://localhost:{dead}"]
    async with scene_of({"targets": targets}) as scene:
        with pytest.raises(Refused) as refused:
            await scene.ask()
    assert refused.value.code == "upstream_unreachable"
    assert all(target in (refused.value.cause or "") for target in targets)
    assert str(dead) not in refused.value.detail


async def test_nobody_is_asked_where_all_are_unhealthy(dead: int) -> None:
    async with scene_of(f"ws://127.0.0.1:{dead}") as scene:
        scene.pools["chat"].members[0].judged(healthy=False, cause="it answered 500")
        with pytest.raises(Refused) as refused:
            await scene.ask()
    assert (refused.value.code, scene.asked) == ("upstream_unhealthy", [])


async def test_connecting_has_its_time() -> None:
    with socket.socket() as full:  # Its queue is full: nobody is let in.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            waiting.append(sock)
        async with scene_of(f"ws://127.0.0.1:{port}", upstream_connect="50ms") as scene:
            with pytest.raises(Refused) as refused:
                await scene.ask()
        for sock in waiting:
            sock.close()
    assert refused.value.code == "upstream_timeout"
    assert "no connection in time" in (refused.value.cause or "")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "upstream_unreachable"),
        (b"HTTP/1.1 200 OK\r\nX: a", "upstream_invalid"),
        (b"no http at all\r\n\r\n", "upstream_invalid"),
        (b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", "upstream_invalid"),
    ],
)
async def test_service_that_gives_no_answer_is_not_asked_twice(answer: bytes, code: str) -> None:
    service = Service(answer, leaves=True)
    async with serving(lambda: service) as port:
        one = f"ws://127.0.0.1:{port}"
        async with scene_of({"targets": [one, f"{one}/other"]}) as scene:
            with pytest.raises(Refused) as refused:
                await scene.ask(b"POST", pieces(b"body"))
        assert (refused.value.code, scene.asked) == (code, [one])
        assert service.count == 1


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE"])
async def test_request_that_might_be_sent_again_is_not(method: bytes) -> None:
    service = Service(b"", leaves=True)
    async with serving(lambda: service) as port, scene_of(f"ws://127.0.0.1:{port}") as scene:
        with pytest.raises(Refused) as refused:
            await scene.ask(method)
    assert (refused.value.code, service.count) == ("upstream_unreachable", 1)


@pytest.mark.parametrize(
    ("method", "answer", "status", "body"),
    [
        (b"HEAD", OK, 200, b""),
        (b"GET", b"HTTP/1.1 204 None\r\n\r\nbody", 204, b""),
        (b"GET", b"HTTP/1.1 304 Same\r\nContent-Length: 4\r\n\r\nbody", 304, b""),
        (b"GET", b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK + b"and junk", 200, b"body"),
    ],
)
async def test_what_an_answer_should_not_have_does_not_spoil_it(
    method: bytes, answer: bytes, status: int, body: bytes
) -> None:
    service = Service(answer)
    async with serving(lambda: service) as port, scene_of(f"ws://127.0.0.1:{port}") as scene:
        assert (await scene.ask(method))[0] == status
        assert await scene.read() == body


@pytest.mark.parametrize("broken", [b"zz\r\n", b"2\r\nabc\r\n"])
async def test_answer_whose_chunks_make_no_sense_is_lost(broken: bytes) -> None:
    head = b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
    service = Service(head)
    async with serving(lambda: service) as port, scene_of(f"ws://127.0.0.1:{port}") as scene:
        await scene.ask()
        assert await scene.call.read() == b"ok"
        service.transport.write(broken)
        with pytest.raises(UpstreamLost):
            await asyncio.wait_for(scene.read(), 2)


@pytest.mark.parametrize("count", [1000, 1001])
async def test_interim_answers_have_an_end(count: int) -> None:
    service = Service(b"HTTP/1.1 102 Wait\r\n\r\n" * count + OK)
    async with serving(lambda: service) as port, scene_of(f"ws://127.0.0.1:{port}") as scene:
        if count == 1000:
            assert await scene.ask() == (200, b"Fine")
            assert await scene.read() == b"body"
            return
        with pytest.raises(Refused) as refused:
            await scene.ask()
        assert refused.value.code == "upstream_invalid"


@pytest.mark.parametrize(
    ("lines", "fits"), [(b"X: a\r\n" * 256, True), (b"X: %b\r\n" % (b"a" * 40_000) * 2, False)]
)
async def test_answer_head_may_be_as_large_as_that_of_a_handshake(lines: bytes, fits: bool) -> None:  # noqa: FBT001
    service = Service(b"HTTP/1.1 204 None\r\n" + lines + b"\r\n")
    async with serving(lambda: service) as port, scene_of(f"ws://127.0.0.1:{port}") as scene:
        if fits:
            assert (await scene.ask())[0] == 204
            return
        with pytest.raises(Refused) as refused:
            await scene.ask()
        assert refused.value.code == "upstream_invalid"


def _of_length(body: bytes) -> bytes:
    return b"HTTP/1.1 200 Fine\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _in_chunks(body: bytes) -> bytes:
    chunks = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    framed = b"".join([b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks])
    return b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n" + framed


@pytest.mark.parametrize("size", [100_000, 140_000, 250_000, 1_000_000])
@pytest.mark.parametrize("framed", [_of_length, _in_chunks])
async def test_answer_larger_than_what_is_read_at_once_comes_whole(
    framed: Callable[[bytes], bytes], size: int
) -> None:
    body = b"y" * size
    service = Service(framed(body))  # It stays, and says nothing more.
    async with (
        serving(lambda: service) as port,
        scene_of(f"ws://127.0.0.1:{port}") as scene,
        asyncio.timeout(5),
    ):
        for _ in range(3):
            await scene.ask()
            heard = b""
            while len(heard) < size:
                await asyncio.sleep(0.002)  # A reader that is slower than its service.
                heard += await scene.call.read()
            assert heard == body
            if framed is _of_length:
                assert await scene.call.read() == b"", "its end is told"
            await scene.call.close()


async def test_answer_cut_short_is_lost() -> None:
    service = Service(OK[:-1], leaves=True)
    async with serving(lambda: service) as port, scene_of(f"ws://127.0.0.1:{port}") as scene:
        await scene.ask()
        with pytest.raises(UpstreamLost):
            await scene.read()


async def test_service_hears_that_nobody_wants_its_answer() -> None:
    service = Service(OK[:-1])
    lost = asyncio.Event()
    service.connection_lost = lambda _: lost.set()  # type: ignore[method-assign]
    async with serving(lambda: service) as port, scene_of(f"ws://127.0.0.1:{port}") as scene:
        await scene.ask()
        await scene.call.close()
        await asyncio.wait_for(lost.wait(), 2)


async def test_body_that_ends_as_the_service_hangs_up_is_no_fault_of_ours() -> None:
    service = Service(b"HTTP/1.1 200 Fine\r\nContent-Length: 9\r\n\r\nbody", leaves=True)
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    async with serving(lambda: service) as port, scene_of(f"ws://127.0.0.1:{port}") as scene:

        async def body() -> AsyncIterator[bytes]:
            (transport,) = scene.call._way._opened
            yield b"all of it"
            while not transport.is_closing():  # noqa: ASYNC110 - in the very next turn
                await asyncio.sleep(0)

        assert await scene.ask(b"POST", body()) == (200, b"Fine")
        with pytest.raises(UpstreamLost):
            await scene.read()
    gc.collect()
    await asyncio.sleep(0)
    assert not faults


async def test_service_that_takes_nothing_is_not_waited_for() -> None:
    class Full(Service):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    service, size = Full(b""), 16 << 20
    lost = asyncio.Event()
    service.connection_lost = lambda _: lost.set()  # type: ignore[method-assign]
    async with serving(lambda: service) as port, scene_of(f"ws://127.0.0.1:{port}") as scene:
        asking = asyncio.create_task(scene.ask(b"POST", pieces(b"x" * size)))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.wait([asking])
        await scene.close()
        service.transport.resume_reading()
        await asyncio.wait_for(lost.wait(), 2)
    assert len(service.heard) < size

"""Checks of targets, on loopback and in virtual time: who is asked, how often, and who hears."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from proxy.deadlines import Deadlines
from proxy.errors import Refused
from proxy.handshake.answer import accept_for
from proxy.routes import RouteTable
from proxy.upstream.upstreams import Upstreams
from tests.harness import frames
from tests.harness.heads import Request
from tests.unit.build import answer, config
from tests.unit.loop import in_virtual_time
from tests.unit.sessions.scene import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.upstream.pool import Member

# Halfway between early and late.
NOISE = 127


def noise(count: int) -> bytes:
    return bytes([NOISE]) * count


class Scene:
    """Upstreams of one route with `health`."""

    def __init__(self, targets: list[str], **upstream: Any) -> None:
        loop = asyncio.get_running_loop()
        made = config({"upstream": {"targets": targets, "health": {}, **upstream}})
        self.log = Log()
        self.deadlines = Deadlines(loop)
        self.upstreams = Upstreams(
            RouteTable.of(made),
            load=lambda _: 0,
            noise=noise,
            deadlines=self.deadlines,
            log=self.log,
            loop=loop,
        )

    @property
    def up(self) -> list[bool]:
        return [up for _, _, up in self.upstreams.states()]

    @property
    def events(self) -> list[str]:
        return [event for _, event, _ in self.log.lines]

    async def close(self) -> None:
        await self.upstreams.close()
        self.deadlines.clear()


# When and how often, in virtual time -----------------------------------------------------------


class Probes:
    """In place of the dialer: says what becomes of each check."""

    def __init__(self, says: Callable[[int], int | Exception | None]) -> None:
        self.asked_at: list[float] = []
        self.cancelled = 0
        self._says = says

    def probe(self, _route: Any, _member: Member, _request: bytes, caller: Any) -> Any:
        loop = asyncio.get_running_loop()
        said = self._says(len(self.asked_at))
        self.asked_at.append(loop.time() - 1000.0)
        if isinstance(said, Refused):
            loop.call_soon(caller.unanswered, said)
        elif isinstance(said, Exception):
            loop.call_soon(caller.broken, said)
        elif said is not None:
            loop.call_soon(caller.answered, answer(f"HTTP/1.1 {said} X"))
            loop.call_soon(caller.body_read, b"")
        return self

    def read_body(self, _caller: Any) -> None:
        """It comes by itself."""

    def cancel(self) -> None:
        self.cancelled += 1


def checked(
    says: Callable[[int], int | Exception | None], *, seconds: float, **health: Any
) -> tuple[Probes, Scene]:
    """What came of checks of one target for a while."""

    async def story() -> tuple[Probes, Scene]:
        scene = Scene(["ws://192.0.2.1"], health={"path": "/healthz", **health})
        probes = Probes(says)
        scene.upstreams._checkers["chat"]._dialer = probes  # type: ignore[assignment]
        scene.upstreams.start()
        await asyncio.sleep(seconds)
        await scene.close()
        return probes, scene

    return in_virtual_time(story())


def test_checks_go_on_at_their_interval() -> None:
    probes, scene = checked(lambda _: 200, seconds=45)
    assert probes.asked_at == pytest.approx([0, 10, 20, 30, 40], abs=0.1)
    assert scene.up == [True]
    assert not scene.events


def test_target_goes_down_and_comes_back_once_each() -> None:
    results = [200, 500, 500, 500, 500, 200, 500, 200, 200, 200]
    _, scene = checked(lambda n: results[n], seconds=95)
    assert scene.log.lines == [
        (
            "warning",
            "upstream_down",
            {"route": "chat", "upstream": "ws://192.0.2.1", "cause": "it answered 500"},
        ),
        ("info", "upstream_up", {"route": "chat", "upstream": "ws://192.0.2.1"}),
    ]
    assert scene.up == [True]


def test_failing_connection_of_a_check_counts_as_one_failure() -> None:
    refused = Refused("upstream_unreachable", cause="Connection refused")
    _, scene = checked(lambda _: refused, seconds=15)
    assert scene.up == [True]
    _, scene = checked(lambda _: refused, seconds=25)
    assert scene.up == [False]
    assert scene.log.events("upstream_down")[0]["cause"] == "Connection refused"


def test_check_that_takes_too_long_fails_and_is_given_up() -> None:
    probes, scene = checked(lambda _: None, seconds=15, unhealthy_after=1)
    assert scene.log.events("upstream_down")[0]["cause"] == "the check took too long"
    assert probes.asked_at == pytest.approx([0, 10], abs=0.1)
    assert probes.cancelled == 2


def test_passed_check_shows_that_a_target_can_be_reached_again() -> None:
    async def story() -> None:
        scene = Scene(["ws://192.0.2.1"], health={"path": "/healthz"})
        scene.upstreams._checkers["chat"]._dialer = Probes(lambda _: 200)  # type: ignore[assignment]
        (member,) = scene.upstreams._members()
        member.missed(1000.0, "refused")
        scene.upstreams.start()
        await asyncio.sleep(1)
        await scene.close()
        assert scene.events == ["upstream_down", "upstream_up"]

    in_virtual_time(story())


def test_fault_of_ours_says_nothing_of_the_target_and_ends_no_checks() -> None:
    failure = RuntimeError("a fault")
    probes, scene = checked(lambda _: failure, seconds=25, unhealthy_after=1)
    assert len(probes.asked_at) == 3
    assert scene.up == [True]
    assert scene.events == ["internal_error"] * 3
    assert scene.log.lines[0][2]["failure"] is failure


def test_nothing_is_checked_without_being_asked_for() -> None:
    async def story() -> None:
        scene = Scene(["ws://192.0.2.1"], health=None)
        probes = Probes(lambda _: 500)
        scene.upstreams._checkers["chat"]._dialer = probes  # type: ignore[assignment]
        scene.upstreams.start()
        await asyncio.sleep(100)
        await scene.close()
        assert not probes.asked_at
        assert scene.up == [True]

    in_virtual_time(story())


def test_closing_gives_up_the_check_under_way() -> None:
    probes, _ = checked(lambda _: None, seconds=1)
    assert probes.cancelled == 1


# What is asked, on loopback ------------------------------------------------------------------


class Service(asyncio.Protocol):
    """Answers each head with what the test wants, and keeps what it hears."""

    heard: list[bytes]
    reply: Callable[[Request], bytes]
    lost: list[Exception | None]
    over: asyncio.Event

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:
        first = not self.data
        self.data += data
        if first:
            self.transport.write(type(self).reply(Request.parse(data.partition(b"\r\n\r\n")[0])))

    def eof_received(self) -> None:
        type(self).heard.append(self.data)

    def connection_lost(self, exc: Exception | None) -> None:
        type(self).lost.append(exc)
        type(self).over.set()


async def asked(reply: Callable[[Request], bytes], **upstream: Any) -> tuple[list[bytes], Scene]:
    """What a service hears of its first check, and what was made of its answer."""
    loop = asyncio.get_running_loop()
    heard: list[bytes] = []
    over = asyncio.Event()
    parts = {"reply": staticmethod(reply), "heard": heard, "lost": [], "over": over}
    service = type("Asked", (Service,), parts)
    async with await loop.create_server(service, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        scene = Scene([f"ws://127.0.0.1:{port}/ws"], **upstream)
        scene.upstreams.start()
        async with asyncio.timeout(5):
            await over.wait()
        await asyncio.sleep(0.05)
        await scene.close()
        assert service.lost == [None]  # type: ignore[attr-defined]
    return heard, scene


ONCE = {"unhealthy_after": 1, "timeout": "1s"}


def switch(request: Request) -> bytes:
    accept = accept_for((request.get("Sec-WebSocket-Key") or "").encode()).decode()
    lines = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}"]
    return "\r\n".join(["HTTP/1.1 101 X", *lines, "", ""]).encode()


async def test_websocket_is_opened_and_closed_in_good_order() -> None:
    (heard,), scene = await asked(switch, health=ONCE, headers={"Authorization": "Bearer {route}"})
    raw, _, behind = heard.partition(b"\r\n\r\n")
    head = Request.parse(raw)
    assert head.first_line == "GET /ws HTTP/1.1"
    assert head.get("Authorization") == "Bearer chat"
    mask = bytes([NOISE]) * 4
    assert behind == frames.frame(frames.CLOSE, (1000).to_bytes(2, "big"), mask=mask)
    assert scene.up == [True]
    assert not scene.events


async def test_header_that_speaks_of_a_caller_is_not_in_a_check() -> None:
    (heard,), _ = await asked(switch, health=ONCE, headers={"X-User": "{subject}", "X-A": "b"})
    head = Request.parse(heard.partition(b"\r\n\r\n")[0])
    assert head.get("X-User") is None
    assert head.get("X-A") == "b"


async def test_websocket_that_is_not_opened_is_down() -> None:
    reply = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"
    _, scene = await asked(lambda _: reply, health=ONCE)
    assert scene.log.events("upstream_down")[0]["cause"] == "it answered 401"


@pytest.mark.parametrize(("status", "up"), [(200, True), (503, False)])
async def test_path_is_asked_for(status: int, *, up: bool) -> None:
    reply = f"HTTP/1.1 {status} X\r\nContent-Length: 4\r\n\r\nbody".encode()
    (heard,), scene = await asked(lambda _: reply, health={"path": "/healthz", **ONCE})
    assert Request.parse(heard).first_line == "GET /healthz HTTP/1.1"
    assert scene.up == [up]
    assert scene.events == ([] if up else ["upstream_down"])


async def test_answer_whose_body_does_not_end_counts() -> None:
    reply = b"HTTP/1.1 200 X\r\n\r\nbody"
    _, scene = await asked(
        lambda _: reply, health={"path": "/healthz", "unhealthy_after": 1, "timeout": "100ms"}
    )
    assert scene.up == [True]


# Names ---------------------------------------------------------------------------------------


async def test_name_without_an_address_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    scene = Scene(["ws://nobody.test", "ws://192.0.2.1", "ws+unix:/x.sock"], health=None)
    scene.upstreams.start()
    await asyncio.sleep(0.01)
    assert scene.up == [False, True, True]
    assert scene.log.events("upstream_down") == [
        {"route": "chat", "upstream": "ws://nobody.test", "cause": "Name or service not known"}
    ]
    await scene.close()


async def test_upstreams_that_never_began_can_be_closed() -> None:
    await Scene(["ws://192.0.2.1"]).close()

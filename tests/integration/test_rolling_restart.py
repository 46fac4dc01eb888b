"""Services and configurations that change under load: who hears of it, and who does not."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from tests.harness.gateway import Gateway
from tests.harness.operators import AdminApi
from tests.harness.process import BUSY
from tests.integration.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from websockets.asyncio.server import Server, ServerConnection

CLIENTS = 20
NEWCOMERS = 5
SESSIONS = 200
RELOADS = 5
# Seconds between a client's messages.
PACE = 0.01


class Target:
    """A service that says its name before what it sends back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._port = 0
        self._server: Server

    async def begin(self) -> None:
        """Listens, the second time where it did the first time."""
        self._server = await serve(
            self._echo, "127.0.0.1", self._port, compression=None, ping_interval=None
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def _echo(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                await connection.send(f"{self.name} {message!s}")

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    @property
    def sessions(self) -> int:
        return len(self._server.connections)

    async def crash(self) -> None:
        """Vanishes without a word."""
        for connection in await self._refuse():
            connection.transport.abort()
        await self._server.wait_closed()

    async def move(self) -> None:
        """Takes no more, and asks its clients to come again."""
        live = await self._refuse()
        await asyncio.gather(*(connection.close(4001, "moving") for connection in live))
        await self._server.wait_closed()

    async def _refuse(self) -> Iterable[ServerConnection]:
        """Listens no more; returns the connections that are left."""
        self._server.close(close_connections=False)
        await asyncio.sleep(0)  # It is a task that stops to listen.
        assert not self._server.sockets
        return self._server.connections


class Crowd:
    """Clients that send and hear without end, and come again at once when they are sent away."""

    def __init__(self, gateway: Gateway) -> None:
        self._url = f"{gateway.url}/app"
        self._leaving = False
        self._tasks: list[asyncio.Task[None]] = []
        # Echoes heard, by client.
        self.heard: Counter[int] = Counter()
        # Of each session that was ended: the target's name, close code and reason.
        self.ends: list[tuple[str, int, str]] = []

    def join(self, count: int) -> None:
        begin = len(self._tasks)
        self._tasks += [
            asyncio.create_task(self._client(number)) for number in range(begin, begin + count)
        ]

    async def leave(self) -> None:
        self._leaving = True
        await asyncio.gather(*self._tasks)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition; a client that fails ends it at once."""
        deadline = time.monotonic() + 5 + BUSY
        while not condition():
            assert time.monotonic() < deadline, (self.ends, self.heard)
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    async def go_on(self) -> None:
        """Waits until each has heard something that it has yet to say."""
        marks = dict(self.heard)
        await self.until(lambda: all(self.heard[who] > marks[who] + 1 for who in marks))

    async def _client(self, number: int) -> None:
        while not self._leaving:
            target = ""
            async with connect(
                self._url,
                additional_headers={"X-Api-Key": KEY},
                compression=None,
                ping_interval=None,
                proxy=None,
                open_timeout=10 + BUSY,
            ) as session:
                try:
                    while not self._leaving:
                        asked = f"{number}.{self.heard[number]}"
                        await session.send(asked)
                        target, _, echo = str(await session.recv()).partition(" ")
                        assert echo == asked
                        self.heard[number] += 1
                        await asyncio.sleep(PACE)
                except ConnectionClosed as closed:
                    told = closed.rcvd or Close(1006, "cut without a Close")
                    self.ends.append((target, told.code, told.reason))


def configuration(*targets: Target) -> dict[str, Any]:
    return {
        "keys": [{"name": "test", "secret": KEY}],
        "store": "memory:",
        "routes": [
            {"name": "app", "path": "/app", "upstream": {"targets": [each.url for each in targets]}}
        ],
    }


def outcomes(gateway: Gateway) -> dict[str, float]:
    """Handshakes by outcome, but for outcomes that there were none of."""
    found = {}
    for name, value in gateway.metrics().items():
        outcome = re.search(r'outcome="(\w+)"', name)
        if name.startswith("wskeeper_handshakes_total") and outcome and value:
            found[outcome[1]] = value
    return found


@pytest.mark.parametrize(
    ("how", "told"), [("crash", (1012, "upstream_lost")), ("move", (4001, "moving"))]
)
def test_restart_of_one_target_ends_its_sessions_alone_and_new_ones_go_elsewhere(
    tmp_path: Path, how: str, told: tuple[int, str]
) -> None:
    async def story() -> None:
        one, two = Target("one"), Target("two")
        for target in one, two:
            await target.begin()
        with Gateway(tmp_path, configuration(one, two)) as gateway:
            crowd = Crowd(gateway)
            crowd.join(CLIENTS)
            await crowd.until(lambda: len(crowd.heard) == CLIENTS)
            assert (one.sessions, two.sessions) == (CLIENTS // 2, CLIENTS // 2)

            await getattr(one, how)()
            await crowd.until(lambda: two.sessions == CLIENTS)
            crowd.join(NEWCOMERS)
            await crowd.until(lambda: two.sessions == CLIENTS + NEWCOMERS)
            await crowd.go_on()
            assert crowd.ends == [("one", *told)] * (CLIENTS // 2)

            await one.begin()
            await getattr(two, how)()
            await crowd.until(lambda: one.sessions == CLIENTS + NEWCOMERS)
            await crowd.go_on()
            assert crowd.ends[CLIENTS // 2 :] == [("two", *told)] * (CLIENTS + NEWCOMERS)

            await crowd.leave()
            opened = CLIENTS + NEWCOMERS + len(crowd.ends)
            assert outcomes(gateway) == {"accepted": opened}
        await one.crash()

    asyncio.run(story())


def test_reloads_under_load_lose_no_message(tmp_path: Path) -> None:
    async def story() -> None:
        target = Target("one")
        await target.begin()
        with Gateway(tmp_path, configuration(target)) as gateway:
            crowd, api = Crowd(gateway), AdminApi(gateway)
            started = yaml.safe_load(gateway.config_path.read_text())
            crowd.join(SESSIONS)
            await crowd.until(lambda: len(crowd.heard) == SESSIONS)
            for number in range(RELOADS):
                started["health_path"] = f"/ready{number}"
                gateway.config_path.write_text(yaml.safe_dump(started))
                answer = await asyncio.to_thread(api.do, "POST", "/reload")
                assert (answer["changed"], answer["closed"]) == (["health_path"], 0)
                await crowd.go_on()
            await crowd.leave()
            assert crowd.ends == []
            assert outcomes(gateway) == {"accepted": SESSIONS}
        await target.crash()

    asyncio.run(story())

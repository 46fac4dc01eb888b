"""A gateway in this process, its service and its clients, all on one event loop."""

from __future__ import annotations

import asyncio
import io
import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml

from proxy import logs
from proxy.app import Gateway
from proxy.config.load import load
from proxy.events import EventRing
from proxy.stores.open import open_store
from tests.harness import frames
from tests.harness.heads import Head, accept_for, upgrade
from tests.harness.process import BUSY

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from proxy.stores.store import Usage

# Within which a change of a key is felt, and everything else happens, in seconds.
AT_ONCE = 1.0 + BUSY
ROUTES = ("app", "other")


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The service: every frame comes back; a Close ends it."""
    try:
        head = Head.parse(await reader.readuntil(b"\r\n\r\n"))
        accept = accept_for(head.get("Sec-WebSocket-Key") or "")
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )
        buffer = bytearray()
        while data := await reader.read(65536):
            buffer += data
            while (frame := frames.take(buffer)) is not None:
                writer.write(frames.frame(frame.opcode, frame.payload, fin=frame.fin))
                if frame.opcode == frames.CLOSE:
                    return
    except (OSError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


class Session:
    """A client's session that was answered 101."""

    def __init__(
        self, route: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.route = route
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()

    async def read_frame(self) -> frames.Frame:
        while (frame := frames.take(self._buffer)) is None:
            data = await asyncio.wait_for(self._reader.read(65536), AT_ONCE)
            assert data, "the session is gone without a Close"
            self._buffer += data
        return frame

    async def talk(self, text: bytes) -> None:
        """A message there and back."""
        self._writer.write(frames.masked(frames.TEXT, text))
        frame = await self.read_frame()
        assert (frame.opcode, frame.payload) == (frames.TEXT, text), frame

    async def say_close(self) -> None:
        self._writer.write(frames.masked(frames.CLOSE, frames.close_payload(1000)))
        frame = await self.read_frame()
        assert frame.close_code == 1000, frame
        await self.leave()

    async def hear_close(self, code: int, reason: str) -> None:
        frame = await self.read_frame()
        assert frame.opcode == frames.CLOSE, frame
        assert (frame.close_code, frame.close_reason) == (code, reason)
        await self.leave()

    async def leave(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return


class Household:
    """Started and stopped again as often as it takes; keys and usage lie in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._stream = io.StringIO()
        self._gateway: Gateway | None = None
        self._service = self.run(asyncio.start_server(_serve, "127.0.0.1", 0))
        self._operator = self.run(_operator())
        self.public = self.admin = 0
        self.start()

    def run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(what)

    @property
    def log(self) -> str:
        return self._stream.getvalue()

    def start(self) -> None:
        port = self._service.sockets[0].getsockname()[1]
        path = self._folder / "wskeeper.yaml"
        config = {
            "listen": "127.0.0.1:0",
            "admin": {"listen": "127.0.0.1:0"},
            "store": "sqlite:keys.db",
            "timeouts": {"close": "500ms"},
            "limits": {"auth_failures_per_minute": None},
            "drain": {"spread": "0s"},
            "routes": [
                {"name": name, "path": f"/{name}", "upstream": f"ws://127.0.0.1:{port}"}
                for name in ROUTES
            ],
        }
        path.write_text(yaml.safe_dump(config))
        self.run(self._start(path))
        self.public, self.admin = (self._port(name) for name in ("public", "admin"))

    async def _start(self, path: Path) -> None:
        log = logs.logger(level="debug", form="json", stream=self._stream)
        self._gateway = Gateway(
            load(path, environ={}).config,
            log,
            self._loop,
            events=EventRing(time.time),
            set_level=log.set_level,
        )
        await self._gateway.start()

    def _port(self, listener: str) -> int:
        """Where the gateway says that it listens now."""
        events = [json.loads(line) for line in self.log.splitlines()]
        found = [event["address"] for event in events if event.get("listener") == listener]
        return int(found[-1].rpartition(":")[2])

    def stop(self) -> None:
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            self.run(gateway.drain())
            self.run(gateway.close())

    def close(self) -> None:
        self.stop()
        self.run(self._operator.close())
        self._service.close()
        self.run(asyncio.sleep(0.01))
        self._loop.close()

    def usage(self) -> list[Usage]:
        """What the file says, while nobody has it open."""
        with closing(open_store("sqlite:keys.db", create=False, folder=self._folder)) as store:
            return store.usage(since=0)

    async def api(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        url = f"http://127.0.0.1:{self.admin}/api/v1{path}"
        async with self._operator.request(method, url, json=body or {}) as answer:
            return answer.status, await answer.json() if answer.status != 204 else None

    async def connections(self) -> dict[str, float]:
        """`wskeeper_connections` by route."""
        async with self._operator.get(f"http://127.0.0.1:{self.admin}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        name = 'wskeeper_connections{route="'
        return {
            line.removeprefix(name).partition('"')[0]: float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith(name)
        }

    async def connect(self, secret: str, route: str) -> Session | str:
        """A session, or the code of the refusal."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.public)
        writer.write(upgrade(f"/{route}", key=secret))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), AT_ONCE)
        if head.startswith(b"HTTP/1.1 101 "):
            return Session(route, reader, writer)
        session = Session(route, reader, writer)
        await session.leave()
        _, _, rest = head.decode("latin-1").partition("X-Wskeeper-Code: ")
        return rest.partition("\r\n")[0]


async def _operator() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()

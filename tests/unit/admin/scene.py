"""The admin listener on a real socket, before a gateway on paper."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aiohttp import web

from proxy.admin.access import Access, AdminToken
from proxy.admin.desk import AdminDesk
from proxy.admin.failures import TokenFailures
from proxy.admin.logins import Logins
from proxy.admin.protocol import AdminProtocol
from proxy.admin.reload import Reloaded
from proxy.admin.server import application
from proxy.events import EventRing
from proxy.gateway.rules import ReloadRecord
from proxy.keys.key import Key, Secret, digest_of
from proxy.keys.principal import holder_of
from proxy.keys.ring import KeyRing
from proxy.metrics.scrape import Metrics
from proxy.stores.keeper import StoreKeeper
from proxy.stores.memory import MemoryStore
from proxy.stores.store import StoreUnavailable
from tests.harness.heads import Response
from tests.unit.build import config
from tests.unit.sessions.scene import House
from tests.unit.sessions.scene import Scene as SessionScene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proxy.admin.hosting import Pages
    from proxy.admin.try_page.page import TryPage
    from proxy.metrics.exposition import Form
    from proxy.stores.store import Usage

CANARY = "CANARY-9b1d7f3e5a"
# 2027-01-15T08:00:00Z
NOW = 1_800_000_000.0
ROLES = ("viewer", "operator", "admin")
TOKENS = {role: f"{role}-token-{CANARY}" for role in ROLES}
ECHO = {
    "name": "echo",
    "path": "/echo",
    "host": "echo.test",
    "carriers": ["bearer", {"query": "api_key"}, {"cookie": "session"}],
}
FIXED = Key("legacy", "legacy", (Secret(digest_of(b"the legacy secret")),))


class Store(MemoryStore):
    """A store that can be away, and that breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None

    def _try(self) -> None:
        if self.failure is not None:
            raise self.failure

    def add(self, keys: Any, *, by: str) -> None:
        self._try()
        super().add(keys, by=by)

    def change(self, id: str, edit: Any, *, by: str) -> Key:
        self._try()
        return super().change(id, edit, by=by)

    def delete(self, id: str, *, by: str) -> Key:
        self._try()
        return super().delete(id, by=by)

    def usage(self, *, since: float, key_id: str | None = None) -> list[Usage]:
        self._try()
        return super().usage(since=since, key_id=key_id)

    def last_used(self) -> Any:
        self._try()
        return super().last_used()


class Example:
    """What there is to be told of a gateway on paper."""

    async def lines(self, _form: Form) -> Iterator[str]:
        return iter(["# TYPE wskeeper_example gauge\n", "wskeeper_example 1\n"])


class Answer(NamedTuple):
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        assert self.headers["content-type"].split(";")[0] == "application/json", self
        return json.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json", self
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["code"] == self.headers["x-wskeeper-code"]
        assert problem["type"] == f"urn:wskeeper:{problem['code']}"
        assert problem["title"]
        assert problem["detail"]
        return problem

    @property
    def code(self) -> str:
        """The status and the code of a problem."""
        return f"{self.status} {self.problem['code']}"

    @property
    def fields(self) -> list[str]:
        """The fields that could not be taken."""
        assert self.code == "422 invalid_fields"
        for error in self.problem["errors"]:
            assert error["problem"]
            assert error["mend"]
        return [error["field"] for error in self.problem["errors"]]


class Scene:
    """One listener.

    Args:
        tokens: whether there are any: one for each role, called by it.
        unix: whether it believes to listen on a Unix socket.
        ready: whether new sessions are welcome.
        pages: makes the console of a scene.
    """

    def __init__(
        self,
        *,
        tokens: bool = True,
        unix: bool = False,
        public_metrics: bool = True,
        ready: bool = True,
        draining: bool = False,
        try_page: TryPage | None = None,
        pages: Callable[[Scene], Pages] | None = None,
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.house = House()
        self.log = self.house.log
        self.registry = self.house.registry
        # What a reload does, or raises, and by whom reloads were asked for.
        self.reloads: Reloaded | Exception = Reloaded((), (), 0, ())
        self.reloaded_by: list[str] = []
        self.store = Store()
        self.ring = KeyRing([FIXED])
        self.now = NOW
        self.keeper = StoreKeeper(
            "memory:",
            lambda: self.store,
            self.ring,
            grace=60.0,
            on_change=lambda _ids: None,
            wall=lambda: self.now,
            log=self.log,
            loop=self.loop,
        )
        draw = random.Random(1)
        self.events = EventRing(lambda: self.now)
        # What limits were met, and which targets are down.
        self.limited: Counter[tuple[str, str]] = Counter()
        self.down: set[tuple[str, str]] = set()
        self.desk = AdminDesk(
            keeper=self.keeper,
            registry=self.registry,
            config=lambda: config({}, ECHO),
            log=self.log,
            events=self.events,
            now=lambda: self.now,
            below=draw.randrange,
            version="1.2.3",
            started_at=NOW - 60,
            connections_limit=lambda: 100,
            reload=self.reload,
            reloads=ReloadRecord(NOW - 60),
            limited=lambda: self.limited,
            upstreams=lambda: ((*target, False) for target in self.down),
            ready=lambda: ready,
            draining=lambda: draining,
        )
        self.app = application(
            self.desk,
            metrics=Metrics(Example()),
            access=Access(
                [AdminToken(role, role, digest_of(TOKENS[role].encode())) for role in ROLES]
                if tokens
                else [],
                unix=unix,
                failures=TokenFailures(lambda: self.now),
                logins=None
                if pages is None
                else Logins(b"s" * 32, lambda: self.now, draw.randbytes),
            ),
            public_metrics=public_metrics,
            try_page=try_page,
            pages=None if pages is None else pages(self),
        )
        self.token: str | None = TOKENS["admin"] if tokens else None
        self._runner = web.AppRunner(self.app, handle_signals=False)
        self.port = 0

    def __enter__(self) -> Self:
        self.loop.run_until_complete(self._start())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.loop.run_until_complete(self._stop())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    async def reload(self, by: str) -> Reloaded:
        self.reloaded_by.append(by)
        if isinstance(self.reloads, Exception):
            raise self.reloads
        return self.reloads

    async def _start(self) -> None:
        await self.keeper.start()
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._listener = await self.loop.create_server(
            lambda: AdminProtocol(server, log=self.log, loop=self.loop), "127.0.0.1", 0
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._listener.close()
        await self._runner.cleanup()
        await self._listener.wait_closed()
        await self.keeper.close()

    # What is in it -----------------------------------------------------------------------------

    def hold(self, *keys: Key) -> None:
        """Puts keys into the store."""
        self.loop.run_until_complete(self.keeper.add(keys, by="cli:root"))

    def use(self, *rows: Usage) -> None:
        self.loop.run_until_complete(self.keeper.record(rows))

    def away(self) -> None:
        self.store.failure = StoreUnavailable("sqlite:/var/keys.db", "is locked", "wait")

    def open(self, id: str, *, key: Key = FIXED, subject: str | None = None, **how: Any) -> Any:
        """A live session."""
        principal = holder_of(key, key.secrets[0].digest)._replace(subject=subject)
        return SessionScene(self.house, id=id, principal=principal, **how)

    # What is asked of it -----------------------------------------------------------------------

    def ask(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        lines: Iterable[str] = (),
        host: str | None = "localhost",
        token: str | None = "",
        json_type: bool = True,
    ) -> Answer:
        """Asks as a client of the API does.

        Args:
            body: sent as JSON, or as it is when it is bytes.
            lines: further header lines.
            host: None sends no such line.
            token: empty for the scene's own, None for none.
            json_type: whether to say that the body is JSON.
        """
        raw = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        token = self.token if token == "" else token
        head = [f"{method} {target} HTTP/1.1", f"Content-Length: {len(raw)}", "Connection: close"]
        head += [f"Host: {host}"] if host is not None else []
        head += [f"Authorization: Bearer {token}"] if token is not None else []
        head += ["Content-Type: application/json"] if json_type and method != "GET" else []
        head += lines
        return self.say("\r\n".join([*head, "", ""]).encode("utf-8", "surrogateescape") + raw)

    def say(self, *raw: bytes) -> Answer:
        """Sends bytes, one segment after another, and reads until the connection ends."""
        head, _, body = self.loop.run_until_complete(self._exchange(*raw)).partition(b"\r\n\r\n")
        answer = Response.parse(head + b"\r\n\r\n")
        headers = {name.lower(): value for name, value in answer.headers}
        assert len(headers) == len(answer.headers), answer.headers
        assert headers["server"] == "wskeeper"
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "aiohttp" not in str(headers)
        # What cannot be read as a request is answered in HTTP/1.0.
        return Answer(int(answer.first_line.split(" ")[1]), headers, body)

    async def _exchange(self, *raw: bytes) -> bytes:
        sock = socket.create_connection(("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            for segment in raw:
                writer.write(segment)
                await asyncio.sleep(0.01 if len(raw) > 1 else 0)
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
            await writer.wait_closed()

"""A gateway's doors on paper: clients that ask, upstreams that answer as they are told."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from proxy.auth.authenticator import Authenticator
from proxy.auth.key_verifier import KeyVerifier
from proxy.auth.ways import ways_of
from proxy.deadlines import Deadlines
from proxy.gateway.account import Account
from proxy.gateway.admission import Admission
from proxy.gateway.front import FrontDoor
from proxy.gateway.house import House
from proxy.gateway.limiter import Counters, Limiter
from proxy.gateway.rules import Rules
from proxy.keys.key import Key, Secret, digest_of
from proxy.keys.ring import KeyRing
from proxy.routes import RouteTable
from proxy.upstream.pool import Member
from tests.harness.heads import Response, accept_for, upgrade
from tests.unit.auth.asked import NoTickets, Trust
from tests.unit.build import answer, config
from tests.unit.loop import FakeTransport
from tests.unit.sessions.scene import House as Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.errors import Refused
    from proxy.routes import Route
    from proxy.upstream.attempt import Caller

SECRET = "CANARY-good-4f1a9c0d7e6b"
WEBSOCKET_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ROUTES = (
    {"name": "chat", "path": "/chat"},
    {"name": "other", "path": "/other", "carriers": ["bearer", {"header": "X-Api-Key"}]},
    {"name": "watched", "path": "/watched", "auth": "report_only"},
    {"name": "open", "path": "/open", "auth": "none"},
)


def key(**fields: Any) -> Key:
    return Key("one", "name of one", (Secret(digest_of(SECRET.encode())),), **fields)


class FakeDial:
    """An upstream that was dialled, and answers when it is told to."""

    def __init__(self, request: bytes, caller: Caller) -> None:
        self.request = request
        self.transport = FakeTransport()
        self.cancelled = False
        self.connected_in = 0.001
        self.behind = b""
        self._caller = caller

    def cancel(self) -> None:
        self.cancelled = True

    def read_body(self, _caller: Caller) -> None:
        """The test says what is read."""

    def switches(self, *lines: str, key: str = WEBSOCKET_KEY) -> None:
        self._caller.answered(
            answer(
                "HTTP/1.1 101 Switching Protocols",
                "Upgrade: websocket",
                "Connection: Upgrade",
                f"Sec-WebSocket-Accept: {accept_for(key)}",
                *lines,
            )
        )

    def refuses(self, status: int = 403) -> None:
        self._caller.answered(answer(f"HTTP/1.1 {status} No", "Content-Length: 2"))
        self._caller.body_read(b"no")

    def answers_nothing(self, refused: Refused) -> None:
        self._caller.unanswered(refused)

    def breaks(self, failure: BaseException) -> None:
        self._caller.broken(failure)


class Slow(FakeTransport):
    """The socket of an upstream that reads nothing: each write is one too many."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self.protocol.pause_writing()


class FakeDialer:
    """Keeps what was dialled."""

    def __init__(self) -> None:
        self.dials: list[FakeDial] = []
        self.failure: Exception | None = None
        self.attempts: tuple[Any, ...] = ()

    def __len__(self) -> int:
        return 0

    def dial(
        self,
        route: Route,
        request_for: Callable[[Member], bytes],
        caller: Caller,
        *,
        affinity: bytes,
    ) -> Any:
        if self.failure is not None:
            raise self.failure
        self.affinity, self.request_for = affinity, request_for
        member = Member(route.name, route.target, lambda *_: None)
        self.dials.append(FakeDial(request_for(member), caller))
        return self.dials[-1]


class NothingPlain:
    """No plain HTTP service."""

    def serves(self, _head: Any) -> bool:
        return False

    async def close(self) -> None:
        """There is nothing to close."""


class Client:
    """A connection to the front door."""

    def __init__(self, door: FrontDoor) -> None:
        self.transport = FakeTransport()
        self.transport.set_protocol(door)
        door.connection_made(self.transport)

    def sends(self, data: bytes) -> None:
        self.transport.protocol.data_received(data)

    def hangs_up(self) -> None:
        self.transport.protocol.connection_lost(None)

    @property
    def response(self) -> Response:
        head, _, _ = self.transport.written.partition(b"\r\n\r\n")
        return Response.parse(head + b"\r\n\r\n")

    @property
    def answer(self) -> tuple[int, str | None]:
        """(status, code)."""
        return self.response.status, self.response.code


class Gateway:
    """Doors, what judges behind them, and who is let in."""

    def __init__(self, *routes: dict[str, Any], **fields: Any) -> None:
        self.sessions = Sessions()
        self.loop, self.log = self.sessions.loop, self.sessions.log
        self.registry = self.sessions.registry
        self.ring = KeyRing()
        self.ring.put("one", key(**fields))
        self.trust = Trust()
        self.dialer = FakeDialer()
        made = config(*(routes or ROUTES))
        ids: Iterator[int] = itertools.count(1)
        deadlines = Deadlines(self.loop)
        account, routes = Account(self.registry, self.log), RouteTable.of(made)
        self.limiter = Limiter(made.limits, routes, self.registry.occupancy, Counters())
        self.admission = Admission(
            rules=Rules(
                routes,
                Authenticator(
                    {route.name: ways_of(made.carriers_of(route)) for route in made.routes},
                    KeyVerifier(self.ring, self.trust),
                    tickets=NoTickets(),
                ),
                self.dialer,
                trusted_proxies=(),
                address_header=b"x-forwarded-for",
                limiter=self.limiter,
            ),
            account=account,
            registry=self.registry,
            total_connections=None,
            new_id=lambda: f"{next(ids):032x}",
            wall=self.sessions.wall,
            deadlines=deadlines,
            log=self.log,
            loop=self.loop,
        )
        self.house = House(
            admission=self.admission,
            plain=NothingPlain(),
            head_size=65_536,
            head_timeout=10.0,
            close_timeout=5.0,
            unauthenticated=None,
            secure=False,
            deadlines=deadlines,
            loop=self.loop,
        )

    def asks(
        self, target: str = "/chat", *lines: str | bytes, secret: str | None = SECRET
    ) -> Client:
        """A client that asks for an upgrade."""
        client = Client(FrontDoor(self.house))
        client.sends(
            upgrade(target, key=secret, lines=lines, changed={"Sec-WebSocket-Key": WEBSOCKET_KEY})
        )
        return client

    def opens(self, target: str = "/chat", **how: Any) -> Client:
        """A client whose session is open."""
        client = self.asks(target, **how)
        self.dialer.dials[-1].switches()
        assert client.answer[0] == 101
        return client

    def ends(self, client: Client) -> None:
        """Both sockets of a session go."""
        for session in self.registry:
            if any(leg.transport is client.transport for leg in session.legs):
                for transport in [leg.transport for leg in session.legs]:
                    transport.get_protocol().connection_lost(None)

    @property
    def places(self) -> int:
        """Those of the key."""
        return self.registry.occupancy.of("one")

    def outcomes(self, route: str = "chat") -> dict[str, int]:
        return dict(self.registry.totals[route].outcomes)

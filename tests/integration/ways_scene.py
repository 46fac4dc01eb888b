"""A gateway with a route for every way in, and those who come by each of them."""

from __future__ import annotations

import base64
import http.client
import json
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.harness import frames
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.operators import AdminApi
from tests.harness.process import wait_until
from tests.harness.upstream import Upstream, UpstreamConnection
from tests.unit.auth.tokens import token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.client import Client

KEY = "CANARY-good-2b7d9f1c4e6a8053"
OTHER_KEY = "CANARY-good-8e1f3a5c7d9b2046"
JWT_SECRET = "CANARY-the-secret-between-issuer-and-gateway"
ORIGIN = "https://good.example"
THE_END = b"the end"

JWT = {
    "issuer": "https://idp.test",
    "audience": "wskeeper",
    "algorithms": ["HS256"],
    "secret": JWT_SECRET,
    "leeway": "0s",
}


def jwt(*, lasts: float = 600.0, **claims: Any) -> str:
    """A token of the scene's issuer."""
    key = JWT_SECRET.encode()
    return token("HS256", key=key, **{"exp": time.time() + lasts, **claims}).decode()


def b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


# Ways ----------------------------------------------------------------------------------------


class Way(NamedTuple):
    """How a client carries its credential.

    Args:
        name: also that of a route with no other carrier.
        query: of the target.
        lines: of the head.
    """

    name: str
    query: Callable[[str], str] = lambda _: ""
    lines: Callable[[str], tuple[str, ...]] = lambda _: ()

    def request(self, credential: str, route: str | None = None, *lines: str) -> bytes:
        """An upgrade request with the credential."""
        target = f"/{route or self.name}{self.query(credential)}"
        return upgrade(target, lines=(*self.lines(credential), *lines))


HEADER = Way("header", lines=lambda key: (f"X-Api-Key: {key}",))
BEARER = Way("bearer", lines=lambda key: (f"Authorization: Bearer {key}",))
QUERY = Way("query", query=lambda key: f"?api_key={key}")
COOKIE = Way("cookie", lines=lambda key: (f"Cookie: api_key={key}",))
SUBPROTOCOL = Way(
    "subprotocol", lines=lambda key: (f"Sec-WebSocket-Protocol: wskeeper, wskeeper.key.{key}",)
)
ENCODED = Way(
    "subprotocol",
    lines=lambda key: (f"Sec-WebSocket-Protocol: wskeeper, wskeeper.key.b64.{b64(key)}",),
)
# Keys and tokens, in the request itself.
DIRECT = (HEADER, BEARER, QUERY, COOKIE, SUBPROTOCOL, ENCODED)

TICKET_QUERY = Way("ticket", query=lambda ticket: f"?wskeeper_ticket={ticket}")
TICKET_SUBPROTOCOL = Way(
    "ticket",
    lines=lambda ticket: (f"Sec-WebSocket-Protocol: wskeeper, wskeeper.ticket.{ticket}",),
)
TICKETS = (TICKET_QUERY, TICKET_SUBPROTOCOL)


def called(way: Way) -> str:
    """The name of a test's case."""
    if way in (ENCODED, TICKET_SUBPROTOCOL):
        return f"{way.name}-{'b64' if way is ENCODED else 'subprotocol'}"
    return way.name


CARRIERS: dict[str, Any] = {
    "header": {"header": "X-Api-Key"},
    "bearer": "bearer",
    "query": {"query": "api_key"},
    "cookie": {"cookie": "api_key"},
    "subprotocol": "subprotocol",
    "ticket": "ticket",
    "first_message": "first_message",
}


# Services ------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What a service said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        return self.headers["X-Wskeeper-Code"]


def ask(
    gateway: Gateway,
    path: str,
    body: Any = None,
    *,
    key: str | None = None,
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> Answer:
    """Asks a service on the public listener; a body that is no bytes is sent as JSON."""
    connection = http.client.HTTPConnection(*gateway.public, timeout=10)
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    sent = {} if raw is None else {"Content-Type": "application/json"}
    sent |= {} if key is None else {"X-Api-Key": key}
    try:
        connection.request(method, path, raw, sent | (headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


# Scene ---------------------------------------------------------------------------------------


class Scene(NamedTuple):
    """Everything around one gateway; each route leads to one service."""

    gateway: Gateway
    upstream: Upstream
    door: Door
    api: AdminApi

    def ticket(self, key: str = KEY, **body: Any) -> dict[str, Any]:
        """A ticket, as it was sold."""
        answer = ask(self.gateway, "/.wskeeper/ticket", {"route": "ticket", **body}, key=key)
        assert answer.status == 201, answer
        return answer.json

    def credential(self, way: Way, key: str = KEY) -> str:
        """What is carried: the key itself, or a ticket that it buys."""
        return self.ticket(key)["ticket"] if way in TICKETS else key

    def says(self, message: Any, route: str = "first_message", **parts: Any) -> Client:
        """A client that was let in to say who it is, and has said it."""
        client = self.door.open(upgrade(f"/{route}", **parts))
        client.send_text(message if isinstance(message, str) else json.dumps(message))
        return client

    def served(self, client: Client) -> UpstreamConnection:
        """The service's end of a session, once it has heard a message of the client's."""
        connection = self.upstream.connection()
        client.send(frames.masked(frames.TEXT, THE_END))
        assert wait_until(lambda: unmasked(bytes(connection.heard)).endswith(THE_END))
        return connection

    def leave(self) -> None:
        """Ends all clients and connections of the service."""
        self.door.close_all()
        self.upstream.forget()
        errors, self.upstream.errors = self.upstream.errors, []
        assert not errors, errors

    def shown(self) -> str:
        """All that operators are shown: the log, the metrics, the sessions."""
        return "\n".join(
            [
                *self.gateway.log,
                *self.gateway.output,
                *self.gateway.metrics(),
                json.dumps(self.api.do("GET", "/connections")),
                json.dumps(self.api.do("GET", "/status")),
            ]
        )


def listening(connection: UpstreamConnection) -> None:
    """A service that accepts, says nothing and keeps every frame it hears."""
    connection.accept()
    while True:
        connection.heard += connection.read_frame().raw


def unmasked(heard: bytes) -> bytes:
    """The payloads of all whole frames, one behind the other."""
    buffer, payloads = bytearray(heard), b""
    while (frame := frames.take(buffer)) is not None:
        payloads += frame.payload
    return payloads


def configuration(upstream: Upstream, **fields: Any) -> dict[str, Any]:
    """What the scene's gateway is told; `routes` come behind its own, other fields replace."""
    further = [{"upstream": upstream.url, **route} for route in fields.pop("routes", ())]
    routes = [
        {"name": name, "path": f"/{name}", "upstream": upstream.url, "carriers": [carrier]}
        for name, carrier in CARRIERS.items()
    ]
    return {
        "store": "memory:",
        "limits": {"auth_failures_per_minute": None},
        "keys": [
            {"name": "good", "secret": KEY, "metadata": {"plan": "gold"}},
            {"name": "other", "secret": OTHER_KEY},
        ],
        "jwt": JWT,
        "timeouts": {"close": "1s", "first_message": "2s", "upstream_connect": "2s"},
        "routes": [
            *routes,
            {
                "name": "every",
                "path": "/every",
                "upstream": upstream.url,
                "carriers": list(CARRIERS.values()),
                "origins": [ORIGIN],
            },
            *further,
        ],
        **fields,
    }


@contextmanager
def scene(folder: Path, **fields: Any) -> Iterator[Scene]:
    """A scene with a gateway of its own."""
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(listening))
        gateway = stack.enter_context(Gateway(folder, configuration(upstream, **fields)))
        door = stack.enter_context(Door(gateway.public))
        yield Scene(gateway, upstream, door, AdminApi(gateway))

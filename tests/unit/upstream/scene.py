"""Routes with targets, callers that keep what they hear, and members of pools."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from proxy.config.targets import target
from proxy.routes import Route
from proxy.upstream.pool import Member
from tests.unit.build import config, head

if TYPE_CHECKING:
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


class Changes:
    """Keeps which members went down, and which came back."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None]] = []

    def __call__(self, member: Member, cause: str | None) -> None:
        assert member.up is (cause is None)
        self.told.append((member.text, cause))


def member(url: str = "ws://up.test:9000/ws", changed: Any = None) -> Member:
    return Member("chat", target(url), changed or Changes())


def route(upstream: Any = "ws://up.test:9000/ws", **timeouts: str | None) -> Route:
    made = config({"upstream": upstream, "timeouts": timeouts})
    return Route.of(made, made.routes[0])

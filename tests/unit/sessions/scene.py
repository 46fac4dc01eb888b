"""A live session between two sockets on paper."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from proxy.deadlines import Deadlines
from proxy.relay.scanner import Extensions, Scanner
from proxy.relay.session import Side
from proxy.sessions.live import LiveSession
from proxy.sessions.registry import Registry
from tests.harness import frames
from tests.unit.loop import FakeLoop, FakeTransport

if TYPE_CHECKING:
    import pytest

CLOSE_TIMEOUT = 5.0


class Log:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.lines.append((level, event, fields))


class Scene:
    """One session between two sockets on paper."""

    def __init__(self, *, half_close: bool = True, write_timeout: float | None = 30.0) -> None:
        self.loop = FakeLoop()
        self.log = Log()
        self.registry = Registry()
        self.client = FakeTransport(half_close=half_close)
        self.upstream = FakeTransport()
        self.transports = (self.client, self.upstream)
        totals = self.registry.totals["chat"]
        self.session = LiveSession(
            id="the-id",
            route="chat",
            key_id="legacy",
            client="192.0.2.7",
            upstream="ws://up:1",
            scanners=(
                Scanner(masked=True, extensions=Extensions.NONE, traffic=totals.traffic[0]),
                Scanner(masked=False, extensions=Extensions.NONE, traffic=totals.traffic[1]),
            ),
            close_timeout=CLOSE_TIMEOUT,
            mask=bytes(4),  # so that what is said stays readable
            write_timeout=write_timeout,
            registry=self.registry,
            deadlines=Deadlines(self.loop),
            log=self.log,
            loop=self.loop,
        )
        self.session.begin(self.client, self.upstream)

    def receives(self, side: Side, data: bytes) -> None:
        self.transports[side].protocol.data_received(data)

    def fin(self, side: Side) -> bool:
        return self.transports[side].protocol.eof_received()

    def lost(self, side: Side, failure: Exception | None = None) -> None:
        self.transports[side].protocol.connection_lost(failure)

    @property
    def closed_line(self) -> tuple[str, dict[str, Any]]:
        level, event, fields = self.log.lines[-1]
        assert event == "connection_closed"
        return level, fields


def make(monkeypatch: pytest.MonkeyPatch, **how: Any) -> Scene:
    scene = Scene(**how)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: scene.loop)
    return scene


CLIENT, UPSTREAM = Side
HELLO = frames.masked(frames.TEXT, b"hello")
REPLY = frames.frame(frames.TEXT, b"reply")
CLIENT_CLOSE = frames.masked(frames.CLOSE, frames.close_payload(1000, "bye"))
UPSTREAM_CLOSE = frames.frame(frames.CLOSE, frames.close_payload(1000, "bye"))

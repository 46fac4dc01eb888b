"""A live session between two sockets on paper."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from proxy.deadlines import Deadlines
from proxy.keys.key import Key, Secret, digest_of
from proxy.keys.principal import Principal, holder_of
from proxy.relay.commands import Side
from proxy.relay.scanner import Extensions, Scanner
from proxy.sessions.closing import Closing
from proxy.sessions.ledger import Ledger
from proxy.sessions.live import LiveSession
from proxy.sessions.registry import Registry
from proxy.sessions.rules import UNLIMITED, SessionLimits, SessionRules
from tests.harness import frames
from tests.unit.loop import FakeLoop, FakeTransport

if TYPE_CHECKING:
    import pytest

CLOSE_TIMEOUT = 5.0
# The wall clock, when the loop's shows 1000 s: 2023-11-14T22:13:20Z, 800 s into its hour.
WALL = 1_700_000_000.0

DIGEST = digest_of(b"the secret")
LEGACY = holder_of(Key("legacy-id", "legacy", (Secret(DIGEST),)), DIGEST)


RULES = SessionRules(
    close_timeout=CLOSE_TIMEOUT,
    write_timeout=30.0,
    idle_timeout=None,
    max_lifetime=None,
    keepalive=None,
    close_codes={},
)


class Log:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.lines.append((level, event, fields))

    def events(self, event: str) -> list[dict[str, Any]]:
        """The fields of every line of one event."""
        return [fields for _, name, fields in self.lines if name == event]


class House:
    """Live sessions on paper, and who keeps the account of them."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.log = Log()
        self.ledger = Ledger(self.loop.time, self.wall)
        self.closing = Closing(self.loop)
        self.registry = Registry(self.closing, self.ledger)
        self.deadlines = Deadlines(self.loop)

    def wall(self) -> float:
        return WALL + self.loop.now - 1000.0

    def session(
        self,
        id: str = "the-id",
        *,
        principal: Principal = LEGACY,
        route: str = "chat",
        origin: bytes | None = None,
        address: str = "192.0.2.7",
        limits: SessionLimits = UNLIMITED,
        **rules: Any,
    ) -> LiveSession:
        """A session that has not begun; the places it holds are taken."""
        totals = self.registry.totals[route]
        holders = () if principal.key_id is None else (principal.key_id,)
        self.registry.occupancy.take(holders)
        return LiveSession(
            id=id,
            route=route,
            principal=principal,
            origin=origin,
            same_origin=False,
            address=ip_address(address),
            client=address,
            holders=holders,
            upstream="ws://up:1",
            scanners=(
                *(
                    Scanner(
                        masked=masked,
                        extensions=Extensions.NONE,
                        traffic=traffic,
                        max_message=None if limit is None else int(limit.value),
                    )
                    for masked, traffic, limit in zip(
                        (True, False), totals.traffic, limits.message_sizes, strict=True
                    )
                ),
            ),
            rules=replace(RULES, **rules),
            limits=limits,
            mask=bytes(4),  # so that what is said stays readable
            chance=0.5,
            now=self.loop.time(),
            registry=self.registry,
            deadlines=self.deadlines,
            log=self.log,
            loop=self.loop,
        )


class Scene:
    """One session between two sockets on paper."""

    def __init__(self, house: House | None = None, *, half_close: bool = True, **how: Any) -> None:
        self.house = house or House()
        self.loop = self.house.loop
        self.log = self.house.log
        self.registry = self.house.registry
        self.client = FakeTransport(half_close=half_close)
        self.upstream = FakeTransport()
        self.transports = (self.client, self.upstream)
        self.session = self.house.session(**how)
        self.session.begin(self.client, self.upstream)

    def receives(self, side: Side, data: bytes) -> None:
        self.transports[side].protocol.data_received(data)

    def fin(self, side: Side) -> bool:
        return self.transports[side].protocol.eof_received()

    def lost(self, side: Side, failure: Exception | None = None) -> None:
        self.transports[side].protocol.connection_lost(failure)

    def gone(self) -> None:
        """Both sockets go."""
        for side in Side:
            self.lost(side)

    def told(self) -> tuple[bytes, bytes]:
        """What the client and the upstream were sent."""
        return self.client.written, self.upstream.written

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

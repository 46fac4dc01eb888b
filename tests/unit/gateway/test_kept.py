"""A client's connection between two ordinary requests."""

from __future__ import annotations

from typing import Any

from proxy.gateway.front import FrontDoor
from proxy.gateway.kept import KEEP_ALIVE, KeptAlive
from proxy.sessions.leg import WRITE_HIGH, WRITE_LOW
from tests.unit.gateway.scene import Gateway
from tests.unit.loop import FakeTransport

NEXT = b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n"


class Doors:
    """Makes front doors, as the plain services do; there are no such services."""

    def __init__(self, gateway: Gateway) -> None:
        self._house = gateway.house
        self.sources: list[Any] = []

    def serves(self, _head: Any) -> bool:
        return False

    def door(self, source: Any) -> FrontDoor:
        self.sources.append(source)
        return FrontDoor(self._house, source)


class Scene:
    def __init__(self) -> None:
        self.gateway = Gateway()
        self.house: Any = self.gateway.house
        self.doors = Doors(self.gateway)
        self.house.plain = self.doors
        self.transport = FakeTransport()
        self.kept = KeptAlive(self.house, self.transport, None)


async def test_next_request_is_judged_by_a_front_door() -> None:
    scene = Scene()
    scene.kept.begin(b"")
    assert scene.transport in scene.house.lingering
    scene.transport.protocol.data_received(NEXT)
    assert b"no_route" in scene.transport.written
    assert scene.doors.sources == [None]


async def test_request_that_has_come_already_is_not_waited_for() -> None:
    scene = Scene()
    scene.transport.pause_reading()
    scene.kept.begin(NEXT)
    assert scene.transport.reading
    assert b"no_route" in scene.transport.written


def test_session_that_follows_has_the_usual_limits() -> None:
    scene = Scene()
    scene.transport.set_write_buffer_limits(1, 0)  # As behind an answer.
    scene.kept.begin(b"")
    assert scene.transport.limits == (WRITE_HIGH, WRITE_LOW)


def test_idle_connection_is_closed_after_a_while() -> None:
    scene = Scene()
    scene.kept.begin(b"")
    scene.gateway.loop.advance(KEEP_ALIVE - 1)
    assert not scene.transport.closed
    scene.gateway.loop.advance(1)
    assert scene.transport.closed
    scene.transport.protocol.connection_lost(None)
    assert not scene.house.lingering


def test_client_that_leaves_is_forgotten() -> None:
    scene = Scene()
    scene.kept.begin(b"")
    assert not scene.transport.protocol.eof_received()
    scene.transport.protocol.connection_lost(None)
    assert not scene.house.lingering
    scene.gateway.loop.advance(KEEP_ALIVE)
    assert not scene.transport.closed

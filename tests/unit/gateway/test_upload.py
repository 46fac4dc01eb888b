"""A body between a client and an upstream, each at its own pace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.deadlines import DeadlineQueue
from proxy.gateway.upload import Upload
from tests.unit.loop import FakeLoop, FakeTransport


class Scene:
    """An upload, and what it does to those around it."""

    def __init__(self, patience: float | None = 30.0) -> None:
        self.loop = FakeLoop()
        self.transport = FakeTransport()
        self.told: list[str] = []
        loop: Any = self.loop
        self.upload = Upload(
            self.transport,
            patience=None if patience is None else DeadlineQueue(patience, loop),
            wanted=lambda: self.told.append("wanted"),
            stalled=lambda: self.told.append("stalled"),
        )


async def test_pieces_are_taken_as_they_came() -> None:
    scene = Scene()
    for piece in (b"a", b"", b"bc"):
        scene.upload.put(piece)
    scene.upload.end()
    assert [piece async for piece in scene.upload] == [b"a", b"bc"]
    assert not scene.told


async def test_what_has_not_come_is_waited_for() -> None:
    scene = Scene()
    waiting = asyncio.ensure_future(anext(scene.upload))
    await asyncio.sleep(0)
    assert scene.told == ["wanted"]
    scene.upload.put(b"late")
    scene.upload.put(b"later")
    assert await waiting == b"late"
    assert await anext(scene.upload) == b"later"
    waiting = asyncio.ensure_future(anext(scene.upload))
    await asyncio.sleep(0)
    scene.upload.end()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_client_is_not_read_while_too_much_waits() -> None:
    scene = Scene()
    for _ in range(4):
        scene.upload.put(b"x" * 16 * 1024)
    assert scene.transport.reading
    scene.upload.put(b"x")
    scene.upload.put(b"x")
    assert not scene.transport.reading
    for _ in range(3):
        await anext(scene.upload)
        reading = scene.transport.reading
    assert not reading
    await anext(scene.upload)
    assert scene.transport.reading


async def test_socket_that_is_gone_is_let_alone() -> None:
    scene = Scene()
    scene.upload.put(b"x" * 65 * 1024)
    scene.transport.abort()
    await anext(scene.upload)
    assert not scene.transport.reading


async def test_upstream_has_its_time_for_each_piece() -> None:
    scene = Scene()
    for piece in (b"a", b"b"):
        scene.upload.put(piece)
    await anext(scene.upload)
    scene.loop.advance(29)
    await anext(scene.upload)
    scene.loop.advance(29)
    assert not scene.told
    scene.loop.advance(1)
    assert scene.told == ["stalled"]


async def test_client_may_take_any_time() -> None:
    scene = Scene()
    scene.upload.put(b"a")
    await anext(scene.upload)
    waiting = asyncio.ensure_future(anext(scene.upload))
    await asyncio.sleep(0)
    scene.loop.advance(3600)
    assert scene.told == ["wanted"]
    scene.upload.put(b"b")
    assert await waiting == b"b"


async def test_closed_upload_is_over() -> None:
    scene = Scene()
    scene.upload.put(b"a")
    await anext(scene.upload)
    scene.upload.close()
    scene.loop.advance(3600)
    assert not scene.told


async def test_without_a_limit_the_upstream_may_take_any_time() -> None:
    scene = Scene(patience=None)
    scene.upload.put(b"a")
    await anext(scene.upload)
    scene.loop.advance(3600)
    assert not scene.told

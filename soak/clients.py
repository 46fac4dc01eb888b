"""Clients of every kind, each until it is told to stop; what they find wrong is kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from websockets.asyncio.client import ClientConnection

# Seconds for anything that should take none.
PATIENCE = 20.0
# How many messages a client sends that reads nothing, and the bytes of each.
PIECES = 64
PIECE = 32 << 10

RESET = struct.pack("ii", 1, 0)


@dataclass
class Findings:
    """What all clients saw."""

    messages: int = 0
    opened: int = 0
    # How sessions ended that were to end, by (kind of client, close code).
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    # What should not have happened, by what it was.
    faults: Counter[str] = field(default_factory=Counter)


class Clients:
    """Makes clients for one gateway.

    Args:
        address: of the gateway's public listener.
        key: that opens every route.
        stopping: set when clients are to go.
    """

    def __init__(self, address: tuple[str, int], key: str, stopping: asyncio.Event) -> None:
        self.findings = Findings()
        self._address = address
        self._key = key
        self._stopping = stopping

    async def run(self, kind: Callable[[], Awaitable[None]]) -> None:
        """One client; whatever it did not expect is a fault."""
        try:
            await kind()
        except Exception as failure:  # noqa: BLE001 - to be told at the end
            self.findings.faults[f"{kind.__name__}: {failure!r}"[:200]] += 1

    # Kinds -------------------------------------------------------------------------------------

    async def steady(self) -> None:
        """Talks to a service that is well: nothing may be lost, reordered or ended."""
        async with self._connect("/steady") as session:
            await self._talk(session)

    async def fickle(self) -> None:
        """Talks to a service whose targets come and go, and comes back at once each time."""
        while not self._stopping.is_set():
            with contextlib.suppress(ConnectionClosed):
                async with self._connect("/fickle") as session:
                    await self._ended("fickle", session)

    async def switched(self) -> None:
        """Talks to a route that is taken away and put back."""
        while not self._stopping.is_set():
            try:
                async with self._connect("/switched") as session:
                    await self._ended("switched", session)
            except ConnectionClosed:
                continue
            except InvalidStatus as refused:
                if refused.response.status_code != 404:
                    raise
                await self._rest(1.0)

    async def restless(self) -> None:
        """Comes and goes, in every way there is to go."""
        ways = (self._leaves_well, self._resets, self._sends_half, self._hangs_up_early)
        while not self._stopping.is_set():
            await random.choice(ways)()  # noqa: S311 - no secret
            await self._rest(0.5)

    async def stalled(self) -> None:
        """Sends much, reads nothing for a while, then everything: each byte must be there."""
        while not self._stopping.is_set():
            async with self._connect("/steady", max_queue=1) as session:
                sent = [os.urandom(PIECE) for _ in range(PIECES)]
                sending = asyncio.create_task(self._send_all(session, sent))
                await self._rest(3.0)
                for piece in sent:
                    if await asyncio.wait_for(session.recv(), PATIENCE) != piece:
                        self.findings.faults["stalled: a message is lost or out of order"] += 1
                        return
                    self.findings.messages += 1
                await sending

    # What they do ------------------------------------------------------------------------------

    def _connect(self, path: str, *, max_queue: int = 16) -> connect:
        host, port = self._address
        self.findings.opened += 1
        return connect(
            f"ws://{host}:{port}{path}",
            additional_headers={"X-Api-Key": self._key},
            compression=None,
            open_timeout=PATIENCE,
            ping_interval=None,
            max_queue=max_queue,
        )

    async def _talk(self, session: ClientConnection) -> None:
        number = 0
        while not self._stopping.is_set():
            number += 1
            said = f"{number}:" + "x" * random.choice((1, 100, 5000))  # noqa: S311 - no secret
            await session.send(said)
            heard = await asyncio.wait_for(session.recv(), PATIENCE)
            if heard != said:
                self.findings.faults["a message is lost, changed or out of order"] += 1
            self.findings.messages += 1
            await self._rest(random.uniform(1, 4))  # noqa: S311 - no secret

    async def _ended(self, kind: str, session: ClientConnection) -> None:
        try:
            await self._talk(session)
        except ConnectionClosed as closed:
            frame = closed.rcvd
            told = "none" if frame is None else f"{frame.code} {frame.reason}".strip()
            self.findings.ends[kind, told] += 1
            raise

    @staticmethod
    async def _send_all(session: ClientConnection, pieces: list[bytes]) -> None:
        for piece in pieces:
            await session.send(piece)

    async def _leaves_well(self) -> None:
        async with self._connect("/steady") as session:
            await session.send("hello")
            await asyncio.wait_for(session.recv(), PATIENCE)

    async def _resets(self) -> None:
        async with self._connect("/steady") as session:
            await session.send("hello")
            self._reset(session)

    async def _sends_half(self) -> None:
        async with self._connect("/steady") as session:
            session.transport.write(b"\x82\xfe\xff\xff\x00\x00\x00\x00half of it")
            await self._rest(0.1)
            self._reset(session)

    async def _hangs_up_early(self) -> None:
        host, port = self._address
        _, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /steady HTTP/1.1\r\nHost: soak\r\nUpgr")
        await writer.drain()
        writer.transport.abort()

    @staticmethod
    def _reset(session: ClientConnection) -> None:
        sock: socket.socket = session.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        session.transport.abort()

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

"""A proxy that runs: started, checked, measured, stopped."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import wire
from benchmarks.load import LoadError, connect, exchange, open_sessions
from benchmarks.processes import Child, cpu_seconds
from benchmarks.proxies import PREFIX, ROOT, Proxy, Site

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from benchmarks.echo import Echo
    from benchmarks.loop import Loop

CHECKED_PAYLOAD = 70_003


class Arena:
    """What every measurement shares: the loop with the echo service on it, the key, the cores."""

    def __init__(self, loop: Loop, echo: Echo, key: str, proxy_core: int) -> None:
        self.loop = loop
        self.echo = echo
        self.key = key
        self.proxy_core = proxy_core

    def request(self, mode: str, key: str | None = None) -> bytes:
        return wire.upgrade_request(f"{PREFIX}/{mode}", self.key if key is None else key)

    def abandon_sessions(self) -> None:
        """After a failure: what is left of it must not disturb the next case."""
        self.loop.forget_all_but(self.echo.fd)

    @contextlib.contextmanager
    def run(self, proxy: Proxy) -> Iterator[Contestant]:
        """The proxy, started, checked and, at the end, killed with all that it started."""
        folder = Path(tempfile.mkdtemp(prefix="wskeeper-benchmark-"))
        children: list[Child] = []
        try:
            commands = proxy.commands(Site(folder, self.echo.port, self.key))
            for index, command in enumerate(commands):
                child = Child(command, self.proxy_core, folder / f"{index}.log", ROOT)
                children.append(child)
                child.wait_until_listening()
            contestant = Contestant(self, commands[-1].port, children)
            contestant.check(refuses=proxy.refuses)
            yield contestant
        finally:
            for child in children:
                child.stop()
            shutil.rmtree(folder, ignore_errors=True)


class Contestant:
    """A way to the echo service: through a proxy, or, without children, straight."""

    def __init__(self, arena: Arena, port: int, children: list[Child]) -> None:
        self.arena = arena
        self.port = port
        self._children = children
        self.pids = [pid for child in children for pid in child.tree()]

    def check_alive(self) -> None:
        for child in self._children:
            child.check_alive()

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pids)

    def open(self, mode: str, count: int) -> list[socket.socket]:
        """Sessions past their 101, not yet served by anything of ours."""
        loop, request = self.arena.loop, self.arena.request(mode)
        return open_sessions(loop, self.port, request, count)

    def check(self, *, refuses: bool) -> None:
        """Whether it relays faithfully and, if it should, refuses a wrong key.

        Raises:
            LoadError: it does not.
        """
        loop, payload = self.arena.loop, secrets.token_bytes(CHECKED_PAYLOAD)
        expected = wire.server_frame(payload)
        (sock,) = self.open("echo", 1)
        if exchange(loop, sock, wire.client_frame(payload), len(expected)) != expected:
            raise LoadError("it does not relay what it was sent")
        if refuses:
            request = self.arena.request("echo", key="wrong")
            answer = exchange(loop, connect(self.port), request, 12)
            if not answer.startswith(b"HTTP/1.1 401"):
                raise LoadError(f"it answers a wrong key with {answer[:40]!r}")

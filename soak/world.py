"""The gateway under soak, the services behind it, and what happens to them meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.processes import free_port, resident_bytes

if TYPE_CHECKING:
    from asyncio.subprocess import Process

KEY = "soak-soak-soak-soak-soak"
RELOAD_EVERY = 15.0
RESTART_EVERY = 20.0


class Target:
    """An echo service that can be ended and begun again at the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: Process | None = None

    async def begin(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "backends.echo", "--listen", f"127.0.0.1:{self.port}",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await until_listening(self.port)

    async def end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        await self._process.wait()


class World:
    """One gateway, three echo services.

    Args:
        folder: for its configuration and its log.
    """

    def __init__(self, folder: Path) -> None:
        self._config = folder / "wskeeper.yaml"
        self.log = folder / "wskeeper.log"
        self.steady = Target()
        self.fickle = (Target(), Target())
        self.address = ("127.0.0.1", free_port())
        self._admin = free_port()
        self._process: Process | None = None
        self.reloads = 0
        self.restarts = 0

    async def __aenter__(self) -> Self:
        for target in (self.steady, *self.fickle):
            await target.begin()
        self._write(switched=True)
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "proxy", "serve", "-c", str(self._config),
                stdout=asyncio.subprocess.DEVNULL, stderr=log,
            )  # fmt: skip
        await until_listening(self.address[1])
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._process is not None
        self._process.terminate()
        await self._process.wait()
        for target in (self.steady, *self.fickle):
            await target.end(signal.SIGKILL)

    def _write(self, *, switched: bool) -> None:
        steady = f"ws://127.0.0.1:{self.steady.port}"
        fickle = [f"ws://127.0.0.1:{target.port}" for target in self.fickle]
        routes: list[dict[str, Any]] = [
            {"name": "steady", "path": "/steady", "upstream": steady},
            {"name": "fickle", "path": "/fickle", "upstream": {"targets": fickle}},
        ]
        if switched:
            routes.append({"name": "switched", "path": "/switched", "upstream": steady})
        config = {
            "listen": f"127.0.0.1:{self.address[1]}",
            "admin": {"listen": f"127.0.0.1:{self._admin}"},
            "log": {"level": "warning", "format": "json"},
            "store": "memory:",
            "keys": [{"name": "soak", "secret": KEY}],
            "keepalive": {"interval": "2s", "timeout": "10s"},
            "timeouts": {"idle": "10m"},
            "drain": {"spread": "1s"},
            "routes": routes,
        }
        self._config.write_text(json.dumps(config), encoding="utf-8")

    # What happens meanwhile --------------------------------------------------------------------

    async def reload_again_and_again(self) -> None:
        """Takes a route away and puts it back, for ever."""
        for switched in itertools.cycle((False, True)):
            await asyncio.sleep(RELOAD_EVERY)
            self.reload(switched=switched)

    def reload(self, *, switched: bool) -> None:
        assert self._process is not None
        self._write(switched=switched)
        self._process.send_signal(signal.SIGHUP)
        self.reloads += 1

    async def restart_again_and_again(self) -> None:
        """Ends one of two targets and begins it again, now kindly and now not, for ever."""
        ways = itertools.cycle((signal.SIGKILL, signal.SIGTERM))
        for target, how in zip(itertools.cycle(self.fickle), ways, strict=False):
            await asyncio.sleep(RESTART_EVERY)
            await target.end(how)
            await asyncio.sleep(2)
            await target.begin()
            self.restarts += 1

    # What can be seen of it --------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """All series by name and labels."""
        url = f"http://127.0.0.1:{self._admin}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        rows = (line.rpartition(" ") for line in lines if line and line[0] != "#")
        return {name: float(value) for name, _, value in rows}

    @property
    def sessions(self) -> float:
        """Live ones."""
        rows = self.metrics().items()
        return sum(value for name, value in rows if name.startswith("wskeeper_connections{"))

    async def emptied(self, seconds: float) -> None:
        """Waits until no session lives, for so long at the most."""
        for _ in range(int(seconds * 2)):
            if not self.sessions:
                return
            await asyncio.sleep(0.5)

    def files(self) -> int:
        """Open file descriptors of the gateway."""
        assert self._process is not None
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def memory(self) -> int:
        """Resident bytes of the gateway."""
        assert self._process is not None
        return resident_bytes([self._process.pid])

    def faults(self) -> list[str]:
        """Lines of the log that no run should have."""
        return [
            line
            for line in self.log.read_text(encoding="utf-8").splitlines()
            if "Traceback" in line or '"level":"error"' in line
        ]


async def until_listening(port: int) -> None:
    """Waits for somebody to listen.

    Raises:
        TimeoutError: nobody did.
    """
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return

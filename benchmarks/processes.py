"""Child processes, pinned to a core, with what they cost in time and memory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

START_DEADLINE = 20.0
STOP_DEADLINE = 5.0
# From linux/posix-timers.h: the CPU-time clock of a whole process, in nanoseconds.
CPUCLOCK_SCHED = 2


class ProcessError(Exception):
    """A proxy did not start, or ended by itself; the message carries its last words."""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Children started inside inherit the core; we come back to our own."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


@dataclass(frozen=True)
class Command:
    """One program of a proxy, and the loopback port it will listen on."""

    argv: list[str]
    port: int
    environment: dict[str, str] = field(default_factory=dict)


class Child:
    """A running program in a process group of its own, with everything it forks."""

    def __init__(self, command: Command, core: int, log: Path, cwd: Path) -> None:
        self._log = log
        with log.open("wb") as output, pinned_to(core):
            self._process = subprocess.Popen(
                command.argv,
                cwd=cwd,
                env={**os.environ, **command.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._port = command.port

    def wait_until_listening(self) -> None:
        """Raises ProcessError when nothing listens on its port in time."""
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline:
            self.check_alive()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
                return
            time.sleep(0.02)
        raise ProcessError(f"does not listen after {START_DEADLINE:.0f} s: {self._last_words()}")

    def check_alive(self) -> None:
        if self._process.poll() is not None:
            code = self._process.returncode
            raise ProcessError(f"ended with status {code}: {self._last_words()}")

    def _last_words(self) -> str:
        return self._log.read_bytes()[-600:].decode(errors="replace").strip()

    def stop(self) -> None:
        """Kills the whole group: nothing here is worth a graceful end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_DEADLINE)

    def tree(self) -> list[int]:
        """The ids of this process and of all its descendants."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    # The name in parentheses may hold blanks; state and parent follow it.
                    after_name = (entry / "stat").read_text().rpartition(")")[2]
                    children.setdefault(int(after_name.split()[1]), []).append(int(entry.name))
        found = [self._process.pid]
        for pid in found:
            found.extend(children.get(pid, []))
        return found


def cpu_seconds(pids: list[int]) -> float:
    """CPU time, user and system, of the processes with all their threads so far."""
    return sum(time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED) for pid in pids) / 1e9


def resident_bytes(pids: list[int]) -> int:
    """Resident set size, from the page tables: /proc/PID/stat lags behind by up to 64 pages."""
    return sum(_kib(f"/proc/{pid}/smaps_rollup", "Rss:") for pid in pids) * 1024


def forget_peak(pids: list[int]) -> int:
    """Sets each process's high-water mark back to now; returns the resident bytes of now."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_bytes(pids)


def peak_bytes(pids: list[int]) -> int:
    """The most that was resident since `forget_peak`."""
    return sum(_kib(f"/proc/{pid}/status", "VmHWM:") for pid in pids) * 1024


def _kib(path: str, name: str) -> int:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ProcessError(f"{path} has no {name}")

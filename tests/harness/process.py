"""What the system knows about a running process (Linux: /proc)."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = 1 / os.sysconf("SC_CLK_TCK")
MB = 1_000_000

# A gateway whose coverage is measured takes longer for the same work.
SLOWNESS = 6 if {"COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"} & os.environ.keys() else 1

# Seconds by which the other tests of a full machine may hold anything up. Every bound on what
# happens at once is a claim of so much less.
BUSY = 2.0 * SLOWNESS


def rss(pid: int) -> int:
    """Resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a count, thousands of times


def cpu(pid: int) -> float:
    """Seconds of processor time so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


class Watch:
    """Samples a process while something happens to it: memory growth and processor time."""

    def __init__(self, pid: int, every: float = 0.01) -> None:
        self._pid = pid
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._rss_before = 0
        self._cpu_before = 0.0
        self.peak = 0
        self.seconds = 0.0

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.peak = max(self.peak, rss(self._pid))

    def __enter__(self) -> Self:
        self._rss_before = self.peak = rss(self._pid)
        self._cpu_before = cpu(self._pid)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, rss(self._pid))
        self.seconds = cpu(self._pid) - self._cpu_before

    @property
    def growth(self) -> int:
        """Bytes that the peak lies above the start."""
        return self.peak - self._rss_before


def wait_until(condition: Callable[[], bool], deadline: float = 5.0, step: float = 0.02) -> bool:
    """Whether the condition came true in time, give or take what others take of the machine."""
    end = time.monotonic() + deadline + BUSY
    while not condition():
        if time.monotonic() > end:
            return False
        threading.Event().wait(step)
    return True

"""What a gateway holds before tests and must hold again after them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.harness.process import open_files, rss, wait_until

if TYPE_CHECKING:
    from tests.harness.client import Books
    from tests.harness.gateway import Gateway

CANARY = "CANARY"
FORBIDDEN = ("Traceback", "never retrieved", "Task was destroyed", "never awaited", CANARY)
# C0, C1, DEL and what turns the direction of a terminal's text around.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufffd]")


def log_faults(lines: list[str]) -> list[str]:
    """What may not stand in a log: tracebacks, lost tasks, keys, anything but one-line JSON."""
    found = []
    for line in lines:
        found += [f"{word!r} in the log: {line[:300]}" for word in FORBIDDEN if word in line]
        if UNSAFE.search(line):
            found.append(f"raw control characters in the log: {line[:300]!r}")
        try:
            json.loads(line)
        except ValueError:
            found.append(f"not a JSON line: {line[:300]!r}")
    return found


class Accounts:
    """Open files and memory of a gateway at the start, to be compared at the end."""

    def __init__(self, gateway: Gateway, books: Books) -> None:
        self._gateway = gateway
        self._books = books
        self.open_files = open_files(gateway.pid)
        self.rss = rss(gateway.pid)

    def live(self) -> float:
        """`wskeeper_connections` over all routes."""
        return sum(
            value
            for series, value in self._gateway.metrics().items()
            if series.startswith("wskeeper_connections{")
        )

    def faults(self, deadline: float = 5.0) -> list[str]:
        """What is not back, wrong in the counters or in the log; waits for it to settle."""
        pid = self._gateway.pid
        found = []
        if not wait_until(lambda: open_files(pid) <= self.open_files, deadline):
            found.append(f"{open_files(pid)} open files, {self.open_files} at the start")
        if not wait_until(lambda: self.live() == 0, deadline, step=0.1):
            found.append(f"wskeeper_connections says {self.live():g}, all clients are gone")
        wait_until(lambda: not self._books.faults(self._gateway.metrics()), 1.0, step=0.1)
        metrics = self._gateway.metrics()
        found += self._books.faults(metrics)
        found += [f"{CANARY} in {series}" for series in metrics if CANARY in series]
        return found

"""How much of the two cores somebody else had while we measured.

A hypervisor that takes a core away, or a build beside us, makes everything cost more (cold caches,
idle instead of busy loops). Such a sample is not wrong by a known amount, so it is taken again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

# Columns of /proc/stat: user nice system idle iowait irq softirq steal.
BUSY = (0, 1, 2, 5, 6)
STEAL = 7
TICKS_PER_SECOND = 100


class Noise:
    """Counts from its making on."""

    def __init__(self, cores: Iterable[int], pids: list[int]) -> None:
        self._cores = {f"cpu{core}" for core in cores}
        self._pids = pids
        self._began = self._reading()

    def share(self) -> float:
        """The part of the cores' time, 0 to 1, that was neither idle nor ours."""
        busy, stolen, total, ours = (
            after - before for before, after in zip(self._began, self._reading(), strict=True)
        )
        return (stolen + max(0.0, busy - ours * TICKS_PER_SECOND)) / total if total else 0.0

    def _reading(self) -> tuple[float, float, float, float]:
        rows = []
        for line in Path("/proc/stat").read_text().splitlines():
            name, *columns = line.split()
            if name in self._cores:
                rows.append([int(column) for column in columns[:8]])
        busy = sum(row[column] for row in rows for column in BUSY)
        stolen = sum(row[STEAL] for row in rows)
        ours = time.process_time() + cpu_seconds(self._pids)
        return busy, stolen, sum(map(sum, rows)), ours

"""What a scrape takes from the event loop: python -m benchmarks.scrape [SESSIONS [ROUTES [KEYS]]]

Sessions are on paper: real scanners and principals, no sockets. A turn is what nobody else can use;
the longest one is what a message waits at worst.
"""

from __future__ import annotations

import sys
import time

from proxy.metrics.scrape import Metrics
from tests.unit.metrics.scene import Scene, Steps


def main(sessions: int = 10_000, routes: int = 3, keys: int = 0) -> None:
    scene = Scene(tuple(f"route-{n}" for n in range(routes)))
    scene.registry.key_totals.keep(kept=keys > 0)
    held = [scene.key(f"key-{n}") for n in range(keys)]
    for n in range(sessions):
        scene.session(str(n), scene.routes[n % routes], key=held[n % keys] if keys else None)
    metrics = Metrics(scene.collector)
    best: list[float] = []
    size = 0
    for _ in range(5):
        turns, size = measured(metrics)
        best = min(best or turns, turns, key=sum)
    print(
        f"{sessions} sessions, {routes} routes, {keys} keys with metrics: {size / 1e3:.0f} kB,"
        f" {sum(best) * 1e3:.1f} ms in {len(best)} turns, the longest {max(best) * 1e3:.1f} ms"
    )


def measured(metrics: Metrics) -> tuple[list[float], int]:
    """Seconds of each turn of one scrape, and its size."""
    steps = Steps(metrics.scrape(""))
    turns, begin = [], time.perf_counter()
    for _ in steps:
        turns.append(time.perf_counter() - begin)
        begin = time.perf_counter()
    turns.append(time.perf_counter() - begin)
    return turns, len(steps.result.body)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

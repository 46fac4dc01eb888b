"""A well-behaved client that echoes one message every 50 ms while others misbehave."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING, Self

from tests.harness.process import SLOWNESS

if TYPE_CHECKING:
    from tests.harness.client import Client

EVERY = 0.05
# Below this a slower answer is the machine's business, which has other tests, not the gateway's.
FLOOR = 0.5 * SLOWNESS


class Probe:
    """Measures round trips on an open connection to an echoing upstream."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._trips: list[float] = []
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        try:
            while not self._stop.wait(EVERY):
                number += 1
                began = time.monotonic()
                self._client.send_text(f"probe {number}")
                frame = self._client.read_frame()
                assert frame.payload == f"probe {number}".encode(), frame
                self._trips.append(time.monotonic() - began)
        except (OSError, AssertionError) as error:
            self.error = error

    def baseline(self, seconds: float = 0.5) -> float:
        """The 99th percentile of a quiet while, in seconds."""
        self._stop.wait(seconds)
        return self.take()

    def take(self) -> float:
        """The 99th percentile of the round trips since the last call, in seconds."""
        if self.error is not None:
            raise AssertionError("the probe client failed") from self.error
        trips, self._trips = self._trips, []
        assert trips, "the probe client got no answer meanwhile"
        return statistics.quantiles(trips, n=100)[-1] if len(trips) > 1 else trips[0]

    def assert_unaffected(self, baseline: float) -> None:
        """Served since the last call, and not held up."""
        self._stop.wait(2 * EVERY)
        now = self.take()
        assert now <= max(3 * baseline, FLOOR), f"p99 {now * 1e3:.1f} ms, was {baseline * 1e3:.1f}"

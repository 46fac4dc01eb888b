"""A loop that hears of other threads."""

from __future__ import annotations

from typing import Any

from tests.unit.loop import FakeLoop


class Loop(FakeLoop):
    """Hears of other threads, as long as it is open."""

    closed = False

    def call_soon_threadsafe(self, call: Any, *args: Any) -> None:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.call_soon(call, *args)

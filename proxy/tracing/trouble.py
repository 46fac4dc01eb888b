"""What OpenTelemetry says of its own failures, for our log."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from proxy.logs import Logger

# Seconds between two warnings: a collector that is away is noticed with every batch.
WARN_EVERY: Final = 60.0


class Trouble(logging.Handler):
    """Tells our log, now and then, what a library reports from whatever thread."""

    def __init__(self, log: Logger, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._loop = loop
        # On the loop's clock.
        self._warns_again_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody listens any more.
            self._loop.call_soon_threadsafe(self._tell, record.name, _harmless(record))

    def _tell(self, library: str, message: str) -> None:
        now = self._loop.time()
        if now >= self._warns_again_at:
            self._warns_again_at = now + WARN_EVERY
            self._log.warning("tracing_trouble", logger=library, message=message)


def hear_of_trouble(log: Logger, loop: asyncio.AbstractEventLoop) -> None:
    """Routes what OpenTelemetry logs in this process into `log`."""
    library = logging.getLogger("opentelemetry")
    library.handlers[:] = [Trouble(log, loop)]
    library.propagate = False
    # It tells of `traceparent` headers that break the grammar: a client's trouble, not ours.
    logging.getLogger("opentelemetry.trace").setLevel(logging.CRITICAL)


def _harmless(record: logging.LogRecord) -> str:
    """A message without what may quote the collector's URL or the headers it is sent."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    said = tuple(
        type(value).__name__
        if isinstance(value, BaseException)
        else value
        if isinstance(value, int | float) or record.name.startswith("opentelemetry.exporter.")
        else "…"
        for value in arguments
    )
    try:
        return str(record.msg) % said
    except (TypeError, ValueError):
        return str(record.msg)

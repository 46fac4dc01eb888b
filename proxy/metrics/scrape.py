"""A scrape from end to end; however much it has to tell, sessions get their turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    exposition,
)
from prometheus_client.openmetrics import exposition as openmetrics

from proxy.metrics.exposition import END, Form, form_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.metrics.collector import GatewayCollector

# Characters written in one turn of the event loop: about a millisecond.
_TURN: Final = 65_536


class Scraped(NamedTuple):
    """An answer to a scrape."""

    content_type: str
    body: bytes


class Metrics:
    """The gateway's metrics and, of the client library, those of the process."""

    def __init__(self, gateway: GatewayCollector) -> None:
        self._gateway = gateway
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    async def scrape(self, accept: str) -> Scraped:
        """All metrics, in the form that a request's `Accept` likes best."""
        form = form_for(accept)
        parts = [self._of_process(form)]
        lines = await self._gateway.lines(form)
        while some := _some(lines):
            parts.append(some)
            await asyncio.sleep(0)
        if form is Form.OPENMETRICS:
            parts.append(END)
        return Scraped(form.value, "".join(parts).encode())

    def _of_process(self, form: Form) -> str:
        write: Callable[[CollectorRegistry], bytes] = exposition.generate_latest
        if form is Form.OPENMETRICS:
            write = openmetrics.generate_latest
        return write(self._process).decode().removesuffix(END)


def _some(lines: Iterator[str]) -> str:
    """What may be written in one turn; empty at the end."""
    some, size = [], 0
    for line in lines:
        some.append(line)
        size += len(line)
        if size >= _TURN:
            break
    return "".join(some)

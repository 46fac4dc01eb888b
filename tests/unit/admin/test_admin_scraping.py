"""The listener for metrics alone: what it says when a scrape fails, and that it goes on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from proxy.admin.scraping import MetricsListener
from proxy.config.values import TcpAddress
from tests.unit.sessions.scene import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.metrics.scrape import Scraped


class Failing:
    """Metrics that cannot be had."""

    async def scrape(self, accept: str) -> Scraped:
        raise ValueError(f"CANARY {accept}")


def listener_for(log: Any, ready: Callable[[], bool]) -> MetricsListener:
    metrics: Any = Failing()
    return MetricsListener(
        TcpAddress("127.0.0.1", 0),
        metrics,
        ready=ready,
        draining=lambda: False,
        log=log,
        loop=asyncio.get_running_loop(),
    )


async def asked(path: str, port: int) -> tuple[bytes, Any]:
    """The status line and the body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.splitlines()[0], body


async def test_a_scrape_that_fails_is_a_problem_and_in_the_log() -> None:
    log = Log()
    ready = True
    listener = listener_for(log, lambda: ready)
    await listener.start()
    try:
        [heard] = log.events("listening")
        port = int(heard["address"].rpartition(":")[2])
        status, body = await asked("/metrics", port)
        assert status == b"HTTP/1.1 500 Internal Server Error"
        assert json.loads(body)["code"] == "internal_error"
        assert b"CANARY" not in body
        [failed] = log.events("internal_error")
        assert failed["listener"] == "metrics"
        assert isinstance(failed["failure"], ValueError)
        ready = False
        assert await asked("/readyz", port) == (b"HTTP/1.1 503 Service Unavailable", b"not ready\n")
    finally:
        await listener.close()


async def test_a_listener_that_never_began_can_be_closed() -> None:
    log = Log()
    await listener_for(log, lambda: True).close()
    assert log.lines == []

"""Clock: pushes the time as RFC 3339 text every second, and listens to nothing.

python -m backends.clock --listen 127.0.0.1:9003
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

from aiohttp import web

from backends import service


async def push_time(socket: web.WebSocketResponse) -> None:
    """Send the time at once and then every second."""
    with suppress(ConnectionError):  # the client has gone; whoever reads the socket sees it too
        while True:
            now = datetime.now(UTC)
            await socket.send_str(now.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
            await asyncio.sleep(1)


async def clock(request: web.Request) -> web.StreamResponse:
    """Push the time until the client closes."""
    async with service.accept(request) as socket, asyncio.TaskGroup() as tasks:
        pushing = tasks.create_task(push_time(socket), name="clock")
        async for _ in socket:
            pass  # what a client says is of no interest, its Close is
        pushing.cancel()
    return socket


def application() -> web.Application:
    """The clock service, at every path."""
    return service.application(clock)


if __name__ == "__main__":
    service.run(application(), description="Pushes the time every second.", port=9003)

"""What the example services share: accepting a WebSocket, where to listen, how to stop."""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import WSCloseCode, web

MAX_MESSAGE = 64 * 1024 * 1024  # bytes; examples should not be what a large message fails on
STOP_GRACE = 1.0  # seconds a client has to answer our Close when the service stops

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OPEN_SOCKETS = web.AppKey("OPEN_SOCKETS", set[web.WebSocketResponse])


def application(handler: Handler) -> web.Application:
    """An application that answers every path with `handler` and says 1001 when it stops."""
    app = web.Application()
    app[OPEN_SOCKETS] = set()
    app.router.add_get("/{path:.*}", handler)
    app.on_shutdown.append(close_sockets)
    return app


@asynccontextmanager
async def accept(request: web.Request) -> AsyncIterator[web.WebSocketResponse]:
    """The request's WebSocket, opened; the application knows of it until the block ends."""
    socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE, timeout=STOP_GRACE)
    await socket.prepare(request)
    request.app[OPEN_SOCKETS].add(socket)
    try:
        yield socket
    except ConnectionError:
        pass  # the client went while it was being told something
    finally:
        request.app[OPEN_SOCKETS].discard(socket)


async def close_sockets(app: web.Application) -> None:
    """Send every open socket a Close 1001 and wait for the answers, all at once."""
    await asyncio.gather(
        *(socket.close(code=WSCloseCode.GOING_AWAY) for socket in app[OPEN_SOCKETS]),
        return_exceptions=True,
    )


def run(app: web.Application, *, description: str, port: int) -> None:
    """Serve `app` where `--listen` says, else on loopback at `port`, until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--listen", metavar="HOST:PORT", type=host_and_port, default=("127.0.0.1", port)
    )
    asyncio.run(serve(app, *parser.parse_args().listen))


def host_and_port(address: str) -> tuple[str, int]:
    """Split `127.0.0.1:9001` or `[::1]:9001`; port 0 lets the system choose."""
    host, _, port = address.rpartition(":")
    if not host:
        raise ValueError(address)
    return host.strip("[]"), int(port)


async def serve(app: web.Application, host: str, port: int) -> None:
    """Serve `app` on one address; returns after a signal, when every socket is closed."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_GRACE)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound_host, bound_port, *_ = runner.addresses[0]
        shown_host = f"[{bound_host}]" if ":" in bound_host else bound_host
        sys.stdout.write(f"listening on ws://{shown_host}:{bound_port}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await runner.cleanup()

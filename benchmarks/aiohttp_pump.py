"""The relay that everybody writes with aiohttp: a handler, a client session, two loops.

Kept as one finds it, with what it needs to take part: a constant-time check of the key, no limit
of 100 upstream connections, messages of any size, and uvloop.
"""

from __future__ import annotations

import asyncio
import hmac
import sys
from typing import TYPE_CHECKING

import uvloop
from aiohttp import ClientSession, TCPConnector, WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientWebSocketResponse

CLIENT = web.AppKey("client", ClientSession)
UPSTREAM = web.AppKey("upstream", str)
KEY = web.AppKey("key", bytes)


async def pump(
    source: web.WebSocketResponse | ClientWebSocketResponse,
    sink: web.WebSocketResponse | ClientWebSocketResponse,
) -> None:
    async for message in source:
        if message.type is WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT:
            await sink.send_str(message.data)
    await sink.close()


async def relay(request: web.Request) -> web.WebSocketResponse:
    given = request.headers.get("X-Api-Key", "").encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(given, request.app[KEY]):
        raise web.HTTPUnauthorized
    url = request.app[UPSTREAM] + request.path_qs
    async with request.app[CLIENT].ws_connect(url, max_msg_size=0) as upstream:
        client = web.WebSocketResponse(max_msg_size=0)
        await client.prepare(request)
        await asyncio.gather(pump(client, upstream), pump(upstream, client))
        return client


async def client_session(app: web.Application) -> AsyncIterator[None]:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        app[CLIENT] = session
        yield


def main() -> None:
    port, upstream, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    app = web.Application()
    app[UPSTREAM], app[KEY] = upstream, key.encode()
    app.cleanup_ctx.append(client_session)
    app.router.add_get("/{path:.*}", relay)
    web.run_app(
        app, host="127.0.0.1", port=port, access_log=None, print=None, loop=uvloop.new_event_loop()
    )


if __name__ == "__main__":
    main()

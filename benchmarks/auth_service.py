"""What nginx's auth_request asks: an aiohttp service that says 204 or 401."""

from __future__ import annotations

import hmac
import sys

import uvloop
from aiohttp import web

from benchmarks.aiohttp_pump import KEY


async def check(request: web.Request) -> web.Response:
    given = request.headers.get("X-Api-Key", "").encode("utf-8", "surrogateescape")
    allowed = hmac.compare_digest(given, request.app[KEY])
    return web.Response(status=204 if allowed else 401)


def main() -> None:
    port, key = int(sys.argv[1]), sys.argv[2]
    app = web.Application()
    app[KEY] = key.encode()
    app.router.add_get("/check", check)
    web.run_app(
        app, host="127.0.0.1", port=port, access_log=None, print=None, loop=uvloop.new_event_loop()
    )


if __name__ == "__main__":
    main()

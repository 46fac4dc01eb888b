"""Echo: every message comes back as it was, text as text and binary as binary.

python -m backends.echo --listen 127.0.0.1:9001
"""

from aiohttp import WSMsgType, web

from backends import service


async def echo(request: web.Request) -> web.StreamResponse:
    """Send each message back to whoever sent it, until they close."""
    async with service.accept(request) as socket:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
    return socket


def application() -> web.Application:
    """The echo service, at every path."""
    return service.application(echo)


if __name__ == "__main__":
    service.run(application(), description="Echoes every message.", port=9001)

"""Chat: one room per path; what one says, everybody in the room hears, the speaker included.

The service asks nobody who they are. Behind wskeeper the speaker's name is that of the API key,
which the gateway puts into `X-Wskeeper-Key-Name` (and lets no client set).

python -m backends.chat --listen 127.0.0.1:9002
"""

import asyncio
from collections import defaultdict

from aiohttp import WSMsgType, web

from backends import service

Room = set[web.WebSocketResponse]


class Chat:
    """The rooms, by path. An empty room is forgotten."""

    def __init__(self) -> None:
        self.rooms: defaultdict[str, Room] = defaultdict(set)

    async def join(self, request: web.Request) -> web.StreamResponse:
        """Let a client listen and speak in the room that its path names, until they close."""
        name = request.headers.get("X-Wskeeper-Key-Name", "anonymous")
        async with service.accept(request) as socket:
            room = self.rooms[request.path]
            room.add(socket)
            try:
                async for message in socket:
                    if message.type is WSMsgType.TEXT:
                        await tell(room, f"{name}: {message.data}")
            finally:
                room.discard(socket)
                if not room:
                    self.rooms.pop(request.path, None)
        return socket


async def tell(room: Room, line: str) -> None:
    """Send a line to everybody in the room; speakers wait for listeners that read slowly."""
    # One that has just gone fails alone, and leaves the room through its own handler.
    await asyncio.gather(*(socket.send_str(line) for socket in room), return_exceptions=True)


def application() -> web.Application:
    """The chat service; every path is a room."""
    return service.application(Chat().join)


if __name__ == "__main__":
    service.run(application(), description="A chat room per path.", port=9002)

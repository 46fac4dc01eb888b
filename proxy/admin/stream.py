"""Server-sent events (WHATWG HTML, section 9.2): whoever reads too slowly is dropped."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.admin.desk import ACCESS
from proxy.admin.gate import asked_of
from proxy.admin.problems import Problem
from proxy.admin.protocol import AdminProtocol
from proxy.events import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.events import Event, EventRing, Subscription, Wanted

# Readers at a time.
MOST_READERS: Final = 32

# Seconds of silence before a sign of life: proxies take silence for death, most after 60 s.
HEARTBEAT: Final = 15.0

# Seconds in which a reader must take what fills its buffers.
WRITE_WITHIN: Final = 10.0

# Events written at once.
_SLICE: Final = 100

_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "X-Accel-Buffering": "no",  # nginx would keep events back.
}
# So that a browser comes back after 2 s.
_BEGINNING: Final = b"retry: 2000\n\n"
_SIGN_OF_LIFE: Final = b":\n\n"


def frame(name: str, data: str, id: int | None = None) -> bytes:
    """One event of a stream.

    Args:
        name: what a page listens for.
        data: any text; its lines come back joined.
        id: what a reader that comes back has seen.
    """
    lines = [f"event: {name}", *(f"data: {line}" for line in data.splitlines() or [""])]
    if id is not None:
        lines.insert(0, f"id: {id}")
    return "\n".join([*lines, "", ""]).encode()


async def stream(
    request: web.Request,
    ring: EventRing,
    *,
    render: Callable[[Event], bytes],
    recent: int,
    wanted: Wanted = EVERYTHING,
) -> web.StreamResponse:
    """Answers with events, the latest first to come and then each as it happens.

    It ends when the reader goes, is too slow, or signs out, and when the gateway stops. A reader
    that comes back with `Last-Event-ID` gets what it missed, behind an event `lost` if some of that
    is gone.

    Args:
        render: makes a frame of an event.
        recent: how many of the latest a new reader gets.
        wanted: which ones.

    Raises:
        Problem: `too_many_readers`.
    """
    response = web.StreamResponse(headers=_HEADERS)
    if request.method == "HEAD":
        return response
    if ring.followers >= MOST_READERS:
        raise Problem("too_many_readers", f"Close one of the {MOST_READERS} that there are.")
    protocol, transport = request.protocol, request.transport
    assert isinstance(protocol, AdminProtocol)
    assert transport is not None

    def dropped() -> None:
        if protocol.writing_paused:  # Otherwise it ends in good order.
            transport.abort()

    subscription = ring.subscribe(dropped)
    protocol.when_lost = subscription.end
    try:
        first = _first(ring, _last_seen(request), recent, wanted, render)
        await response.prepare(request)
        await _write(response, [_BEGINNING, *first])
        await _follow(response, subscription, wanted, render, lambda: _may_stay(request))
    except ConnectionError:
        pass  # The reader is gone.
    except TimeoutError:
        transport.abort()
    finally:
        ring.unsubscribe(subscription)
        protocol.when_lost = None
    return response


def _first(
    ring: EventRing,
    seen: int | None,
    recent: int,
    wanted: Wanted,
    render: Callable[[Event], bytes],
) -> list[bytes]:
    """What a reader begins with."""
    missed: int | None = 0
    if seen is not None:
        events, missed = ring.since(seen)
    if seen is None or missed is None:
        events = ring.recent(recent, wanted=wanted)[::-1]
    frames = [render(event) for event in events if wanted.admits(event)]
    if missed != 0:
        frames.insert(0, frame("lost", json.dumps({"missed": missed})))
    return frames


async def _follow(
    response: web.StreamResponse,
    subscription: Subscription,
    wanted: Wanted,
    render: Callable[[Event], bytes],
    may_stay: Callable[[], bool],
) -> None:
    while not subscription.over:
        try:
            async with asyncio.timeout(HEARTBEAT):
                events = await subscription.batch()
        except TimeoutError:
            frames = [_SIGN_OF_LIFE]
        else:
            frames = [render(event) for event in events if wanted.admits(event)]
        if not may_stay():
            return
        await _write(response, frames)


def _may_stay(request: web.Request) -> bool:
    return request.app[ACCESS].lasts(asked_of(request))


async def _write(response: web.StreamResponse, frames: Sequence[bytes]) -> None:
    for at in range(0, len(frames), _SLICE):
        async with asyncio.timeout(WRITE_WITHIN):
            await response.write(b"".join(frames[at : at + _SLICE]))


def _last_seen(request: web.Request) -> int | None:
    """What a reader that comes back saw last; nothing that another server may have told it."""
    text = request.headers.get("Last-Event-ID", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else None

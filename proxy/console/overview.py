"""The overview: how the gateway is, what passes, who is refused, and what to see to."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import web

from proxy.admin.answers import shown
from proxy.admin.desk import DESK
from proxy.console.events import rows_of
from proxy.console.history import INTERVAL
from proxy.console.pages import is_fragment, page
from proxy.console.sampler import SAMPLER
from proxy.console.warnings import NEAR, Standing, warnings

if TYPE_CHECKING:
    from proxy.admin.desk import AdminDesk
    from proxy.console.history import History

# What htmx asks for by name.
_PARTS: Final = {"tiles": "overview_tiles.html", "lists": "overview_lists.html"}

# Rows of the strips.
_EVENTS: Final = 8
_REASONS: Final = 8
# Upstreams that are listed, those that are down first.
_UPSTREAMS: Final = 8

_WEEK: Final = 7 * 86_400.0
# Seconds for which a count of all keys serves: there may be a hundred thousand.
_COUNT_EVERY: Final = 5.0

# Seconds that a start takes at most between the two moments that mark it.
_START: Final = 1.0


class KeyFigures(NamedTuple):
    """All keys, counted.

    Args:
        at: when, in seconds since the epoch.
        usable: those that let somebody in.
        expiring: those of them that end within a week.
    """

    at: float
    usable: int
    expiring: int


class Keys:
    """Counts keys, but not for every look."""

    def __init__(self) -> None:
        self._figures = KeyFigures(-math.inf, 0, 0)
        # Of the ring whose keys were counted.
        self._revision = -1

    async def count(self, desk: AdminDesk) -> KeyFigures:
        """How many there are; the answer may be five seconds old."""
        now, ring = desk.now(), desk.keeper.ring
        small_change = ring.revision != self._revision and len(ring) < _FEW
        if small_change or not 0 <= now - self._figures.at < _COUNT_EVERY:
            self._revision = ring.revision
            keys = list(ring)
            # In a thread, as sessions are not to wait for a hundred thousand keys.
            active = await asyncio.to_thread(
                lambda: [key for key in keys if key.state(now) == "active"]
            )
            expiring = sum(
                key.expires_at is not None and key.expires_at <= now + _WEEK for key in active
            )
            self._figures = KeyFigures(now, len(active), expiring)
        return self._figures


# Keys that are counted whenever they change.
_FEW: Final = 1000

KEYS: Final = web.AppKey("key_figures", Keys)


async def show_overview(request: web.Request) -> web.Response:
    """The page; htmx asks for what changes alone."""
    desk, history = request.app[DESK], request.app[SAMPLER].history
    keys = await request.app[KEYS].count(desk)
    standing = _standing(desk, keys)
    taken_at = desk.reloads.succeeded_at
    reasons = history.refused().most_common(_REASONS)
    context = {
        "version": desk.version,
        "ready": desk.ready(),
        "standing": standing,
        "warnings": warnings(standing),
        "filled": _share(standing),
        "latest": history.latest,
        "uptime": desk.now() - desk.started_at,
        # None while the configuration of the start is in force.
        "reloaded": taken_at if taken_at > desk.started_at + _START else None,
        "all_keys": len(desk.keeper.ring),
        "usable": keys.usable,
        "reasons": reasons,
        "most": reasons[0][1] if reasons else 0,
        "upstreams": _upstreams(desk),
        "events": rows_of(desk, desk.events.recent(_EVENTS)),
        "minutes": history.by_minute(),
    }
    template = _PARTS.get(request.query.get("part", ""), "") if is_fragment(request) else ""
    return page(request, template or "overview.html", context)


async def show_history(request: web.Request) -> web.Response:
    """The points of the charts after `since`, column by column."""
    return shown(columns(request.app[SAMPLER].history, _since(request.query.get("since", ""))))


def columns(history: History, since: float) -> dict[str, Any]:
    """Points as the charts take them.

    Args:
        since: in seconds since the epoch; what is not after it is known already.
    """
    points = history.since(since)

    def pairs(name: str) -> list[list[float]]:
        return [[round(getattr(point, name)[side], 3) for point in points] for side in (0, 1)]

    return {
        "interval": INTERVAL,
        "at": [round(point.at, 3) for point in points],
        "sessions": [point.sessions for point in points],
        "messages": pairs("messages"),
        "bytes": pairs("bytes"),
        "accepted": [point.accepted for point in points],
        "refused": [point.refused for point in points],
    }


def _since(text: str) -> float:
    """A moment; what is none asks for everything."""
    try:
        at = float(text)
    except ValueError:
        return -math.inf
    return at if math.isfinite(at) else -math.inf


def _standing(desk: AdminDesk, keys: KeyFigures) -> Standing:
    config = desk.config()
    return Standing(
        draining=desk.draining(),
        store=desk.keeper.place,
        store_up=desk.keeper.up,
        store_grace=config.store_grace,
        sessions=len(desk.registry),
        limit=desk.connections_limit(),
        usable=keys.usable,
        expiring=keys.expiring,
        needs_keys=(
            config.jwt is None
            and not config.plugins
            and any(route.auth == "required" for route in config.routes)
        ),
        open_routes=[route.name for route in config.routes if route.auth == "report_only"],
        targets=list(desk.upstreams()),
        rejected=not desk.reloads.successful,
    )


def _share(standing: Standing) -> tuple[int, str] | None:
    """Per cent of the places that are taken, and how grave that is; None without a limit."""
    if standing.limit is None:
        return None
    share = min(1.0, standing.sessions / standing.limit) if standing.limit else 1.0
    return math.ceil(100 * share), "bad" if share >= 1 else "warn" if share >= NEAR else ""


def _upstreams(desk: AdminDesk) -> dict[str, Any]:
    states = sorted(desk.upstreams(), key=lambda state: state[2])  # Those that are down first.
    return {"shown": states[:_UPSTREAMS], "more": max(0, len(states) - _UPSTREAMS)}

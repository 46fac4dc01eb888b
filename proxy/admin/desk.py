"""What the handlers work with, and how they get at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.admin.access import Access, Operator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from proxy.admin.reload import Reloaded
    from proxy.config.model import Config
    from proxy.events import EventRing
    from proxy.gateway.rules import ReloadRecord
    from proxy.logs import Logger
    from proxy.sessions.registry import Registry
    from proxy.stores.keeper import StoreKeeper


@dataclass(frozen=True, slots=True)
class AdminDesk:
    """A gateway as its operators see it.

    Args:
        keeper: has all keys in its ring, and changes those of the store.
        registry: the live sessions.
        config: gives the configuration in force.
        log: where audit events go.
        events: the latest of the log.
        now: the time of day, in seconds since the epoch.
        below: a random number below its argument, from a source nobody can predict.
        version: of the gateway.
        started_at: in seconds since the epoch.
        connections_limit: how many sessions the gateway takes at a time; None for no limit.
        limited: how often a limit was met, by (route, limit).
        upstreams: every target, as (route, target, whether it is up).
        reload: reads the configuration again, for whom; raises `ConfigInvalid` or `NotNow`.
        reloads: how reading it again went.
        ready: whether new sessions are welcome.
        draining: whether it is going away.
    """

    keeper: StoreKeeper
    registry: Registry
    config: Callable[[], Config]
    log: Logger
    events: EventRing
    now: Callable[[], float]
    below: Callable[[int], int]
    version: str
    started_at: float
    connections_limit: Callable[[], int | None]
    limited: Callable[[], Mapping[tuple[str, str], int]]
    upstreams: Callable[[], Iterable[tuple[str, str, bool]]]
    reload: Callable[[str], Awaitable[Reloaded]]
    reloads: ReloadRecord
    ready: Callable[[], bool]
    draining: Callable[[], bool]


DESK: Final = web.AppKey("desk", AdminDesk)
ACCESS: Final = web.AppKey("access", Access)
OPERATOR: Final = web.RequestKey("operator", Operator)

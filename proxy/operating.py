"""What operators have of a gateway: its metrics, its admin API and its console."""

from __future__ import annotations

import secrets
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

from proxy.admin.desk import AdminDesk
from proxy.admin.listener import AdminListener
from proxy.admin.logins import Logins
from proxy.admin.scraping import MetricsListener
from proxy.adoption import Parts
from proxy.console.sampler import Sampler
from proxy.console.site import Console
from proxy.metrics.collector import GatewayCollector
from proxy.metrics.scrape import Metrics
from proxy.sessions.recorder import Recorders

if TYPE_CHECKING:
    from proxy.admin.try_page.page import TryPage
    from proxy.deadlines import Deadlines
    from proxy.events import EventRing
    from proxy.gateway.rules import ReloadRecord
    from proxy.reloading import Reloading
    from proxy.sessions.sweeper import Sweeper


class Operated(Parts, Protocol):
    """The parts of a gateway that operators see something of."""

    sweeper: Sweeper
    metrics: Metrics
    reloading: Reloading

    @property
    def reloads(self) -> ReloadRecord:
        """How reading the configuration again went."""

    def ready(self) -> bool:
        """Whether new sessions are welcome."""


def metrics_of(gateway: Operated) -> Metrics:
    """What is measured of a gateway."""
    return Metrics(
        GatewayCollector(
            gateway.measured,
            gateway.admission,
            lambda: gateway.sweeper.lag,
            lambda: gateway.tls_files.ends,
            leaving=lambda: gateway.leaving,
            keys=gateway.ring,
            store_up=lambda: gateway.keeper.up,
            upstreams=gateway.upstreams.states,
            reloads=gateway.reloads,
            wall=time.time,
        )
    )


def metrics_listener_of(gateway: Operated) -> MetricsListener | None:
    """The listener for metrics alone, if the configuration has one."""
    address = gateway.config.metrics.listen
    if address is None:
        return None
    return MetricsListener(
        address,
        gateway.metrics,
        ready=gateway.ready,
        draining=lambda: gateway.leaving,
        log=gateway.log,
        loop=gateway.loop,
    )


def admin_listener_of(
    gateway: Operated, events: EventRing, deadlines: Deadlines, try_page: TryPage | None
) -> AdminListener | None:
    """The admin listener, unless the configuration switches it off."""
    config = gateway.config
    if config.admin.listen is None:
        return None
    desk = AdminDesk(
        keeper=gateway.keeper,
        registry=gateway.registry,
        config=lambda: gateway.config,
        log=gateway.log,
        events=events,
        now=time.time,
        below=secrets.randbelow,
        version=version("wskeeper"),
        started_at=time.time(),
        connections_limit=lambda: gateway.admission.total_connections,
        reload=gateway.reloading.reload,
        reloads=gateway.reloading.record,
        limited=lambda: gateway.admission.account.limited,
        upstreams=gateway.upstreams.states,
        ready=gateway.ready,
        draining=lambda: gateway.leaving,
    )
    tls = config.admin.tls
    return AdminListener(
        desk,
        gateway.metrics,
        config.admin,
        config.timeouts,
        gateway.log,
        gateway.loop,
        tls=None if tls is None else gateway.tls_files.listener("admin", tls),
        try_page=try_page,
        pages=Console(
            Sampler(gateway.registry, time.time, gateway.loop),
            Recorders(deadlines, gateway.loop),
            try_page=try_page is not None,
        ),
        logins=Logins(secrets.token_bytes(32), time.time, secrets.token_bytes),
    )

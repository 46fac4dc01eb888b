"""A gateway on paper, and what a scrape of it says."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families as parse

from proxy.errors import OUTCOMES
from proxy.gateway.rules import ReloadRecord
from proxy.keys.key import Key, Secret
from proxy.keys.principal import NOBODY
from proxy.keys.ring import KeyRing
from proxy.metrics.collector import GatewayCollector
from proxy.metrics.exposition import Form
from proxy.relay.scanner import Extensions, Scanner
from tests.harness import frames
from tests.unit.sessions.scene import WALL, House

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from prometheus_client.core import Metric

ROUTES = ("chat", "echo")
CLIENT_BYTES = frames.masked(frames.TEXT, b"x" * 100)
UPSTREAM_BYTES = frames.frame(frames.BINARY, b"y" * 300)


class Steps:
    """A coroutine that is run turn by turn, so that something can happen between two."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.result: Any = None

    def __iter__(self) -> Iterator[None]:
        """Ends with it; `result` is set then."""
        while True:
            try:
                self._coroutine.send(None)
            except StopIteration as stop:
                self.result = stop.value
                return
            yield

    def whole(self) -> Any:
        """Its result, without anything between."""
        for _ in self:
            pass
        return self.result


class Scene:
    """A gateway on paper."""

    def __init__(self, routes: tuple[str, ...] = ROUTES) -> None:
        self.registry = House().registry
        self.account = SimpleNamespace(limited=Counter(), would_refuse=Counter())
        self.admission = SimpleNamespace(
            registry=self.registry,
            account=self.account,
            total_connections=100,
            draining=False,
        )
        self.ring = KeyRing()
        self.store_up = True
        self.upstreams = [("chat", "ws://a", True), ("chat", "ws://b/x", False)]
        self.expiry: dict[str, float] = {}
        self.lag = 0.0
        self.reloads = ReloadRecord(WALL - 60)
        self.routes = list(routes)
        self.collector = GatewayCollector(
            self.routes,
            self.admission,
            lambda: self.lag,
            lambda: self.expiry,
            leaving=lambda: self.admission.draining,
            keys=self.ring,
            store_up=lambda: self.store_up,
            upstreams=lambda: self.upstreams,
            reloads=self.reloads,
            wall=lambda: WALL,
        )

    def text(self, form: Form = Form.PROMETHEUS) -> str:
        return "".join(Steps(self.collector.lines(form)).whole())

    def families(self) -> dict[str, Metric]:
        """By name, counters without their `_total`."""
        return {family.name: family for family in parse(self.text())}

    def samples(self) -> dict[str, float]:
        return samples_in(self.text())

    def key(self, id: str, **fields: Any) -> Key:
        """A key of the store, named after its id."""
        key = Key(id, f"{id}'s name", (Secret(id.encode()),), **fields)
        self.ring.put(id, key)
        return key

    def session(self, id: str, route: str = "chat", *, key: Key | None = None) -> Any:
        """A live session that has not said anything."""
        sent, received = self.registry.totals[route].traffic
        scanners = (
            Scanner(masked=True, extensions=Extensions.NONE, traffic=sent),
            Scanner(masked=False, extensions=Extensions.NONE, traffic=received),
        )
        session = SimpleNamespace(
            id=id,
            route=route,
            state=SimpleNamespace(scanners=scanners, initiator="client", code=1000),
            client=f"192.0.2.{id}",
            principal=NOBODY._replace(key=key),
            holders=(),
            opened_at=1000.0,
            settled=None,
        )
        self.registry.add(session)
        return session

    @staticmethod
    def talk(session: Any) -> None:
        """One message each way."""
        session.state.scanners[0].feed(CLIENT_BYTES)
        session.state.scanners[1].feed(UPSTREAM_BYTES)

    def ended(self, session: Any, duration: float = 1.0) -> None:
        self.registry.remove(session, duration)

    def busy(self) -> None:
        """Something of everything."""
        self.registry.key_totals.keep(kept=True)
        for route in ("none", *self.routes):
            for outcome in OUTCOMES:
                self.registry.totals[route].outcomes[outcome] += 1
        for route in self.routes:
            totals = self.registry.totals[route]
            totals.handshake_duration.observe(0.01)
            totals.connect_duration.observe(0.001)
            totals.http_outcomes["answered"] += 1
            session = self.session(route, route, key=self.key(f"{route}-key"))
            self.talk(session)
            self.ended(session)
            self.session(f"{route}2", route)
        for pongs in self.registry.ping_rtt:
            pongs.observe(0.02)
        self.account.limited["chat", "total_connections"] += 1
        self.account.would_refuse["chat", "key_missing"] += 1
        self.expiry = {"public": 2e9}


def samples_in(text: str) -> dict[str, float]:
    """By name and labels, as a scrape writes them."""
    return {
        sample.name + "".join(f" {k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }

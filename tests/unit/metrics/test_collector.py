"""The metrics as Prometheus reads them: names, labels, sums, and no series of a client's making."""

from __future__ import annotations

import math
import re
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from proxy.errors import OUTCOMES
from proxy.keys.key import Key, Secret
from proxy.keys.principal import NOBODY
from proxy.keys.ring import KeyRing
from proxy.metrics.collector import GatewayCollector
from proxy.relay.scanner import Extensions, Scanner
from tests.harness import frames
from tests.unit.sessions.scene import WALL, House

if TYPE_CHECKING:
    from prometheus_client.core import Metric

ROUTES = ("chat", "echo")
# Those of the contract's section 7 that this version keeps.
LABELS = {
    "wskeeper_handshakes": {"route", "outcome"},
    "wskeeper_handshake_duration_seconds": {"route"},
    "wskeeper_upstream_connect_duration_seconds": {"route"},
    "wskeeper_connections": {"route"},
    "wskeeper_connections_limit": set(),
    "wskeeper_connection_duration_seconds": {"route"},
    "wskeeper_frames": {"route", "direction", "opcode"},
    "wskeeper_messages": {"route", "direction"},
    "wskeeper_bytes": {"route", "direction"},
    "wskeeper_message_size_bytes": {"route", "direction"},
    "wskeeper_closes": {"route", "initiator", "code"},
    "wskeeper_limited": {"route", "limit"},
    "wskeeper_would_refuse": {"route", "outcome"},
    "wskeeper_keys": {"state"},
    "wskeeper_keys_expiring": {"within"},
    "wskeeper_store_up": set(),
    "wskeeper_upstream_up": {"route", "target"},
    "wskeeper_backpressure_seconds": {"route", "direction"},
    "wskeeper_event_loop_lag_seconds": set(),
    "wskeeper_draining": set(),
    "wskeeper_tls_certificate_expiry_timestamp_seconds": {"listener"},
    "wskeeper_build_info": {"version", "python"},
}


class Scene:
    """A gateway on paper, and what a scrape of it says."""

    def __init__(self) -> None:
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
        self.collector = GatewayCollector(
            ROUTES,
            self.admission,
            lambda: self.lag,
            lambda: self.expiry,
            leaving=lambda: self.admission.draining,
            keys=self.ring,
            store_up=lambda: self.store_up,
            upstreams=lambda: self.upstreams,
            wall=lambda: WALL,
        )
        self.prometheus = CollectorRegistry()
        self.prometheus.register(self.collector)

    def families(self) -> dict[str, Metric]:
        text = generate_latest(self.prometheus).decode()
        return {family.name: family for family in parse(text)}

    def samples(self) -> dict[str, float]:
        """By name and labels, as a scrape writes them."""
        return {
            sample.name + "".join(f" {k}={v}" for k, v in sorted(sample.labels.items())): (
                sample.value
            )
            for family in self.families().values()
            for sample in family.samples
        }

    def session(self, id: str, route: str = "chat") -> Any:
        """A live session that sends and hears a little."""
        sent, received = self.registry.totals[route].traffic
        scanners = (
            Scanner(masked=True, extensions=Extensions.NONE, traffic=sent),
            Scanner(masked=False, extensions=Extensions.NONE, traffic=received),
        )
        state = SimpleNamespace(scanners=scanners, initiator="client", code=1000)
        session = SimpleNamespace(
            id=id,
            route=route,
            state=state,
            client=f"192.0.2.{id}",
            principal=NOBODY,
            holders=(),
            opened_at=1000.0,
            settled=None,
        )
        self.registry.add(session)
        return session

    def ended(self, session: Any, duration: float = 1.0) -> None:
        self.registry.remove(session, duration)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def busy(scene: Scene) -> None:
    """Something of everything."""
    for route in ("none", *ROUTES):
        for outcome in OUTCOMES:
            scene.registry.totals[route].outcomes[outcome] += 1
    for route in ROUTES:
        totals = scene.registry.totals[route]
        totals.handshake_duration.observe(0.01)
        totals.connect_duration.observe(0.001)
        session = scene.session(route, route)
        session.state.scanners[0].feed(frames.masked(frames.TEXT, b"x" * 100))
        scene.ended(session)
        scene.session(f"{route}2", route)
    scene.account.limited["chat", "total_connections"] += 1
    scene.account.would_refuse["chat", "key_missing"] += 1
    scene.expiry = {"public": 2e9}


# Form ----------------------------------------------------------------------------------------


def test_every_metric_of_this_version_is_there_with_its_labels(scene: Scene) -> None:
    busy(scene)
    families = scene.families()
    assert set(families) == set(LABELS)
    for name, family in families.items():
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == LABELS[name]


def test_names_and_types_follow_the_conventions(scene: Scene) -> None:
    busy(scene)
    for name, family in scene.families().items():
        assert re.fullmatch(r"wskeeper_[a-z]+(_[a-z]+)*", name)
        assert re.match(r"[A-Z0-9]", family.documentation)
        assert family.documentation.endswith(".")
        assert family.type in {"counter", "gauge", "histogram"}
        assert not name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert not re.search(r"_(milliseconds|ms|minutes|kilobytes|gauge|counter)\b", name)
        if family.type == "counter":
            assert all(sample.name == f"{name}_total" for sample in family.samples)
            assert all(sample.value >= 0 for sample in family.samples)


def test_openmetrics_is_well_formed(scene: Scene) -> None:
    busy(scene)
    text = generate_openmetrics(scene.prometheus).decode()
    assert {family.name for family in parse_openmetrics(text)} >= set(LABELS) - {
        "wskeeper_build_info"
    }


def test_histograms_are_cumulative_and_end_in_infinity(scene: Scene) -> None:
    busy(scene)
    samples = scene.samples()
    for name, family in scene.families().items():
        if family.type != "histogram":
            continue
        by_labels: dict[str, list[tuple[float, float]]] = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                labels = "".join(f" {k}={v}" for k, v in sorted(sample.labels.items()) if k != "le")
                by_labels.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        assert by_labels
        for labels, buckets in by_labels.items():
            assert buckets == sorted(buckets)
            assert [count for _, count in buckets] == sorted(count for _, count in buckets)
            assert buckets[-1] == (math.inf, samples[f"{name}_count{labels}"])


def test_registering_does_not_scrape(scene: Scene) -> None:
    assert list(scene.collector.describe()) == []


def test_every_route_has_its_series_from_the_start(scene: Scene) -> None:
    samples = scene.samples()
    for route in ROUTES:
        assert samples[f"wskeeper_connections route={route}"] == 0
        for outcome in OUTCOMES:
            assert samples[f"wskeeper_handshakes_total outcome={outcome} route={route}"] == 0
        for direction in ("client_to_upstream", "upstream_to_client"):
            assert samples[f"wskeeper_bytes_total direction={direction} route={route}"] == 0


def test_series_do_not_grow_with_what_clients_do(scene: Scene) -> None:
    busy(scene)
    before = set(scene.samples())
    for n in range(300):
        session = scene.session(f"canary-{n}", ROUTES[n % 2])
        key = Key(f"key-{n}", f"name-{n}", (Secret(str(n).encode()),))
        scene.ring.put(key.id, key)
        session.principal = NOBODY._replace(key=key, subject=f"subject-{n}")
        session.state.scanners[0].feed(frames.masked(frames.PING, b"x" * (n % 126)))
        if n % 3:
            scene.ended(session, duration=float(n))
        scene.registry.totals["none"].outcomes["no_route"] += 1
    assert set(scene.samples()) == before


def test_close_codes_of_clients_stay_few(scene: Scene) -> None:
    for code in (None, *range(0, 65536, 7)):
        session = scene.session("one")
        session.state.code = code
        session.state.initiator = ("client", "upstream", "gateway")[(code or 0) % 3]
        scene.ended(session)
    closes = [name for name in scene.samples() if name.startswith("wskeeper_closes_total")]
    assert len(closes) <= 3 * 19


# Numbers -------------------------------------------------------------------------------------


def test_traffic_is_that_of_ended_and_live_sessions(scene: Scene) -> None:
    text, reply = frames.masked(frames.TEXT, b"x" * 100), frames.frame(frames.BINARY, b"y" * 300)
    first, second = scene.session("1"), scene.session("2")
    for session in (first, second):
        session.state.scanners[0].feed(text)
        session.state.scanners[1].feed(reply + frames.frame(frames.PING))
    for _ in range(2):  # Before and after one of them has ended.
        samples = scene.samples()
        up, down = "direction=client_to_upstream", "direction=upstream_to_client"
        assert samples[f"wskeeper_messages_total {up} route=chat"] == 2
        assert samples[f"wskeeper_messages_total {down} route=chat"] == 2
        assert samples[f"wskeeper_bytes_total {up} route=chat"] == 2 * len(text)
        assert samples[f"wskeeper_bytes_total {down} route=chat"] == 2 * (len(reply) + 2)
        assert samples[f"wskeeper_frames_total {up} opcode=text route=chat"] == 2
        assert samples[f"wskeeper_frames_total {down} opcode=ping route=chat"] == 2
        assert samples[f"wskeeper_frames_total {down} opcode=close route=chat"] == 0
        assert samples[f"wskeeper_message_size_bytes_sum {down} route=chat"] == 600
        assert samples[f"wskeeper_message_size_bytes_bucket {down} le=256.0 route=chat"] == 0
        assert samples[f"wskeeper_message_size_bytes_bucket {down} le=1024.0 route=chat"] == 2
        assert samples[f"wskeeper_message_size_bytes_count {up} route=chat"] == 2
        assert samples[f"wskeeper_bytes_total {up} route=echo"] == 0
        if "1" in scene.registry:
            scene.ended(first, duration=42)
    assert samples["wskeeper_connections route=chat"] == 1
    assert samples["wskeeper_connection_duration_seconds_sum route=chat"] == 42
    assert samples["wskeeper_closes_total code=1000 initiator=client route=chat"] == 1


def test_connections_are_the_live_sessions(scene: Scene) -> None:
    sessions = [scene.session(str(n), ROUTES[n % 2]) for n in range(5)]
    assert scene.samples()["wskeeper_connections route=chat"] == 3
    assert scene.samples()["wskeeper_connections route=echo"] == 2
    for session in sessions:
        scene.ended(session)
    assert scene.samples()["wskeeper_connections route=chat"] == 0


def test_pauses_are_counted_in_seconds(scene: Scene) -> None:
    scene.registry.totals["chat"].backpressure[1] += 1.5
    name = "wskeeper_backpressure_seconds_total direction=upstream_to_client route=chat"
    assert scene.samples()[name] == 1.5


@pytest.mark.parametrize(("limit", "shown"), [(7, 7), (None, math.inf)])
def test_limit_of_connections_is_shown(scene: Scene, limit: int | None, shown: float) -> None:
    scene.admission.total_connections = limit
    assert scene.samples()["wskeeper_connections_limit"] == shown


def test_state_of_the_process_is_shown(scene: Scene) -> None:
    assert scene.samples()["wskeeper_draining"] == 0
    scene.admission.draining = True
    scene.lag = 0.25
    scene.expiry = {"public": 1.8e9}
    samples = scene.samples()
    assert samples["wskeeper_draining"] == 1
    assert samples["wskeeper_event_loop_lag_seconds"] == 0.25
    assert samples["wskeeper_tls_certificate_expiry_timestamp_seconds listener=public"] == 1.8e9
    (build,) = (name for name in samples if name.startswith("wskeeper_build_info"))
    assert re.search(r"python=3\.\d+\.\d+ version=\d+\.\d+\.\d+", build)


def test_limits_met_are_counted_where_they_were_met(scene: Scene) -> None:
    scene.account.limited["chat", "total_connections"] += 2
    samples = scene.samples()
    assert samples["wskeeper_limited_total limit=total_connections route=chat"] == 2


def test_keys_are_counted_by_state_and_by_how_soon_they_end(scene: Scene) -> None:
    day = 86_400.0
    fields: list[dict[str, float]] = [
        {},
        {"revoked_at": WALL},
        {"suspended_at": WALL},
        {"expires_at": WALL},
        *({"expires_at": WALL + days * day} for days in (0.5, 1, 1.1, 7, 29, 31)),
    ]
    for n, given in enumerate(fields):
        scene.ring.put(str(n), Key(str(n), str(n), (Secret(str(n).encode()),), **given))
    samples = scene.samples()
    states = {"active": 7, "suspended": 1, "expired": 1, "revoked": 1}
    for state, count in states.items():
        assert samples[f"wskeeper_keys state={state}"] == count
    for within, count in (("1d", 2), ("7d", 4), ("30d", 5)):
        assert samples[f"wskeeper_keys_expiring within={within}"] == count


def test_store_that_is_away_shows(scene: Scene) -> None:
    assert scene.samples()["wskeeper_store_up"] == 1
    scene.store_up = False
    assert scene.samples()["wskeeper_store_up"] == 0


def test_what_would_be_refused_is_counted_by_code(scene: Scene) -> None:
    scene.account.would_refuse["chat", "key_unknown"] += 3
    name = "wskeeper_would_refuse_total outcome=key_unknown route=chat"
    assert scene.samples()[name] == 3


def test_targets_show_whether_they_are_up(scene: Scene) -> None:
    samples = scene.samples()
    assert samples["wskeeper_upstream_up route=chat target=ws://a"] == 1
    assert samples["wskeeper_upstream_up route=chat target=ws://b/x"] == 0

"""The metrics as Prometheus reads them: names, labels, sums, and no series of a client's making."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxy.errors import OUTCOMES
from proxy.metrics import families
from tests.harness import frames
from tests.unit.metrics.scene import CLIENT_BYTES, ROUTES, UPSTREAM_BYTES, Scene
from tests.unit.sessions.scene import WALL

if TYPE_CHECKING:
    from proxy.metrics.families import Family

FAMILIES: list[Family] = [
    family for family in vars(families).values() if isinstance(family, families.Family)
]


@pytest.fixture
def scene() -> Scene:
    return Scene()


# Form ----------------------------------------------------------------------------------------


def test_every_metric_is_there_with_its_type_its_labels_and_its_meaning(scene: Scene) -> None:
    scene.busy()
    shown = scene.families()
    assert shown.keys() == {family.name.removesuffix("_total") for family in FAMILIES}
    for family in FAMILIES:
        found = shown[family.name.removesuffix("_total")]
        assert (found.type, found.documentation) == (family.kind, family.text)
        assert found.samples
        for sample in found.samples:
            assert sample.labels.keys() - {"le"} == set(family.labels)
            assert sample.name.startswith(family.name)


def test_names_and_types_follow_the_conventions() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"wskeeper_[a-z]+(_[a-z]+)*", family.name)
        assert re.fullmatch(r"[A-Z0-9][^\n\\]*\.", family.text)
        assert (family.kind == "counter") is family.name.endswith("_total")
        assert not family.name.endswith(("_count", "_sum", "_bucket"))
        assert not re.search(r"_(milliseconds|ms|minutes|kilobytes|gauge|counter)\b", family.name)


def test_counters_are_whole_numbers(scene: Scene) -> None:
    scene.busy()
    for line in scene.text().splitlines():
        if re.match(r"wskeeper_(handshakes|messages|bytes|frames|closes|limited)_total", line):
            assert re.search(r" \d+$", line), line


def test_histograms_are_cumulative_and_end_in_infinity(scene: Scene) -> None:
    scene.busy()
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


def test_every_route_has_its_series_from_the_start(scene: Scene) -> None:
    samples = scene.samples()
    for route in ROUTES:
        assert samples[f"wskeeper_connections route={route}"] == 0
        for outcome in OUTCOMES:
            assert samples[f"wskeeper_handshakes_total outcome={outcome} route={route}"] == 0
        for direction in ("client_to_upstream", "upstream_to_client"):
            assert samples[f"wskeeper_bytes_total direction={direction} route={route}"] == 0


def test_series_do_not_grow_with_what_clients_do(scene: Scene) -> None:
    scene.busy()
    scene.registry.key_totals.keep(kept=False)
    before = set(scene.samples())
    for n in range(300):
        session = scene.session(f"canary-{n}", ROUTES[n % 2], key=scene.key(f"key-{n}"))
        session.principal = session.principal._replace(subject=f"subject-{n}")
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
        scene.key(str(n), **given)
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


def test_ordinary_requests_are_counted_apart_from_handshakes(scene: Scene) -> None:
    scene.registry.totals["chat"].http_outcomes["answered"] += 2
    samples = scene.samples()
    assert samples["wskeeper_http_requests_total outcome=answered route=chat"] == 2
    assert samples["wskeeper_handshakes_total outcome=accepted route=chat"] == 0


def test_what_would_be_refused_is_counted_by_code(scene: Scene) -> None:
    scene.account.would_refuse["chat", "key_unknown"] += 3
    name = "wskeeper_would_refuse_total outcome=key_unknown route=chat"
    assert scene.samples()[name] == 3


def test_targets_show_whether_they_are_up(scene: Scene) -> None:
    samples = scene.samples()
    assert samples["wskeeper_upstream_up route=chat target=ws://a"] == 1
    assert samples["wskeeper_upstream_up route=chat target=ws://b/x"] == 0


def test_pongs_are_observed_by_leg(scene: Scene) -> None:
    client, upstream = scene.registry.ping_rtt
    client.observe(0.02)
    upstream.observe(0.2)
    upstream.observe(100.0)
    samples = scene.samples()
    assert samples["wskeeper_ping_rtt_seconds_count leg=client"] == 1
    assert samples["wskeeper_ping_rtt_seconds_bucket le=0.025 leg=client"] == 1
    assert samples["wskeeper_ping_rtt_seconds_bucket le=0.1 leg=upstream"] == 0
    assert samples["wskeeper_ping_rtt_seconds_bucket le=30.0 leg=upstream"] == 1
    assert samples["wskeeper_ping_rtt_seconds_count leg=upstream"] == 2
    assert samples["wskeeper_ping_rtt_seconds_sum leg=upstream"] == 100.2


def test_last_reload_shows(scene: Scene) -> None:
    samples = scene.samples()
    assert samples["wskeeper_config_last_reload_successful"] == 1
    assert samples["wskeeper_config_last_reload_success_timestamp_seconds"] == WALL - 60
    scene.reloads.successful = False
    samples = scene.samples()
    assert samples["wskeeper_config_last_reload_successful"] == 0
    assert samples["wskeeper_config_last_reload_success_timestamp_seconds"] == WALL - 60


def test_ordinary_requests_are_no_handshakes(scene: Scene) -> None:
    scene.registry.totals["chat"].http_outcomes["answered"] += 2
    samples = scene.samples()
    assert samples["wskeeper_http_requests_total outcome=answered route=chat"] == 2
    assert samples["wskeeper_handshakes_total outcome=accepted route=chat"] == 0


def test_routes_that_a_reload_brings_have_series_and_those_it_takes_have_none(scene: Scene) -> None:
    scene.routes[:] = ["chat", "new"]
    scene.session("1", "echo")  # On a route that is gone.
    samples = scene.samples()
    assert samples["wskeeper_connections route=new"] == 0
    assert not [series for series in samples if "route=echo" in series]


# Keys ----------------------------------------------------------------------------------------


@pytest.fixture
def by_key(scene: Scene) -> Scene:
    """With metrics of each key."""
    scene.registry.key_totals.keep(kept=True)
    return scene


def of_keys(samples: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in samples.items() if name.startswith("wskeeper_key_")}


def test_keys_have_no_series_unless_they_are_asked_for(scene: Scene) -> None:
    scene.talk(scene.session("1", key=scene.key("alice")))
    text = scene.text()
    assert "alice" not in text
    assert "wskeeper_key_" not in text


def test_each_key_has_its_series_by_name_from_the_start(by_key: Scene) -> None:
    by_key.key("alice")
    assert of_keys(by_key.samples()) == {
        "wskeeper_key_connections key=alice's name": 0,
        "wskeeper_key_messages_total direction=client_to_upstream key=alice's name": 0,
        "wskeeper_key_messages_total direction=upstream_to_client key=alice's name": 0,
        "wskeeper_key_bytes_total direction=client_to_upstream key=alice's name": 0,
        "wskeeper_key_bytes_total direction=upstream_to_client key=alice's name": 0,
    }


def test_what_a_key_has_passed_outlives_its_sessions(by_key: Scene) -> None:
    alice, bob = by_key.key("alice"), by_key.key("bob")
    sessions = [by_key.session("1", key=alice), by_key.session("2", "echo", key=alice)]
    for session in (*sessions, by_key.session("3", key=bob), by_key.session("4")):
        by_key.talk(session)
    for left in (2, 1, 0):
        samples = by_key.samples()
        assert samples["wskeeper_key_connections key=alice's name"] == left
        for direction, size in (
            ("client_to_upstream", len(CLIENT_BYTES)),
            ("upstream_to_client", len(UPSTREAM_BYTES)),
        ):
            labels = f"direction={direction} key=alice's name"
            assert samples[f"wskeeper_key_messages_total {labels}"] == 2
            assert samples[f"wskeeper_key_bytes_total {labels}"] == 2 * size
        if sessions:
            by_key.ended(sessions.pop())
    assert samples["wskeeper_key_connections key=bob's name"] == 1


def test_series_of_a_deleted_key_vanish_and_those_of_a_new_one_begin_at_nothing(
    by_key: Scene,
) -> None:
    session = by_key.session("1", key=by_key.key("alice"))
    by_key.talk(session)
    by_key.ended(session)
    later = by_key.session("2", key=by_key.ring.get("alice"))
    by_key.ring.put("alice", None)
    assert of_keys(by_key.samples()) == {}
    by_key.talk(later)
    by_key.ended(later)  # As a session does of which the key is gone.
    assert of_keys(by_key.samples()) == {}
    by_key.key("alice")
    assert set(of_keys(by_key.samples()).values()) == {0}


def test_a_renamed_key_keeps_its_numbers(by_key: Scene) -> None:
    alice = by_key.key("alice")
    session = by_key.session("1", key=alice)
    by_key.talk(session)
    by_key.ended(session)
    by_key.ring.put("alice", replace(alice, name="carol"))
    samples = of_keys(by_key.samples())
    assert not [series for series in samples if "alice" in series]
    assert samples["wskeeper_key_messages_total direction=client_to_upstream key=carol"] == 1


def test_numbers_are_forgotten_when_nobody_wants_them_any_more(by_key: Scene) -> None:
    session = by_key.session("1", key=by_key.key("alice"))
    by_key.talk(session)
    by_key.ended(session)
    by_key.registry.key_totals.keep(kept=False)
    by_key.registry.key_totals.keep(kept=True)
    assert set(of_keys(by_key.samples()).values()) == {0}

"""A scrape from end to end: the process's own metrics, turns for others, promtool's opinion."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)

from proxy.metrics import scrape
from proxy.metrics.scrape import Metrics, Scraped
from tests.unit.metrics.scene import Scene, Steps, samples_in

OPENMETRICS = "application/openmetrics-text"
CANARY = "CANARY-5f0c"


def scraped(scene: Scene, accept: str = "") -> Scraped:
    return Steps(Metrics(scene.collector).scrape(accept)).whole()


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.busy()
    return scene


def test_the_process_tells_of_itself(scene: Scene) -> None:
    samples = samples_in(scraped(scene).body.decode())
    for name in (
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "wskeeper_connections route=chat",
    ):
        assert name in samples


def test_the_text_format_is_said_to_be_it(scene: Scene) -> None:
    content_type, body = scraped(scene)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# EOF" not in body
    assert body.endswith(b"\n")


def test_openmetrics_is_said_to_be_it_and_ends_once(scene: Scene) -> None:
    content_type, body = scraped(scene, OPENMETRICS)
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body.endswith(b"\n# EOF\n")
    assert body.count(b"# EOF") == 1
    names = {family.name for family in parse_openmetrics(body.decode())}
    assert {"process_cpu_seconds", "wskeeper_handshakes", "wskeeper_ping_rtt_seconds"} <= names


def test_nothing_is_told_twice(scene: Scene) -> None:
    for accept in ("", OPENMETRICS):
        body = scraped(scene, accept).body
        lines = [line.rpartition(b" ")[0] for line in body.splitlines()]
        assert len(lines) == len(set(lines))


@pytest.mark.parametrize("routes", [2, 200])
def test_a_turn_writes_no_more_than_it_may(routes: int) -> None:
    scene = Scene(tuple(f"route-{n}" for n in range(routes)))
    steps = Steps(Metrics(scene.collector).scrape(""))
    turns = len(list(steps))
    size = len(steps.result.body)
    assert turns >= size // (2 * scrape._TURN)
    assert (turns > 10) is (routes == 200)


def test_no_key_is_told_but_its_name(scene: Scene) -> None:
    session = scene.session("1", key=scene.key(CANARY))
    session.principal = session.principal._replace(digest=b"DIGEST", subject="SUBJECT")
    text = scraped(scene).body.decode()
    assert text.count(CANARY) == text.count(f"{CANARY}'s name") == 5
    assert "SUBJECT" not in text
    assert "DIGEST" not in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here (prometheus)")
@pytest.mark.parametrize("state", ["fresh", "busy"])
def test_promtool_finds_nothing_to_mend(state: str) -> None:
    scene = Scene()
    if state == "busy":
        scene.busy()
    # It reads the text format alone; OpenMetrics is read by the client library above.
    ran = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scraped(scene).body,
        capture_output=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")

"""Prometheus' rules and Grafana's dashboard: they ask for what there is, and get it."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from websockets.sync.client import connect

from proxy import errors
from proxy.errors import OUTCOMES
from proxy.metrics import families
from proxy.metrics.counting import SOON_DAYS
from tests.docs.markdown import Page, slug
from tests.harness.certificates import Certificates
from tests.harness.gateway import Gateway
from tests.harness.ports import reserved_port
from tests.harness.process import wait_until
from tests.harness.upstream import Upstream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]
PROMETHEUS = PROJECT / "deploy/prometheus"
RULES = yaml.safe_load((PROMETHEUS / "rules/wskeeper.yml").read_text())
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]
}
EXAMPLES = yaml.safe_load((PROMETHEUS / "tests/wskeeper_test.yml").read_text())["tests"]
GRAFANA = PROJECT / "deploy/grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards/wskeeper.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
FAMILIES = {one.name: one for one in vars(families).values() if isinstance(one, families.Family)}
ENDINGS = [
    *(one for one in vars(errors).values() if isinstance(one, errors.Ending)),
    *errors.OBJECTIONS.values(),
]
OPERATIONS = Page(PROJECT / "docs/operations.md")
# What an expression may stand for in place of the dashboard's variables.
VARIABLES = {"job": ".*", "instance": ".*", "route": ".*", "__rate_interval": "2s"}
KEY = "CANARY-monitoring-key-6b2f9d1e"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here (prometheus)"
)


def expressions() -> list[tuple[str, str]]:
    """(where, expression) of all rules and panels."""
    found = [(name, rule["expr"]) for name, rule in ALERTS.items()]
    found += [(panel["title"], one["expr"]) for panel in PANELS for one in panel["targets"]]
    return [*found, *(("annotation", one["expr"]) for one in DASHBOARD["annotations"]["list"])]


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_an_expression_asks_for_what_there_is(where: str, expression: str) -> None:
    asked = re.findall(r"(wskeeper_\w+)(?:\{([^}]*)\})?", expression)
    assert asked or "process_" in expression or "up{" in expression, where
    for name, selectors in asked:
        family = FAMILIES[re.sub(r"_bucket$", "", name)]
        assert name.endswith("_bucket") is (family.kind == "histogram")
        labels = set(re.findall(r"(\w+)!?=", selectors))
        assert labels <= {*family.labels, "job", "instance", "le"}, (where, name)
        for pattern in re.findall(r'outcome=~?"([^"]*)"', selectors):
            for word in re.split(r"\|(?![^(]*\))", pattern):
                assert any(re.fullmatch(word, outcome) for outcome in OUTCOMES), word
        for number in re.findall(r'initiator="gateway", code="(\d+)"', selectors):
            assert int(number) in {ending.code for ending in ENDINGS}
        for within in re.findall(r'within="(\w+)"', selectors):
            assert within in {f"{days}d" for days in SOON_DAYS}
    for grouping in re.findall(r"by \(([^)]*)\)", expression):
        known = {"job", "instance", "le"}.union(*(one.labels for one in FAMILIES.values()))
        assert set(grouping.split(", ")) <= known, where


# Alerts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_wrong_and_has_its_runbook(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"page", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/operations.md"
    assert anchor == slug(name)
    _, _, section = OPERATIONS.text.partition(f"\n### {name}\n")
    section = re.split(r"\n##", section)[0]
    for part in ("It means:", "Look at:", "Do:"):
        assert f"**{part}**" in section, part


def test_alerts_stand_in_the_runbook_with_their_severity() -> None:
    table = OPERATIONS.table(under="Alerts", first_column="alert")
    documented = {row[0].strip("[]`").partition("`")[0]: row[1] for row in table.rows}
    assert documented == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}


def test_every_alert_is_shown_as_it_fires_and_as_it_must_not() -> None:
    shown = {"fires": set(), "silent": set()}
    for example in EXAMPLES:
        for case in example["alert_rule_test"]:
            shown["fires" if case["exp_alerts"] else "silent"].add(case["alertname"])
    assert shown == {"fires": set(ALERTS), "silent": set(ALERTS)}


@needs_promtool
@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "rules/wskeeper.yml"),
        ("test", "rules", "tests/wskeeper_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_nothing_to_mend(words: tuple[str, ...]) -> None:
    ran = subprocess.run(
        ["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "FAILED" not in ran.stdout


def test_rules_that_prometheus_reads_are_the_rules() -> None:
    [pattern] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["rule_files"]
    assert list(PROMETHEUS.glob(pattern)) == [PROMETHEUS / "rules/wskeeper.yml"]


# The dashboard -------------------------------------------------------------------------------


def test_every_panel_says_what_it_shows() -> None:
    titles = [panel["title"] for panel in PANELS]
    assert len(titles) == len(set(titles))
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_panels_lie_beside_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(identifiers) == len(set(identifiers))


def test_the_dashboard_shows_every_metric() -> None:
    text = json.dumps(DASHBOARD)
    shown = set(re.findall(r"wskeeper_\w+?(?=_bucket|\W)", text))
    # Frames are messages and pings; what would be refused is looked at once, at the start.
    rare = {"wskeeper_frames_total", "wskeeper_would_refuse_total", "wskeeper_http_requests_total"}
    assert shown - {"wskeeper_"} >= FAMILIES.keys() - rare


def test_the_dashboard_asks_the_source_that_is_provisioned() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    chosen = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert chosen["datasource"]["current"]["value"] == source["uid"]
    for panel in PANELS:
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    interval = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == interval["scrape_interval"]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used - {"__rate_interval"} == chosen.keys()


# For real ------------------------------------------------------------------------------------


class Server:
    """A Prometheus that scrapes a gateway often."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self._url}/{path}?{query}", timeout=5) as answer:
            return json.load(answer)["data"]

    def numbers(self, expression: str) -> list[float]:
        """What an expression has as its value now, NaN left out."""
        series = self.ask("query", query=expression)["result"]
        values = (float(one["value"][1]) for one in series)
        return [value for value in values if not math.isnan(value)]

    def is_up(self) -> bool:
        with suppress(OSError):
            return self.numbers("up{job='wskeeper'}") == [1.0]
        return False


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Server]:
    """Prometheus as deployed, but for whom it scrapes, and how often."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "200ms", "evaluation_interval": "200ms"}
    config["rule_files"] = [str(PROMETHEUS / pattern) for pattern in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    config["scrape_configs"][0]["scrape_timeout"] = "200ms"
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    with reserved_port() as port, (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'series'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            server = Server(port)
            assert wait_until(server.is_up, 10), (folder / "prometheus.log").read_text()
            yield server
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def light_load(url: str, tls: ssl.SSLContext) -> Iterator[None]:
    """Clients come, say something and go; one too many each time, and one without a key."""
    over = threading.Event()
    headers = {"X-Api-Key": KEY}

    def work() -> None:
        while not over.wait(0.1):
            # One that fails on a busy machine is not the end of the load.
            with (
                suppress(Exception),
                connect(f"{url}/app", additional_headers=headers, ssl=tls) as client,
            ):
                client.send("hello")
                client.recv(timeout=5)
            for path, shown in (("/pinged", headers), ("/app", {})):
                with suppress(Exception), connect(url + path, additional_headers=shown, ssl=tls):
                    pass

    # It answers pings by itself, and holds the only place of its route.
    with connect(f"{url}/pinged", additional_headers=headers, ssl=tls):
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus")
def test_no_panel_is_empty_and_no_rule_fails(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        app = {"name": "app", "path": "/app", "upstream": upstream.url}
        config = {
            "store": "memory:",
            "tls": {
                "certificate": str(certificates.certificate),
                "private_key": str(certificates.private_key),
            },
            "keys": [{"name": "test", "secret": KEY}],
            "metrics": {"listen": "127.0.0.1:0", "per_key": True},
            "routes": [
                app,
                app
                | {"name": "pinged", "path": "/pinged", "limits": {"connections": 1}}
                | {"keepalive": {"interval": "50ms"}},
            ],
        }
        gateway = stack.enter_context(Gateway(tmp_path, config))
        target = gateway.wait_for_event("listening", listener="metrics")["address"]
        server = stack.enter_context(prometheus(tmp_path, target))
        url = f"wss://localhost:{gateway.public[1]}"
        stack.enter_context(light_load(url, certificates.client_context()))
        asked = {
            f"{panel['title']}: {one['legendFormat']}": filled(one["expr"])
            for panel in PANELS
            for one in panel["targets"]
        }

        def all_have_been_answered() -> bool:
            for title, expression in list(asked.items()):
                if server.numbers(expression):
                    del asked[title]
            return not asked

        assert wait_until(all_have_been_answered, 30, step=0.2), asked
        [group] = server.ask("rules")["groups"]
        assert {rule["name"] for rule in group["rules"]} == set(ALERTS)
        assert wait_until(lambda: healthy(server), 5)
        firing = [rule["name"] for rule in group["rules"] if rule["state"] == "firing"]
        assert firing == []


def healthy(server: Server) -> bool:
    """Whether every rule has been looked at without an error."""
    [group] = server.ask("rules")["groups"]
    assert not [rule for rule in group["rules"] if rule.get("lastError")]
    return all(rule["health"] == "ok" for rule in group["rules"])


def filled(expression: str) -> str:
    """An expression of the dashboard with all its variables chosen."""
    for name, value in VARIABLES.items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression
    return expression

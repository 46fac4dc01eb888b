"""The table of metrics is what a gateway exposes: names, types, labels and meanings."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.metrics import families
from tests.docs.markdown import code, page
from tests.harness.gateway import Gateway

if TYPE_CHECKING:
    from prometheus_client.core import Metric

FAMILIES = [one for one in vars(families).values() if isinstance(one, families.Family)]
TABLE = page("docs/operations.md").table(under="Metrics", first_column="metric")


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Metric]:
    """The gateway's own metrics by name."""
    config = {
        "keys": [{"name": "test", "sha256": "a" * 64}],
        "metrics": {"per_key": True},
        "routes": [{"name": "r", "path": "/", "upstream": "ws://127.0.0.1:1"}],
    }
    with (
        Gateway(tmp_path_factory.mktemp("gateway"), config) as gateway,
        urllib.request.urlopen(gateway.admin_url + "/metrics") as answer,
    ):
        found = {}
        for family in text_string_to_metric_families(answer.read().decode()):
            name = family.name + ("_total" if family.type == "counter" else "")
            if name.startswith("wskeeper_"):
                found[name] = family
        return found


def test_the_table_is_that_of_the_source() -> None:
    rows = [
        [
            f"`{family.name}`",
            family.kind,
            ", ".join(f"`{label}`" for label in family.labels),
            family.text,
        ]
        for family in FAMILIES
    ]
    documented = [[*row[:3], row[3].replace("`", "")] for row in TABLE.rows]
    assert documented == rows


def test_every_metric_is_documented_and_no_other(exposed: dict[str, Metric]) -> None:
    assert set(map(code, TABLE.column("metric"))) == exposed.keys()


@pytest.mark.parametrize("row", TABLE.rows, ids=lambda row: code(row[0]))
def test_a_metric_is_as_documented(exposed: dict[str, Metric], row: list[str]) -> None:
    family = exposed[code(row[0])]
    assert row[1] == family.type
    assert row[3].replace("`", "") == family.documentation
    labels = {word.strip("`") for word in row[2].split(", ")} - {""}
    for sample in family.samples:
        assert sample.labels.keys() - {"le"} == labels

"""The two text formats, and which one a client gets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from proxy.metrics.exposition import (
    END,
    Form,
    form_for,
    header_of,
    histogram_lines_of,
    lines_of,
    number,
)
from proxy.metrics.families import Family
from tests.unit.metrics.scene import Scene

COUNTER = Family("a_things_total", "counter", ("zone", "kind"), "Things.")
GAUGE = Family("a_level", "gauge", (), "A level.")
HISTOGRAM = Family("a_time_seconds", "histogram", ("route",), "Time.")

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text",
        "Application/OpenMetrics-Text; version=1.0.0; charset=utf-8",
        "application/openmetrics-text;version=0.0.1",
        "text/plain;q=0.5, application/openmetrics-text;q=0.5",
        PROMETHEUS_2,
        PROMETHEUS_3,
    ],
)
def test_openmetrics_is_for_whoever_likes_it_best(accept: str) -> None:
    assert form_for(accept) is Form.OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/plain",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "application/json",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=0.1,text/plain",
        "application/openmetrics-text;version=2.0.0",
        "application/openmetrics-text;q=nan",
        "application/openmetrics-text;q=5",
        "application/openmetrics-text;q=x",
        "application/openmetrics-textual",
        ",;=,",
    ],
)
def test_everybody_else_gets_the_text_format(accept: str) -> None:
    assert form_for(accept) is Form.PROMETHEUS


@given(st.text())
def test_any_accept_has_an_answer(accept: str) -> None:
    assert form_for(accept) in Form


def test_a_counter_is_written_with_its_labels_in_order() -> None:
    rows = [(("north", "round"), 3), (("south", "square"), 0.5)]
    assert header_of(COUNTER, Form.PROMETHEUS) == (
        "# HELP a_things_total Things.\n# TYPE a_things_total counter\n"
    )
    assert header_of(COUNTER, Form.OPENMETRICS) == (
        "# HELP a_things Things.\n# TYPE a_things counter\n"
    )
    assert list(lines_of(COUNTER, rows)) == [
        'a_things_total{kind="round",zone="north"} 3\n',
        'a_things_total{kind="square",zone="south"} 0.5\n',
    ]


def test_a_gauge_without_labels_is_a_line() -> None:
    for form in Form:
        assert header_of(GAUGE, form) == "# HELP a_level A level.\n# TYPE a_level gauge\n"
    assert list(lines_of(GAUGE, [((), 1)])) == ["a_level 1\n"]


def test_a_histogram_comes_in_one_piece() -> None:
    rows = [(("r",), [("0.5", 1.0), ("+Inf", 3.0)], 2.5)]
    [piece] = histogram_lines_of(HISTOGRAM, rows)
    assert piece == (
        'a_time_seconds_bucket{route="r",le="0.5"} 1.0\n'
        'a_time_seconds_bucket{route="r",le="+Inf"} 3.0\n'
        'a_time_seconds_count{route="r"} 3.0\n'
        'a_time_seconds_sum{route="r"} 2.5\n'
    )


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (7, "7"), (0.25, "0.25"), (1e-7, "1e-07"), (math.inf, "+Inf")]
)
def test_numbers_are_written_as_prometheus_reads_them(value: float, text: str) -> None:
    assert number(value) == text


@given(
    st.lists(
        st.tuples(st.text(), st.text(), st.integers(0, 2**53) | st.floats(0, allow_nan=False)),
        unique_by=lambda row: row[:2],
        max_size=5,
    )
)
def test_any_label_and_number_is_read_back_in_both_forms(
    rows: list[tuple[str, str, float]],
) -> None:
    lines = "".join(lines_of(COUNTER, [((zone, kind), value) for zone, kind, value in rows]))
    [plain] = parse(header_of(COUNTER, Form.PROMETHEUS) + lines)
    [measured] = parse_openmetrics(header_of(COUNTER, Form.OPENMETRICS) + lines + END)
    for family in (plain, measured):
        assert [
            (sample.labels["zone"], sample.labels["kind"], sample.value)
            for sample in family.samples
        ] == [(zone, kind, float(value)) for zone, kind, value in rows]


def test_both_forms_say_the_same_of_a_busy_gateway() -> None:
    scene = Scene()
    scene.busy()
    plain = [family for family in parse(scene.text()) if family.name != "wskeeper_build_info"]
    measured = {
        family.name: family for family in parse_openmetrics(scene.text(Form.OPENMETRICS) + END)
    }
    for family in plain:
        other = measured[family.name]
        assert (family.type, family.documentation) == (other.type, other.documentation)
        assert family.samples == other.samples
    assert "_created" not in scene.text(Form.OPENMETRICS)

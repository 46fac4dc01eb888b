"""When there is tracing: the environment asks for it, and the extra is there."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from proxy.tracing.switch import tracing_of
from tests.unit.sessions.scene import Log
from tests.unit.tracing.scene import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.tracing.spans import Tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
LIBRARIES = ("opentelemetry", "opentelemetry.trace")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    libraries = [logging.getLogger(name) for name in LIBRARIES]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in libraries]
    yield
    for one, handlers, level, propagate in before:
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)


def switched(environ: dict[str, str]) -> tuple[Tracing | None, Log]:
    log = Log()
    return tracing_of(environ, wall=lambda: 0.0, log=log, loop=Loop()), log


@pytest.mark.parametrize(
    "environ",
    [
        ENDPOINT,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "false"},
        {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        {
            **ENDPOINT,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        },
    ],
)
async def test_environment_asks_for_tracing(environ: dict[str, str]) -> None:
    tracing, log = switched(environ)
    assert tracing is not None
    await tracing.close()
    assert log.lines == [("info", "tracing_on", {"service": "wskeeper"})]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "edge", "OTEL_TRACES_SAMPLER": "always_on"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "True"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_environment_does_not_ask_for_tracing(environ: dict[str, str]) -> None:
    tracing, log = switched(environ)
    assert tracing is None
    assert log.lines == []


def test_missing_extra_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "proxy.tracing.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    tracing, log = switched(ENDPOINT)
    assert tracing is None
    ((level, event, fields),) = log.lines
    assert (level, event) == ("warning", "tracing_off")
    assert "opentelemetry" in fields["cause"]
    assert fields["mend"] == "pip install '.[otel]' in the project's folder"


def test_protocol_that_is_not_spoken_is_named() -> None:
    tracing, log = switched({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert tracing is None
    (line,) = log.events("tracing_off")
    assert "grpc" in line["cause"]
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in line["mend"]


def test_environment_that_cannot_be_used_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    tracing, log = switched(ENDPOINT)
    assert tracing is None
    (line,) = log.events("tracing_off")
    assert "ValueError" in line["cause"]
    assert line["mend"] == "check the OTEL_* variables"


def test_gateway_that_is_not_traced_imports_nothing_for_it() -> None:
    program = (
        "import sys, proxy.cli.running\n"
        "from proxy.tracing.switch import tracing_of\n"
        "assert tracing_of({}, wall=None, log=None, loop=None) is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]")

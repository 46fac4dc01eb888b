"""What OpenTelemetry says of its failures: in our log, now and then, and without secrets."""

from __future__ import annotations

import logging

import pytest

from proxy.tracing.trouble import WARN_EVERY, Trouble
from tests.unit.sessions.scene import Log
from tests.unit.tracing.scene import Loop

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class Scene:
    def __init__(self) -> None:
        self.loop, self.log = Loop(), Log()
        self._trouble = Trouble(self.log, self.loop)

    def says(self, text: object, *arguments: object, name: str = EXPORTER) -> None:
        self._trouble.handle(logging.LogRecord(name, logging.WARNING, "", 0, text, arguments, None))

    @property
    def told(self) -> list[str]:
        self.loop.turn()
        return [line["message"] for line in self.log.events("tracing_trouble")]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_answer_of_the_collector_is_told(scene: Scene) -> None:
    scene.says("Failed to export %s batch code: %s, reason: %s", "spans", 401, "Unauthorized")
    assert scene.told == ["Failed to export spans batch code: 401, reason: Unauthorized"]
    assert scene.log.events("tracing_trouble")[0]["logger"] == EXPORTER


def test_failure_is_told_by_its_name_alone(scene: Scene) -> None:
    failure = ConnectionError("http://collector/?token=CANARY")
    scene.says("Transient error %s, retrying in %.2fs.", failure, 1.5)
    assert scene.told == ["Transient error ConnectionError, retrying in 1.50s."]


def test_what_quotes_the_environment_is_left_out(scene: Scene) -> None:
    scene.says("Header format invalid: %s", "authorization CANARY", name="opentelemetry.util.re")
    assert scene.told == ["Header format invalid: …"]


def test_second_trouble_is_told_after_a_while(scene: Scene) -> None:
    for text in ("one", "two"):
        scene.says(text)
    assert scene.told == ["one"]
    scene.loop.advance(WARN_EVERY)
    scene.says("three")
    assert scene.told == ["one", "three"]


def test_other_threads_leave_our_log_alone(scene: Scene) -> None:
    scene.says("one")
    assert scene.log.lines == []


def test_message_that_does_not_fit_its_arguments_stops_nobody(scene: Scene) -> None:
    scene.says("%d of %s", "one")
    assert scene.told == ["%d of %s"]


def test_loop_that_is_closed_hears_nothing(scene: Scene) -> None:
    scene.loop.closed = True
    scene.says("too late")
    assert scene.told == []

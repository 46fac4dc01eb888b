"""The log: one bounded, escaped line an event, whatever its fields hold."""

from __future__ import annotations

import io
import json
import json.encoder
import logging
import re
import runpy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import logs
from proxy.logs import FLUSH_EVERY, bridge_libraries, logger
from tests.unit.loop import FakeLoop

LEVELS = ("debug", "info", "warning", "error")
# What ends a line, moves a cursor, colours it or turns its text around.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NASTY = (
    "a\r\nb",
    "\x1b[31mred",
    "abc\u202egnp.exe",
    "\u2028line\u2029",
    "\udcff\ud800",
    "\x00\x07\x7f\x9b",
    "quote \" and \\ and '",
    "Ünï©ødé 🔑",
    "",
    " ",
    "level=error",
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(max_size=4)  # Not JSON's: shown as Python does.
    | st.sampled_from(NASTY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name not in {"event", "failure", "ts", "level"}),
    VALUES,
    max_size=6,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    """A stream that fails, as a closed pipe or a full disk does."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self._failure = failure
        self.lost: list[str] = []

    def write(self, text: str) -> int:
        self.lost.append(text)
        raise self._failure


def lines(form: str, /, level: str = "info", event: str = "event", **fields: Any) -> list[str]:
    stream = io.StringIO()
    getattr(logger(level="debug", form=form, stream=stream), level)(event, **fields)
    text = stream.getvalue()
    assert text.endswith("\n")
    return text[:-1].split("\n")


def line(form: str, /, **fields: Any) -> str:
    (only,) = lines(form, **fields)
    return only


# JSON ----------------------------------------------------------------------------------------


def test_line_is_an_object_in_the_contracts_order() -> None:
    read = json.loads(line("json", event="connection_closed", request_id="i", route="r", code=1000))
    assert list(read) == ["ts", "level", "event", "request_id", "route", "code"]
    assert read["level"] == "info"
    assert read["event"] == "connection_closed"
    assert read["code"] == 1000
    moment = datetime.fromisoformat(read["ts"])
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|\+00:00)", read["ts"])


@pytest.mark.parametrize("level", LEVELS)
def test_level_is_shown(level: str) -> None:
    (only,) = lines("json", level)
    assert json.loads(only)["level"] == level


@pytest.mark.parametrize("value", NASTY)
def test_nasty_value_is_escaped_and_comes_back(value: str) -> None:
    only = line("json", client=value)
    assert not UNSAFE.search(only)
    assert json.loads(only)["client"] == value


@given(st.text(st.characters(), max_size=60))
def test_any_value_makes_one_safe_line(value: str) -> None:
    for form in ("json", "pretty"):
        only = line(form, path=value)
        assert not UNSAFE.search(only)
        assert only.isascii()


def as_json_writes(line: str, level: str, event: str, fields: dict[str, Any]) -> str:
    """What the standard library makes of an event that was logged at the moment of `line`."""
    moment = {"ts": json.loads(line)["ts"]}
    return json.dumps(
        {**moment, "level": level, "event": event, **fields}, separators=(",", ":"), default=str
    )


@given(FIELDS, st.sampled_from(LEVELS), st.sampled_from(("connection_opened", "100%d", *NASTY)))
def test_line_is_what_the_standard_library_writes(
    fields: dict[str, Any], level: str, event: str
) -> None:
    (only,) = lines("json", level, event, **fields)
    expected = as_json_writes(only, level, event, fields)
    if len(expected) <= 2048:
        assert only == expected


@given(st.integers(0, 4102444800000))
def test_milliseconds_are_those_of_the_moment(at: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: (at + 0.5) / 1000)
        only = line("json")
    moment = datetime.fromtimestamp(at // 1000, UTC) + timedelta(milliseconds=at % 1000)
    assert datetime.fromisoformat(json.loads(only)["ts"]) == moment


def test_python_without_an_encoder_in_c_writes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"path": NASTY[7], "nan": float("nan"), "seconds": 1.5, "none": None, "odd": {1}}
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    stream = io.StringIO()
    runpy.run_path(logs.__file__)["logger"](level="info", form="json", stream=stream).info(
        "event", **fields
    )
    only = stream.getvalue()[:-1]
    assert only == as_json_writes(only, "info", "event", fields)


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_line_is_bounded(form: str) -> None:
    long = "x" * 100_000
    only = line(form, path=long, user_agent=long, route="chat")
    assert len(only) < 3000
    assert "xxx" in only
    assert "chat" in only


def test_short_values_are_not_cut() -> None:
    value = "x" * 512
    assert json.loads(line("json", path=value))["path"] == value


def test_event_without_fields_is_a_line() -> None:
    assert list(json.loads(line("json"))) == ["ts", "level", "event"]


def test_failure_alone_comes_with_its_traceback() -> None:
    read = json.loads(line("json", failure=failure("a fault")))
    assert list(read) == ["ts", "level", "event", "traceback"]


def test_values_of_other_kinds_are_shown() -> None:
    read = json.loads(line("json", seconds=1.5, none=None, on=True, code=1000, odd={1}))
    assert (read["seconds"], read["none"], read["on"], read["code"]) == (1.5, None, True, 1000)
    assert read["odd"] == "{1}"


def failure(text: str) -> RuntimeError:
    """An exception that was raised somewhere."""

    def fail() -> None:
        raise RuntimeError(text)

    with pytest.raises(RuntimeError) as caught:
        fail()
    return caught.value


def test_failure_comes_with_its_traceback_in_the_same_line() -> None:
    raised = failure("a\nfault \x1b[31m")
    read = json.loads(line("json", event="internal_error", failure=raised, route="r"))
    assert "failure" not in read
    assert read["traceback"].startswith("Traceback")
    assert "RuntimeError: a\nfault" in read["traceback"]
    assert read["route"] == "r"


# Levels and forms ----------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_below_the_level_is_not_written(level: str) -> None:
    stream = io.StringIO()
    log = logger(level=level, form="json", stream=stream)
    for each in LEVELS:
        getattr(log, each)("event", n=1)
    written = [json.loads(each)["level"] for each in stream.getvalue().splitlines()]
    assert written == list(LEVELS[LEVELS.index(level) :])


@pytest.mark.parametrize("heard", [None, lambda *_: None])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("before", LEVELS)
def test_level_is_exchanged(before: str, level: str, heard: Any) -> None:
    stream = io.StringIO()
    log = logger(level=before, form="json", stream=stream, heard=heard)
    log.set_level(level)
    for each in LEVELS:
        getattr(log, each)("event", n=1)
    written = [json.loads(each)["level"] for each in stream.getvalue().splitlines()]
    assert written == list(LEVELS[LEVELS.index(level) :])


@pytest.mark.parametrize(
    ("form", "stream", "is_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", Terminal, False),
        ("json", Terminal, True),
        ("pretty", io.StringIO, False),
    ],
)
def test_form_follows_the_stream_when_it_is_auto(form: str, stream: Any, *, is_json: bool) -> None:
    made = stream()
    logger(level="info", form=form, stream=made).info("event")
    assert made.getvalue().startswith("{") is is_json


@pytest.mark.parametrize(
    "failure", [OSError("gone"), ValueError("closed"), UnicodeEncodeError("x", "y", 0, 1, "z")]
)
def test_log_that_cannot_be_written_stops_nothing(failure: Exception) -> None:
    stream, heard = Broken(failure), []
    log = logger(
        level="info", form="json", stream=stream, heard=lambda *told: heard.append(told[1])
    )
    log.info("one")
    log.info("two")
    assert heard == ["one", "two"]
    assert [json.loads(text)["event"] for text in stream.lost] == heard


# Lines that wait for each other --------------------------------------------------------------


class Patient:
    """A log whose lines are written together, and the clock that it waits for."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.loop = FakeLoop()
        self.log = logger(level="info", form="json", stream=self.stream, later=self.loop.call_later)

    @property
    def events(self) -> list[str]:
        return [json.loads(each)["event"] for each in self.stream.getvalue().splitlines()]


def test_lines_are_written_together_and_soon() -> None:
    patient = Patient()
    patient.log.info("one")
    patient.loop.advance(FLUSH_EVERY / 2)
    patient.log.info("two")
    assert patient.events == []
    assert patient.loop.timers == 1
    patient.loop.advance(FLUSH_EVERY / 2)
    assert patient.events == ["one", "two"]
    patient.log.info("three")
    patient.loop.advance(FLUSH_EVERY)
    assert patient.events == ["one", "two", "three"]
    assert patient.loop.timers == 0


@pytest.mark.parametrize("level", ["warning", "error"])
def test_warning_takes_what_waits_with_it_at_once(level: str) -> None:
    patient = Patient()
    patient.log.info("one")
    getattr(patient.log, level)("two")
    assert patient.events == ["one", "two"]
    patient.loop.advance(1)
    assert patient.events == ["one", "two"]


def test_what_waits_can_be_written_at_the_end() -> None:
    patient = Patient()
    patient.log.info("stopped")
    patient.log.flush()
    patient.log.flush()
    assert patient.events == ["stopped"]


class Unspeakable:
    """A value that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_event_that_cannot_be_shown_takes_no_other_along(form: str) -> None:
    stream, loop, heard = io.StringIO(), FakeLoop(), []
    log = logger(
        level="info",
        form=form,
        stream=stream,
        later=loop.call_later,
        heard=lambda *told: heard.append(told[1]),
    )
    log.info("before")
    log.info("odd", value=Unspeakable())
    log.info("after")
    loop.advance(FLUSH_EVERY)
    shown = stream.getvalue()
    assert heard == ["before", "after"]
    assert re.findall("before|internal_error|odd|after", shown) == [
        *("before", "internal_error", "odd", "after")
    ]
    assert "no words" in shown


def test_line_without_a_clock_is_written_out_at_once() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw)
    logger(level="info", form="json", stream=stream).info("event")
    assert raw.getvalue().endswith(b"\n")


# Pretty --------------------------------------------------------------------------------------


def test_people_read_columns() -> None:
    only = line("pretty", event="connection_opened", route="chat", client="192.0.2.7")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} info    connection_opened    route=chat client=192\.0\.2\.7", only
    )


@pytest.mark.parametrize("value", NASTY)
def test_nasty_value_is_quoted_on_a_terminal(value: str) -> None:
    only = line("pretty", path=value, code=1)
    assert not UNSAFE.search(only)
    shown = re.search(r"path=(.*) code=1", only)
    assert shown is not None
    assert shown[1] == value or json.loads(shown[1]) == value
    assert " " not in shown[1] or shown[1].startswith('"')


def test_failure_is_shown_below_its_line_and_colours_nothing() -> None:
    raised = failure("a fault \x1b[31m \u202e \r")
    shown = lines("pretty", event="internal_error", failure=raised)
    assert "internal_error" in shown[0]
    assert shown[1].startswith("Traceback")
    assert not any(UNSAFE.search(each) for each in shown)


# Libraries -----------------------------------------------------------------------------------


@pytest.fixture
def bridged():
    """Our log as the end of the standard library's, for one test."""
    root, aiohttp = logging.getLogger(), logging.getLogger("aiohttp")
    before = (root.handlers[:], root.level, aiohttp.level)
    stream = io.StringIO()
    bridge_libraries(logger(level="debug", form="json", stream=stream), lambda call: call())
    yield stream
    root.handlers[:], level, aiohttp_level = before
    root.setLevel(level)
    aiohttp.setLevel(aiohttp_level)


def test_warning_of_a_library_is_ours(bridged: io.StringIO) -> None:
    logging.getLogger("some.library").warning("look: %s", "out\n")
    read = json.loads(bridged.getvalue())
    assert (read["level"], read["event"]) == ("warning", "library")
    assert (read["logger"], read["message"]) == ("some.library", "look: out\n")


def test_error_of_a_library_comes_with_its_traceback(bridged: io.StringIO) -> None:
    logging.getLogger("some.library").error("failed", exc_info=failure("theirs"))
    read = json.loads(bridged.getvalue())
    assert read["level"] == "error"
    assert "RuntimeError: theirs" in read["traceback"]


def test_what_a_library_says_in_passing_is_not_asked_for(bridged: io.StringIO) -> None:
    log = logging.getLogger("some.library")
    log.info("GET /?api_key=CANARY")
    log.debug("CANARY")
    assert not log.isEnabledFor(logging.INFO)
    assert bridged.getvalue() == ""


def test_aiohttp_quotes_no_request(bridged: io.StringIO) -> None:
    for name in ("aiohttp.server", "aiohttp.access", "aiohttp.web"):
        logging.getLogger(name).error("Error handling request: %s", "X-Api-Key: CANARY")
    assert bridged.getvalue() == ""


def test_record_that_does_not_fit_its_format_stops_nobody(bridged: io.StringIO) -> None:
    record = logging.LogRecord("some.library", logging.WARNING, "", 0, "%d of %s", ("one",), None)
    logging.getLogger().handlers[0].handle(record)
    read = json.loads(bridged.getvalue())
    assert (read["logger"], read["message"]) == ("some.library", "%d of %s")


# Those who hear ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_events_are_heard_whatever_the_level_but_not_debugging(level: str) -> None:
    heard: list[tuple[str, str, dict[str, Any]]] = []
    log = logger(
        level=level,
        form="json",
        stream=io.StringIO(),
        heard=lambda *event: heard.append(event[:3]),
    )
    for each in LEVELS:
        getattr(log, each)("event", n=each)
    assert heard == [(each, "event", {"n": each}) for each in LEVELS[1:]]


@pytest.mark.parametrize("form", ["json", "pretty"])
@pytest.mark.parametrize("level", ["info", "error"])
def test_an_exception_is_for_the_log_alone(form: str, level: str) -> None:
    heard: list[dict[str, Any]] = []
    stream = io.StringIO()
    log = logger(level=level, form=form, stream=stream, heard=lambda *event: heard.append(event[2]))
    log.warning("event", n=1, failure=failure("a fault"))
    log.error("event", n=2, failure=failure("a fault"))
    assert heard == [{"n": 1}, {"n": 2}]
    assert "a fault" in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "pretty"])
@pytest.mark.parametrize("level", ["info", "error"])
@pytest.mark.parametrize("length", [513, 100_000])
def test_a_long_value_is_heard_cut(form: str, level: str, length: int) -> None:
    heard: list[dict[str, Any]] = []
    log = logger(
        level=level,
        form=form,
        stream=io.StringIO(),
        heard=lambda *event: heard.append(event[2]),
    )
    log.info("event", path="x" * length, route="chat", status=401)
    log.info("event", path="x" * 512, route="chat")
    assert heard == [
        {"path": "x" * 512 + "…", "route": "chat", "status": 401},
        {"path": "x" * 512, "route": "chat"},
    ]

"""Running in the foreground: signals drain and end it, and whatever was begun is closed."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click import ClickException

from proxy.cli import running
from proxy.cli.running import loop_factory, run
from proxy.listeners import CannotListen
from tests.unit.build import config
from tests.unit.sessions import scene

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = config({})


class Gateway:
    """Keeps what was asked of it."""

    made: Gateway

    def __init__(
        self, _config: Any, log: Log, loop: asyncio.AbstractEventLoop, *, try_page: object, **_: Any
    ) -> None:
        assert try_page is None
        self.reloading = self
        self.calls: list[str] = []
        self.log = log
        self.loop = loop
        self.drained = asyncio.Event()
        type(self).made = self

    async def start(self) -> None:
        self.calls.append("start")

    def on_signal(self) -> None:
        self.calls.append("reload")

    async def drain(self) -> None:
        self.calls.append("drain")
        await self.drained.wait()

    async def close(self) -> None:
        self.calls.append("close")
        self.log.info("stopped")


class Log(scene.Log):
    """Keeps what it was told, and knows what was written."""

    written: list[str]

    def flush(self) -> None:
        self.written = [event for _, event, _ in self.lines]


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """A process that runs nothing else, and its log."""
    log = Log()
    monkeypatch.setattr(running, "Gateway", Gateway)
    monkeypatch.setattr(running.logs, "logger", lambda **_: log)
    monkeypatch.setattr(running.logs, "bridge_libraries", lambda *_: None)
    threshold = gc.get_threshold()
    yield log
    gc.unfreeze()
    gc.set_threshold(*threshold)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


async def turns() -> None:
    """Time for a signal to be heard, and what it brings about to begin."""
    for _ in range(20):
        await asyncio.sleep(0)


def signalled(*numbers: signal.Signals, drained: bool) -> Gateway:
    """A gateway that ran until these signals had come."""

    async def sender(started: asyncio.Event) -> None:
        await started.wait()
        for number in numbers:
            os.kill(os.getpid(), number)
            await turns()
        if drained:
            Gateway.made.drained.set()

    async def both() -> None:
        started = asyncio.Event()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(sender(started))
            await run(CONFIG, started=lambda _: started.set())

    with asyncio.Runner() as runner:
        runner.run(both())
    return Gateway.made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_drains(number: signal.Signals) -> None:
    assert signalled(number, drained=True).calls == ["start", "drain", "close"]


def test_second_signal_ends_it_at_once() -> None:
    gateway = signalled(signal.SIGTERM, signal.SIGINT, drained=False)
    assert gateway.calls == ["start", "drain", "close"]
    assert not gateway.drained.is_set()


def test_gateway_is_told_of_once_it_has_started() -> None:
    told: list[Any] = []

    async def story() -> None:
        def started(gateway: Any) -> None:
            told.append((gateway, list(gateway.calls)))
            os.kill(os.getpid(), signal.SIGTERM)
            gateway.drained.set()

        async with asyncio.timeout(10):
            await run(CONFIG, started=started)

    with asyncio.Runner() as runner:
        runner.run(story())
    assert told == [(Gateway.made, ["start"])]


def test_gateway_that_cannot_start_is_closed(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    async def fail(_self: Gateway) -> None:
        raise CannotListen("the address is taken")

    monkeypatch.setattr(Gateway, "start", fail)
    with asyncio.Runner() as runner, pytest.raises(CannotListen):
        runner.run(run(CONFIG, started=lambda _: pytest.fail("it did not start")))
    assert Gateway.made.calls == ["close"]
    assert log.written == ["stopped"]


def test_what_asyncio_can_give_to_nobody_is_logged_without_what_was_received(log: Log) -> None:
    failure = ValueError("a fault")

    async def story() -> None:
        def started(gateway: Any) -> None:
            context = {"message": "Fatal error", "exception": failure, "data": b"CANARY"}
            gateway.loop.call_exception_handler(context)
            os.kill(os.getpid(), signal.SIGTERM)
            gateway.drained.set()

        async with asyncio.timeout(10):
            await run(CONFIG, started=started)

    with asyncio.Runner() as runner:
        runner.run(story())
    assert log.lines[0] == ("error", "unhandled", {"message": "Fatal error", "failure": failure})
    assert log.written == ["unhandled", "stopped"]


def test_hang_up_reloads_and_ends_nothing() -> None:
    gateway = signalled(signal.SIGHUP, signal.SIGTERM, drained=True)
    assert gateway.calls == ["start", "reload", "drain", "close"]


def test_hang_up_during_the_start_reloads_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(self: Gateway) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await turns()
        self.calls.append("start")

    monkeypatch.setattr(Gateway, "start", start)
    assert signalled(signal.SIGTERM, drained=True).calls == ["start", "reload", "drain", "close"]


# The loop ------------------------------------------------------------------------------------


def test_standard_loop_is_used_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSKEEPER_EVENT_LOOP", "asyncio")
    assert loop_factory() is asyncio.new_event_loop


def test_loop_of_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSKEEPER_EVENT_LOOP", "foo")
    with pytest.raises(ClickException, match=r"WSKEEPER_EVENT_LOOP: .*`uvloop` or `asyncio`"):
        loop_factory()


@pytest.mark.parametrize("asked", ["", "uvloop"])
def test_faster_loop_may_be_named(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    monkeypatch.setenv("WSKEEPER_EVENT_LOOP", asked)
    assert loop_factory() is uvloop.new_event_loop


def test_faster_loop_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSKEEPER_EVENT_LOOP", raising=False)
    uvloop = pytest.importorskip("uvloop")
    assert loop_factory() is uvloop.new_event_loop


def test_standard_loop_does_where_there_is_no_faster_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSKEEPER_EVENT_LOOP", raising=False)
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is asyncio.new_event_loop

"""A fault of ours on the way in is a refusal: bare to the client, whole in our log."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.auth.question import NotAtOnce
from proxy.deadlines import Deadlines
from proxy.gateway.front import FrontDoor
from proxy.gateway.house import House
from tests.harness.heads import Response, upgrade
from tests.unit.gateway.scene import Client, Gateway
from tests.unit.loop import FakeLoop, FakeTransport


class Faulty:
    """An admission in which one step raises what nobody foresaw."""

    def __init__(self, step: str) -> None:
        self._step = step
        self.failures: list[BaseException] = []
        self.refusals: list[str] = []
        self.account = self

    def __getattr__(self, name: str) -> Any:
        def step(*_: Any, **__: Any) -> None:
            """Asks nobody for a first message, and finds everybody in order."""
            if name == self._step:
                raise RuntimeError("the secret of the fault")

        return step

    def receive(self, head: Any, *_: Any, **__: Any) -> Any:
        if self._step == "receive":
            raise RuntimeError("the secret of the fault")
        return SimpleNamespace(id="an-id", head=head, route=None, ordinary=False)

    def new_id(self) -> str:
        return "an-id"

    def note_failure(self, failure: BaseException, *_: Any, **__: Any) -> None:
        self.failures.append(failure)

    def note_refusal(self, refused: Any, *_: Any, **__: Any) -> None:
        self.refusals.append(refused.code)


class NothingPlain:
    """No plain HTTP service."""

    def serves(self, _head: Any) -> bool:
        return False


@pytest.mark.parametrize("step", ["receive", "judge", "awaits", "identify", "dial"])
def test_unforeseen_fault_is_a_500_that_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    loop = FakeLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    admission = Faulty(step)
    house = House(
        admission=admission,
        plain=NothingPlain(),
        head_size=65_536,
        head_timeout=10.0,
        close_timeout=5.0,
        unauthenticated=None,
        secure=False,
        deadlines=Deadlines(loop),
        loop=loop,
    )
    door, transport = FrontDoor(house), FakeTransport()
    transport.set_protocol(door)
    door.connection_made(transport)
    door.data_received(upgrade("/app"))
    head, _, body = transport.written.partition(b"\r\n\r\n")
    response = Response.parse(head + b"\r\n\r\n")
    assert (response.status, response.code) == (500, "internal_error")
    assert b"secret" not in body
    assert [str(failure) for failure in admission.failures] == ["the secret of the fault"]
    assert admission.refusals == ["internal_error"]
    assert not house.opening
    assert not house.waiting


class Cancelled:
    """A task on paper that somebody cancels."""

    def __init__(self, coroutine: Any, *, name: str) -> None:
        assert name == "identify"
        coroutine.close()

    def add_done_callback(self, done: Any) -> None:
        self.ends = lambda: done(self)

    def cancelled(self) -> bool:
        return True


def test_verdict_that_was_cancelled_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_at_once(_request: Any) -> None:
        raise NotAtOnce

    loop = FakeLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    gateway, verdicts = Gateway(), []
    monkeypatch.setattr(gateway.admission, "identify", not_at_once)
    gateway.house.loop = SimpleNamespace(
        create_task=lambda *args, **fields: (
            verdicts.append(Cancelled(*args, **fields)) or verdicts[-1]
        )
    )
    client = Client(FrontDoor(gateway.house))
    client.sends(upgrade("/chat"))
    verdicts[0].ends()
    assert client.answer == (500, "internal_error")
    assert not gateway.dialer.dials
    assert not gateway.house.opening

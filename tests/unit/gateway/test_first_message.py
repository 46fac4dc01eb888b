"""A client that is to say who it is, where sockets do not happen to go wrong: every place back."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from proxy.auth.question import NotAtOnce
from proxy.errors import Refused
from proxy.gateway.early import MAX_EARLY
from proxy.keys.key import KeyLimits
from proxy.keys.principal import bearer_of
from tests.harness import frames
from tests.harness.heads import Request
from tests.unit.gateway.scene import SECRET, Client, Gateway, Slow

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUTES = (
    {"name": "chat", "path": "/chat", "carriers": ["first_message"]},
    {
        "name": "passing",
        "path": "/passing",
        "carriers": [{"first_message": {"forward": True, "reply": None}}],
    },
)
HELLO = frames.masked(frames.TEXT, json.dumps({"type": "auth", "token": SECRET}).encode())
REPLY = b'{"type": "auth_ok"}'


class Timer:
    """A call that never comes."""

    def call_later(self, *_: Any) -> Timer:
        return self

    def cancel(self) -> None:
        """Nor would it."""

    def time(self) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def _paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks for the running loop gets none: nothing here may need one."""
    monkeypatch.setattr(asyncio, "get_running_loop", Timer)


class Verdict:
    """A look-up that ends when it is told to."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine
        self._callback: Any = None
        self._failure: BaseException | None = None
        self.asked = False
        self.was_cancelled = False

    def add_done_callback(self, callback: Any) -> None:
        self._callback = callback

    def cancel(self) -> None:
        self.was_cancelled = True

    def cancelled(self) -> bool:
        return self.was_cancelled

    def exception(self) -> BaseException | None:
        assert not self.was_cancelled, "asyncio would raise here"
        self.asked = True
        return self._failure

    def ends(self) -> None:
        """The coroutine runs to its end; what waits for it is not told yet."""
        try:
            self._coroutine.send(None)
        except StopIteration:
            pass
        except Exception as failure:  # noqa: BLE001 - a task keeps it
            self._failure = failure
        else:
            raise AssertionError("it waits for something")

    def is_told(self) -> None:
        if self.was_cancelled:
            self._coroutine.close()
        self._callback(self)


class Scene:
    """A gateway that waits for first messages, and whoever is looked up for them."""

    def __init__(self, **fields: Any) -> None:
        self.gateway = Gateway(*ROUTES, **fields)
        self.house = self.gateway.house
        self.verdicts: list[Verdict] = []
        self.house.loop = self

    def create_task(self, coroutine: Any, *, name: str) -> Any:
        assert name == "identify"
        self.verdicts.append(Verdict(coroutine))
        return self.verdicts[-1]

    def opens(self, target: str = "/chat") -> Client:
        """A client that was answered 101 and is waited for."""
        client = self.gateway.asks(target, secret=None)
        assert client.response.status == 101
        client.transport.written = b""
        return client

    def slowly(self, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
        """Who is calling is known later: a principal, or why there is none."""
        authenticator = self.gateway.admission.rules.authenticator

        def verify(*_: Any) -> Any:
            raise NotAtOnce

        async def verify_slowly(*_: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(authenticator, "verify", verify)
        monkeypatch.setattr(authenticator, "verify_slowly", verify_slowly)

    def is_over(self) -> bool:
        """Whether no place is taken any more, once sockets that were answered are gone."""
        house = self.house
        for transport in list(house.lingering):
            transport.get_protocol().connection_lost(None)
        return (
            house.unproven == 0
            and not house.opening
            and not house.lingering
            and self.gateway.places == 0
            and len(self.gateway.registry) == 0
        )

    def outcomes(self, route: str = "chat") -> dict[str, int]:
        return self.gateway.outcomes(route)


def said(client: Client) -> list[frames.Frame]:
    """The frames that the client was sent since it was let in."""
    buffer, found = bytearray(client.transport.written), []
    while (frame := frames.take(buffer)) is not None:
        found.append(frame)
    assert not buffer
    return found


def ended(client: Client) -> tuple[int | None, str]:
    """The code and reason of the Close frame that it was sent, and of nothing else."""
    (frame,) = said(client)
    assert frame.opcode == frames.CLOSE
    return frame.close_code, frame.close_reason


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    assert made.is_over()


# In ------------------------------------------------------------------------------------------


def test_client_is_counted_among_the_unknown_until_it_is_known(scene: Scene) -> None:
    client = scene.opens()
    assert (scene.house.unproven, len(scene.house.opening)) == (1, 1)
    client.sends(HELLO)
    assert (scene.house.unproven, len(scene.house.opening)) == (0, 1)
    assert said(client) == []
    (dial,) = scene.gateway.dialer.dials
    dial.switches()
    assert (scene.house.unproven, len(scene.house.opening)) == (0, 0)
    (reply,) = said(client)
    assert reply.payload == REPLY
    assert scene.outcomes() == {"accepted": 1}
    assert scene.gateway.places == 1
    scene.gateway.ends(client)


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_what_comes_behind_the_message_reaches_the_upstream_in_order(
    scene: Scene, step: int
) -> None:
    behind = b"".join(frames.masked(frames.TEXT, b"%d" % number) for number in range(20))
    client = scene.opens("/passing")
    data = HELLO + behind
    for at in range(0, len(data), step):
        client.sends(data[at : at + step])
    (dial,) = scene.gateway.dialer.dials
    dial.switches()
    assert dial.transport.written == data
    assert said(client) == []
    scene.gateway.ends(client)


def test_too_much_behind_the_message_is_not_read(scene: Scene) -> None:
    client = scene.opens()
    client.sends(HELLO + b"x" * MAX_EARLY)
    assert client.transport.reading
    client.sends(frames.masked(frames.TEXT, b"")[:1])
    assert not client.transport.reading
    client.hangs_up()


def test_client_is_read_again_once_there_is_an_upstream(scene: Scene) -> None:
    client = scene.opens()
    client.sends(HELLO + frames.masked(frames.BINARY, b"x" * (MAX_EARLY + 1)))
    assert not client.transport.reading
    (dial,) = scene.gateway.dialer.dials
    dial.switches()
    assert client.transport.reading
    scene.gateway.ends(client)


@pytest.mark.parametrize("path", ["/chat", "/passing"])
def test_client_is_not_read_while_the_upstream_takes_nothing(scene: Scene, path: str) -> None:
    client = scene.opens(path)
    client.sends(HELLO + frames.masked(frames.BINARY, b"x" * (MAX_EARLY + 1)))
    (dial,) = scene.gateway.dialer.dials
    dial.transport = Slow()
    dial.switches()
    assert not client.transport.reading
    scene.gateway.ends(client)


def test_session_that_ends_at_once_takes_no_more(scene: Scene) -> None:
    # What came behind the message breaks the protocol; more behind that is nobody's.
    client = scene.opens()
    client.sends(HELLO + frames.frame(frames.TEXT, b"unmasked") + b"more")
    (dial,) = scene.gateway.dialer.dials
    dial.switches()
    reply, close = said(client)
    assert (reply.payload, close.close_code) == (REPLY, 1002)
    scene.gateway.ends(client)


def test_upstream_is_heard_first_when_it_speaks_first(scene: Scene) -> None:
    client = scene.opens("/passing")
    client.sends(HELLO)
    (dial,) = scene.gateway.dialer.dials
    dial.behind = frames.frame(frames.TEXT, b"welcome")
    dial.switches()
    assert [frame.payload for frame in said(client)] == [b"welcome"]
    scene.gateway.ends(client)


# Looked up -----------------------------------------------------------------------------------


def test_caller_may_be_known_later(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.slowly(monkeypatch, bearer_of("jwt", "ada", {}, until=None))
    client = scene.opens()
    client.sends(HELLO)
    assert scene.house.unproven == 1
    (verdict,) = scene.verdicts
    verdict.ends()
    verdict.is_told()
    assert scene.house.unproven == 0
    (dial,) = scene.gateway.dialer.dials
    assert Request.parse(dial.request).get("X-Wskeeper-Subject") == "ada"
    dial.switches()
    scene.gateway.ends(client)


@pytest.mark.parametrize(
    ("failure", "close", "outcome"),
    [
        (Refused("token_invalid"), (1008, "token_invalid"), "token_invalid"),
        (Refused("store_unavailable"), (1013, "store_unavailable"), "store_unavailable"),
        (RuntimeError("CANARY"), (1011, "internal_error"), "internal_error"),
    ],
)
def test_caller_may_be_refused_later(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    close: tuple[int, str],
    outcome: str,
) -> None:
    scene.slowly(monkeypatch, failure)
    client = scene.opens()
    client.sends(HELLO)
    (verdict,) = scene.verdicts
    verdict.ends()
    verdict.is_told()
    assert ended(client) == close
    assert scene.outcomes() == {outcome: 1}
    assert not scene.gateway.dialer.dials


def test_client_that_leaves_is_looked_up_no_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.slowly(monkeypatch, Refused("token_invalid"))
    client = scene.opens()
    client.sends(HELLO)
    client.hangs_up()
    (verdict,) = scene.verdicts
    assert verdict.was_cancelled
    verdict.is_told()
    assert scene.outcomes() == {"client_gone": 1}
    assert not scene.gateway.dialer.dials


@pytest.mark.parametrize("failure", [Refused("token_invalid"), RuntimeError("CANARY")])
def test_verdict_on_a_client_that_has_just_left_is_heard_all_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    # Else asyncio complains that an exception was never retrieved, and quotes it.
    scene.slowly(monkeypatch, failure)
    client = scene.opens()
    client.sends(HELLO)
    (verdict,) = scene.verdicts
    verdict.ends()
    verdict.cancel = lambda: None  # It is too late for that.
    client.hangs_up()
    verdict.is_told()
    assert verdict.asked
    assert scene.outcomes() == {"client_gone": 1}


def test_verdict_that_let_in_gives_the_places_back_of_whoever_has_just_left(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = scene.gateway.admission.rules.authenticator._keys
    question = scene.gateway.admission._question
    client = scene.opens()
    (door,) = scene.house.opening
    request = door._request
    known = keys.verify(SECRET.encode(), question(request, request.route))
    scene.slowly(monkeypatch, known)
    client.sends(HELLO)
    (verdict,) = scene.verdicts
    verdict.ends()
    assert scene.gateway.places == 1
    verdict.cancel = lambda: None
    client.hangs_up()
    assert scene.gateway.places == 0
    verdict.is_told()
    assert not scene.gateway.dialer.dials


# Faults --------------------------------------------------------------------------------------


def test_fault_of_ours_in_a_verdict(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> Any:
        raise RuntimeError("CANARY")

    monkeypatch.setattr(scene.gateway.admission, "identify", breaks)
    client = scene.opens()
    client.sends(HELLO)
    assert ended(client) == (1011, "internal_error")
    (line,) = scene.gateway.log.events("internal_error")
    assert isinstance(line["failure"], RuntimeError)


def test_verdict_that_was_cancelled_lets_nobody_in(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.slowly(monkeypatch, bearer_of("jwt", "ada", {}, until=None))
    client = scene.opens()
    client.sends(HELLO)
    scene.verdicts[0].cancel()
    scene.verdicts[0].is_told()
    assert ended(client) == (1011, "internal_error")
    assert not scene.gateway.dialer.dials


def test_fault_of_ours_in_dialling(scene: Scene) -> None:
    scene.gateway.dialer.failure = RuntimeError("CANARY")
    client = scene.opens()
    client.sends(HELLO)
    assert ended(client) == (1011, "internal_error")
    assert scene.outcomes() == {"internal_error": 1}


def test_fault_of_ours_behind_dialling(scene: Scene) -> None:
    client = scene.opens()
    client.sends(HELLO)
    (dial,) = scene.gateway.dialer.dials
    dial.breaks(RuntimeError("CANARY"))
    assert ended(client) == (1011, "internal_error")
    assert scene.gateway.places == 0


def test_fault_of_ours_in_accepting(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CANARY")

    monkeypatch.setattr(scene.gateway.admission, "accept", breaks)
    client = scene.opens()
    client.sends(HELLO)
    (dial,) = scene.gateway.dialer.dials
    dial.switches()
    assert dial.transport.aborted
    assert ended(client) == (1011, "internal_error")


# The upstream --------------------------------------------------------------------------------


def test_upstream_that_refuses_is_let_go(scene: Scene) -> None:
    client = scene.opens()
    client.sends(HELLO)
    (dial,) = scene.gateway.dialer.dials
    dial.refuses(403)
    assert dial.transport.aborted
    assert ended(client) == (1013, "upstream_refused")
    assert scene.outcomes() == {"upstream_refused": 1}


def test_upstream_that_says_something_else_is_let_go(scene: Scene) -> None:
    client = scene.opens()
    client.sends(HELLO)
    (dial,) = scene.gateway.dialer.dials
    dial.switches(key="bm90IHRoZSByaWdodCBrZXk=")
    assert dial.transport.aborted
    assert ended(client) == (1013, "upstream_invalid")


def test_upstream_that_is_not_there(scene: Scene) -> None:
    client = scene.opens()
    client.sends(HELLO)
    (dial,) = scene.gateway.dialer.dials
    dial.answers_nothing(Refused("upstream_timeout"))
    assert ended(client) == (1013, "upstream_timeout")


def test_client_that_leaves_is_dialled_for_no_more(scene: Scene) -> None:
    for leave in ("connection_lost", "eof_received"):
        client = scene.opens()
        client.sends(HELLO)
        dial = scene.gateway.dialer.dials[-1]
        assert scene.gateway.places == 1
        getattr(client.transport.protocol, leave)(*((None,) if "lost" in leave else ()))
        assert dial.cancelled
        assert client.transport.aborted
        assert scene.gateway.places == 0
    assert scene.outcomes() == {"client_gone": 2}


def test_gateway_that_goes_away_gives_everybody_up(scene: Scene) -> None:
    waiting, dialling = scene.opens(), scene.opens()
    dialling.sends(HELLO)
    for opening in list(scene.house.opening):
        opening.give_up()
    assert waiting.transport.aborted
    assert dialling.transport.aborted
    for client in (waiting, dialling):
        client.hangs_up()
    assert scene.outcomes() == {"client_gone": 2}


# Time ----------------------------------------------------------------------------------------


def test_message_has_its_time(scene: Scene) -> None:
    client = scene.opens()
    scene.gateway.loop.advance(4.9)
    assert said(client) == []
    scene.gateway.loop.advance(0.2)
    assert ended(client) == (1008, "first_message_timeout")
    assert scene.outcomes() == {"first_message_timeout": 1}
    # It still counts while its Close is waited for.
    assert scene.house.unproven == 1


def test_message_that_came_has_no_deadline(scene: Scene) -> None:
    client = scene.opens()
    client.sends(HELLO)
    scene.gateway.loop.advance(60)
    assert said(client) == []
    client.hangs_up()


def test_nobody_is_answered_who_has_left(scene: Scene) -> None:
    client = scene.opens()
    client.transport.abort()
    scene.gateway.loop.advance(6)
    assert client.transport.written == b""
    assert scene.outcomes() == {"first_message_timeout": 1}
    client.hangs_up()


def test_key_that_has_as_many_connections_as_it_may() -> None:
    scene = Scene(limits=KeyLimits(connections=1))
    first, second = scene.opens(), scene.opens()
    first.sends(HELLO)
    second.sends(HELLO)
    assert ended(second) == (1008, "key_connections")
    first.hangs_up()
    assert scene.is_over()

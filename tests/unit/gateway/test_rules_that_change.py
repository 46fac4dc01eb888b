"""Rules that change under handshakes: each is judged by one set, and let in by the one in force."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from proxy.auth.authenticator import Authenticator
from proxy.auth.key_verifier import KeyVerifier
from proxy.auth.question import NotAtOnce
from proxy.auth.standing import Standing
from proxy.auth.ways import ways_of
from proxy.gateway.limiter import Counters, Limiter
from proxy.keys.principal import bearer_of
from proxy.routes import RouteTable
from tests.harness import frames
from tests.unit.auth.asked import NoTickets
from tests.unit.build import config
from tests.unit.gateway.scene import SECRET, FakeDialer, Gateway, key

if TYPE_CHECKING:
    from collections.abc import Sequence

CHAT = {"name": "chat", "path": "/chat"}
TOKEN = bearer_of("jwt", "sub", {}, until=None)


@pytest.fixture(autouse=True)
def _paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks for the running loop gets none: nothing here may need one."""

    class Loop:
        def call_later(self, *_: Any) -> Any:
            return Loop()

        def cancel(self) -> None:
            pass

    monkeypatch.setattr(asyncio, "get_running_loop", Loop)


class Scene(Gateway):
    """A gateway whose rules are exchanged."""

    def __init__(self, *routes: dict[str, Any]) -> None:
        super().__init__(*(routes or (CHAT,)))
        self.former = self.dialer
        self.standing = Standing(KeyVerifier(self.ring, self.trust), self.admission.rules.routes)

    def change(
        self,
        *routes: dict[str, Any],
        carriers: Sequence[Any] = ("bearer",),
        distrusted: Sequence[str] = (),
        limits: dict[str, Any] | None = None,
    ) -> None:
        made = config(*routes, carriers=list(carriers), limits=limits or {})
        before = self.admission.rules
        table = RouteTable.of(made, before=before.routes)
        self.dialer = FakeDialer()
        rules = dataclasses.replace(
            before,
            routes=table,
            dialer=self.dialer,  # type: ignore[arg-type]
            authenticator=Authenticator(
                {route.name: ways_of(made.carriers_of(route)) for route in made.routes},
                KeyVerifier(self.ring, self.trust),
                tickets=NoTickets(),
            ),
            limiter=Limiter(made.limits, table, self.registry.occupancy, Counters()),
            generation=before.generation + 1,
        )
        self.standing.adopt(table, generation=rules.generation, distrusted=distrusted)
        self.admission.adopt(rules, self.standing, total_connections=None)


def test_request_keeps_the_rules_that_it_came_under() -> None:
    scene = Scene()
    client = scene.asks()
    scene.change(CHAT)
    scene.former.dials[0].switches()
    assert client.answer[0] == 101
    assert not scene.dialer.dials
    # The next one needs another carrier, and goes to other upstreams.
    assert scene.asks().answer == (401, "key_missing")
    scene.asks("/chat", f"Authorization: Bearer {SECRET}", secret=None)
    assert len(scene.dialer.dials) == 1


@pytest.mark.parametrize(
    ("routes", "refusal"),
    [
        ([{"name": "chat", "path": "/elsewhere"}], (404, "no_route")),
        ([{"name": "renamed", "path": "/chat"}], (404, "no_route")),
        ([CHAT, {"name": "deep", "path": "/chat/deep"}], (404, "no_route")),
        ([{**CHAT, "addresses": {"allow": ["10.0.0.0/8"]}}], (403, "address_forbidden")),
        ([{**CHAT, "origins": ["https://b.test"]}], (403, "origin_forbidden")),
        ([{**CHAT, "origins": ["https://a.test"]}], None),
        ([{**CHAT, "upstream": "ws://other:1"}], None),
    ],
)
def test_new_rules_have_the_last_word(
    routes: list[dict[str, Any]], refusal: tuple[int, str] | None
) -> None:
    scene = Scene()
    client = scene.asks("/chat/deep", "Origin: https://a.test")
    scene.change(*routes)
    (dial,) = scene.former.dials
    dial.switches()
    if refusal is None:
        assert client.answer[0] == 101
        return
    assert client.answer == refusal
    assert dial.transport.aborted
    assert (len(scene.registry), scene.places) == (0, 0)


def test_nobody_is_no_one_where_a_key_is_needed_now() -> None:
    scene = Scene({**CHAT, "auth": "none"})
    client = scene.asks(secret=None)
    scene.change(CHAT)
    scene.former.dials[0].switches()
    assert client.answer == (401, "key_missing")
    challenge = client.response.get("WWW-Authenticate") or ""
    assert "Bearer" in challenge


@pytest.mark.parametrize(
    ("limits", "of_route", "code"),
    [
        ({}, {"connections": 2}, "gateway_connections"),
        ({"connections_per_address": 2}, {}, "address_connections"),
    ],
)
def test_sessions_from_before_count_for_a_limit_that_is_new(
    limits: dict[str, Any], of_route: dict[str, Any], code: str
) -> None:
    scene = Scene({**CHAT, "limits": {"connections": 3}})
    clients = [scene.opens(), scene.opens()]
    header = [{"header": "X-Api-Key"}]
    scene.change({**CHAT, "limits": of_route}, carriers=header, limits=limits)
    assert scene.asks().answer[1] == code
    scene.ends(clients.pop())
    scene.opens()
    assert scene.asks().answer[1] == code
    scene.change(carriers=header)  # The route is taken away.
    for session in scene.registry:
        session.abort()
        for leg in session.legs:
            leg.transport.get_protocol().connection_lost(None)
    assert len(scene.registry.occupancy) == 0


class Verdict:
    """A task on paper, of who is calling."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine
        self._failure: BaseException | None = None
        self._done: Any = None

    def add_done_callback(self, done: Any) -> None:
        self._done = done

    def cancelled(self) -> bool:
        return False

    def exception(self) -> BaseException | None:
        return self._failure

    def comes(self) -> None:
        try:
            self._coroutine.send(None)
        except StopIteration:
            pass
        except Exception as failure:  # noqa: BLE001 - as a task keeps it
            self._failure = failure
        self._done(self)


def test_caller_who_is_known_late_meets_the_new_rules_before_any_upstream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for distrusted, answer in (((), None), (("jwt",), (401, "token_invalid"))):
        scene = Scene()
        verdicts: list[Verdict] = []
        authenticator = scene.admission.rules.authenticator

        async def known(_question: Any) -> Any:
            return TOKEN

        def unknown(_question: Any) -> Any:
            raise NotAtOnce

        def begin(coroutine: Any, verdicts: list[Verdict] = verdicts, **_: Any) -> Any:
            verdicts.append(Verdict(coroutine))
            return verdicts[-1]

        monkeypatch.setattr(authenticator, "authenticate", unknown)
        monkeypatch.setattr(authenticator, "authenticate_slowly", known)
        monkeypatch.setattr(scene.loop, "create_task", begin, raising=False)
        client = scene.asks()
        scene.change(CHAT, distrusted=distrusted)
        verdicts[0].comes()
        assert len(scene.former.dials) == (answer is None)
        assert not scene.dialer.dials
        if answer is not None:
            assert client.answer == answer
            assert scene.outcomes() == {"token_invalid": 1}
            assert not scene.house.opening


def test_first_message_meets_the_new_rules_before_any_upstream() -> None:
    message = frames.masked(frames.TEXT, f'{{"type":"auth","token":"{SECRET}"}}'.encode())
    route = {**CHAT, "carriers": ["first_message"]}
    scene = Scene(route)
    client = scene.asks(secret=None)
    client.transport.written = b""
    scene.change({**route, "name": "other"})
    client.sends(message)
    assert client.transport.written == frames.frame(
        frames.CLOSE, frames.close_payload(1008, "no_route")
    )
    assert not scene.former.dials
    assert (scene.places, scene.outcomes()) == (0, {"no_route": 1})


def test_rules_that_changed_twice_are_both_heard() -> None:
    """Trust that was lost and given back: nobody can tell what a token was checked with."""
    scene = Scene()
    client = scene.asks()
    request = next(iter(scene.house.opening))._request  # type: ignore[attr-defined]
    request.principal = TOKEN
    scene.change(CHAT, distrusted=("jwt",))
    scene.change(CHAT)
    scene.former.dials[0].switches()
    assert client.answer == (401, "token_invalid")


def test_key_that_is_lost_between_two_rules_is_named_as_ever() -> None:
    scene = Scene()
    client = scene.asks()
    scene.change(CHAT)
    scene.ring.put("one", key(revoked_at=1.0))
    scene.former.dials[0].switches()
    assert client.answer == (401, "key_revoked")


def test_route_that_did_not_change_stays_the_same() -> None:
    scene = Scene(CHAT, {"name": "other", "path": "/other"})
    before = {route.name: route for route in scene.admission.rules.routes}
    headers = {"X-Set": "{key.name}"}
    upstream = {"targets": ["ws://127.0.0.1:9000/ws"], "headers": headers}
    scene.change(CHAT, {"name": "other", "path": "/other", "upstream": upstream})
    between = {route.name: route for route in scene.admission.rules.routes}
    assert between["chat"] is before["chat"]
    assert between["other"] is not before["other"]
    scene.change({"name": "other", "path": "/other", "upstream": {**upstream}})
    (after,) = scene.admission.rules.routes
    assert after is between["other"]
    assert hash(after.settings) == hash(between["other"].settings)


# What is waited for ---------------------------------------------------------------------------


def test_deadline_of_a_head_is_the_one_of_its_time() -> None:
    scene = Scene()
    waiting = scene.house.waiting
    overdue: list[str] = []

    class Door:
        def __init__(self, name: str) -> None:
            self._name = name

        def overdue(self) -> None:
            overdue.append(self._name)

    first, second, third, late = (Door(name) for name in ("first", "second", "third", "late"))
    waiting.add(first)
    waiting.add(second)
    scene.house.adopt(head_size=1024, head_timeout=3.0, close_timeout=1.0, unauthenticated=7)
    assert (scene.house.head_size, scene.house.close_timeout) == (1024, 1.0)
    waiting.add(third)
    waiting.discard(second)
    assert len(waiting) == 2
    scene.loop.advance(3.0)
    assert overdue == ["third"]
    # Back to what it was: those of before wait with those to come.
    scene.house.adopt(head_size=1024, head_timeout=10.0, close_timeout=1.0, unauthenticated=7)
    waiting.add(late)
    assert len(waiting) == 2
    scene.loop.advance(7.0)
    assert overdue == ["third", "first"]
    assert waiting.clear() == [late]
    assert not waiting

"""Limits in the log: each is told of with the request that met it, right before its refusal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from proxy.auth.question import NotAtOnce
from proxy.gateway.front import FrontDoor
from proxy.keys.key import KeyLimits
from proxy.keys.principal import bearer_of
from tests.harness import frames
from tests.harness.heads import plain
from tests.unit.gateway.scene import SECRET, Client, Gateway
from tests.unit.loop import FakeLoop

if TYPE_CHECKING:
    from collections.abc import Callable

# What the two lines say beside who it was.
OF_THE_LIMIT = ("limit", "value", "set_in")
OF_THE_REFUSAL = ("status", "code")


@pytest.fixture(autouse=True)
def _lingering_needs_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "get_running_loop", FakeLoop)


def made(*, key: KeyLimits | None = None, weak: bool = False, **route: Any) -> Gateway:
    """A gateway with one route."""
    fields: dict[str, Any] = {"weak": weak} | ({} if key is None else {"limits": key})
    return Gateway({"name": "chat", "path": "/chat", **route}, **fields)


def limited(**limits: Any) -> Gateway:
    return made(limits=limits)


def taken(gateway: Gateway) -> Gateway:
    """The gateway, once the only place is taken."""
    gateway.opens()
    return gateway


def guessed(gateway: Gateway) -> Gateway:
    """The gateway, once a guess has been made."""
    gateway.asks(secret="CANARY-guess")
    return gateway


def full(gateway: Gateway) -> Gateway:
    gateway.admission.total_connections = 0
    return gateway


def crowded(gateway: Gateway) -> Gateway:
    """The gateway, whose callers have to be looked up though too many are."""

    def not_at_once(_question: Any) -> Any:
        raise NotAtOnce

    gateway.house._unauthenticated = 0
    gateway.admission.rules.authenticator.authenticate = not_at_once  # type: ignore[method-assign]
    return gateway


def awaiting(gateway: Gateway) -> Gateway:
    """The gateway, which hears no first message any more."""
    gateway.house._unauthenticated = 0
    return gateway


def of_ada(gateway: Gateway) -> Gateway:
    """The gateway, where everybody is one subject with a token."""
    token = bearer_of("jwt", "ada", {}, until=None)
    gateway.admission.rules.authenticator.authenticate = lambda _: token  # type: ignore[method-assign]
    return taken(gateway)


MET: dict[str, tuple[str, Callable[[], Gateway]]] = {
    "total": ("total_connections", lambda: full(made())),
    "route": ("connections", lambda: taken(limited(connections=1))),
    "key": ("connections", lambda: taken(made(key=KeyLimits(connections=1)))),
    "address": ("connections_per_address", lambda: taken(limited(connections_per_address=1))),
    "address of a key": (
        "connections_per_address",
        lambda: taken(made(key=KeyLimits(connections_per_address=1))),
    ),
    "subject": ("connections_per_subject", lambda: of_ada(limited(connections_per_subject=1))),
    "rate": ("handshakes_per_second", lambda: taken(limited(handshakes_per_second=0.5))),
    "rate of a key": (
        "handshakes_per_second",
        lambda: taken(made(key=KeyLimits(handshakes_per_second=0.5))),
    ),
    "weak key": (
        "auth_failures_per_minute",
        lambda: guessed(made(weak=True, limits={"auth_failures_per_minute": 1})),
    ),
    "looked up": ("unauthenticated", lambda: crowded(made())),
    "looked up, to hear a Close": (
        "unauthenticated",
        lambda: crowded(made(refuse_with="close")),
    ),
}


def told_of(gateway: Gateway, limit: str, event: str = "handshake_refused") -> dict[str, Any]:
    """The refusal that is told of last, right behind the limit that it met."""
    (level, first, met), (_, second, refusal) = gateway.log.lines[-2:]
    assert (level, first, met["limit"]) == ("warning", "limited", limit)
    assert second == event
    assert gateway.admission.account.limited == {("chat", limit): 1}
    who = {name: value for name, value in met.items() if name not in OF_THE_LIMIT}
    assert who == {name: refusal[name] for name in refusal if name not in OF_THE_REFUSAL}
    assert {"request_id", "route", "client"} <= who.keys()
    return refusal


@pytest.mark.parametrize("kind", MET)
def test_limit_is_told_with_the_request_that_is_refused_for_it(kind: str) -> None:
    limit, scene = MET[kind]
    gateway = scene()
    client = gateway.asks()
    refusal = told_of(gateway, limit)
    assert client.response.get("X-Request-Id") == refusal["request_id"]
    assert client.answer == (refusal["status"], refusal["code"])


def test_limit_is_told_with_the_request_of_a_guesser() -> None:
    gateway = guessed(limited(auth_failures_per_minute=1))
    client = gateway.asks(secret="CANARY-other")
    refusal = told_of(gateway, "auth_failures_per_minute")
    assert client.response.get("X-Request-Id") == refusal["request_id"]


def test_last_place_that_is_lost_while_a_caller_is_looked_up_is_told_with_who_lost_it() -> None:
    gateway = limited(connections=1)
    authenticator = gateway.admission.rules.authenticator
    at_once = authenticator.authenticate

    def meanwhile(question: Any) -> Any:
        gateway.registry.occupancy.take([("route", "chat")])
        return at_once(question)

    authenticator.authenticate = meanwhile  # type: ignore[method-assign]
    assert gateway.asks().answer == (503, "gateway_connections")
    assert told_of(gateway, "connections")["key_id"] == "one"


def test_limit_is_told_with_the_client_that_may_send_no_first_message() -> None:
    gateway = awaiting(made(carriers=["first_message"]))
    assert gateway.asks(secret=None).answer == (503, "gateway_connections")
    told_of(gateway, "unauthenticated")


def test_limit_is_told_with_the_client_whose_first_message_meets_it() -> None:
    gateway = made(carriers=["first_message"], key=KeyLimits(connections=0))
    client = gateway.asks(secret=None)
    assert client.answer[0] == 101
    said = b'{"type": "auth", "token": "%s"}' % SECRET.encode()
    client.sends(frames.masked(frames.TEXT, said))
    refusal = told_of(gateway, "connections")
    assert client.response.get("X-Request-Id") == refusal["request_id"]
    assert refusal["key_id"] == "one"


def test_limit_of_a_key_is_told_with_who_would_be_refused_for_it() -> None:
    gateway = taken(made(auth="report_only", key=KeyLimits(connections=1)))
    client = gateway.asks()
    refusal = told_of(gateway, "connections", "would_refuse")
    assert refusal["key_id"] == "one", "although it is let in as nobody"
    gateway.dialer.dials[-1].switches()
    assert client.answer[0] == 101
    assert client.response.get("X-Request-Id") == refusal["request_id"]


def test_limit_is_told_with_the_guesser_who_would_be_refused_for_it() -> None:
    gateway = guessed(made(auth="report_only", limits={"auth_failures_per_minute": 1}))
    client = gateway.asks(secret="CANARY-other")
    refusal = told_of(gateway, "auth_failures_per_minute", "would_refuse")
    gateway.dialer.dials[-1].switches()
    assert client.response.get("X-Request-Id") == refusal["request_id"]


def test_limit_is_told_with_the_ordinary_request_that_met_it() -> None:
    gateway = guessed(made(http="passthrough", limits={"auth_failures_per_minute": 1}))
    client = Client(FrontDoor(gateway.house))
    client.sends(plain("/chat"))
    told_of(gateway, "auth_failures_per_minute", "http_refused")
    assert client.answer == (429, "auth_failures")


def test_ordinary_request_above_all_connections_is_told_of_as_such() -> None:
    gateway = full(made(http="passthrough"))
    client = Client(FrontDoor(gateway.house))
    client.sends(plain("/chat"))
    told_of(gateway, "total_connections", "http_refused")
    assert client.answer == (503, "gateway_connections")


def test_client_that_cannot_hear_its_close_is_told_of_with_the_limit_behind_its_refusal() -> None:
    gateway = awaiting(made(refuse_with="close"))
    assert gateway.asks(secret=None).answer == (401, "key_missing")
    (_, first, refusal), (_, second, met) = gateway.log.lines
    assert (first, second) == ("handshake_refused", "limited")
    assert (met["request_id"], met["client"]) == (refusal["request_id"], refusal["client"])
    assert met["limit"] == "unauthenticated"
    assert gateway.admission.account.limited == {("chat", "unauthenticated"): 1}

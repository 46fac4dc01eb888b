"""Limits as a client meets them: what it is answered, what is logged, and what is given back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import Refused
from proxy.keys.key import KeyLimits
from tests.unit.gateway.scene import SECRET, Gateway
from tests.unit.loop import FakeLoop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.gateway.scene import FakeDial

WRONG = "CANARY-wrong-0b5e"


@pytest.fixture(autouse=True)
def _lingering_needs_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "get_running_loop", FakeLoop)


def limited(*, auth: str = "required", key: KeyLimits | None = None, **limits: Any) -> Gateway:
    """A gateway with one route and its limits."""
    fields = {} if key is None else {"limits": key}
    route = {"name": "chat", "path": "/chat", "auth": auth, "limits": limits}
    return Gateway(route, **fields)


@pytest.mark.parametrize(
    ("how", "answer", "name", "set_in"),
    [
        ({"connections": 1}, (503, "gateway_connections"), "connections", "routes.chat"),
        (
            {"connections_per_address": 1},
            (429, "address_connections"),
            "connections_per_address",
            "routes.chat",
        ),
        (
            {"handshakes_per_second": 0.5},
            (429, "handshake_rate"),
            "handshakes_per_second",
            "routes.chat",
        ),
        (
            {"key": KeyLimits(connections=1)},
            (429, "key_connections"),
            "connections",
            "keys.name of one",
        ),
        (
            {"key": KeyLimits(connections_per_address=1)},
            (429, "address_connections"),
            "connections_per_address",
            "keys.name of one",
        ),
        (
            {"key": KeyLimits(handshakes_per_second=0.5)},
            (429, "handshake_rate"),
            "handshakes_per_second",
            "keys.name of one",
        ),
    ],
)
def test_who_meets_a_limit_hears_which_and_the_log_says_where_it_is_set(
    how: dict[str, Any], answer: tuple[int, str], name: str, set_in: str
) -> None:
    gateway = limited(**how)
    gateway.opens()
    refused = gateway.asks()
    assert refused.answer == answer
    assert int(refused.response.get("Retry-After") or 0) > 0
    (line,) = gateway.log.events("limited")
    assert (line["limit"], line["set_in"]) == (name, f"{set_in}.limits.{name}")
    assert line["route"] == "chat"
    assert gateway.admission.account.limited == {("chat", name): 1}
    assert len(gateway.dialer.dials) == 1, "no upstream hears of it"


def test_retry_after_is_when_the_rate_admits_again() -> None:
    gateway = limited(handshakes_per_second=0.25)
    gateway.opens()
    refused = gateway.asks()
    assert refused.response.get("Retry-After") == "4"
    gateway.loop.advance(3.9)
    assert gateway.asks().answer == (429, "handshake_rate")
    gateway.loop.advance(0.1)
    gateway.opens()


PLACES = {"connections": 1, "connections_per_address": 1}
UNREACHABLE = Refused("upstream_unreachable", "No.")
FAILS: dict[str, Callable[[FakeDial], None]] = {
    "upstream refuses": lambda dial: dial.refuses(),
    "upstream cannot be reached": lambda dial: dial.answers_nothing(UNREACHABLE),
    "dialling breaks": lambda dial: dial.breaks(ValueError()),
}


@pytest.mark.parametrize("how", FAILS)
def test_handshake_that_fails_gives_every_place_back(how: str) -> None:
    gateway = limited(**PLACES, key=KeyLimits(connections=1, connections_per_address=1))
    gateway.asks()
    assert len(gateway.registry.occupancy) == 4
    assert gateway.asks().answer == (503, "gateway_connections"), "a handshake has its place too"
    FAILS[how](gateway.dialer.dials[0])
    assert len(gateway.registry.occupancy) == 0
    gateway.opens()


def test_session_gives_every_place_back_at_its_end() -> None:
    gateway = limited(**PLACES, key=KeyLimits(connections=1, connections_per_address=1))
    for _ in range(3):
        client = gateway.opens()
        assert len(gateway.registry.occupancy) == 4
        gateway.ends(client)
        assert len(gateway.registry.occupancy) == 0


@pytest.mark.parametrize(
    ("auth", "secret"), [("none", None), ("report_only", None), ("report_only", SECRET)]
)
@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"connections": 1}, "gateway_connections"),
        ({"connections_per_address": 1}, "address_connections"),
        ({"handshakes_per_second": 0.5}, "handshake_rate"),
    ],
)
def test_limits_of_a_route_hold_whoever_comes(
    auth: str, secret: str | None, limits: dict[str, Any], code: str
) -> None:
    gateway = limited(auth=auth, **limits)
    client = gateway.opens(secret=secret)
    assert gateway.asks(secret=secret).answer[1] == code
    gateway.ends(client)
    assert len(gateway.registry.occupancy) == 0


def test_report_only_lets_in_as_nobody_whom_the_keys_limit_would_refuse() -> None:
    gateway = limited(auth="report_only", key=KeyLimits(connections=1))
    gateway.opens()
    gateway.opens()
    assert sorted(session.principal.key_id or "" for session in gateway.registry) == ["", "one"]
    (line,) = gateway.log.events("would_refuse")
    assert line["code"] == "key_connections"
    assert gateway.places == 1


def test_report_only_tells_of_a_guesser_and_lets_it_in() -> None:
    gateway = limited(auth="report_only", auth_failures_per_minute=1)
    for secret in (WRONG, WRONG + "2"):
        gateway.opens(secret=secret)
    codes = [line["code"] for line in gateway.log.events("would_refuse")]
    assert codes == ["key_unknown", "auth_failures"]


# Guesses -------------------------------------------------------------------------------------


def guesses(gateway: Gateway, count: int) -> list[str | None]:
    return [gateway.asks(secret=f"{WRONG}-{number}").answer[1] for number in range(count)]


def test_guesser_is_cut_off_and_whoever_has_a_key_is_not() -> None:
    gateway = limited(auth_failures_per_minute=3)
    assert guesses(gateway, 4) == ["key_unknown"] * 3 + ["auth_failures"]
    refused = gateway.asks(secret=None)
    assert refused.answer == (429, "auth_failures")
    assert refused.response.get("Retry-After") == "60"
    gateway.opens()
    gateway.loop.advance(61)
    assert gateway.asks(secret=None).answer == (401, "key_missing")


def test_same_wrong_key_is_one_guess_a_minute() -> None:
    gateway = limited(auth_failures_per_minute=2)
    assert [gateway.asks(secret=WRONG).answer[1] for _ in range(20)] == ["key_unknown"] * 20
    assert guesses(gateway, 2) == ["key_unknown", "auth_failures"]


def test_key_that_can_be_guessed_is_refused_while_somebody_guesses() -> None:
    route = {"name": "chat", "path": "/chat", "limits": {"auth_failures_per_minute": 1}}
    gateway = Gateway(route, weak=True)
    gateway.opens()
    guesses(gateway, 1)
    assert gateway.asks().answer == (429, "auth_failures")
    gateway.loop.advance(61)
    gateway.opens()


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"routes": frozenset({"other"})}, "route_forbidden"),
        ({"suspended_at": 1.0}, "key_suspended"),
        ({"expires_at": 1.0}, "key_expired"),
    ],
)
def test_guesser_is_not_told_that_a_weak_key_was_right(wrong: dict[str, Any], code: str) -> None:
    route = {"name": "chat", "path": "/chat", "limits": {"auth_failures_per_minute": 1}}
    for weak in (True, False):
        gateway = Gateway(route, weak=weak, **wrong)
        assert gateway.asks().answer[1] == code
        guesses(gateway, 1)
        assert gateway.asks().answer[1] == ("auth_failures" if weak else code)


def test_thirty_guesses_a_minute_are_listened_to_where_nothing_is_said() -> None:
    assert guesses(limited(), 31) == ["key_unknown"] * 30 + ["auth_failures"]


# What a session gets -------------------------------------------------------------------------


def test_session_gets_its_lifetime_its_codes_and_its_sizes() -> None:
    gateway = Gateway(
        {
            "name": "chat",
            "path": "/chat",
            "max_lifetime": "100s",
            "close_codes": {"max_lifetime": 4001},
            "limits": {"message_size": 500},
        }
    )
    gateway.opens()
    (session,) = gateway.registry
    assert session.ends_at is not None
    assert 90 <= session.ends_at - session.opened_at < 110
    assert session.rules.close_codes == {"max_lifetime": 4001}
    up, down = session.limits.message_sizes
    assert up is not None
    assert (up.value, up.set_in, down) == (500, "routes.chat.limits.message_size", None)

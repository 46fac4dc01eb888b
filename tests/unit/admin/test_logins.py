"""Logins of the console: what a signed cookie says, and for how long it is believed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.access import AdminToken
from proxy.admin.logins import LASTS, Logins

NOON = 1_800_000_000.0
OPS = AdminToken("ops", "operator", b"o" * 32)
GRAFANA = AdminToken("grafana", "viewer", b"g" * 32)
TOKENS = (GRAFANA, OPS)


class Clock:
    """The time of day."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logins(clock: Clock) -> Logins:
    return Logins(b"s" * 32, clock, random.Random(1).randbytes)


def test_cookie_tells_whose_token_was_shown(logins: Logins):
    assert logins.holder(logins.begin(OPS), TOKENS) is OPS
    assert logins.holder(logins.begin(GRAFANA), TOKENS) is GRAFANA


def test_cookie_says_nothing_of_the_token_itself(logins: Logins):
    cookie = logins.begin(OPS)
    assert OPS.digest.hex() not in cookie
    assert logins.begin(OPS) != cookie


def test_login_lasts_twelve_hours(logins: Logins, clock: Clock):
    cookie = logins.begin(OPS)
    clock.now += LASTS - 1
    assert logins.holder(cookie, TOKENS) is OPS
    clock.now += 1
    assert logins.holder(cookie, TOKENS) is None


def test_login_ends_with_its_token(logins: Logins):
    cookie = logins.begin(OPS)
    assert logins.holder(cookie, [GRAFANA]) is None
    assert logins.holder(cookie, []) is None


def test_login_ends_when_its_token_is_replaced_under_the_same_name(logins: Logins):
    cookie = logins.begin(OPS)
    replaced = AdminToken("ops", "operator", b"n" * 32)
    assert logins.holder(cookie, [replaced]) is None
    assert logins.holder(cookie, [replaced, OPS]) is OPS


def test_login_has_the_role_that_its_token_has_now(logins: Logins):
    lowered = AdminToken("ops", "viewer", OPS.digest)
    assert logins.holder(logins.begin(OPS), [lowered]) is lowered


def test_cookie_of_another_process_is_not_believed(logins: Logins, clock: Clock):
    other = Logins(b"t" * 32, clock, random.Random(1).randbytes)
    assert logins.holder(other.begin(OPS), TOKENS) is None


def test_who_signs_out_is_out_and_nobody_else(logins: Logins):
    cookie, other = logins.begin(OPS), logins.begin(OPS)
    logins.end(cookie)
    assert logins.holder(cookie, TOKENS) is None
    assert logins.holder(other, TOKENS) is OPS


def test_ended_logins_are_forgotten_when_they_would_have_ended(logins: Logins, clock: Clock):
    logins.end(logins.begin(OPS))
    clock.now += LASTS
    logins.end(logins.begin(OPS))
    assert len(logins._ended) == 1


def test_ended_logins_take_no_memory_without_end(logins: Logins, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("proxy.admin.logins._MOST_ENDED", 3)
    cookies = [logins.begin(OPS) for _ in range(5)]
    for cookie in cookies:
        logins.end(cookie)
    assert list(logins._ended) == cookies[2:]


@pytest.mark.parametrize(
    "cookie",
    ["", ".", "...", "a.b.c.d", "!.1.2.3", "\xff.1.2.3", "/w.1.2.3", "b3Bz.1.2.\u0660", "x" * 2000],
)
def test_nonsense_is_no_login(logins: Logins, cookie: str):
    assert logins.holder(cookie, TOKENS) is None


@given(st.text(max_size=100))
def test_any_text_is_no_login(text: str):
    assert Logins(b"s" * 32, Clock(), random.Random(1).randbytes).holder(text, TOKENS) is None


@given(st.data())
def test_changed_cookie_is_no_login(data: st.DataObject):
    logins = Logins(b"s" * 32, Clock(), random.Random(1).randbytes)
    cookie = logins.begin(OPS)
    at = data.draw(st.integers(0, len(cookie) - 1))
    sign = data.draw(st.characters(codec="latin-1").filter(lambda one: one != cookie[at]))
    assert logins.holder(cookie[:at] + sign + cookie[at + 1 :], TOKENS) is None
    assert logins.holder(cookie[:at], TOKENS) is None
    assert logins.holder(cookie + sign, TOKENS) is None


def test_form_belongs_to_its_login(logins: Logins):
    cookie, other = logins.begin(OPS), logins.begin(OPS)
    assert logins.is_csrf(cookie, logins.csrf(cookie))
    assert not logins.is_csrf(cookie, logins.csrf(other))
    assert not logins.is_csrf(cookie, logins.csrf(""))
    assert not logins.is_csrf(cookie, "")
    assert not logins.is_csrf("", "é\ud800")


def test_token_of_a_form_is_no_login(logins: Logins):
    body = logins.begin(OPS).rpartition(".")[0]
    assert logins.holder(f"{body}.{logins.csrf(body)}", TOKENS) is None

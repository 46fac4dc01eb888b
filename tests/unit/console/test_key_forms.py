"""The form of a key: what is filled in arrives as the API's body, and comes back as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin import key_bodies
from proxy.admin.problems import Problem
from proxy.console.key_forms import (
    LIMITS,
    body_of,
    empty_form,
    faults_by_field,
    form_given,
    form_of,
)
from proxy.keys.key import Key, Secret
from proxy.keys.made import made, updated

NOW = 1_800_000_000.0
ROUTES = ["chat", "echo"]
FILLED = {
    "name": " alice ",
    "expires": "30d",
    "limits.connections": "5",
    "limits.bytes_per_second": "64KiB",
    "limits.messages_per_second": "0.5",
    "limits.message_size.upstream_to_client": "1MiB",
    "limits.on_exceed": "close",
    "origins": "https://a.example\n\n https://b.example ,",
    "addresses.allow": "10.0.0.0/8",
    "addresses.deny": "10.1.0.0/16\n2001:db8::1",
    "metadata": "tenant: acme: north\nplan:free",
}


def new_key(values: dict[str, str], routes: tuple[str, ...] = ()) -> Key:
    body = body_of(form_given(values, routes))
    fields = key_bodies.read_new_key(body, now=NOW, routes=ROUTES)
    return made(fields, id="the-id", digest=b"d" * 32, now=NOW)


def faults(values: dict[str, str], routes: tuple[str, ...] = ()) -> dict[str, str]:
    with pytest.raises(Problem) as caught:
        new_key({"name": "alice", "expires": "never", **values}, routes)
    return faults_by_field(caught.value.more["errors"])


def test_everything_that_is_filled_in_arrives() -> None:
    key = new_key(FILLED, ("echo",))
    assert (key.name, key.routes, key.expires_at) == ("alice", {"echo"}, NOW + 30 * 86_400)
    assert key.limits.connections == 5
    assert key.limits.connections_per_address is None
    assert key.limits.bytes_per_second == 65_536
    assert key.limits.messages_per_second == 0.5
    assert key.limits.message_size == (None, 1 << 20)
    assert key.limits.on_exceed == "close"
    assert key.origins == {b"https://a.example", b"https://b.example"}
    assert list(map(str, key.allow or ())) == ["10.0.0.0/8"]
    assert list(map(str, key.deny)) == ["10.1.0.0/16", "2001:db8::1/128"]
    assert key.metadata == {"tenant": "acme: north", "plan": "free"}


def test_what_is_left_empty_limits_nothing() -> None:
    key = new_key({"name": "alice", "expires": "never"})
    assert key == Key("the-id", "alice", (Secret(b"d" * 32),), created_at=NOW)


def test_new_form_suggests_an_end() -> None:
    form = empty_form()
    assert new_key({**form.values, "name": "a"}).expires_at == NOW + 90 * 86_400


def test_form_of_a_key_changes_nothing_when_it_is_sent_back() -> None:
    key = new_key(FILLED, ("echo",))
    form = form_of(key)
    again = form_given(form.values, form.routes)
    changes = key_bodies.read_changes(body_of(again), now=NOW, routes=ROUTES)
    assert updated(key, changes) == key
    assert form["limits.bytes_per_second"] == "64KiB"
    assert form["limits.messages_per_second"] == "0.5"
    assert form["nothing"] == ""


def test_lists_that_admit_nobody_stay_so() -> None:
    key = new_key(
        {"name": "alice", "expires": "never", "origins": "none", "addresses.allow": "None"}
    )
    assert (key.origins, key.allow) == (frozenset(), ())
    again = form_of(key)
    assert again["origins"] == again["addresses.allow"] == "none"
    changes = key_bodies.read_changes(body_of(again), now=NOW, routes=ROUTES)
    assert updated(key, changes) == key


def test_emptied_fields_take_limits_away() -> None:
    key = new_key(FILLED, ("echo",))
    emptied = form_given({"name": "alice", "expires": "never"}, ())
    changes = key_bodies.read_changes(body_of(emptied), now=NOW, routes=ROUTES)
    assert updated(key, changes) == Key("the-id", "alice", key.secrets, created_at=NOW)


@given(
    whole=st.integers(1, 10**9),
    rate=st.floats(0.001, 1e6),
    size=st.integers(1, 1 << 40),
)
def test_numbers_come_back_as_they_were(whole: int, rate: float, size: int) -> None:
    filled = {
        "name": "alice",
        "expires": "never",
        "limits.connections": str(whole),
        "limits.handshakes_per_second": repr(rate),
        "limits.message_size.client_to_upstream": str(size),
    }
    key = new_key(filled)
    form = form_of(key)
    assert new_key({**form.values}) == key


@pytest.mark.parametrize("field", LIMITS)
@pytest.mark.parametrize("text", ["much", "-1", "0", "nan", "1e400", "<b>"])
def test_wrong_limit_is_named_at_its_field(field: str, text: str) -> None:
    assert list(faults({field: text})) == [field]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "<b>bold</b>"}, "name"),
        ({"expires": "on"}, "expires"),
        ({"expires": "on", "expires_on": "2001-01-01"}, "expires"),
        ({"expires": "soon"}, "expires"),
        ({"limits.on_exceed": "explode"}, "limits.on_exceed"),
        ({"origins": "example.com"}, "origins"),
        ({"addresses.allow": "10.0.0.0/8\nhere"}, "addresses.allow"),
        ({"addresses.deny": "there"}, "addresses.deny"),
        ({"metadata": "no name"}, "metadata"),
    ],
)
def test_wrong_field_is_named(values: dict[str, str], field: str) -> None:
    told = faults(values)
    assert list(told) == [field]
    assert told[field].endswith(".")


def test_route_that_does_not_exist_is_named() -> None:
    assert list(faults({}, ("chat", "nowhere"))) == ["routes"]


def test_two_faults_of_a_field_are_both_told() -> None:
    errors: list[Any] = [
        {"field": "origins[0]", "problem": "is no origin", "mend": "write one"},
        {"field": "origins[1]", "problem": "is none either", "mend": "leave it"},
        {"field": "sha256", "problem": "is odd", "mend": "leave it"},
    ]
    assert faults_by_field(errors) == {
        "origins": "Is no origin: write one. Is none either: leave it.",
        "": "Is odd: leave it.",
    }

"""What buyers of tickets may wish for: every fault names its field, none is repeated."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.tickets import Ticket, narrowed
from proxy.auth.wishes import Renewal, Wish, read_renewal, read_wish
from proxy.errors import Refused

LONGEST = 30.0


def wish(**body: Any) -> Wish:
    return read_wish(body, longest=LONGEST)


def fault(read: Any, body: dict[str, Any]) -> str:
    with pytest.raises(Refused) as caught:
        read(body)
    assert caught.value.code == "body_invalid"
    assert "CANARY" not in caught.value.detail
    assert len(caught.value.detail) < 300
    return caught.value.detail


def test_nothing_wished_for_is_all_there_is() -> None:
    nothing = Wish(None, None, {}, LONGEST, None, None)
    assert wish() == nothing
    assert wish(**dict.fromkeys(Wish._fields)) == nothing


def test_wish_is_read() -> None:
    assert wish(
        route="chat",
        subject="Ada Λ.",
        metadata={"room": "blue", "x-1": "", "city": "Zürich"},
        ttl="5s",
        expires_in=3600,
        origin="https://Good.Example",
    ) == Wish(
        "chat",
        "Ada Λ.",
        {"room": "blue", "x-1": "", "city": "Zürich"},
        5.0,
        3600.0,
        b"https://good.example",
    )
    assert wish(ttl=LONGEST).ttl == LONGEST
    assert wish(subject="x" * 256).subject == "x" * 256


@pytest.mark.parametrize("field", ["route", "subject", "origin"])
@pytest.mark.parametrize(
    "value", ["", " ", " CANARY", "CANARY ", "a\nb", "\x00", "\ud800", "x" * 257, 5, True, [], {}]
)
def test_text_that_is_none(field: str, value: Any) -> None:
    said = fault(lambda body: wish(**body), {field: value})
    assert said == f"`{field}` is not 1 to 256 printable characters."


@pytest.mark.parametrize("field", ["ttl", "expires_in"])
@pytest.mark.parametrize(
    "value", [0, -1, True, "CANARY", "5 years", math.nan, math.inf, 1e300, 10**400, [], {}, ""]
)
def test_duration_that_is_none(field: str, value: Any) -> None:
    assert fault(lambda body: wish(**body), {field: value}).startswith(f"`{field}` is ")


def test_ticket_lasts_no_longer_than_it_may() -> None:
    said = fault(lambda body: wish(**body), {"ttl": LONGEST + 0.001})
    assert "30 s" in said
    # How long its session lives is the credential's to say.
    assert wish(expires_in="30d").expires_in == 30 * 86400


@pytest.mark.parametrize(
    "value",
    [
        [],
        "CANARY",
        5,
        {f"k{number}": "" for number in range(17)},
        {"a b": "x"},
        {"": "x"},
        {"1a": "x"},
        {"a_b": "x"},
        {"a" * 33: "x"},
        {"a\n": "x"},
        {"ä": "x"},
        {"a": 5},
        {"a": None},
        {"a": "x" * 257},
        {"a": " CANARY"},
        {"a": "b\r\nX-Evil: 1"},
        {"a": "\x00"},
        {"a": "\ud800"},
        {"room": "blue", "Room": "red"},
    ],
)
def test_metadata_that_cannot_be_sent(value: Any) -> None:
    assert fault(lambda body: wish(**body), {"metadata": value}).startswith("`metadata` has ") or (
        not isinstance(value, dict) or len(value) > 16
    )


def test_field_that_nobody_knows_is_told_what_there_is() -> None:
    assert "metadata, ttl" in fault(lambda body: wish(**body), {"CANARY": 1})
    assert "session, expires_in" in fault(read_renewal, {"session": "x", "CANARY": 1})


def test_renewal_is_read() -> None:
    assert read_renewal({"session": "abc"}) == Renewal("abc", None)
    assert read_renewal({"session": "abc", "expires_in": "1h"}) == Renewal("abc", 3600.0)


@pytest.mark.parametrize("body", [{}, {"session": None}])
def test_renewal_needs_a_session(body: dict[str, Any]) -> None:
    assert fault(read_renewal, body).startswith("`session` is missing")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(body=st.dictionaries(st.sampled_from([*Wish._fields, "else"]), JSON))
def test_any_body_is_a_wish_that_can_be_kept_or_refused(body: dict[str, Any]) -> None:
    try:
        made = wish(**body)
    except Refused:
        return
    assert 0 < made.ttl <= LONGEST
    ticket = Ticket(
        "id", b"digest", "chat", "s", made.subject, made.metadata, made.origin, made.expires_in
    )
    assert Ticket.read(ticket.text()) == ticket
    json.dumps(made.metadata).encode()
    for text in (made.subject or "", *made.metadata.values()):
        text.encode()


def test_buyer_adds_to_what_is_said_of_it_and_changes_nothing() -> None:
    wished = {"PLAN": "platinum", "room": "blue", "Tenant": "evil"}
    assert narrowed(wished, {"plan": "gold"}, {"tenant": "good"}) == {"room": "blue"}
    assert narrowed(wished) == wished

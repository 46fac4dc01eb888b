"""Headers that an operator sets: in place of the client's and ours, filled in for each caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config.header_values import template
from proxy.handshake.settings import HeaderSettings, folded
from proxy.keys.key import Key, Secret
from proxy.keys.principal import NOBODY, bearer_of, holder_of, ticket_holder

if TYPE_CHECKING:
    from proxy.keys.principal import Principal

KEY = Key("id-1", "alice", (Secret(b"d"),), metadata={"Token": "up-secret", "city": "K\u00f6ln 5%"})
HOLDER = holder_of(KEY, b"d")
COMMON = (b"X-Real-IP: 192.0.2.7", b"X-Wskeeper-Route: chat")


def settings(**headers: str | None) -> HeaderSettings:
    return HeaderSettings(
        {
            name.replace("_", "-"): None if value is None else template(value)
            for name, value in headers.items()
        }
    )


def said(value: str, principal: Principal = HOLDER) -> list[bytes]:
    return settings(X_Set=value).lines((*COMMON, *principal.headers))


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain", b"plain"),
        ("{key.id}", b"id-1"),
        ("{key.name}", b"alice"),
        ("{client}", b"192.0.2.7"),
        ("{route}", b"chat"),
        ("Bearer {meta.token}", b"Bearer up-secret"),
        ("<{meta.CITY}>", b"<K%C3%B6ln 5%25>"),
    ],
)
def test_placeholders_say_who_is_calling(value: str, line: bytes) -> None:
    assert said(value) == [b"X-Set: " + line]


def test_subject_and_metadata_are_those_of_tokens_and_tickets_too() -> None:
    token = bearer_of("jwt", "sub-1", {"plan": "gold"}, until=None)
    assert said("{subject}/{meta.plan}", token) == [b"X-Set: sub-1/gold"]
    ticket = ticket_holder(KEY, b"d", "sub-2", {"plan": "b"}, until=None, session="s")
    assert said("{subject}/{key.name}/{meta.token}/{meta.plan}", ticket) == [
        b"X-Set: sub-2/alice/up-secret/b"
    ]


@pytest.mark.parametrize("value", ["{subject}", "Bearer {meta.none}", "{key.id}-{subject}"])
def test_line_with_nothing_to_say_is_left_out(value: str) -> None:
    assert said(value) == []
    assert said(value, NOBODY) == []


def test_lines_of_ours_are_replaced_and_removed() -> None:
    made = settings(X_Wskeeper_Key_Name=None, x_real_ip="{client}, really", X_New="1")
    ours = (*COMMON, *holder_of(KEY, b"d").headers)
    applied = made.applied_to(ours)
    assert applied[-2:] == [b"x-real-ip: 192.0.2.7, really", b"X-New: 1"]
    names = [line.partition(b":")[0] for line in applied[:-2]]
    assert names == [
        b"X-Wskeeper-Route",
        b"X-Wskeeper-Auth",
        b"X-Wskeeper-Key-Id",
        b"X-Wskeeper-Meta-Token",
        b"X-Wskeeper-Meta-city",
    ]


def test_names_are_compared_as_services_do() -> None:
    assert folded(b"X_Api-Key") == b"x-api-key"
    assert HeaderSettings({"X_A": None, "Origin": template("b")}).names == {b"x-a", b"origin"}

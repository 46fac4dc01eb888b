"""Tokens: what is read out of them, and what rules may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.auth.tokens import claims_of, refusal, rules, token

# What is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["ada", "a b", "ä", "🦜", "x" * 256, "a@b.c|d"])
def test_subject_is_read(subject: str) -> None:
    assert claims_of(token(sub=subject)).subject == subject


@pytest.mark.parametrize(
    "subject",
    [
        None,
        1,
        True,
        ["ada"],
        {},
        "",
        " ada",
        "ada ",
        "a\nb",
        "a\x00",
        "\ud800",
        "x" * 257,
        "\u202e",
    ],
)
def test_subject_that_cannot_be_shown_is_refused(subject: Any) -> None:
    assert "`sub`" in refusal(token(sub=subject))


def test_subject_may_be_another_claim_or_none_at_all() -> None:
    assert claims_of(token(email="a@b.c"), subject_claim="email").subject == "a@b.c"
    assert claims_of(token(), subject_claim="email").subject is None
    assert claims_of(token(sub=...)).subject is None


@pytest.mark.parametrize(
    ("said", "routes"),
    [
        (["chat", "echo", "chat"], {"chat", "echo"}),
        ("chat  echo", {"chat", "echo"}),
        ("chat", {"chat"}),
        ([], set()),
        ("", set()),
        (..., set()),
    ],
)
def test_routes_are_read(said: Any, routes: set[str]) -> None:
    assert claims_of(token(scope=said), routes_claim="scope").routes == routes
    assert claims_of(token(scope=said)).routes is None


@pytest.mark.parametrize("said", [None, 1, True, {"chat": 1}, [1], ["chat", None], [["chat"]]])
def test_routes_that_are_no_list_of_names_are_refused(said: Any) -> None:
    assert "`scope`" in refusal(token(scope=said), told=rules(routes_claim="scope"))


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("acme", "acme"),
        ("", ""),
        ("ä 50 %", "ä 50 %"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        ("x" * 1024, "x" * 1024),
    ],
)
def test_metadata_is_read(said: Any, sent: str) -> None:
    made = token(tenant=said, other="not asked for")
    assert claims_of(made, metadata_claims=("tenant", "absent")).metadata == {"tenant": sent}


@pytest.mark.parametrize("said", [None, [], ["acme"], {"name": "acme"}])
def test_metadata_that_is_no_scalar_is_left_out(said: Any) -> None:
    made = token(tenant=said, plan="free")
    assert claims_of(made, metadata_claims=("tenant", "plan")).metadata == {"plan": "free"}


@pytest.mark.parametrize("said", ["a\r\nX-Admin: 1", "\x7f", "\ud800", " a", "a ", "x" * 1025])
def test_metadata_that_cannot_stand_in_a_header_is_refused(said: str) -> None:
    assert "`tenant`" in refusal(token(tenant=said), told=rules(metadata_claims=("tenant",)))


def test_what_was_read_cannot_be_changed() -> None:
    metadata: Any = claims_of(token(tenant="a"), metadata_claims=("tenant",)).metadata
    with pytest.raises(TypeError):
        metadata["tenant"] = "b"


# Rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"audience": ()}, "audience"),
        ({"algorithms": frozenset()}, "algorithms"),
        ({"algorithms": frozenset({"RS256", "none"})}, "algorithms"),
        ({"leeway": -1.0}, "leeway"),
        ({"leeway": float("inf")}, "leeway"),
        ({"leeway": float("nan")}, "leeway"),
        ({"metadata_claims": ("a_b",)}, "letters"),
        ({"metadata_claims": ("a" * 33,)}, "letters"),
        ({"metadata_claims": ("Team", "team")}, "twice"),
    ],
)
def test_rules_that_protect_nothing_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        rules(**wrong)

"""Secrets of our own making: unpredictable, recognisable, and no slip of the pen goes unseen."""

from __future__ import annotations

import random
import re
import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.keys.secret import PREFIX, id_in, is_mistyped, make_secret

if TYPE_CHECKING:
    from collections.abc import Callable

ALPHABET = string.digits + string.ascii_letters
FORM = re.compile(r"wsk_([0-9A-Za-z]{10})_[0-9A-Za-z]{38}")


def below(seed: int) -> Callable[[int], int]:
    return random.Random(seed).randrange


MADE = make_secret(below(1))


@pytest.mark.parametrize("seed", range(20))
def test_made_secret_can_be_recognised(seed: int) -> None:
    made = make_secret(below(seed))
    match = FORM.fullmatch(made.text)
    assert match is not None
    assert match[1] == made.id == id_in(made.text)
    assert not is_mistyped(made.text)


def test_made_secrets_differ() -> None:
    assert len({make_secret(below(seed)).text for seed in range(200)}) == 200


def test_secret_draws_only_from_its_source() -> None:
    limits: list[int] = []

    def zero(limit: int) -> int:
        limits.append(limit)
        return 0

    assert make_secret(zero) == make_secret(zero)
    assert set(limits) == {62}
    assert len(limits) == 2 * (10 + 32)


def test_rotated_secret_keeps_the_id_of_its_key() -> None:
    made = make_secret(below(2), MADE.id)
    assert made.id == MADE.id == id_in(made.text)
    assert made.text != MADE.text


@pytest.mark.parametrize("id", ["legacy", "", "a-key_name", "ünicode123", "x" * 11, "१२३४५६७८९०"])
def test_id_that_does_not_fit_into_a_secret_gets_another(id: str) -> None:
    made = make_secret(below(2), id)
    assert FORM.fullmatch(made.text)
    assert id_in(made.text) == made.id != id


def test_every_slip_is_seen() -> None:
    text = MADE.text
    for at in range(len(text)):
        for slip in set(ALPHABET + "_ -.é") - {text[at]}:
            wrong = text[:at] + slip + text[at + 1 :]
            assert id_in(wrong) is None
            # What does not begin like ours may be anybody's.
            assert is_mistyped(wrong) is (at >= len(PREFIX)), wrong


def test_every_lost_or_doubled_character_and_every_swap_is_seen() -> None:
    text = MADE.text
    for at in range(len(PREFIX), len(text)):
        swapped = text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :]
        for wrong in (text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:], swapped):
            assert wrong == text or id_in(wrong) is None
            assert is_mistyped(wrong) is (wrong != text and wrong.startswith(PREFIX))


@pytest.mark.parametrize(
    "wrong",
    ["wsk_", "wsk_legacy", MADE.text + "\n", " " + MADE.text, MADE.text.upper(), "WSK_", "", "x"],
)
def test_what_is_none_of_ours_has_no_id(wrong: str) -> None:
    assert id_in(wrong) is None
    assert is_mistyped(wrong) is wrong.startswith(PREFIX)


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    assert id_in(text) is None
    assert is_mistyped(PREFIX + text)
    assert is_mistyped(text) is text.startswith(PREFIX)

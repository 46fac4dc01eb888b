"""Keys: found by digest, described to the upstream, never by their secret."""

from __future__ import annotations

import hashlib
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.keys.fixed import FixedKeys
from proxy.keys.key import Key, digest_of
from proxy.keys.secret import _check, make_secret
from tests.unit.build import config, headers

DIGEST = hashlib.sha256(b"second").hexdigest()


def keys() -> FixedKeys:
    return FixedKeys(
        config(
            {},
            keys=[
                {"name": "first", "secret": "a-secret-of-some-length", "routes": ["chat"]},
                {"name": "second", "sha256": DIGEST, "metadata": {"plan": "gold"}},
            ],
        ).keys
    )


def test_key_is_found_by_its_digest_alone() -> None:
    found = keys().find(digest_of(b"a-secret-of-some-length"))
    assert found is not None
    assert (found.id, found.name, found.routes) == ("first", "first", frozenset({"chat"}))
    second = keys().find(bytes.fromhex(DIGEST))
    assert second is not None
    assert (second.name, second.routes, second.metadata) == ("second", None, {"plan": "gold"})
    assert keys().find(digest_of(b"")) is None
    assert keys().find(b"second") is None
    assert len(keys()) == 2


def test_nothing_kept_holds_a_secret() -> None:
    kept = vars(keys())
    assert "a-secret-of-some-length" not in repr(kept)


def test_scope_of_a_key() -> None:
    assert Key("i", "n").opens("anything")
    scoped = Key("i", "n", frozenset({"chat"}))
    assert scoped.opens("chat")
    assert not scoped.opens("chat2")
    assert not Key("i", "n", frozenset()).opens("chat")


def test_upstream_learns_whose_key_it_is() -> None:
    key = Key("id1", "Jörg's 100%", metadata={"plan": "gold 1", "name": "Æ\n"})
    assert key.headers == (
        b"X-Wskeeper-Key-Id: id1",
        b"X-Wskeeper-Key-Name: J%C3%B6rg's 100%25",
        b"X-Wskeeper-Meta-plan: gold 1",
        b"X-Wskeeper-Meta-name: %C3%86%0A",
    )


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_no_value_can_add_a_line(value: str) -> None:
    lines = Key(value, value, metadata={"k": value}).headers
    assert len(headers(*lines).lines) == 3
    assert b"".join(lines).isascii()


# Made secrets --------------------------------------------------------------------------------


def below(seed: int):
    chance = random.Random(seed)
    return chance.randrange


@pytest.mark.parametrize("seed", range(20))
def test_made_secret_can_be_recognised(seed: int) -> None:
    secret = make_secret(below(seed))
    assert re.fullmatch(r"wsk_[0-9A-Za-z]{10}_[0-9A-Za-z]{32}[0-9A-Za-z]{6}", secret)


def test_made_secrets_differ() -> None:
    assert len({make_secret(below(seed)) for seed in range(200)}) == 200


@given(st.integers(0, 1000), st.integers(4, 45), st.sampled_from("0123456789abcXYZ"))
def test_check_finds_a_slip_and_a_swap(seed: int, at: int, slip: str) -> None:
    secret = make_secret(below(seed))
    body, check = secret[:-6], secret[-6:]
    assert _check(body) == check
    slipped = body[:at] + slip + body[at + 1 :]
    swapped = body[: at - 1] + body[at] + body[at - 1] + body[at + 1 :]
    for wrong in (slipped, swapped):
        assert (_check(wrong) == check) is (wrong == body)


def test_secret_draws_only_from_its_source() -> None:
    limits: list[int] = []

    def zero(limit: int) -> int:
        limits.append(limit)
        return 0

    assert make_secret(zero) == make_secret(zero)
    assert set(limits) == {62}
    assert len(limits) == 2 * (10 + 32)

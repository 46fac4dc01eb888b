"""Tokens: whatever comes is verified, refused, or in want of a key."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.auth.jwk import ALGORITHMS, UnknownKey
from proxy.auth.jwt import Claims, is_ours, verify
from proxy.errors import Refused
from tests.unit.auth.tokens import KEYS, NOW, rules, token

EVERYTHING = rules(*ALGORITHMS, routes_claim="scope", metadata_claims=("tenant",))
GOOD = token(scope=["chat"], tenant="acme")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "scope", "tenant"])


def outcome(made: bytes) -> Claims | None:
    """Nothing but the two exceptions ever comes out."""
    is_ours(made, EVERYTHING)
    try:
        return verify(made, EVERYTHING, KEYS, NOW)
    except UnknownKey:
        return None
    except Refused as refused:
        code = refused.code
    assert code == "token_invalid"
    return None


@given(
    at=st.integers(0, len(GOOD)),
    length=st.integers(0, 40),
    other=st.binary(max_size=40) | st.text("Aa0-_.{}=", max_size=8).map(str.encode),
)
@example(at=0, length=0, other=b"")
def test_mangled_token_is_refused(at: int, length: int, other: bytes) -> None:
    mangled = GOOD[:at] + other + GOOD[at + length :]
    assert (outcome(mangled) is not None) is (mangled == GOOD)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), JSON, max_size=3)
)
def test_any_header_under_a_valid_signature_is_judged(header: dict[str, Any]) -> None:
    claims = outcome(token(header=header, scope=["chat"], tenant="acme"))
    if claims is not None:
        assert not header.keys() & {"alg", "kid", "crit", "b64"}


@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_any_claims_under_a_valid_signature_are_judged(said: dict[str, Any]) -> None:
    claims = outcome(token(**said))
    if claims is not None:
        assert claims.expires_at > NOW
        assert claims.subject is None or claims.subject.isprintable()
        assert all(text.encode() and "\n" not in text for text in claims.metadata.values() if text)


@given(st.text("RSPEHd0123456789A", max_size=6) | st.sampled_from(sorted(ALGORITHMS)))
def test_signature_serves_the_algorithm_it_was_made_with(algorithm: str) -> None:
    claims = outcome(token(header={"alg": algorithm}))
    assert (claims is not None) is (algorithm == "RS256")

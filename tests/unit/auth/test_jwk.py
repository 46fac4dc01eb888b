"""Keys: each verifies what it was made for and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.jwk import ALGORITHMS, KeySet, UnknownKey, UnusableKeys
from proxy.auth.jws import Jws, parse
from tests.unit.auth import tokens
from tests.unit.auth.tokens import PUBLIC_ALGORITHMS, SECRET, jwk, jwks, private_key, token


def verifies(keys: KeySet, algorithm: str, kid: str | None = "k1", **made: Any) -> bool:
    return keys.verifies(parse(token(algorithm, **made)), algorithm=algorithm, kid=kid)


def test_every_algorithm_is_known() -> None:
    assert {*PUBLIC_ALGORITHMS, "HS256", "HS384", "HS512"} == ALGORITHMS


# What fits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", PUBLIC_ALGORITHMS)
@pytest.mark.parametrize("says", ["its algorithm", "nothing"])
def test_public_key_verifies_its_algorithm(algorithm: str, says: str) -> None:
    named = algorithm if says == "its algorithm" else None
    keys = KeySet.of_jwks(jwks(jwk(algorithm, alg=named)), {algorithm})
    assert len(keys) == 1
    assert verifies(keys, algorithm)
    other = parse(token(algorithm, sub="eve"))
    forged = parse(token(algorithm))._replace(signature=other.signature)
    assert not keys.verifies(forged, algorithm=algorithm, kid="k1")


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("kid", [None, "any"])
def test_secret_verifies_whatever_key_is_named(algorithm: str, kid: str | None) -> None:
    keys = KeySet.of_secret(SECRET, {algorithm, "RS256"})
    assert verifies(keys, algorithm, kid)
    assert not verifies(keys, algorithm, kid, key=SECRET[:-1] + b"x")


@pytest.mark.parametrize("algorithm", PUBLIC_ALGORITHMS)
def test_key_serves_no_algorithm_it_is_not_for(algorithm: str) -> None:
    keys = KeySet.of_jwks(jwks(jwk(algorithm, alg=algorithm)), ALGORITHMS)
    assert [each for each in sorted(ALGORITHMS) if verifies(keys, each)] == [algorithm]


def test_key_serves_what_the_rules_allow_alone() -> None:
    keys = KeySet.of_jwks(jwks(jwk("RS256")), {"RS256"})
    assert not verifies(keys, "RS512")
    assert not verifies(keys, "PS256")


def test_secret_serves_what_the_rules_allow_alone() -> None:
    keys = KeySet.of_secret(SECRET, {"HS256"})
    assert not verifies(keys, "HS512")
    assert not verifies(keys, "RS256")


# Algorithm confusion --------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_public_key_is_no_secret(algorithm: str) -> None:
    public = private_key(algorithm).public_key()
    keys = KeySet.of_jwks(jwks(jwk(algorithm)), {algorithm, "HS256"})
    for form, encoding in (
        (PublicFormat.SubjectPublicKeyInfo, Encoding.PEM),
        (PublicFormat.SubjectPublicKeyInfo, Encoding.DER),
        (PublicFormat.OpenSSH, Encoding.OpenSSH),
    ):
        written = public.public_bytes(encoding, form)
        assert not verifies(keys, "HS256", key=written)
        with pytest.raises(UnusableKeys, match=r"not a secret|bytes"):
            KeySet.of_secret(written, {"HS256"})


def test_symmetric_key_of_a_published_set_is_passed_over() -> None:
    symmetric = {"kty": "oct", "k": tokens.b64(SECRET).decode(), "kid": "k1", "alg": "HS256"}
    with pytest.raises(UnusableKeys, match="none of its 1 keys can be used for HS256"):
        KeySet.of_jwks(jwks(symmetric), {"HS256"})
    keys = KeySet.of_jwks(jwks(symmetric, jwk("RS256")), {"HS256", "RS256"})
    assert len(keys) == 1
    assert not verifies(keys, "HS256")


# Secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "size"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_secret_is_as_long_as_the_hash(algorithm: str, size: int) -> None:
    assert KeySet.of_secret(SECRET[:size], {algorithm})
    for short in (SECRET[: size - 1], b""):
        with pytest.raises(UnusableKeys, match=f"{algorithm} needs {size} or more") as caught:
            KeySet.of_secret(short, {algorithm})
        assert repr(short) not in repr(caught.value) or not short


def test_secret_needs_an_algorithm_that_takes_one() -> None:
    with pytest.raises(UnusableKeys, match="HS256"):
        KeySet.of_secret(SECRET, {"RS256"})


def test_secret_stands_in_no_repr() -> None:
    keys = KeySet.of_secret(b"s3cr3t" * 6, {"HS256"})
    assert "s3cr3t" not in repr(keys)
    assert "s3cr3t" not in repr(keys._keys)


# Names ----------------------------------------------------------------------------------------


def test_named_key_alone_is_tried() -> None:
    keys = KeySet.of_jwks(jwks(jwk("RS256", 0, kid="a"), jwk("RS256", 1, kid="b")), {"RS256"})
    assert verifies(keys, "RS256", "b", number=1)
    assert not verifies(keys, "RS256", "a", number=1)


def test_key_that_is_not_there_is_unknown() -> None:
    keys = KeySet.of_jwks(jwks(jwk("RS256"), jwk("RS256", kid=None)), {"RS256"})
    with pytest.raises(UnknownKey) as caught:
        verifies(keys, "RS256", "k2")
    assert caught.value.kid == "k2"
    assert "k2" not in str(caught.value)


def test_known_key_of_another_kind_is_not_unknown() -> None:
    keys = KeySet.of_jwks(jwks(jwk("RS256")), {"RS256", "ES256"})
    assert not verifies(keys, "ES256", "k1")


def test_keys_of_one_name_are_all_tried() -> None:
    keys = KeySet.of_jwks(jwks(jwk("RS256", 1), jwk("ES256"), jwk("RS256", 0)), {"RS256", "ES256"})
    assert verifies(keys, "RS256")
    assert verifies(keys, "RS256", number=1)
    assert verifies(keys, "ES256")


def test_token_that_names_no_key_is_tried_with_all_and_may_need_a_newer_one() -> None:
    keys = KeySet.of_jwks(jwks(jwk("ES256"), jwk("RS256", 0), jwk("RS256", 1, kid=None)), {"RS256"})
    assert verifies(keys, "RS256", None, number=0)
    assert verifies(keys, "RS256", None, number=1)
    with pytest.raises(UnknownKey) as caught:
        verifies(keys, "RS256", None, number=2)
    assert caught.value.kid is None


def test_one_token_costs_a_bounded_number_of_checks() -> None:
    many = [jwk("RS256", 1, kid=f"k{number}") for number in range(9)]
    keys = KeySet.of_jwks(jwks(*many[:7], jwk("RS256", 0, kid="last")), {"RS256"})
    assert verifies(keys, "RS256", None)
    keys = KeySet.of_jwks(jwks(*many[:8], jwk("RS256", 0, kid="last")), {"RS256"})
    with pytest.raises(UnknownKey):
        verifies(keys, "RS256", None)
    assert verifies(keys, "RS256", "last")


# Keys of no use -------------------------------------------------------------------------------

GOOD = jwk("RS256")
EC = jwk("ES256")
PRIVATE = tokens.METHODS["RS256"].to_jwk(private_key("RS256"), as_dict=True) | {
    "key_ops": ["verify"]
}


@pytest.mark.parametrize(
    "useless",
    [
        None,
        "key",
        [],
        {},
        {"kty": "RSA"},
        PRIVATE,
        {**GOOD, "use": "enc"},
        {**GOOD, "use": None},
        {**GOOD, "key_ops": ["sign"]},
        {**GOOD, "key_ops": "verify"},
        {**GOOD, "key_ops": None},
        {**GOOD, "kid": 1},
        {**GOOD, "alg": "RS512"},
        {**GOOD, "alg": "RSA-OAEP"},
        {**GOOD, "alg": "none"},
        {**GOOD, "alg": ["RS256"]},
        {**GOOD, "kty": "oct", "k": "AAAA"},
        {**GOOD, "kty": ["RSA"]},
        {**GOOD, "kty": "EC"},
        {**GOOD, "n": 5},
        {**GOOD, "n": ""},
        {**GOOD, "n": "ä"},
        {**GOOD, "e": "AA"},
        {**GOOD, "e": None},
        {**EC, "crv": "P-384"},
        {**EC, "crv": ["P-256"]},
        {**EC, "crv": "secp256k1"},
        {**EC, "x": EC["y"]},
        {**EC, "x": "AAAA"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
    ],
)
def test_key_of_no_use_is_passed_over(useless: Any) -> None:
    allowed = {"RS256", "ES256", "EdDSA"}
    with pytest.raises(UnusableKeys, match="none of its 1 keys"):
        KeySet.of_jwks(jwks(useless), allowed)
    assert len(KeySet.of_jwks(jwks(useless, GOOD), allowed)) == 1


@pytest.mark.parametrize("bits", [1024, 8200])
def test_rsa_key_too_weak_or_too_large_is_passed_over(bits: int) -> None:
    if bits == 1024:
        numbers = tokens.rsa_key(0, bits).public_key()
        made = tokens.METHODS["RS256"].to_jwk(numbers, as_dict=True)
    else:
        made = {**GOOD, "n": tokens.b64((2**bits - 1).to_bytes(bits // 8)).decode()}
    with pytest.raises(UnusableKeys):
        KeySet.of_jwks(jwks(made), {"RS256"})


@pytest.mark.parametrize("document", [None, [], "keys", {}, {"keys": {}}, {"keys": None}])
def test_document_that_is_no_key_set_is_told(document: object) -> None:
    with pytest.raises(UnusableKeys, match="not a JWK set"):
        KeySet.of_jwks(document, {"RS256"})


def test_set_of_too_many_keys_is_told() -> None:
    assert KeySet.of_jwks(jwks(GOOD, *[None] * 255), {"RS256"})
    with pytest.raises(UnusableKeys, match="more than 256"):
        KeySet.of_jwks(jwks(GOOD, *[None] * 256), {"RS256"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(
    base=st.sampled_from([jwk(name) for name in ("RS256", "ES256", "ES512", "EdDSA", "Ed448")]),
    changes=st.dictionaries(
        st.sampled_from(["kty", "kid", "alg", "use", "key_ops", "crv", "n", "e", "x", "y", "d"]),
        JSON | st.text("AQ_-", max_size=90) | st.sampled_from(["EC", "RSA", "OKP", "P-521"]),
        max_size=3,
    ),
)
def test_mangled_key_is_used_or_passed_over(base: Any, changes: dict[str, Any]) -> None:
    try:
        keys = KeySet.of_jwks(jwks({**base, **changes}), ALGORITHMS)
    except UnusableKeys:
        return
    jws = Jws({}, {}, b"header.claims", b"signature")
    for algorithm in ALGORITHMS:
        try:
            assert not keys.verifies(jws, algorithm=algorithm, kid="k1")
        except UnknownKey:
            assert changes["kid"] != "k1"

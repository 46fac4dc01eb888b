"""Tokens: whose they are, what is refused, when a session ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.auth.jwk import KeySet, UnknownKey
from proxy.auth.jws import MAX_TOKEN
from proxy.auth.jwt import Claims, is_ours, verify
from tests.unit.auth.tokens import (
    CLAIMS,
    KEYS,
    NOW,
    PUBLIC_ALGORITHMS,
    RULES,
    SECRET,
    b64,
    claims_of,
    jwk,
    jwks,
    private_key,
    refusal,
    rules,
    sealed,
    token,
)

# A valid token --------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", PUBLIC_ALGORITHMS)
def test_token_of_every_public_algorithm_is_verified(algorithm: str) -> None:
    keys = KeySet.of_jwks(jwks(jwk(algorithm)), {algorithm})
    claims = verify(token(algorithm), rules(algorithm), keys, NOW)
    assert claims == Claims("ada", CLAIMS["exp"] + 30.0)
    assert claims.routes is None
    assert claims.metadata == {}


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_token_of_a_shared_secret_is_verified(algorithm: str) -> None:
    keys = KeySet.of_secret(SECRET, {algorithm})
    assert verify(token(algorithm), rules(algorithm), keys, NOW).subject == "ada"
    refusal(token(algorithm, key=b"x" * 64), keys=keys, told=rules(algorithm))


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT"},
        {"typ": "jwt"},
        {"typ": "at+jwt"},
        {"typ": "application/at+JWT"},
        {"typ": "session"},
        {"cty": "text"},
        {"x5t": "AAAA", "made-up": [1]},
    ],
)
def test_token_may_say_more_of_itself(header: dict[str, Any]) -> None:
    assert claims_of(token(header=header)).subject == "ada"


# The header -----------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", [b"", b"c2ln"])
def test_unsecured_token_is_refused(algorithm: str, signature: bytes) -> None:
    header = json.dumps({"alg": algorithm, "kid": "k1"}).encode()
    made = b64(header) + b"." + b64(json.dumps(CLAIMS).encode()) + b"." + signature
    assert "algorithm" in refusal(made)


def test_signature_that_is_left_out_is_refused() -> None:
    assert "signature" in refusal(token().rpartition(b".")[0] + b".")


@pytest.mark.parametrize("algorithm", [..., None, 5, ["RS256"], {"RS256": 1}, "rs256", "RS512"])
def test_algorithm_that_is_not_allowed_is_refused(algorithm: Any) -> None:
    assert "algorithm" in refusal(token(header={"alg": algorithm}))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
def test_public_key_as_secret_is_refused(algorithm: str, form: str) -> None:
    public = private_key("RS256").public_key()
    written = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(jwk("RS256")).encode(),
    }[form]
    forged = token(algorithm, key=written)
    allowing = rules("RS256", algorithm)
    for keys in (KEYS, KeySet.of_jwks(jwks(jwk("RS256")), allowing.algorithms)):
        assert "algorithm" in refusal(forged, keys=keys)
        assert "signature" in refusal(forged, keys=keys, told=allowing)


def test_secret_verifies_no_public_algorithm() -> None:
    both = rules("HS256", "RS256")
    keys = KeySet.of_secret(SECRET, both.algorithms)
    assert "signature" in refusal(token("RS256"), keys=keys, told=both)


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": True},
        {"crit": []},
        {"crit": None},
        {"b64": True},
        {"b64": False},
    ],
)
def test_extension_that_must_be_understood_is_refused(header: dict[str, Any]) -> None:
    assert "extension" in refusal(token(header=header))


@pytest.mark.parametrize("kid", [1, None, ["k1"], {}])
def test_kid_that_is_no_string_is_refused(kid: Any) -> None:
    assert "`kid`" in refusal(token(header={"kid": kid}))


@pytest.mark.parametrize(
    "typ", [None, 1, ["JWT"], "logout+jwt", "application/secevent+jwt", "dpop+JWT"]
)
def test_token_of_another_kind_is_refused(typ: Any) -> None:
    assert "`typ`" in refusal(token(header={"typ": typ}))


def test_key_that_a_token_brings_along_means_nothing() -> None:
    own = {"jwk": jwk("RS256", 1), "jku": "https://evil.test/jwks", "x5u": "https://evil.test"}
    assert "signature" in refusal(token(header=own, number=1))
    with pytest.raises(UnknownKey):
        claims_of(token(header={**own, "kid": "evil"}, number=1))


def test_token_of_an_unknown_key_may_be_tried_again() -> None:
    with pytest.raises(UnknownKey) as caught:
        claims_of(token(header={"kid": "next"}, number=1))
    assert caught.value.kid == "next"
    newer = KeySet.of_jwks(jwks(jwk("RS256", 1, kid="next")), RULES.algorithms)
    assert verify(token(header={"kid": "next"}, number=1), RULES, newer, NOW).subject == "ada"


def test_token_that_is_refused_anyway_asks_for_no_newer_keys() -> None:
    for wrong in ({"exp": NOW - 60}, {"aud": "others"}, {"iss": "https://other.test"}, {"sub": 1}):
        refusal(token(header={"kid": "unknown"}, **wrong))


# Form -----------------------------------------------------------------------------------------


def test_malformed_token_is_refused() -> None:
    assert "base64url" in refusal(b"wsk_abc")
    assert "16 KiB" in refusal(b"a" * (MAX_TOKEN + 1))


def test_claim_that_stands_there_twice_is_refused() -> None:
    claims = json.dumps(CLAIMS).encode()[:-1] + b',"sub":"root"}'
    made = sealed(b'{"alg":"RS256","kid":"k1"}', claims, "RS256", private_key("RS256"))
    assert "unique names" in refusal(made)


# Parties --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "issuer", [..., None, "", "https://idp.test/", "https://IDP.test", ["https://idp.test"]]
)
def test_token_of_another_issuer_is_refused(issuer: Any) -> None:
    made = token(iss=issuer)
    assert "`iss`" in refusal(made)
    assert not is_ours(made, RULES)
    assert claims_of(made, issuer=None).subject == "ada"


@pytest.mark.parametrize("audience", ["wskeeper", ["wskeeper"], ["others", "wskeeper"]])
def test_token_meant_for_us_is_accepted(audience: Any) -> None:
    assert claims_of(token(aud=audience)).subject == "ada"
    assert claims_of(token(aud=audience), audience=("other", "wskeeper")).subject == "ada"


@pytest.mark.parametrize(
    "audience",
    [..., None, "", "others", "wskeeper2", "a wskeeper", [], ["others"], [["wskeeper"]], [None]],
)
def test_token_meant_for_others_is_refused(audience: Any) -> None:
    assert "`aud`" in refusal(token(aud=audience))


@pytest.mark.parametrize("audience", [{"wskeeper": 1}, 5, True])
def test_audience_that_is_neither_text_nor_list_is_refused(audience: Any) -> None:
    assert "`aud`" in refusal(token(aud=audience))


# Time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("expires_at", [NOW + 1, NOW + 0.5, int(NOW) + 1, 253_402_300_799])
def test_session_ends_with_the_token_and_the_leeway(expires_at: float) -> None:
    assert claims_of(token(exp=expires_at)).expires_at == expires_at + 30
    assert claims_of(token(exp=expires_at), leeway=0.0).expires_at == expires_at


def test_token_is_valid_until_its_end_and_the_leeway() -> None:
    made = token(exp=NOW)
    assert claims_of(made, now=NOW + 29.999)
    assert "expired" in refusal(made, now=NOW + 30)
    assert "expired" in refusal(made, now=NOW, told=rules(leeway=0.0))


def test_token_without_an_end_is_refused() -> None:
    assert "never expires" in refusal(token(exp=...))


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value", [None, True, False, "1700000600", [], {}, -1, -0.5, 253_402_300_800, 10**30, 1e300]
)
def test_moment_that_is_none_is_refused(name: str, value: Any) -> None:
    assert f"`{name}`" in refusal(token(**{name: value}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 4400])
def test_number_that_is_none_is_refused(number: str) -> None:
    claims = json.dumps(CLAIMS | {"exp": 0}).replace('"exp": 0', f'"exp": {number}').encode()
    made = sealed(b'{"alg":"RS256","kid":"k1"}', claims, "RS256", private_key("RS256"))
    assert "JSON object" in refusal(made)


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_token_is_not_valid_before_its_beginning(name: str) -> None:
    made = token(**{name: NOW + 30})
    assert claims_of(made)
    assert "not valid yet" in refusal(made, now=NOW - 0.5)
    assert claims_of(token(**{name: 0}))


# Claiming -------------------------------------------------------------------------------------


def test_token_of_our_issuer_is_ours_valid_or_not() -> None:
    assert is_ours(token(), RULES)
    assert is_ours(token("HS256", key=b"x" * 64, exp=0, aud="others"), RULES)
    assert is_ours(token().rpartition(b".")[0] + b".", RULES)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"wsk_abc",
        b"a.b.c",
        b"e30.e30.e30",
        token(iss="https://other.test"),
        token(iss=["https://idp.test"]),
        token() + b".x",
        b"Bearer " + token(),
        token(padding="x" * MAX_TOKEN),
        b"[" * MAX_TOKEN,
        b64(b"[" * 10_000) + b"." + b64(json.dumps(CLAIMS).encode()) + b".c2ln",
    ],
)
def test_other_value_is_the_application_s(value: bytes) -> None:
    assert not is_ours(value, RULES)


def test_without_an_issuer_the_algorithm_tells() -> None:
    anybody = rules(issuer=None)
    assert is_ours(token(iss=...), anybody)
    assert is_ours(token(iss="https://other.test"), anybody)
    assert not is_ours(token("HS256"), anybody)
    for algorithm in (..., None, ["RS256"], "none"):
        assert not is_ours(token(header={"alg": algorithm}), anybody)

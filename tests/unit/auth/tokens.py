"""An issuer's keys, and tokens out of whatever bytes a test wants signed."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from proxy.auth.jwk import KeySet
from proxy.auth.jwt import Claims, TokenRules, verify
from proxy.errors import Refused

METHODS = {
    **get_default_algorithms(),
    "Ed25519": get_default_algorithms()["EdDSA"],
    "Ed448": get_default_algorithms()["EdDSA"],
}
NOW = 1_700_000_000.0
SECRET = bytes(range(64))
CLAIMS = {"iss": "https://idp.test", "aud": "wskeeper", "sub": "ada", "exp": NOW + 600}
PUBLIC_ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "Ed448"),
)


def rules(*algorithms: str, **changes: Any) -> TokenRules:
    described = {
        "issuer": "https://idp.test",
        "audience": ("wskeeper",),
        "algorithms": frozenset(algorithms or ("RS256", "ES256")),
        "leeway": 30.0,
        **changes,
    }
    return TokenRules(**described)


_CURVES = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
    "ES256K": ec.SECP256K1,
}


@cache
def private_key(algorithm: str, number: int = 0) -> Any:
    """The issuer's key for an algorithm; those of other numbers are further ones."""
    if algorithm.startswith("HS"):
        return SECRET
    if algorithm in {"EdDSA", "Ed25519"}:
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    return rsa_key(number)


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def jwk(algorithm: str, number: int = 0, **members: Any) -> dict[str, Any]:
    """The public half of `private_key` as a JWK; a member that is None is left out."""
    public = private_key(algorithm, number).public_key()
    described = {**METHODS[algorithm].to_jwk(public, as_dict=True), "kid": "k1", **members}
    return {name: value for name, value in described.items() if value is not None}


def jwks(*keys: Any) -> dict[str, Any]:
    return {"keys": list(keys)}


def b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def sealed(header: bytes, claims: bytes, algorithm: str, key: Any) -> bytes:
    """A token of exactly these bytes."""
    signing_input = b64(header) + b"." + b64(claims)
    signature = METHODS[algorithm].sign(signing_input, key)
    return signing_input + b"." + b64(signature)


def token(
    algorithm: str = "RS256",
    *,
    header: dict[str, Any] | None = None,
    key: Any = None,
    number: int = 0,
    **claims: Any,
) -> bytes:
    """A token that is valid but for what is named; `...` leaves a claim out."""
    said = {name: value for name, value in (CLAIMS | claims).items() if value is not ...}
    head = {"alg": algorithm, "kid": "k1", **(header or {})}
    head = {name: value for name, value in head.items() if value is not ...}
    return sealed(
        json.dumps(head).encode(),
        json.dumps(said).encode(),
        algorithm,
        private_key(algorithm, number) if key is None else key,
    )


RULES = rules()
KEYS = KeySet.of_jwks(jwks(jwk("RS256"), jwk("ES256", kid="k2")), RULES.algorithms)


def claims_of(made: bytes, now: float = NOW, **changes: Any) -> Claims:
    return verify(made, rules(**changes), KEYS, now)


def refusal(
    made: bytes, now: float = NOW, keys: KeySet = KEYS, told: TokenRules | None = None
) -> str:
    """What the client is told; nothing of the token is in it."""
    with pytest.raises(Refused) as caught:
        verify(made, told or RULES, keys, now)
    assert caught.value.code == "token_invalid"
    assert caught.value.detail.endswith(".")
    assert str(caught.value) == "token_invalid"
    assert caught.value.cause is None
    for part in made.decode("latin-1").split("."):
        assert len(part) < 4 or part not in caught.value.detail
    return caught.value.detail

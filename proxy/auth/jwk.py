"""Which key verifies which token: a key fits an algorithm, never the other way round.

The algorithms of a key follow from what it is (RFC 7517 section 4). The header of a token picks
among them, so it cannot make a public key serve as a secret (RFC 8725 section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import InvalidKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jwt.algorithms import Algorithm

    from proxy.auth.jws import Jws

# Identity providers publish a handful; each costs a few microseconds to read.
_MAX_KEYS: Final = 256

# Signature checks that one token may cost, where it names no key or several have that name.
_MAX_TRIED: Final = 8

# Bits of an RSA key; a check takes the square of it.
_MAX_RSA: Final = 8192


class UnusableKeys(ValueError):
    """Keys that verify nothing; the message says why and holds nothing of them."""


class UnknownKey(Exception):
    """No key that we have made this signature; one that was published since might have.

    Args:
        kid: the key that the token names; None when it names none.
    """

    def __init__(self, kid: str | None) -> None:
        super().__init__("the token was signed with a key that is not known")
        self.kid = kid


class _Form(NamedTuple):
    """An algorithm: the keys that fit it, and who computes it.

    Args:
        kty: the key type.
        curves: of which it must be one; empty where keys have no curve.
        method: the algorithm's name in PyJWT.
    """

    kty: str
    curves: tuple[str, ...]
    method: str


_FORMS: Final[Mapping[str, _Form]] = MappingProxyType(
    {
        **{name: _Form("oct", (), name) for name in ("HS256", "HS384", "HS512")},
        **{name: _Form("RSA", (), name) for name in ("RS256", "RS384", "RS512")},
        **{name: _Form("RSA", (), name) for name in ("PS256", "PS384", "PS512")},
        "ES256": _Form("EC", ("P-256",), "ES256"),
        "ES384": _Form("EC", ("P-384",), "ES384"),
        "ES512": _Form("EC", ("P-521",), "ES512"),
        "ES256K": _Form("EC", ("secp256k1",), "ES256K"),
        "EdDSA": _Form("OKP", ("Ed25519", "Ed448"), "EdDSA"),
        # The names that RFC 9864 gives to what EdDSA leaves open.
        "Ed25519": _Form("OKP", ("Ed25519",), "EdDSA"),
        "Ed448": _Form("OKP", ("Ed448",), "EdDSA"),
    }
)
_METHODS: Final[Mapping[str, Algorithm]] = MappingProxyType(get_default_algorithms())

ALGORITHMS: Final = frozenset(_FORMS)
"""What a rule may allow."""


@dataclass(frozen=True, slots=True, repr=False)
class _Key:
    kid: str | None
    algorithms: frozenset[str]
    # What PyJWT made of it.
    material: Any


class KeySet:
    """Keys that verify tokens; made by `of_jwks` or `of_secret`."""

    __slots__ = ("_keys", "_published")

    def __init__(self, keys: Sequence[_Key], *, published: bool) -> None:
        self._keys = keys
        # Whether tokens name their key, and keys unknown to us may come to be known.
        self._published = published

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def of_jwks(cls, document: object, algorithms: Iterable[str]) -> KeySet:
        """The public keys of a JWK set (RFC 7517 section 5) that fit one of `algorithms`.

        Keys that are of no use are passed over: for encryption, of other kinds, too weak, private
        or symmetric ones (who publishes those has none), malformed ones.

        Raises:
            UnusableKeys: that leaves none, or it is no JWK set.
        """
        members = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(members, list):
            raise UnusableKeys("it is not a JWK set: a JSON object with a list of `keys`")
        if len(members) > _MAX_KEYS:
            raise UnusableKeys(f"it holds more than {_MAX_KEYS} keys")
        allowed = frozenset(algorithms)
        found = (_public_key(member, allowed) for member in members)
        keys = tuple(key for key in found if key is not None)
        if not keys:
            names = ", ".join(sorted(allowed))
            raise UnusableKeys(f"none of its {len(members)} keys can be used for {names}")
        return cls(keys, published=True)

    @classmethod
    def of_secret(cls, secret: bytes, algorithms: Iterable[str]) -> KeySet:
        """A secret that is shared with the issuer, for those of `algorithms` that take one.

        Raises:
            UnusableKeys: none does, the secret is too short, or it is a public key.
        """
        allowed = frozenset(name for name in algorithms if _form(name).kty == "oct")
        if not allowed:
            raise UnusableKeys("a secret serves HS256, HS384 and HS512 alone: allow one of them")
        for name in sorted(allowed):
            if _METHODS[name].check_key_length(secret) is not None:
                size = int(name[2:]) // 8
                raise UnusableKeys(
                    f"the secret has {len(secret)} bytes; {name} needs {size} or more, best random "
                    "(RFC 7518 section 3.2)"
                )
        try:
            _METHODS["HS256"].prepare_key(secret)
        except InvalidKeyError:
            usable = False
        else:
            usable = True
        if not usable:
            raise UnusableKeys("it is a key for others to see, not a secret: put it in a JWK set")
        return cls((_Key(None, allowed, secret),), published=False)

    def verifies(self, token: Jws, *, algorithm: str, kid: str | None) -> bool:
        """Whether one of these keys made the token's signature.

        Args:
            algorithm: by which, from the token's header; one that the rules allow.
            kid: the key that the token's header names, if any. A shared secret has no name.

        Raises:
            UnknownKey: no; but with a newer set it may be so.
        """
        by_name = self._published and kid is not None
        named = [key for key in self._keys if key.kid == kid] if by_name else self._keys
        fitting = [key for key in named if algorithm in key.algorithms][:_MAX_TRIED]
        method = _METHODS[_form(algorithm).method]
        for key in fitting:
            if method.verify(token.signing_input, key.material, token.signature):
                return True
        if self._published and (kid is None or not named):
            raise UnknownKey(kid)
        return False


def _form(algorithm: str) -> _Form:
    return _FORMS[algorithm]


def _public_key(jwk: object, allowed: frozenset[str]) -> _Key | None:
    """A member of a JWK set as a key of ours; None when it is of no use."""
    if not isinstance(jwk, dict):
        return None
    kid, ops = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    for_signatures = jwk.get("use", "sig") == "sig" and isinstance(ops, list) and "verify" in ops
    named_well = kid is None or isinstance(kid, str)
    if not (for_signatures and named_well) or "d" in jwk:
        return None
    fitting = frozenset(name for name in allowed if _fits(jwk, name))
    if not fitting:
        return None
    method = _METHODS[_form(next(iter(fitting))).method]
    try:
        material = method.from_jwk(jwk)
    except (InvalidKeyError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    too_weak = method.check_key_length(material) is not None
    too_large = jwk["kty"] == "RSA" and material.key_size > _MAX_RSA
    return None if too_weak or too_large else _Key(kid, fitting, material)


def _fits(jwk: Mapping[str, Any], algorithm: str) -> bool:
    form = _form(algorithm)
    if form.kty == "oct" or jwk.get("kty") != form.kty:
        return False
    on_curve = not form.curves or jwk.get("crv") in form.curves
    return on_curve and jwk.get("alg", algorithm) == algorithm

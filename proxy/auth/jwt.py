"""JSON Web Tokens (RFC 7519) as credentials: whose they are, what they say, when they end.

What needs no key is looked at before the signature. Everybody could have written what is refused
there, so nothing is told; and an expired token costs neither a signature check nor a fetch of keys.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from proxy.auth.jwk import ALGORITHMS
from proxy.auth.jws import Malformed, parse
from proxy.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.auth.jwk import KeySet

_METADATA_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
# What may not stand in a header; halves of surrogate pairs cannot even be encoded.
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

# Characters.
_MAX_SUBJECT: Final = 256
_MAX_METADATA: Final = 1024

# The end of the year 9999, in seconds since the epoch.
_END_OF_TIME: Final = 253_402_300_799

# Kinds of tokens that are for access; RFC 8725 section 3.11 tells others (`logout+jwt`) by name.
_KINDS: Final = frozenset({"jwt", "at+jwt"})


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Which tokens are accepted and what is read out of them.

    Args:
        issuer: the exact `iss`; None accepts any, and tokens without.
        audience: of which `aud` must name one.
        algorithms: names (RFC 7518 section 3.1, RFC 8037, RFC 9864) out of `jwk.ALGORITHMS`.
        leeway: seconds by which the issuer's clock and ours may differ.
        subject_claim: names who the session is for.
        routes_claim: the routes that the token opens: a list of names, or names between spaces.
            A token without it opens none. None: every token opens all routes.
        metadata_claims: those that are sent on as `X-Wskeeper-Meta-<claim>`.

    Raises:
        ValueError: no audience, an algorithm that is not known or none at all, a leeway below 0,
            a metadata claim that cannot end a header's name.
    """

    issuer: str | None
    audience: tuple[str, ...]
    algorithms: frozenset[str]
    leeway: float = 30.0
    subject_claim: str = "sub"
    routes_claim: str | None = None
    metadata_claims: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.audience:
            raise ValueError("tokens must be meant for somebody: name an audience")
        if not self.algorithms or not self.algorithms <= ALGORITHMS:
            raise ValueError(f"algorithms must be some of {', '.join(sorted(ALGORITHMS))}")
        if not 0 <= self.leeway < math.inf:
            raise ValueError("leeway must be 0 seconds or more")
        if not all(_METADATA_NAME.fullmatch(name) for name in self.metadata_claims):
            raise ValueError(
                "a metadata claim needs 1 to 32 letters, digits or `-`, a letter first"
            )
        if len({name.lower() for name in self.metadata_claims}) < len(self.metadata_claims):
            raise ValueError("a metadata claim stands there twice: headers have no case")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token that was verified says.

    Args:
        subject: who the session is for; None when it does not say.
        expires_at: when the session ends, leeway included, in seconds since the epoch.
        routes: names of the routes it opens; None for all.
        metadata: sent to the upstream as `X-Wskeeper-Meta-<name>`.
    """

    subject: str | None
    expires_at: float
    routes: frozenset[str] | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def is_ours(token: bytes, rules: TokenRules) -> bool:
    """Whether a value is a token of our issuer, by its looks; see `verify` for the truth.

    Without an issuer in the rules every token is that is signed by an algorithm they allow.
    """
    try:
        jws = parse(token)
    except Malformed:
        return False
    if rules.issuer is not None:
        return bool(jws.claims.get("iss") == rules.issuer)
    return _allowed(jws.header.get("alg"), rules)


def verify(token: bytes, rules: TokenRules, keys: KeySet, now: float) -> Claims:
    """Checks a token: its form, its claims, then its signature.

    Args:
        now: seconds since the epoch.

    Raises:
        Refused: `token_invalid`.
        UnknownKey: it may be valid; fetch the keys anew and try again.
    """
    try:
        jws = parse(token)
    except Malformed as malformed:
        raise _refused(str(malformed)) from None
    header, claims = jws.header, jws.claims
    _check_header(header, rules)
    _check_party(claims, rules)
    expires_at = _check_time(claims, rules.leeway, now)
    said = Claims(
        _subject(claims, rules.subject_claim),
        expires_at,
        _routes(claims, rules.routes_claim),
        _metadata(claims, rules.metadata_claims),
    )
    if not keys.verifies(jws, algorithm=header["alg"], kid=header.get("kid")):
        raise _refused("The token's signature is not valid.")
    return said


def _refused(detail: str) -> Refused:
    return Refused("token_invalid", detail)


def _allowed(algorithm: object, rules: TokenRules) -> bool:
    return isinstance(algorithm, str) and algorithm in rules.algorithms


def _check_header(header: Mapping[str, Any], rules: TokenRules) -> None:
    """RFC 7515 section 4.1. Keys that a header brings along (jwk, jku, x5c, x5u) mean nothing."""
    if not _allowed(header.get("alg"), rules):
        raise _refused("The token is signed by an algorithm that is not accepted here.")
    if "crit" in header or "b64" in header:
        raise _refused("The token uses an extension (`crit`, `b64`) that is not accepted here.")
    if not isinstance(header.get("kid", ""), str):
        raise _refused("The token's `kid` is not a string.")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str):
        raise _refused("The token's `typ` is not a string.")
    kind = kind.lower().removeprefix("application/")
    if kind.endswith("+jwt") and kind not in _KINDS:
        raise _refused("The token is of another kind (`typ`) than an access token.")


def _check_party(claims: Mapping[str, Any], rules: TokenRules) -> None:
    if rules.issuer is not None and claims.get("iss") != rules.issuer:
        raise _refused("The token comes from another issuer (`iss`).")
    audience = claims.get("aud")
    meant_for = audience if isinstance(audience, list) else [audience]
    if not any(name in meant_for for name in rules.audience):
        raise _refused("The token is meant for another audience (`aud`).")


def _check_time(claims: Mapping[str, Any], leeway: float, now: float) -> float:
    """RFC 7519 sections 4.1.4 to 4.1.6; returns when the token ends."""
    expires_at = _moment(claims, "exp")
    if expires_at is None:
        raise _refused("The token never expires; get one with `exp`.")
    if now >= expires_at + leeway:
        raise _refused("The token has expired; get a new one.")
    begins = max(_moment(claims, "nbf") or 0.0, _moment(claims, "iat") or 0.0)
    if now < begins - leeway:
        raise _refused("The token is not valid yet (`nbf`, `iat`); the clocks may differ.")
    return expires_at + leeway


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= _END_OF_TIME:
        raise _refused(f"The token's `{name}` is not a number of seconds since 1970.")
    return float(value)


def _subject(claims: Mapping[str, Any], name: str) -> str | None:
    if name not in claims:
        return None
    subject = claims[name]
    # Spaces around it would be lost in the header: ` ada` must not become `ada`.
    fit = (
        isinstance(subject, str)
        and 0 < len(subject) <= _MAX_SUBJECT
        and subject.isprintable()
        and subject.strip() == subject
    )
    if not fit:
        raise _refused(f"The token's `{name}` is not 1 to {_MAX_SUBJECT} printable characters.")
    return str(subject)


def _routes(claims: Mapping[str, Any], name: str | None) -> frozenset[str] | None:
    if name is None:
        return None
    routes = claims.get(name, [])
    if isinstance(routes, str):
        routes = routes.split()
    if not isinstance(routes, list) or not all(isinstance(route, str) for route in routes):
        raise _refused(f"The token's `{name}` is not a list of routes.")
    return frozenset(routes)


def _metadata(claims: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, str]:
    """Scalars alone: what is null, a list or an object is left out."""
    found = {
        name: claims[name] for name in names if isinstance(claims.get(name), str | int | float)
    }
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in found.items()
    }
    for name, text in texts.items():
        if len(text) > _MAX_METADATA or text.strip() != text or _UNFIT.search(text):
            raise _refused(f"The token's `{name}` is too long or cannot stand in a header.")
    return MappingProxyType(texts)

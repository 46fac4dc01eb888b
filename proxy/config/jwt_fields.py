"""JSON Web Tokens as credentials: who issues them, and what they must say."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from proxy.config import fields, names
from proxy.config.faults import Wrong
from proxy.config.section import Section
from proxy.config.values import plain, port_number

# RFC 7518 3.1, RFC 8037, RFC 8812, RFC 9864.
Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "ES256K",
    "EdDSA",
    "Ed25519",
    "Ed448",
    "HS256",
    "HS384",
    "HS512",
]
# Bytes of a secret: as many as the digest has (RFC 7518 3.2).
SECRET_SIZES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_URL_EXAMPLE = "write it as in `https://idp.example/.well-known/jwks.json`"


def https_url(text: str) -> str:
    """`text` itself, if keys that are fetched there can be believed. No fault repeats it.

    Raises:
        Wrong: it is no URL, is not `https://` and leaves this machine, or holds a password.
    """
    try:
        parts = urlsplit(text)
        host = names.host(
            f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        )
        if parts.port is not None:
            port_number(str(parts.port))
    except ValueError:
        raise Wrong("is not a URL", _URL_EXAMPLE) from None
    if parts.scheme not in {"http", "https"} or not text.isascii() or not text.isprintable():
        raise Wrong("is not a URL", _URL_EXAMPLE)
    if " " in text or parts.fragment or "@" in parts.netloc:
        raise Wrong("holds a blank, a fragment, a user or a password", _URL_EXAMPLE)
    if parts.scheme == "http" and not _is_loopback(host.strip("[]")):
        raise Wrong(
            "is not encrypted, so anybody in between could put keys there", "use `https://`"
        )
    return text


def _is_loopback(host: str) -> bool:
    try:
        return plain(ipaddress.ip_address(host)).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _audience(value: Any) -> Any:
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple) and not all(value):
        raise Wrong("holds an empty name", "write what tokens carry in `aud`")
    return _not_empty(value)


def _not_empty(value: Any) -> Any:
    if isinstance(value, list | tuple) and not value:
        raise Wrong("is empty, so no token would do", "name one, or remove the line")
    return value


def _claim(text: str) -> str:
    if not text or not text.isprintable():
        raise Wrong("is not a claim's name", "write it as it stands in the token, such as `sub`")
    return text


Claim = Annotated[str, AfterValidator(_claim)]


class Jwt(Section):
    """Tokens that stand wherever a key may. Their keys come from exactly one place.

    Args:
        issuer: the exact `iss`; None for any. Alone it names where to look for the keys
            (OpenID Connect Discovery 1.0, section 4).
        audience: of which `aud` must name one.
        algorithms: that are accepted.
        leeway: seconds by which the issuer's clock and ours may differ.
        jwks_url: of the issuer's public keys.
        jwks_file: with them.
        secret: shared with the issuer, for HS256, HS384 and HS512.
        subject_claim: names who a session is for.
        routes_claim: the routes that a token opens; None: every token opens all.
        metadata_claims: sent to the upstream as `X-Wskeeper-Meta-<claim>`.
    """

    issuer: Claim | None = None
    audience: Annotated[
        tuple[str, ...],
        BeforeValidator(_audience),
        WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
    ]
    algorithms: Annotated[tuple[Algorithm, ...], BeforeValidator(_not_empty)] = ("RS256", "ES256")
    leeway: fields.Delay = 30.0
    jwks_url: Annotated[str, AfterValidator(https_url)] | None = None
    jwks_file: fields.File | None = None
    secret: fields.Secret | None = None
    subject_claim: Claim = "sub"
    routes_claim: Claim | None = None
    metadata_claims: Annotated[fields.MetadataNames, fields.NullAsEmpty] = ()

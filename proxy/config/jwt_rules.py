"""Rules about `jwt` that span several fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.faults import Finding
from proxy.config.jwt_fields import SECRET_SIZES, https_url
from proxy.config.rules import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.rules import Data

_SOURCES = ("jwks_url", "jwks_file", "secret")
_ALGORITHMS = ["RS256", "ES256"]


def findings(data: Data) -> Iterator[Finding]:
    """Every breach of these rules."""
    jwt = data.get("jwt")
    if not isinstance(jwt, dict):
        return
    sources = [name for name in _SOURCES if jwt.get(name) is not None]
    issuer = jwt.get("issuer")
    if len(sources) > 1:
        shown = " and ".join(f"`{name}`" for name in sources)
        yield Finding(("jwt",), f"has {shown}: keys come from one place", "keep one of them")
    elif not sources and issuer is None:
        yield Finding(
            ("jwt",),
            "does not say where the issuer's keys are",
            "add `issuer:` with its URL, or one of `jwks_url`, `jwks_file` and `secret`",
        )
    elif not sources and isinstance(issuer, str) and read(https_url, issuer) is None:
        yield Finding(
            ("jwt", "issuer"),
            "is not an `https://` URL, so the issuer's keys cannot be looked for there",
            "write its URL, or add `jwks_url`, `jwks_file` or `secret`",
        )
    yield from _algorithms(jwt)


def _algorithms(jwt: Data) -> Iterator[Finding]:
    place = ("jwt", "algorithms")
    listed = jwt.get("algorithms", _ALGORITHMS)
    named = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    sizes = [SECRET_SIZES[name] for name in named if name in SECRET_SIZES]
    secret = jwt.get("secret")
    if secret is None and sizes:
        yield Finding(
            place,
            "allows a signature by a shared secret, and there is none",
            "name algorithms of public keys, such as `[RS256, ES256]`, or set `secret`",
        )
    if secret is not None and len(sizes) < len(named):
        yield Finding(
            place,
            "allows signatures that `secret` cannot check",
            "write `algorithms: [HS256]`",
        )
    if isinstance(secret, str) and sizes and 0 < len(_encoded(secret)) < max(sizes):
        yield Finding(
            ("jwt", "secret"),
            f"is shorter than the {max(sizes)} bytes that these algorithms ask for",
            "use a longer one: `openssl rand -hex 32` makes it",
        )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

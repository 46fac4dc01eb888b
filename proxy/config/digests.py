"""Digests of secrets in plain data, for telling them apart."""

from __future__ import annotations

import hashlib


def digest_of(secret: object, sha256: object) -> str | None:
    """The SHA-256 of a secret that is given as itself or as its digest: hexadecimal, lower case.

    None when neither is a text that could be one.
    """
    if isinstance(secret, str) and secret:
        return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
    return sha256.strip().lower() if isinstance(sha256, str) and sha256 else None

"""Whose word a new configuration no longer takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy.callers import unvouched
from tests.unit.build import config

if TYPE_CHECKING:
    from proxy.config.model import Config

JWT = {
    "issuer": "https://idp.test",
    "audience": ["a", "b"],
    "algorithms": ["RS256", "ES256"],
    "jwks_url": "https://idp.test/jwks",
}
TOKENS = frozenset({"jwt", "ticket"})


def made(**jwt: Any) -> Config:
    return config({}, jwt={**JWT, **jwt})


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({}, False),
        ({"leeway": "1s", "subject_claim": "email", "metadata_claims": ["plan"]}, False),
        ({"audience": ["a", "b", "c"]}, False),
        ({"audience": "a"}, True),
        ({"algorithms": ["ES256", "RS256", "EdDSA"]}, False),
        ({"algorithms": ["RS256"]}, True),
        ({"issuer": None}, False),
        ({"issuer": "https://other.test"}, True),
        ({"jwks_url": "https://other.test/jwks"}, True),
        ({"jwks_url": None, "jwks_file": "/jwks.json"}, True),
        ({"routes_claim": "routes"}, True),
    ],
)
def test_tokens_are_trusted_as_long_as_their_issuer_is(
    change: dict[str, Any], *, lost: bool
) -> None:
    assert unvouched(made(), made(**change)) == (TOKENS if lost else frozenset())


def test_tokens_end_with_their_section() -> None:
    assert unvouched(made(), config({})) == TOKENS
    assert unvouched(config({}), made()) == frozenset()


def test_other_secret_is_another_issuer() -> None:
    def shared(secret: str) -> Config:
        return config({}, jwt={"audience": "a", "algorithms": ["HS256"], "secret": secret})

    assert unvouched(shared("a" * 32), shared("b" * 32)) == TOKENS
    assert unvouched(shared("a" * 32), shared("a" * 32)) == frozenset()


def test_plugins_are_trusted_until_one_is_taken_out() -> None:
    def plugged(*names: str) -> Config:
        return config({}, plugins=list(names))

    assert unvouched(plugged("a:f"), plugged("b:f", "a:f")) == frozenset()
    assert unvouched(plugged("a:f", "b:f"), plugged("b:f")) == {"plugin", "ticket"}

"""`jwt`: where the issuer's keys come from, and what tokens must say."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from proxy.auth.jwk import ALGORITHMS
from proxy.config.faults import Wrong
from proxy.config.jwt_fields import SECRET_SIZES, Algorithm, https_url

if TYPE_CHECKING:
    from proxy.config.jwt_fields import Jwt
    from tests.unit.config.conftest import ConfigFolder

ECHO = "routes: [{name: echo, path: /echo, upstream: 'ws://h'}]\n"
ISSUER = "issuer: 'https://idp.example'"
LONG = "0123456789abcdef" * 2


def jwt(folder: ConfigFolder, fields: str) -> Jwt:
    read = folder.load(f"{ECHO}jwt: {{{fields}}}\n", {"SECRET": LONG}).config.jwt
    assert read is not None
    return read


def test_an_issuer_and_an_audience_are_enough(folder: ConfigFolder) -> None:
    assert jwt(folder, f"{ISSUER}, audience: wskeeper").model_dump() == {
        "issuer": "https://idp.example",
        "audience": ("wskeeper",),
        "algorithms": ("RS256", "ES256"),
        "leeway": 30.0,
        "jwks_url": None,
        "jwks_file": None,
        "secret": None,
        "subject_claim": "sub",
        "routes_claim": None,
        "metadata_claims": (),
    }


def test_every_field_is_taken(folder: ConfigFolder) -> None:
    read = jwt(
        folder,
        "issuer: urn:idp, audience: [a, b], algorithms: [EdDSA, PS512], leeway: 0, "
        "jwks_file: keys.json, subject_claim: email, routes_claim: scope, "
        "metadata_claims: [team, Plan]",
    )
    assert (read.issuer, read.audience) == ("urn:idp", ("a", "b"))
    assert (read.algorithms, read.leeway) == (("EdDSA", "PS512"), 0.0)
    assert read.jwks_file == folder.path / "keys.json"
    assert (read.subject_claim, read.routes_claim) == ("email", "scope")
    assert read.metadata_claims == ("team", "Plan")


@pytest.mark.parametrize(
    "fields",
    [
        "jwks_url: 'https://idp.example/keys?a=b'",
        "jwks_url: 'http://127.0.0.1:9000/keys'",
        "jwks_file: keys.json",
        "secret: '${SECRET}', algorithms: [HS256]",
        "issuer: 'http://localhost:9000/realm'",
        "issuer: urn:idp, secret: '${SECRET}', algorithms: [HS256]",
    ],
)
def test_keys_come_from_any_one_place(folder: ConfigFolder, fields: str) -> None:
    assert jwt(folder, f"audience: a, {fields}").audience == ("a",)
    assert folder.load(environ={"SECRET": LONG}).warnings == ()


@pytest.mark.parametrize(
    ("fields", "path", "problem", "mend"),
    [
        (ISSUER, "jwt.audience", "is missing", "`aud`"),
        (f"{ISSUER}, audience: []", "jwt.audience", "is empty", "name one"),
        (f"{ISSUER}, audience: ''", "jwt.audience", "empty name", "`aud`"),
        (f"{ISSUER}, audience: [a, '']", "jwt.audience", "empty name", "`aud`"),
        (f"{ISSUER}, audience: null", "jwt.audience", "is not a list", "`- `"),
        ("audience: a", "jwt", "does not say where", "`issuer:`"),
        ("audience: a, issuer: urn:idp", "jwt.issuer", "`https://` URL", "`jwks_url`"),
        ("audience: a, issuer: 'http://h'", "jwt.issuer", "`https://` URL", "`jwks_url`"),
        (
            f"{ISSUER}, audience: a, jwks_url: 'https://h', jwks_file: f",
            "jwt",
            "has `jwks_url` and `jwks_file`",
            "keep one",
        ),
        ("audience: a, jwks_url: 'http://h/k'", "jwt.jwks_url", "is not encrypted", "https://"),
        ("audience: a, jwks_url: nonsense", "jwt.jwks_url", "is not a URL", "https://"),
        (
            f"{ISSUER}, audience: a, algorithms: [none]",
            "jwt.algorithms[0]",
            "is not a word",
            "`RS256`",
        ),
        (f"{ISSUER}, audience: a, algorithms: []", "jwt.algorithms", "is empty", "name one"),
        (
            f"{ISSUER}, audience: a, algorithms: [RS256, HS256]",
            "jwt.algorithms",
            "there is none",
            "public keys",
        ),
        (
            "audience: a, secret: '${SECRET}'",
            "jwt.algorithms",
            "cannot check",
            "[HS256]",
        ),
        (
            "audience: a, secret: '${SECRET}', algorithms: [HS256, ES256]",
            "jwt.algorithms",
            "cannot check",
            "[HS256]",
        ),
        (
            "audience: a, secret: '${SECRET}', algorithms: [HS256, HS384]",
            "jwt.secret",
            "the 48 bytes",
            "openssl",
        ),
        (
            "audience: a, secret: '${SHORT}', algorithms: [HS256]",
            "jwt.secret",
            "the 32 bytes",
            "openssl",
        ),
        (f"{ISSUER}, audience: a, leeway: null", "jwt.leeway", "cannot be `null`", "`0`"),
        (f"{ISSUER}, audience: a, subject_claim: ''", "jwt.subject_claim", "claim's name", "sub"),
        (
            f"{ISSUER}, audience: a, metadata_claims: [a_b]",
            "jwt.metadata_claims[0]",
            "cannot end",
            "letters",
        ),
        (
            f"{ISSUER}, audience: a, metadata_claims: [x, Team, team]",
            "jwt.metadata_claims[1]",
            "twice",
            "keep one",
        ),
        (f"{ISSUER}, audience: a, pasword: x", "jwt", "has an unknown field", "`issuer`"),
    ],
)
def test_a_fault_names_its_place_and_its_mend(
    folder: ConfigFolder, fields: str, path: str, problem: str, mend: str
) -> None:
    environ = {"SECRET": LONG, "SHORT": LONG[1:]}
    faults = folder.faults(f"{ECHO}jwt: {{{fields}}}\n", environ)
    fault = faults[0]
    assert (fault.line, fault.path) == (2, path)
    assert problem in fault.problem
    assert mend in fault.mend
    assert {fault.path for fault in faults} <= {path, "jwt.metadata_claims[2]"}


def test_a_secret_in_the_file_is_warned_about(folder: ConfigFolder) -> None:
    text = f"{ECHO}jwt: {{audience: a, secret: {LONG}, algorithms: [HS256]}}\n"
    [warning] = folder.load(text).warnings
    assert warning.path == "jwt.secret"
    assert "everybody who may read" in warning.problem


def test_bytes_of_a_secret_are_counted_not_letters(folder: ConfigFolder) -> None:
    text = f"{ECHO}jwt: {{audience: a, secret: '${{SECRET}}', algorithms: [HS256]}}\n"
    assert folder.load(text, {"SECRET": "é" * 16}).warnings == ()
    assert folder.fault(text, {"SECRET": "é" * 15 + "e"}).path == "jwt.secret"


def test_what_is_no_mapping_is_one_fault(folder: ConfigFolder) -> None:
    assert folder.fault(f"{ECHO}jwt: x\n").problem == "is not a mapping"
    assert folder.fault(f"{ECHO}jwt: {{{ISSUER}, audience: a, algorithms: RS256}}\n").path == (
        "jwt.algorithms"
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://h",
        "https://h:8443/a/b?c=d",
        "https://[2001:db8::1]/k",
        "http://[::1]:1/",
        "http://a.localhost",
    ],
)
def test_urls_of_public_keys_are_encrypted_or_stay_here(url: str) -> None:
    assert https_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "h/keys",
        "ftp://h",
        "https://h:0",
        "https://h:99999",
        "https://h:x",
        "https://[::1",
        "https://h/k#f",
        "https://user@h/",
        "https://u:CANARY@h/",
        "https://h/a b",
        "https://h/é",
        "https://h/\n",
        "http://127.0.0.1.example.com/",
        "http://10.0.0.1/",
    ],
)
def test_other_urls_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(Wrong) as caught:
        https_url(url)
    assert "CANARY" not in str(caught.value)


def test_algorithms_are_those_that_can_be_checked() -> None:
    assert set(get_args(Algorithm)) == ALGORITHMS
    assert {name for name in ALGORITHMS if name.startswith("HS")} == set(SECRET_SIZES)

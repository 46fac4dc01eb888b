"""Who is calling: a principal, or one of four refusals."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.auth.authenticator import Authenticator, Principal
from proxy.auth.carriers import BearerCarrier, HeaderCarrier
from proxy.errors import Refused
from proxy.keys.fixed import FixedKeys
from proxy.routes import Route
from tests.unit.build import config, headers

SECRET = "CANARY-good-4f1a9c0d7e6b"
WSK = "wsk_0123456789_abcdefghijklmnopqrstuvwxyz012345ABCDEF"
CONFIG = config(
    {"name": "chat", "path": "/chat"},
    {"name": "other", "path": "/other"},
    {"name": "both", "path": "/both"},
    {"name": "closed", "path": "/closed"},
    keys=[
        {"name": "legacy", "secret": SECRET, "routes": ["chat", "both"]},
        {"name": "made", "sha256": hashlib.sha256(WSK.encode()).hexdigest()},
    ],
)
ROUTES = {route.name: Route.of(CONFIG, route) for route in CONFIG.routes}
HEADER, BEARER = HeaderCarrier(b"X-Api-Key"), BearerCarrier()
AUTHENTICATOR = Authenticator(
    FixedKeys(CONFIG.keys),
    # "closed" is missing: nobody has said how it may be entered.
    {"chat": [HEADER], "other": [HEADER], "both": [HEADER, BEARER]},
)


def principal(*lines: str | bytes, route: str = "chat") -> Principal:
    return AUTHENTICATOR.authenticate(headers(*lines), ROUTES[route])


def refusal(*lines: str | bytes, route: str = "chat") -> Refused:
    with pytest.raises(Refused) as caught:
        principal(*lines, route=route)
    return caught.value


def test_known_key_opens_its_route() -> None:
    assert principal(f"X-Api-Key: {SECRET}").key.name == "legacy"
    assert principal(f"X-Api-Key: {WSK}").key.name == "made"
    assert principal(f"X-Api-Key: \t{SECRET} ").key.name == "legacy"


@pytest.mark.parametrize("lines", [(), ("X-Api-Key:",), ("X-Api-Key: \t ",)])
def test_missing_key_is_told_where_to_put_one(lines: tuple[str, ...]) -> None:
    refused = refusal(*lines, route="both")
    assert refused.code == "key_missing"
    assert dict(refused.headers) == {
        "WWW-Authenticate": 'ApiKey realm="wskeeper", header="X-Api-Key", Bearer realm="wskeeper"'
    }


@pytest.mark.parametrize(
    "key",
    [
        "x",
        SECRET[:-1],
        SECRET + "x",
        SECRET.lower(),
        SECRET.upper(),
        f"x {SECRET}",
        f"{SECRET}, {SECRET}",
        f"{WSK}{SECRET}",
        WSK[:-1] + "E",
        "wsk_",
        hashlib.sha256(SECRET.encode()).hexdigest(),
        "a" * 8192,
        b"\xff\xfe\x80",
    ],
)
def test_unknown_keys_are_all_answered_alike(key: str | bytes) -> None:
    line = b"X-Api-Key: " + (key if isinstance(key, bytes) else key.encode())
    found, expected = refusal(line), refusal("X-Api-Key: another")
    assert found.code == "key_unknown"
    assert (found.detail, found.headers, found.cause) == (
        expected.detail,
        expected.headers,
        expected.cause,
    )


def test_key_of_other_routes_is_forbidden() -> None:
    refused = refusal(f"X-Api-Key: {SECRET}", route="other")
    assert refused.code == "route_forbidden"
    assert not refused.headers


def test_route_without_carriers_admits_nobody() -> None:
    assert refusal(f"X-Api-Key: {WSK}", route="closed").code == "key_missing"


def test_carrier_that_the_route_does_not_list_is_not_read() -> None:
    assert refusal(f"Authorization: Bearer {SECRET}").code == "key_missing"


@pytest.mark.parametrize(
    "lines",
    [
        (f"X-Api-Key: {SECRET}", f"Authorization: Bearer {WSK}"),
        (f"X-Api-Key: {SECRET}", "Authorization: Bearer wsk_unknown"),
        ("X-Api-Key: bad", f"Authorization: Bearer {SECRET}"),
        (f"X-Api-Key: {SECRET}", f"X-Api-Key: {SECRET}"),
        ("X-Api-Key: bad", f"X-Api-Key: {SECRET}"),
        (f"X-Api-Key: {SECRET}", "X-Api-Key: bad"),
        (f"Authorization: Bearer {SECRET}", "Authorization: Basic x"),
    ],
)
def test_conflicting_credentials_are_ambiguous(lines: tuple[str, ...]) -> None:
    assert refusal(*lines, route="both").code == "key_ambiguous"


def test_same_credential_in_two_places_is_one() -> None:
    found = principal(f"X-Api-Key: {SECRET}", f"Authorization: Bearer {SECRET}", route="both")
    assert found.key.name == "legacy"
    assert found.credential_headers == {b"x-api-key", b"authorization"}


def test_token_of_the_application_passes_beside_a_key() -> None:
    found = principal(f"X-Api-Key: {SECRET}", "Authorization: Bearer eyJ.x.y", route="both")
    assert found.credential_headers == {b"x-api-key"}


def test_header_of_a_carrier_never_travels() -> None:
    found = principal("X-Api-Key:", f"Authorization: Bearer {SECRET}", route="both")
    assert found.credential_headers == {b"x-api-key", b"authorization"}


@given(
    st.binary(max_size=60),
    st.sampled_from((b"X-Api-Key: ", b"Authorization: Bearer ", b"Authorization: ")),
    st.integers(1, 2),
)
@example(b"\xed\xb2\x80", b"X-Api-Key: ", 1)
@example(SECRET.encode(), b"Authorization: Bearer ", 2)
def test_any_bytes_are_refused_in_good_order(value: bytes, place: bytes, lines: int) -> None:
    line = place + bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F)
    refused = refusal(*[line] * lines, route="both")
    assert refused.row.status in {400, 401}
    assert refused.code in {"key_missing", "key_unknown", "key_ambiguous"}


def test_nothing_of_a_credential_stands_in_a_refusal() -> None:
    for lines in ((f"X-Api-Key: x{SECRET}",), (f"X-Api-Key: {SECRET}",) * 2):
        refused: Any = refusal(*lines)
        assert "CANARY" not in repr((refused.args, refused.detail, refused.headers, refused.cause))

"""Carriers: where a credential travels, and what in the same place is the application's."""

from __future__ import annotations

import pytest

from proxy.auth.carriers import BearerCarrier, Carrier, HeaderCarrier
from proxy.auth.presented import Found, Presented
from proxy.errors import Refused
from tests.unit.build import headers

HEADER = HeaderCarrier(b"X-Api-Key")
BEARER = BearerCarrier()


def ours(value: bytes) -> bool:
    return value.startswith(b"wsk_") or value == b"known"


def claimed(carrier: Carrier, *lines: str | bytes) -> bytes | None:
    found = carrier.claim(Presented(headers(*lines), b""), ours)
    assert found is None or found.kind == "key"
    return None if found is None else found.credential


def test_what_was_found_is_not_shown() -> None:
    assert repr(Found(b"CANARY", "key")) == "Found(key)"


# A header of its own -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "credential"),
    [
        ((), None),
        (("X-Api-Key: k",), b"k"),
        (("x-api-KEY:k",), b"k"),
        (("X-Api-Key: \t k \t",), b"k"),
        (("X-Api-Key: not ours at all",), b"not ours at all"),
        (("X-Api-Key: k, k",), b"k, k"),
        ((b"X-Api-Key: \xff\xfe",), b"\xff\xfe"),
        (("X-Api-Key:",), None),
        (("X-Api-Key:  \t ",), None),
        (("X_Api_Key: k",), None),
        (("Authorization: Bearer wsk_k",), None),
    ],
)
def test_header_claims_whatever_stands_in_it(
    lines: tuple[str | bytes, ...], credential: bytes | None
) -> None:
    assert claimed(HEADER, *lines) == credential


@pytest.mark.parametrize("second", ["k", "other", ""])
def test_second_line_of_the_header_is_ambiguous(second: str) -> None:
    for lines in (("X-Api-Key: k", f"x-api-key: {second}"), (f"X-Api-Key: {second}",) * 2):
        with pytest.raises(Refused) as caught:
            claimed(HEADER, *lines)
        assert caught.value.code == "key_ambiguous"


def test_header_is_named_as_configured() -> None:
    carrier = HeaderCarrier(b"X_Api_Key")
    assert claimed(carrier, "X_Api_Key: k") == b"k"
    assert carrier.header == b"x_api_key"
    assert carrier.challenge == 'ApiKey realm="wskeeper", header="X_Api_Key"'


# Bearer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "credential"),
    [
        ("Bearer wsk_k", b"wsk_k"),
        ("bearer wsk_k", b"wsk_k"),
        ("BEARER   wsk_k", b"wsk_k"),
        ("Bearer known", b"known"),
        # What cannot be ours is the application's.
        ("Bearer eyJhbGciOi.x.y", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer\twsk_k", None),
        ("Bearerwsk_k", None),
        ("Basic d3NrX2s6", None),
        ("Digest wsk_k", None),
        ("wsk_k", None),
        ("", None),
    ],
)
def test_bearer_claims_only_what_can_be_ours(line: str, credential: bytes | None) -> None:
    assert claimed(BEARER, f"Authorization: {line}") == credential
    assert claimed(BEARER, f"Proxy-Authorization: {line}") is None


@pytest.mark.parametrize("second", ["Bearer wsk_k", "Bearer wsk_other", "Bearer x", "Basic x", ""])
def test_second_authorization_beside_ours_is_ambiguous(second: str) -> None:
    first = "Authorization: Bearer wsk_k"
    for lines in ((first, f"Authorization: {second}"), (f"Authorization: {second}", first)):
        with pytest.raises(Refused) as caught:
            claimed(BEARER, *lines)
        assert caught.value.code == "key_ambiguous"


def test_two_authorizations_of_the_application_are_its_business() -> None:
    assert claimed(BEARER, "Authorization: Basic x", "Authorization: Bearer y") is None

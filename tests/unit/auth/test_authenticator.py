"""Who is calling: one credential out of a request, and the same answer to all unknown ones."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.auth.authenticator import Authenticator
from proxy.auth.browser_carriers import TicketCarrier
from proxy.auth.carriers import BearerCarrier, HeaderCarrier
from proxy.auth.key_verifier import KeyVerifier
from proxy.auth.question import NotAtOnce
from proxy.auth.ways import Ways
from proxy.errors import Refused
from proxy.keys.key import Key, Secret, digest_of
from proxy.keys.ring import KeyRing
from proxy.keys.secret import make_secret
from tests.unit.auth.asked import NOW, NoTickets, Trust, question
from tests.unit.build import headers

if TYPE_CHECKING:
    from proxy.keys.principal import Principal

SECRET = "CANARY-good-4f1a9c0d7e6b"
MADE = make_secret(random.Random(1).randrange)
WSK = MADE.text
HEADER, BEARER = HeaderCarrier(b"X-Api-Key"), BearerCarrier()
CHALLENGE = 'ApiKey realm="wskeeper", header="X-Api-Key"'


def key(id: str, secret: str, **fields: Any) -> Key:
    return Key(id, id, (Secret(digest_of(secret.encode())),), **fields)


def authenticator(*keys: Key, **trust: bool) -> Authenticator:
    ring = KeyRing()
    ring.replace_stored(keys)
    return Authenticator(
        # "closed" is missing: nobody has said how it may be entered.
        {
            "chat": Ways((HEADER,), None),
            "other": Ways((HEADER,), None),
            "both": Ways((HEADER, BEARER), None),
        },
        KeyVerifier(ring, Trust(**trust)),
        tickets=NoTickets(),
    )


AUTHENTICATOR = authenticator(
    key("legacy", SECRET, routes=frozenset({"chat", "both"})), key(MADE.id, WSK)
)


def principal(*lines: str | bytes, route: str = "chat") -> Principal:
    return AUTHENTICATOR.authenticate(question(*lines, route=route))


def refusal(*lines: str | bytes, route: str = "chat", by: Authenticator = AUTHENTICATOR) -> Refused:
    with pytest.raises(Refused) as caught:
        by.authenticate(question(*lines, route=route))
    return caught.value


def test_known_key_opens_its_route() -> None:
    assert principal(f"X-Api-Key: {SECRET}").key_name == "legacy"
    assert principal(f"X-Api-Key: {WSK}").key_id == MADE.id
    assert principal(f"X-Api-Key: \t{SECRET} ").key_name == "legacy"


@pytest.mark.parametrize("lines", [(), ("X-Api-Key:",), ("X-Api-Key: \t ",)])
def test_missing_key_is_told_where_to_put_one(lines: tuple[str, ...]) -> None:
    refused = refusal(*lines, route="both")
    assert refused.code == "key_missing"
    assert dict(refused.headers) == {"WWW-Authenticate": CHALLENGE + ', Bearer realm="wskeeper"'}


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
        WSK[:-1],
        WSK.swapcase(),
        "wsk_",
        digest_of(SECRET.encode()).hex(),
        "a" * 8192,
        b"\xff\xfe\x80",
    ],
)
def test_unknown_keys_are_all_answered_alike(key: str | bytes) -> None:
    line = b"X-Api-Key: " + (key if isinstance(key, bytes) else key.encode())
    found, expected = refusal(line), refusal("X-Api-Key: another")
    assert found.code == "key_unknown"
    assert dict(found.headers) == {"WWW-Authenticate": CHALLENGE}
    assert (found.detail, found.headers, found.cause) == (
        expected.detail,
        expected.headers,
        expected.cause,
    )


@pytest.mark.parametrize(
    ("code", "fields", "trust"),
    [
        ("key_revoked", {"revoked_at": NOW}, {}),
        ("key_expired", {"expires_at": NOW}, {}),
        ("key_suspended", {"suspended_at": NOW}, {}),
        ("route_forbidden", {"routes": frozenset({"other"})}, {}),
        ("store_unavailable", {}, {"fresh": False}),
    ],
)
def test_challenge_stands_where_another_key_would_help(
    code: str, fields: dict[str, Any], trust: dict[str, bool]
) -> None:
    by = authenticator(key("one", SECRET, **fields), **trust)
    refused = refusal(f"X-Api-Key: {SECRET}", by=by)
    assert refused.code == code
    unauthorized = refused.row.status == 401
    assert refused.headers == ((("WWW-Authenticate", CHALLENGE),) if unauthorized else ())


def test_holder_who_is_out_meanwhile_is_told_as_at_the_door() -> None:
    holder = principal(f"X-Api-Key: {SECRET}")
    AUTHENTICATOR.check_again(holder, question())
    with pytest.raises(Refused) as caught:
        authenticator().check_again(holder, question())
    assert caught.value.code == "key_revoked"
    assert dict(caught.value.headers) == {"WWW-Authenticate": CHALLENGE}


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
    assert found.key_name == "legacy"


# What does not travel ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "kept_back"),
    [
        ((f"X-Api-Key: {SECRET}", f"Authorization: Bearer {SECRET}"), {b"authorization"}),
        ((f"X-Api-Key: {SECRET}", "Authorization: Bearer eyJ.x.y"), set()),
        (("X-Api-Key:", f"Authorization: Bearer {SECRET}"), {b"authorization"}),
        (("Authorization: Bearer wsk_unknown",), {b"authorization"}),
        (("Authorization: Basic x", f"Authorization: Bearer {SECRET}"), {b"authorization"}),
        (("Authorization: Basic x",), set()),
        ((), set()),
    ],
)
def test_credential_is_kept_from_the_upstream_whether_or_not_it_is_asked_for(
    lines: tuple[str, ...], kept_back: set[bytes]
) -> None:
    sent = headers(*lines)
    # A header carrier's line never travels; nor does a bearer's that can be ours.
    assert AUTHENTICATOR.strippings["both"].headers(sent) == {b"x-api-key"} | kept_back
    assert AUTHENTICATOR.strippings["chat"].headers(sent) == {b"x-api-key"}


# Any bytes -----------------------------------------------------------------------------------


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


# Ordinary requests ---------------------------------------------------------------------------


def test_ordinary_request_is_told_to_carry_its_key_each_time() -> None:
    with pytest.raises(Refused) as caught:
        AUTHENTICATOR.authenticate(question(ordinary=True))
    assert "every request" in caught.value.detail
    assert dict(caught.value.headers) == {"WWW-Authenticate": CHALLENGE}


def test_ticket_of_an_ordinary_request_is_left_unused() -> None:
    by = Authenticator(
        {"chat": Ways((TicketCarrier(),), None)},
        KeyVerifier(KeyRing(), Trust()),
        tickets=NoTickets(),
    )
    ticket = b"?wskeeper_ticket=wst_something"
    with pytest.raises(Refused) as caught:
        by.authenticate(question(query=ticket, ordinary=True))
    assert (caught.value.code, "not used up" in caught.value.detail) == ("ticket_invalid", True)
    assert dict(caught.value.headers) == {"WWW-Authenticate": 'ApiKey realm="wskeeper"'}
    with pytest.raises(NotAtOnce):
        by.authenticate(question(query=ticket))

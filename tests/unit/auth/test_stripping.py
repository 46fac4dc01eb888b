"""What the upstream must not see, taken out; what is the application's, kept to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.browser_carriers import (
    CookieCarrier,
    QueryCarrier,
    SubprotocolCarrier,
    TicketCarrier,
)
from proxy.auth.carriers import BearerCarrier, HeaderCarrier
from proxy.auth.stripping import Stripping
from tests.unit.build import headers

if TYPE_CHECKING:
    from proxy.auth.carriers import Carrier

HEADER, BEARER = HeaderCarrier(b"X-Api_Key"), BearerCarrier()
QUERY, COOKIE = QueryCarrier(b"api_key"), CookieCarrier(b"api_key")
TICKET, SUBPROTOCOL = TicketCarrier(), SubprotocolCarrier()


def ours(value: bytes) -> bool:
    return value.startswith(b"wsk_")


def stripping(*carriers: Carrier) -> Stripping:
    return Stripping(carriers, ours)


def names(*lines: str, by: tuple[Any, ...] = (HEADER, BEARER)) -> set[bytes]:
    return set(stripping(*by).headers(headers(*lines)))


def test_header_never_travels() -> None:
    # Many servers read `_` as `-`: neither spelling may pass.
    assert names() == {b"x-api-key"}
    assert names("X-Api_Key: anything", by=(HEADER, HeaderCarrier(b"Token"))) == {
        b"x-api-key",
        b"token",
    }


@pytest.mark.parametrize(
    "lines",
    [
        ("Authorization: Bearer wsk_a",),
        ("Authorization: bearer  wsk_a",),
        # Refused where it must be; where it is only reported, neither travels.
        ("Authorization: Bearer wsk_a", "Authorization: Basic abc"),
    ],
)
def test_authorization_with_a_key_does_not_travel(lines: tuple[str, ...]) -> None:
    assert names(*lines) == {b"x-api-key", b"authorization"}
    assert names(*lines, by=(HEADER,)) == {b"x-api-key"}


@pytest.mark.parametrize(
    "line", ["Authorization: Bearer theirs", "Authorization: Basic wsk_a", "X: wsk_a"]
)
def test_authorization_of_the_application_travels(line: str) -> None:
    assert names(line) == {b"x-api-key"}


@pytest.mark.parametrize(
    ("query", "rest"),
    [
        (b"", b""),
        (b"?", b"?"),
        (b"?api_key=wsk_a", b""),
        (b"?api_key=wsk_a&", b""),
        (b"?a=%7e&api_key=wsk_a&&b", b"?a=%7e&&b"),
        (b"?api_key=wsk_a&api_key=theirs&wskeeper_ticket=x", b"?api_key=theirs"),
        (b"?wskeeper%5Fticket=x&api%5fkey=wsk_a&c", b"?c"),
        (b"?wskeeper_ticket", b""),
        (b"?WSKEEPER_TICKET=x", b"?WSKEEPER_TICKET=x"),
    ],
)
def test_query_loses_credentials_alone(query: bytes, rest: bytes) -> None:
    assert stripping(HEADER, QUERY, TICKET).query(query) == rest
    assert stripping(TICKET, QUERY).query(query) == rest


def test_query_of_a_route_without_such_carriers_is_whole() -> None:
    query = b"?api_key=wsk_a&wskeeper_ticket=x"
    assert stripping(HEADER, BEARER, COOKIE, SUBPROTOCOL).query(query) == query


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        (b"api_key=wsk_a", None),
        (b" api_key = wsk_a ; ", None),
        (b"a=1; api_key=wsk_a; b=2", b"a=1; b=2"),
        (b"a=1;api_key=theirs", b"a=1;api_key=theirs"),
        (b'session="wsk_b"; token="wsk_a"; c', b"c"),
        (b"session=wsk_b", None),
        (b"", b""),
    ],
)
def test_cookies_lose_credentials_alone(value: bytes, rest: bytes | None) -> None:
    strip = stripping(COOKIE, CookieCarrier(b"session"), CookieCarrier(b"token")).cookie
    assert strip is not None
    assert strip(value) == rest


def test_cookies_are_not_looked_at_where_none_carries() -> None:
    assert stripping(HEADER, BEARER, QUERY, TICKET, SUBPROTOCOL).cookie is None


@given(parts=st.lists(st.sampled_from([b"api_key=wsk_a", b"a=b", b"", b"x", b"wskeeper_ticket=y"])))
def test_what_is_left_is_in_order_and_whole(parts: list[bytes]) -> None:
    found = stripping(QUERY, TICKET).query(b"?" + b"&".join(parts))
    kept = [part for part in parts if part not in (b"api_key=wsk_a", b"wskeeper_ticket=y")]
    if len(kept) == len(parts):
        assert found == b"?" + b"&".join(parts)
    else:
        rest = b"&".join(kept)
        assert found == (b"?" + rest if rest else b"")


@pytest.mark.parametrize(
    ("page", "rest"),
    [
        (b"https://a.test/app", b"https://a.test/app"),
        (b"https://a.test/app?api_key=wsk_a", b"https://a.test/app"),
        (b"https://a.test/app?x=1&api_key=wsk_a&y", b"https://a.test/app?x=1&y"),
        (b"https://a.test/app?wskeeper_ticket=wst_x&x=?", b"https://a.test/app?x=?"),
        (b"https://a.test/app?api_key=theirs", b"https://a.test/app?api_key=theirs"),
        (b"?api%5Fkey=wsk_a", b""),
    ],
)
def test_page_in_the_referer_is_named_without_its_credentials(page: bytes, rest: bytes) -> None:
    # Of this route, or of another: the page may be anywhere on the gateway.
    for stripped in (stripping(QUERY, TICKET), Stripping([HEADER, QUERY], ours, pages=[TICKET])):
        assert stripped.referer is not None
        assert stripped.referer(page) == rest


def test_referer_stays_where_no_route_takes_credentials_from_queries() -> None:
    assert stripping(HEADER, BEARER, COOKIE, SUBPROTOCOL).referer is None

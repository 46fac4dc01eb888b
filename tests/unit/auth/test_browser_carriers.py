"""Carriers for browsers: what is ours is found and taken out, what is not keeps every byte."""

from __future__ import annotations

import base64
import time
from urllib.parse import parse_qsl, quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.auth.browser_carriers import (
    CookieCarrier,
    QueryCarrier,
    SubprotocolCarrier,
    TicketCarrier,
    must_offer_ours,
)
from proxy.auth.carriers import AMBIGUOUS
from proxy.auth.presented import Found, Presented
from proxy.errors import Refused
from proxy.handshake.head import Headers
from tests.unit.build import headers

QUERY = QueryCarrier(b"api_key")
COOKIE = CookieCarrier(b"api_key")
SUBPROTOCOL = SubprotocolCarrier()
TICKET = TicketCarrier()

BrowserCarrier = QueryCarrier | CookieCarrier | SubprotocolCarrier | TicketCarrier


def ours(value: bytes) -> bool:
    return value.startswith(b"wsk_") or value in {b"known", b"a b", b"a+b", b"c+d", b"\xff"}


def never(value: bytes) -> bool:
    raise AssertionError(f"asked for {value!r}")


def found(carrier: BrowserCarrier, *lines: str | bytes, query: bytes = b"") -> Found | None:
    return carrier.claim(Presented(headers(*lines), query), ours)


def key(credential: bytes) -> Found:
    return Found(credential, "key")


def assert_ambiguous(carrier: BrowserCarrier, *lines: str | bytes, query: bytes = b"") -> None:
    with pytest.raises(Refused) as caught:
        found(carrier, *lines, query=query)
    assert caught.value.code == "key_ambiguous"
    assert caught.value.detail == AMBIGUOUS


def test_challenges_name_the_place() -> None:
    assert QUERY.challenge == 'ApiKey realm="wskeeper", query="api_key"'
    assert COOKIE.challenge == 'ApiKey realm="wskeeper", cookie="api_key"'
    assert SUBPROTOCOL.challenge == 'ApiKey realm="wskeeper", subprotocol="wskeeper.key.<key>"'
    assert TICKET.challenge == (
        'Ticket realm="wskeeper", query="wskeeper_ticket", subprotocol="wskeeper.ticket.<ticket>"'
    )


def test_found_shows_no_credential_in_its_repr() -> None:
    assert repr(key(b"wsk_secret")) == "Found(key)"


# Query ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "credential", "rest"),
    [
        (b"?api_key=wsk_k", b"wsk_k", b""),
        (b"?api_key=wsk_k&", b"wsk_k", b""),
        (b"?&api_key=wsk_k", b"wsk_k", b""),
        (b"?a=1&api_key=wsk_k", b"wsk_k", b"?a=1"),
        (b"?api_key=wsk_k&b=2", b"wsk_k", b"?b=2"),
        (b"?a=1&api_key=wsk_k&b=2", b"wsk_k", b"?a=1&b=2"),
        (b"?a&&api_key=wsk_k&&b", b"wsk_k", b"?a&&&b"),
        (b"?a=%2f&api_key=wsk_k&c=+&%zz&=&?&\xe9;f", b"wsk_k", b"?a=%2f&c=+&%zz&=&?&\xe9;f"),
        # Percent-encoding, of the name and of the value, once.
        (b"?%61pi%5Fkey=wsk%5fk", b"wsk_k", b""),
        (b"?api_key=%77%73%6B%5F%6b", b"wsk_k", b""),
        (b"?api_key=%FF", b"\xff", b""),
        (b"?api_key=wsk_%zz%", b"wsk_%zz%", b""),
        (b"?api_key=wsk_%255f", b"wsk_%5f", b""),
        (b"?api_key=wsk_a=b==", b"wsk_a=b==", b""),
        (b"?api_key=wsk_a;b=c", b"wsk_a;b=c", b""),
        # A plus is a plus, or a space.
        (b"?api_key=a+b", b"a+b", b""),
        (b"?api_key=a%2Bb", b"a+b", b""),
        (b"?api_key=a%20b", b"a b", b""),
        (b"?api_key=c+d", b"c+d", b""),
        # Only one of two can be ours.
        (b"?api_key=theirs&api_key=wsk_k", b"wsk_k", b"?api_key=theirs"),
        (b"?api_key&api_key=wsk_k&api_key=", b"wsk_k", b"?api_key&api_key="),
    ],
)
def test_query_credential_is_found_and_taken_out(
    query: bytes, credential: bytes, rest: bytes
) -> None:
    assert found(QUERY, query=query) == key(credential)
    assert QUERY.strip_query(query, ours) == rest
    assert QUERY.strip_query(rest, ours) == rest


def test_plus_is_read_as_a_space_when_that_is_what_is_ours() -> None:
    def spaced(value: bytes) -> bool:
        return value == b"a b"

    assert QUERY.claim(Presented(headers(), b"?api_key=a+b"), spaced) == key(b"a b")
    assert QUERY.strip_query(b"?api_key=a+b", spaced) == b""


def test_query_name_may_hold_anything_that_can_be_encoded() -> None:
    carrier = QueryCarrier(b"api key&=")
    for query in (b"?api+key%26%3D=wsk_k", b"?api%20key%26%3d=wsk_k"):
        assert carrier.claim(Presented(headers(), query), ours) == key(b"wsk_k")
        assert carrier.strip_query(query, ours) == b""


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"?",
        b"?&",
        b"?api_key",
        b"?api_key=",
        b"?api_key=theirs",
        b"?api_key=theirs&api_key=too",
        b"?API_KEY=wsk_k",
        b"?api_key[]=wsk_k",
        b"?xapi_key=wsk_k",
        b"?api-key=wsk_k",
        b"?%2561pi_key=wsk_k",
        b"?wsk_k",
        b"?=wsk_k",
        b"?a=1;api_key=wsk_k",
        b"?a=1%26api_key=wsk_k",
        b"?api_key%3Dwsk_k",
        b"??api_key=wsk_k",
        b"?api_key= wsk_k",
        b"?api_key=%2577sk_k",
        b"?wskeeper_ticket=wsk_k",
    ],
)
def test_query_of_the_application_keeps_every_byte(query: bytes) -> None:
    assert found(QUERY, query=query) is None
    assert QUERY.strip_query(query, ours) == query


@pytest.mark.parametrize(
    "query",
    [
        b"?api_key=wsk_k&api_key=wsk_k",
        b"?api_key=wsk_k&api_key=wsk_l",
        b"?api_key=wsk_k&a=1&%61pi_key=known",
    ],
)
def test_query_with_two_of_ours_is_ambiguous_and_loses_both(query: bytes) -> None:
    assert_ambiguous(QUERY, query=query)
    assert QUERY.strip_query(query, ours) == (b"?a=1" if b"a=1" in query else b"")


def test_nothing_is_no_credential_even_if_it_passes_for_one() -> None:
    def anything(value: bytes) -> bool:
        return True

    for value in (b"", b'"', b'""'):
        line = b"api_key=" + value
        assert COOKIE.claim(Presented(headers(b"Cookie: " + line), b""), anything) is None
        assert COOKIE.strip_cookie(line, anything) == line
    assert QUERY.claim(Presented(headers(), b"?api_key="), anything) is None
    assert QUERY.strip_query(b"?api_key=", anything) == b"?api_key="


# Cookie --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "credential", "rest"),
    [
        (b"api_key=wsk_k", b"wsk_k", None),
        (b"api_key=wsk_k;", b"wsk_k", None),
        (b";api_key=wsk_k; ", b"wsk_k", None),
        (b"a=1; api_key=wsk_k", b"wsk_k", b"a=1"),
        (b"api_key=wsk_k; b=2", b"wsk_k", b"b=2"),
        (b"a=1; api_key=wsk_k; b=2", b"wsk_k", b"a=1; b=2"),
        (b"a=1;api_key=wsk_k;b=2", b"wsk_k", b"a=1;b=2"),
        (b'a="1 2";  ;api_key=wsk_k; \xe9=%20=', b"wsk_k", b'a="1 2";  ; \xe9=%20='),
        (b'api_key="wsk_k"', b"wsk_k", None),
        (b" api_key\t=  wsk_k ", b"wsk_k", None),
        (b"api_key=wsk_a=b==", b"wsk_a=b==", None),
        (b"api_key=wsk_a,b", b"wsk_a,b", None),
        (b"api_key=wsk_%5F", b"wsk_%5F", None),
        (b"api_key=\xff", b"\xff", None),
        (b"api_key=theirs; api_key=wsk_k", b"wsk_k", b"api_key=theirs"),
        (b"api_key; api_key=wsk_k; api_key=", b"wsk_k", b"api_key; api_key="),
    ],
)
def test_cookie_is_found_and_taken_out(line: bytes, credential: bytes, rest: bytes | None) -> None:
    assert found(COOKIE, b"Cookie: " + line) == key(credential)
    assert COOKIE.strip_cookie(line, ours) == rest
    if rest is not None:
        assert COOKIE.strip_cookie(rest, ours) == rest


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b";",
        b"api_key",
        b"api_key=",
        b'api_key=""',
        b'api_key="',
        b"api_key=theirs",
        b"API_KEY=wsk_k",
        b"api_keys=wsk_k",
        b"%61pi_key=wsk_k",
        b"wsk_k",
        b"=wsk_k",
        b"a=api_key=wsk_k",
        b"a=1, api_key=wsk_k",
        b'api_key=""wsk_k""',
        b'api_key="wsk_k; b=2',
        b"; a=1 ;",
    ],
)
def test_cookies_of_the_application_keep_every_byte(line: bytes) -> None:
    assert found(COOKIE, b"Cookie: " + line) is None
    assert COOKIE.strip_cookie(line, ours) == line


def test_cookies_are_looked_for_on_all_lines() -> None:
    lines = ("Cookie: a=1", "cookie: b=2; api_key=wsk_k", "Set-Cookie: api_key=wsk_l")
    assert found(COOKIE, *lines) == key(b"wsk_k")
    assert found(COOKIE, "X-Cookie: api_key=wsk_k") is None


@pytest.mark.parametrize(
    "lines",
    [
        ("Cookie: api_key=wsk_k; api_key=wsk_k",),
        ('Cookie: api_key=wsk_k; api_key="wsk_k"',),
        ("Cookie: api_key=wsk_k", "Cookie: api_key=known"),
    ],
)
def test_two_cookies_of_ours_are_ambiguous_and_both_taken_out(lines: tuple[str, ...]) -> None:
    assert_ambiguous(COOKIE, *lines)
    for line in lines:
        assert COOKIE.strip_cookie(line.partition(" ")[2].encode(), ours) is None


# Subprotocol ---------------------------------------------------------------------------------


def offer(*names: str) -> str:
    return f"Sec-WebSocket-Protocol: {', '.join(names)}"


def encoded(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("name", "credential"),
    [
        ("wskeeper.key.wsk_k", b"wsk_k"),
        # The name is ours, so is what it holds: judged, never overlooked.
        ("wskeeper.key.unknown", b"unknown"),
        ("wskeeper.key.wskeeper.key.x", b"wskeeper.key.x"),
        ("wskeeper.key.eyJh.eyJp.c2ln", b"eyJh.eyJp.c2ln"),
        ("WSKeeper.Key.wsk_K", b"wsk_K"),
        ("wskeeper.key.b64", b"b64"),
        ("wskeeper.key.b64.d3NrX2s", b"wsk_k"),
        ("wskeeper.key.B64.d3NrX2s", b"wsk_k"),
        ("wskeeper.key.b64._-8", b"\xff\xef"),
        # What does not decode, or not in one way, is sent on to be unknown.
        ("wskeeper.key.b64.", b"wskeeper.key.b64."),
        ("wskeeper.key.b64.d", b"wskeeper.key.b64.d"),
        ("wskeeper.key.b64.d3NrX2s=", b"wskeeper.key.b64.d3NrX2s="),
        ("wskeeper.key.b64.d3NrX2t", b"wskeeper.key.b64.d3NrX2t"),
        ("wskeeper.key.b64./+8", b"wskeeper.key.b64./+8"),
        ("wskeeper.key.b64.d3N rX2s", b"wskeeper.key.b64.d3N rX2s"),
        ("wskeeper.key.b64.\xff", b"wskeeper.key.b64.\xff"),
        ("wskeeper.key.\xff", b"\xff"),
    ],
)
def test_subprotocol_of_ours_holds_a_key(name: str, credential: bytes) -> None:
    for lines in (
        (offer(name),),
        (offer("wskeeper", name, "chat"),),
        (offer("chat"), offer(name), offer("wskeeper")),
    ):
        presented = Presented(headers(*lines), b"?api_key=wsk_other")
        assert SUBPROTOCOL.claim(presented, never) == key(credential)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (offer("chat", "wskeeper"),),
        (offer("wskeeper.keys"), offer("wskeeper.key")),
        (offer("wskeeper.key."),),
        (offer("wskeeper.ticket.t"),),
        (offer("key.wsk_k", "wsk_k", "x.wskeeper.key.wsk_k"),),
        ("Sec-WebSocket-Protocols: wskeeper.key.wsk_k",),
    ],
)
def test_other_subprotocols_hold_no_key(lines: tuple[str, ...]) -> None:
    assert found(SUBPROTOCOL, *lines) is None


@pytest.mark.parametrize("second", ["wsk_k", "other", "b64.d3NrX2s", ""])
def test_second_key_among_the_subprotocols_is_ambiguous(second: str) -> None:
    names = ("wskeeper.key.wsk_k", f"wskeeper.key.{second}")
    assert_ambiguous(SUBPROTOCOL, offer(*names))
    assert_ambiguous(SUBPROTOCOL, *map(offer, names))


@pytest.mark.parametrize(
    ("lines", "must"),
    [
        ((), False),
        ((offer("chat"),), False),
        ((offer("wskeeper"),), False),
        ((offer("wskeeper.key"), offer("wskeeper.tickets.t")), False),
        ((offer("wskeeper.key.k"),), True),
        ((offer("chat", "wskeeper.key.k"),), True),
        ((offer("WSKEEPER.KEY.k"),), True),
        ((offer("wskeeper.ticket.t"),), True),
        ((offer("Wskeeper", "wskeeper.key.k"),), True),
        ((offer("wskeeper", "wskeeper.key.k"),), False),
        ((offer("wskeeper.ticket.t", "wskeeper"),), False),
        ((offer("wskeeper.key.k"), offer("wskeeper")), False),
    ],
)
def test_ours_must_be_offered_beside_a_credential(lines: tuple[str, ...], *, must: bool) -> None:
    assert must_offer_ours(headers(*lines)) is must


# Ticket --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "ticket", "rest"),
    [
        (b"?wskeeper_ticket=t", b"t", b""),
        (b"?a=1&wskeeper_ticket=wsk_t&b", b"wsk_t", b"?a=1&b"),
        (b"?%77skeeper_ticket=%74+", b"t+", b""),
        (b"?wskeeper_ticket=%FF", b"\xff", b""),
        # An empty one is none, but the name is ours.
        (b"?a&wskeeper_ticket=", None, b"?a"),
        (b"?wskeeper_ticket", None, b""),
        (b"?Wskeeper_ticket=t", None, b"?Wskeeper_ticket=t"),
        (b"?a;wskeeper_ticket=t", None, b"?a;wskeeper_ticket=t"),
        (b"?", None, b"?"),
        (b"", None, b""),
    ],
)
def test_ticket_is_found_in_the_query_and_taken_out(
    query: bytes, ticket: bytes | None, rest: bytes
) -> None:
    expected = None if ticket is None else Found(ticket, "ticket")
    assert TICKET.claim(Presented(headers(), query), never) == expected
    assert TICKET.strip_query(query, never) == rest
    assert TICKET.strip_query(rest, never) == rest


@pytest.mark.parametrize(
    ("names", "ticket"),
    [
        (("wskeeper", "wskeeper.ticket.t"), b"t"),
        (("WSKEEPER.TICKET.T",), b"T"),
        (("wskeeper.ticket.",), None),
        (("wskeeper.ticket", "wskeeper.key.k"), None),
    ],
)
def test_ticket_is_found_among_the_subprotocols(
    names: tuple[str, ...], ticket: bytes | None
) -> None:
    expected = None if ticket is None else Found(ticket, "ticket")
    assert found(TICKET, offer(*names)) == expected


def test_second_ticket_is_ambiguous() -> None:
    assert_ambiguous(TICKET, query=b"?wskeeper_ticket=t&wskeeper_ticket=t")
    assert_ambiguous(TICKET, query=b"?wskeeper_ticket=t&wskeeper_ticket=")
    assert_ambiguous(TICKET, offer("wskeeper.ticket.t", "wskeeper.ticket.u"))
    assert_ambiguous(TICKET, offer("wskeeper.ticket.t"), query=b"?wskeeper_ticket=t")


# Time ----------------------------------------------------------------------------------------

SIZE = 64 * 1024
LONG = (b"a", b"%", b"%61", b"+", b"&", b"=", b";", b" ", b'"', b"api_key=x&", b"api_key=x; ")


@pytest.mark.parametrize("pattern", LONG)
def test_long_values_take_time_in_proportion(pattern: bytes) -> None:
    filler = pattern * (SIZE // len(pattern))
    begun = time.process_time()
    for before in (b"", b"api_key=", b"wskeeper_ticket=", b"wskeeper.key.b64."):
        value = before + filler
        lines = headers(b"Cookie: " + value, b"Sec-WebSocket-Protocol: " + value)
        for carrier in (QUERY, COOKIE, SUBPROTOCOL, TICKET):
            carrier.claim(Presented(lines, b"?" + value), ours)
        QUERY.strip_query(b"?" + value, ours)
        TICKET.strip_query(b"?" + value, ours)
        COOKIE.strip_cookie(value, ours)
    assert time.process_time() - begun < 5


# Anything ------------------------------------------------------------------------------------

pieces = st.one_of(
    st.sampled_from(
        (b"api_key", b"%61pi_key", b"wskeeper_ticket", b"wskeeper.key.", b"wskeeper.ticket.")
    ),
    st.sampled_from((b"b64.", b"wsk_k", b"known", b"a+b", b'"', b"=", b"&", b";", b" ", b",")),
    st.sampled_from((b"=wsk_k&", b"=wsk_k; ", b"%", b"+", b"?")),
    # What a head can hold.
    st.lists(st.sampled_from(bytes({9, *range(32, 127), *range(128, 256)})), max_size=4).map(bytes),
)
raws = st.lists(pieces, max_size=12).map(b"".join)


def claimed_or_ambiguous(carrier: BrowserCarrier, presented: Presented) -> Found | str | None:
    try:
        return carrier.claim(presented, ours)
    except Refused as refused:
        return refused.code


@given(raws, raws, raws)
def test_any_bytes_are_claimed_or_refused_by_every_carrier(
    query: bytes, cookie: bytes, protocol: bytes
) -> None:
    lines = headers(b"Cookie: " + cookie, b"Sec-WebSocket-Protocol: " + protocol)
    for carrier in (QUERY, COOKIE, SUBPROTOCOL, TICKET):
        claimed = claimed_or_ambiguous(carrier, Presented(lines, b"?" + query))
        if isinstance(claimed, str):
            assert claimed == "key_ambiguous"
        elif claimed is not None:
            assert claimed.credential
            assert claimed.kind == ("ticket" if carrier is TICKET else "key")
            assert carrier not in {QUERY, COOKIE} or ours(claimed.credential)
    must_offer_ours(lines)


@given(raws)
def test_nothing_that_is_claimed_is_left_in_any_query(raw: bytes) -> None:
    for query in (b"?" + raw, b""):
        for carrier in (QUERY, TICKET):
            rest = carrier.strip_query(query, ours)
            assert carrier.claim(Presented(headers(), rest), ours) is None
            assert carrier.strip_query(rest, ours) == rest
            _assert_kept(query[1:].split(b"&"), rest[1:].split(b"&"))
            if rest != query:
                assert rest == b"" or rest.startswith(b"?")
                assert rest != b"?"


@given(raws)
def test_nothing_that_is_claimed_is_left_in_any_cookie(raw: bytes) -> None:
    line = raw.strip(b" \t")
    rest = COOKIE.strip_cookie(line, ours)
    if rest is None:
        return
    assert COOKIE.claim(Presented(headers(b"Cookie: " + rest), b""), ours) is None
    assert COOKIE.strip_cookie(rest, ours) == rest
    _assert_kept(
        [pair.strip(b" \t") for pair in line.split(b";")],
        [pair.strip(b" \t") for pair in rest.split(b";")],
    )


def _assert_kept(before: list[bytes], after: list[bytes]) -> None:
    """What is left stood there, in this order."""
    remaining = iter(before)
    assert all(part in remaining for part in after if part)
    # Nothing went that does not hold the name of a carrier.
    for part in before:
        if part not in after:
            assert b"_" in part or b"%" in part


parameters = st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=5)


@given(parameters, st.integers(0, 5), st.text(max_size=8))
def test_credential_among_other_parameters_goes_and_they_stay(
    others: list[tuple[str, str]], at: int, secret: str
) -> None:
    assume(all(name != "api_key" for name, _ in others))
    text = f"wsk_{secret}"
    parts = [f"{quote_plus(name)}={quote(value, safe='')}" for name, value in others]
    kept = "&".join(parts).encode()
    parts.insert(at, f"api_key={quote(text, safe='')}")
    query = b"?" + "&".join(parts).encode()
    assert found(QUERY, query=query) == key(text.encode())
    rest = QUERY.strip_query(query, ours)
    assert rest == (b"?" + kept if kept else b"")
    assert parse_qsl(rest[1:].decode(), keep_blank_values=True) == others


@given(st.binary(min_size=1, max_size=60))
def test_any_secret_travels_in_base64url(secret: bytes) -> None:
    assert found(SUBPROTOCOL, offer(f"wskeeper.key.b64.{encoded(secret)}")) == key(secret)


def test_headers_without_any_carrier_hold_nothing() -> None:
    presented = Presented(Headers(b"Host: a.test\r\n"), b"")
    for carrier in (QUERY, COOKIE, SUBPROTOCOL, TICKET):
        assert carrier.claim(presented, never) is None

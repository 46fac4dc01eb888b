"""The head that goes upstream: the client's, less what is not its to say, plus ours."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.header_values import template
from proxy.handshake.client import Client
from proxy.handshake.forward import (
    offered_extensions,
    offered_subprotocols,
    upstream_head,
    upstream_lines,
)
from proxy.handshake.head import parse_request
from proxy.handshake.settings import HeaderSettings
from tests.harness import heads
from tests.unit.build import headers, request

STRANGER = Client.of(ip_address("192.0.2.7"), ip_address("192.0.2.7"), trusted=False, scheme="http")
PROXIED = Client.of(ip_address("192.0.2.7"), ip_address("10.0.0.1"), trusted=True, scheme="https")
OURS = (b"X-Request-Id: ours", b"X-Wskeeper-Route: chat", b"X-Wskeeper-Key-Id: legacy")


def sent(
    *lines: str | bytes,
    client: Client = STRANGER,
    target: bytes = b"/ws",
    credential_headers: frozenset[bytes] = frozenset({b"x-api-key"}),
    compression: bool = True,
    host: bytes | None = None,
    settings: HeaderSettings | None = None,
    **changed: str | None,
) -> heads.Request:
    """What the upstream reads when a client sends these lines beside the standard ones."""
    raw = upstream_head(
        request(
            heads.upgrade(
                key="wsk_canary",
                changed={name.replace("_", "-"): value for name, value in changed.items()},
                lines=lines,
            )
        ),
        target,
        client=client,
        credential_headers=credential_headers,
        ours=OURS,
        compression=compression,
        host=host,
        settings=settings,
    )
    parse_request(raw)  # one head, whole and nothing behind it
    return heads.Request.parse(raw)


def names(head: heads.Request) -> list[str]:
    return [name for name, _ in head.headers]


# What passes ---------------------------------------------------------------------------------


def test_head_is_the_clients_in_order_plus_what_is_documented() -> None:
    key = heads.websocket_key()
    head = sent(
        "User-Agent: test/1",
        "Cookie: a=b; c=d",
        "Origin: https://page.test",
        "traceparent: 00-x",
        "Accept-Language: de, en;q=0.5",
        "X-Odd_Name: 1",
        "x-odd_name:\t2 ",
        "Authorization: Basic eDp5",
        Sec_WebSocket_Key=key,
    )
    assert head.first_line == "GET /ws HTTP/1.1"
    assert head.headers == [
        ("Host", heads.DEFAULT_HOST),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
        ("User-Agent", "test/1"),
        ("Cookie", "a=b; c=d"),
        ("Origin", "https://page.test"),
        ("traceparent", "00-x"),
        ("Accept-Language", "de, en;q=0.5"),
        ("X-Odd_Name", "1"),
        ("x-odd_name", "2"),
        ("Authorization", "Basic eDp5"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", heads.DEFAULT_HOST),
        ("X-Real-IP", "192.0.2.7"),
        ("X-Request-Id", "ours"),
        ("X-Wskeeper-Route", "chat"),
        ("X-Wskeeper-Key-Id", "legacy"),
    ]


def test_target_is_sent_to_the_byte() -> None:
    assert sent(target=b"/a%2e;b?x=%2F&&y").target == "/a%2e;b?x=%2F&&y"


def test_eight_bit_values_pass_unchanged() -> None:
    assert sent(b"X-Name: J\xf6rg").get("X-Name") == "J\xf6rg"


# What does not -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "Keep-Alive: 5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic x",
        "Proxy-Authenticate: x",
        "TE: trailers",
        "Trailer: X",
        "Transfer-Encoding: x",
    ],
)
def test_hop_by_hop_header_stays_here(line: str) -> None:
    assert line.partition(":")[0] not in names(sent(line))


def test_client_chooses_nothing_of_the_upstreams_connection() -> None:
    head = sent(Connection="keep-alive, Upgrade, X-Other", Upgrade="WebSocket")
    assert head.all("Connection") == ["Upgrade"]
    assert head.all("Upgrade") == ["websocket"]


def test_header_that_connection_names_stays_here() -> None:
    head = sent("X-Hop: 1", "x-hop: 2", "X-End: 3", Connection="Upgrade, X-HOP")
    assert head.all("X-Hop") == []
    assert head.get("X-End") == "3"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", heads.DEFAULT_HOST),
        ("Origin", "https://page.test"),
        ("Cookie", "a=b"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", heads.DEFAULT_HOST),
        ("X-Real-IP", "192.0.2.7"),
        ("X-Request-Id", "ours"),
        ("X-Wskeeper-Route", "chat"),
        ("X-Wskeeper-Key-Id", "legacy"),
    ],
)
def test_connection_cannot_take_away_what_must_arrive(name: str, value: str) -> None:
    head = sent(
        "Origin: https://page.test",
        "Cookie: a=b",
        "Sec-WebSocket-Protocol: chat",
        Connection=f"Upgrade, {name}, {name.lower()}",
    )
    assert head.get(name) == value


def test_connection_cannot_take_a_trusted_proxys_chain_away() -> None:
    head = sent("X-Forwarded-For: 192.0.2.7", client=PROXIED, Connection="Upgrade, X-Forwarded-For")
    assert head.get("X-Forwarded-For") == "192.0.2.7, 10.0.0.1"


@pytest.mark.parametrize("name", ["X-Api-Key", "X_Api_Key", "x-api_key", "X_API-KEY"])
def test_credential_stays_here_under_every_spelling(name: str) -> None:
    head = sent(f"{name}: wsk_canary2")
    assert b"canary" not in head.raw


def test_credential_that_connection_names_stays_here_too() -> None:
    assert b"canary" not in sent(Connection="Upgrade, X-Api-Key").raw


def test_authorization_stays_here_only_when_it_carried_the_credential() -> None:
    line = "Authorization: Bearer token"
    assert sent(line).get("Authorization") == "Bearer token"
    carried = frozenset({b"authorization"})
    assert sent(line, credential_headers=carried).get("Authorization") is None


@pytest.mark.parametrize(
    "name",
    [
        "X-Request-Id",
        "X_Request_Id",
        "X-Forwarded-Proto",
        "X_FORWARDED_PROTO",
        "x-forwarded_host",
        "X_Real_IP",
        "X-Wskeeper-Key-Id",
        "X_Wskeeper_Key_Id",
        "X-Wskeeper_Subject",
        "X-Wskeeper-Meta-Role",
        "x_wskeeper_anything",
    ],
)
@pytest.mark.parametrize("client", [STRANGER, PROXIED], ids=["stranger", "proxied"])
def test_nobody_speaks_in_our_name(name: str, client: Client) -> None:
    assert b"forged" not in sent(f"{name}: forged", client=client).raw.replace(
        b"X-Forwarded-Host: forged", b""
    )


FORWARDING = [
    "Forwarded",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Client-IP",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Anything",
]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", *FORWARDING])
@pytest.mark.parametrize("spelling", [str, lambda name: name.replace("-", "_")], ids=["-", "_"])
def test_stranger_forwards_nothing(name: str, spelling) -> None:
    assert b"1.2.3.4" not in sent(f"{spelling(name)}: 1.2.3.4").raw


@pytest.mark.parametrize("name", FORWARDING)
def test_trusted_proxys_word_is_carried_on(name: str) -> None:
    assert sent(f"{name}: 1.2.3.4", client=PROXIED).get(name) == "1.2.3.4"


def test_trusted_proxys_chain_grows_by_itself() -> None:
    head = sent("X-Forwarded-For: 1.2.3.4, 192.0.2.7", "X-Forwarded-For: 10.0.0.2", client=PROXIED)
    assert head.get("X-Forwarded-For") == "1.2.3.4, 192.0.2.7, 10.0.0.2, 10.0.0.1"
    assert head.get("X-Real-IP") == "192.0.2.7"
    assert head.get("X-Forwarded-Proto") == "https"


def test_trusted_proxy_tells_the_host_it_was_asked_for() -> None:
    told = "X-Forwarded-Host: public.test"
    assert sent(told, client=PROXIED).get("X-Forwarded-Host") == "public.test"
    assert sent(told).get("X-Forwarded-Host") == heads.DEFAULT_HOST
    twice = sent(told, told, client=PROXIED)
    assert twice.get("X-Forwarded-Host") == heads.DEFAULT_HOST


# Offers --------------------------------------------------------------------------------------

OFFER = "Sec-WebSocket-Protocol"


@pytest.mark.parametrize(
    ("offer", "arrives"),
    [
        ("chat", ["chat"]),
        ("chat,v2 , x", ["chat,v2 , x"]),
        ("wskeeper", []),
        ("wskeeper, wskeeper.key.wsk_canary", []),
        ("chat, wskeeper, wskeeper.key.wsk_canary, v2", ["chat, v2"]),
        ("WSKeeper.Key.wsk_canary,chat", ["chat"]),
        ("wskeeper.ticket.canary\t, chat", ["chat"]),
        ("wskeeperish, chat", ["chat"]),
        ("not-wskeeper", ["not-wskeeper"]),
        ("wskeeper,,chat,", ["chat"]),
    ],
)
def test_subprotocols_of_ours_are_stripped(offer: str, arrives: list[str]) -> None:
    head = sent(f"{OFFER}: {offer}")
    assert head.all(OFFER) == arrives
    assert b"canary" not in head.raw.lower()


def test_every_line_of_an_offer_is_stripped() -> None:
    head = sent(f"{OFFER}: wskeeper", f"{OFFER}: chat", f"{OFFER}: wskeeper.key.x, v2")
    assert head.all(OFFER) == ["chat", "v2"]


def test_extension_offer_passes_unless_compression_is_off() -> None:
    line = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    assert sent(line).all("Sec-WebSocket-Extensions") == [line.partition(": ")[2]]
    assert sent(line, compression=False).all("Sec-WebSocket-Extensions") == []


def test_what_was_offered_is_known_without_ours() -> None:
    offered = headers(f"{OFFER}: chat, WSkeeper.key.x,v2", f"{OFFER}: wskeeper,last")
    assert offered_subprotocols(offered) == [b"chat", b"v2", b"last"]
    assert offered_subprotocols(headers()) == []


def test_names_of_offered_extensions_are_known() -> None:
    offered = headers(
        "Sec-WebSocket-Extensions: Permessage-Deflate ; a=1, x-odd",
        "Sec-WebSocket-Extensions: permessage-deflate",
    )
    assert offered_extensions(offered) == {b"permessage-deflate", b"x-odd"}
    assert offered_extensions(headers()) == set()


# Anything ------------------------------------------------------------------------------------

NAMES = (
    "X-Api-Key", "Authorization", "Cookie", "Host", "Origin", "User-Agent", "X-Forwarded-For",
    "X-Forwarded-Host", "Forwarded", "X-Real-IP", "X-Request-Id", "X-Wskeeper-Key-Id",
    "Connection", "Upgrade", "TE", "Keep-Alive", "Sec-WebSocket-Protocol", "X-Custom",
    "Sec-WebSocket-Extensions", "Transfer-Encoding", "CF-Connecting-IP", "Content-Length",
)  # fmt: skip
SPELLINGS = (str, str.lower, str.upper, lambda name: name.replace("-", "_"))
names_sent = st.builds(
    lambda name, spell: spell(name), st.sampled_from(NAMES), st.sampled_from(SPELLINGS)
)
values_sent = st.one_of(
    st.lists(st.sampled_from((*NAMES, "wskeeper", "wskeeper.key.k", "chat")), max_size=3).map(
        ", ".join
    ),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")),
)
KEPT_FROM_STRANGERS = (
    "forwarded", "x-real-ip", "true-client-ip", "cf-connecting-ip", "x-client-ip",
)  # fmt: skip
HOP = (
    "connection", "upgrade", "te", "trailer", "keep-alive", "transfer-encoding",
    "proxy-connection", "proxy-authorization", "proxy-authenticate",
)  # fmt: skip
SET_BY_US = (
    "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "x-request-id",
)  # fmt: skip


def should_arrive(name: str, named: set[str], *, trusted: bool) -> bool:
    """By the contract's 'Headers to the upstream'."""
    lower, folded = name.lower(), name.lower().replace("_", "-")
    ours = folded in SET_BY_US or folded.startswith("x-wskeeper-")
    if folded in HOP or ours or folded == "x-api-key" or lower == "content_length":
        return False
    if not trusted and (folded in KEPT_FROM_STRANGERS or folded.startswith("x-forwarded-")):
        return False
    protected = lower in {"host", "origin", "cookie"} or lower.startswith("sec-websocket-")
    return lower not in named or protected


@given(
    st.lists(st.tuples(names_sent, values_sent), max_size=8), st.sampled_from((STRANGER, PROXIED))
)
def test_any_head_arrives_less_what_may_not(lines: list[tuple[str, str]], client: Client) -> None:
    canary = "wsk_canary"
    head = sent(
        *(f"{name}: {value}" for name, value in lines if name != "Sec-WebSocket-Protocol"),
        f"X-API_Key: {canary}",
        client=client,
    )
    named = {
        token.strip(" \t").lower()
        for name, value in [("Connection", "Upgrade"), *lines]
        if name.lower() == "connection"
        for token in value.split(",")
    }
    expected = [
        (name, value.strip(" \t"))
        for name, value in lines
        if should_arrive(name, named, trusted=client.trusted)
        and name.lower() != "sec-websocket-protocol"
    ]
    begin = names(head).index("Sec-WebSocket-Key") + 1
    end = begin + head.headers[begin:].index(("Connection", "Upgrade"))
    assert [
        header for header in head.headers[begin:end] if header[0].lower() != OFFER.lower()
    ] == expected
    assert canary.encode() not in head.raw
    assert [name for name, _ in head.headers[end:]] == [
        "Connection", "Upgrade", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
        "X-Real-IP", "X-Request-Id", "X-Wskeeper-Route", "X-Wskeeper-Key-Id",
    ]  # fmt: skip
    offered = [name.strip() for value in head.all(OFFER) for name in value.split(",")]
    assert not any(name.lower().startswith("wskeeper") for name in offered)


# What the operator sets ----------------------------------------------------------------------


def test_host_of_the_target_stands_in_its_place() -> None:
    head = sent("User-Agent: test/1", host=b"up.test:9000")
    assert head.headers[0] == ("Host", "up.test:9000")
    assert head.get("X-Forwarded-Host") == heads.DEFAULT_HOST
    assert head.get("User-Agent") == "test/1"


@pytest.mark.parametrize(
    "line", ["Authorization: Basic eDp5", "AUTHORIZATION: x", "Origin: https://page.test"]
)
def test_header_that_is_set_or_removed_is_not_the_clients(line: str) -> None:
    settings = HeaderSettings({"authorization": template("Bearer up"), "Origin": None})
    head = sent(line, "Cookie: a=b", settings=settings)
    assert head.all("Authorization") == ["Bearer up"]
    assert head.get("Origin") is None
    assert head.get("Cookie") == "a=b"


def test_other_spelling_of_a_header_that_is_set_does_not_travel() -> None:
    head = sent("X_User: evil", "x-user: evil", settings=HeaderSettings({"X-User": template("me")}))
    assert [pair for pair in head.headers if "user" in pair[0].lower()] == [("X-User", "me")]


def test_header_that_is_set_speaks_of_the_client() -> None:
    settings = HeaderSettings({"X-Who": template("{client} {route} {key.id}"), "X-Real-IP": None})
    head = sent(settings=settings)
    assert head.get("X-Who") == "192.0.2.7 chat legacy"
    assert head.get("X-Real-IP") is None
    assert head.get("X-Forwarded-For") == "192.0.2.7"


# Ordinary requests ---------------------------------------------------------------------------


def ordinary(*lines: str, settings: HeaderSettings | None = None) -> list[bytes]:
    """The header lines that go upstream of an ordinary request."""
    return upstream_lines(
        request(heads.plain("/app", "X-Api-Key: canary", *lines, method="POST")),
        client=STRANGER,
        credential_headers=frozenset({b"x-api-key"}),
        ours=OURS,
        settings=settings,
    )


@pytest.mark.parametrize(
    "line", ["Content_Length: 50", "transfer_encoding: chunked", "Keep_Alive: 5", "Connection_: x"]
)
def test_framing_that_some_servers_read_by_another_name_does_not_travel(line: str) -> None:
    arrives = line.startswith("Connection_")  # Nobody reads that as another name.
    assert (line.encode() in ordinary("Content-Length: 5", line)) is arrives
    assert b"Content-Length: 5" in ordinary("Content-Length: 5", line)


def test_address_of_the_page_travels_without_what_is_taken_out() -> None:
    lines = upstream_lines(
        request(heads.plain("/app", "Referer: https://a.test/?key", "X-Referer: b")),
        client=STRANGER,
        credential_headers=(),
        ours=OURS,
        referer=lambda value: value.removesuffix(b"?key"),
    )
    assert [line for line in lines if b"eferer" in line] == [
        b"Referer: https://a.test/",
        b"X-Referer: b",
    ]


def test_ordinary_request_travels_without_its_framing_and_what_waits_for_it() -> None:
    kept = ("Content-Type: a/b", "Cookie: a=b")
    dropped = (
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "Connection: X-Hop",
        "X-Hop: 1",
    )
    assert ordinary(*kept, *dropped) == [
        b"Host: gateway.test",
        *(line.encode() for line in kept),
        b"X-Forwarded-For: 192.0.2.7",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: gateway.test",
        b"X-Real-IP: 192.0.2.7",
        *OURS,
    ]


def test_ordinary_request_keeps_its_length() -> None:
    assert b"Content-Length: 5" in ordinary("Content-Length: 5")


def test_settings_hold_for_ordinary_requests() -> None:
    settings = HeaderSettings({"X-Key": template("{key.id}"), "X-Request-Id": None, "A": None})
    lines = ordinary("A: 1", "X_Key: forged", settings=settings)
    assert b"X-Key: legacy" in lines
    assert not [line for line in lines if line.startswith((b"A:", b"X_Key", b"X-Request-Id"))]

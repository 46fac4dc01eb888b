"""Who is at the other end, through the proxies we trust and no others."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.handshake.client import Client, client_of, peer_address, within
from tests.unit.build import headers

TRUSTED = tuple(ip_network(network) for network in ("10.0.0.0/8", "fd00::/8"))


def client(
    *lines: str | bytes,
    peer: str = "10.0.0.1",
    secure: bool = False,
    address_header: bytes = b"x-forwarded-for",
) -> Client:
    return client_of(
        ip_address(peer),
        headers(*lines),
        secure=secure,
        trusted_proxies=TRUSTED,
        address_header=address_header,
    )


def address(*lines: str | bytes, **how: str) -> str:
    return str(client(*lines, **how).address)


# The peer ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sockname", "expected"),
    [
        (("192.0.2.1", 4711), "192.0.2.1"),
        (("2001:db8::1", 4711, 0, 0), "2001:db8::1"),
        (("::ffff:192.0.2.1", 4711, 0, 0), "192.0.2.1"),
        (("fe80::1%eth0", 4711, 0, 2), "fe80::1"),
        ("", "127.0.0.1"),
        ("/run/x.sock", "127.0.0.1"),
        ((), "127.0.0.1"),
        (None, "127.0.0.1"),
        (b"\0abstract", "127.0.0.1"),
    ],
)
def test_peer_address_is_plain(sockname: object, expected: str) -> None:
    assert str(peer_address(sockname)) == expected


def test_within_is_any_of_the_networks() -> None:
    assert within(ip_address("10.1.2.3"), TRUSTED)
    assert within(ip_address("fd12::1"), TRUSTED)
    assert not within(ip_address("11.0.0.1"), TRUSTED)
    assert not within(ip_address("10.1.2.3"), ())


# Peers that are not trusted ------------------------------------------------------------------


@pytest.mark.parametrize("peer", ["192.0.2.1", "2001:db8::1", "11.0.0.0"])
def test_stranger_speaks_for_nobody_else(peer: str) -> None:
    found = client("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", peer=peer)
    assert found == Client.of(ip_address(peer), ip_address(peer), trusted=False, scheme="http")


def test_scheme_of_a_stranger_is_that_of_its_socket() -> None:
    found = client("X-Forwarded-Proto: http", peer="192.0.2.1", secure=True)
    assert found.scheme == "https"


def test_nobody_is_trusted_by_default() -> None:
    peer = ip_address("127.0.0.1")
    found = client_of(
        peer,
        headers("X-Forwarded-For: 1.2.3.4"),
        secure=False,
        trusted_proxies=(),
        address_header=b"x-forwarded-for",
    )
    assert found == Client.of(peer, peer, trusted=False, scheme="http")


# Trusted proxies -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), "10.0.0.1"),
        (("X-Forwarded-For:",), "10.0.0.1"),
        (("X-Forwarded-For: 192.0.2.7",), "192.0.2.7"),
        # Read from right to left: what a client put in front proves nothing.
        (("X-Forwarded-For: 1.2.3.4, 192.0.2.7",), "192.0.2.7"),
        (("X-Forwarded-For: 1.2.3.4, 192.0.2.7, 10.0.0.2, 10.0.0.3",), "192.0.2.7"),
        (("X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 192.0.2.7"), "192.0.2.7"),
        (("X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 10.0.0.2,"), "192.0.2.7"),
        # All are proxies: the first of them is who called.
        (("X-Forwarded-For: 10.0.0.9, 10.0.0.2",), "10.0.0.9"),
        # What is no address ends the walk at the last hop that was one.
        (("X-Forwarded-For: unknown",), "10.0.0.1"),
        (("X-Forwarded-For: 192.0.2.7, _hidden, 10.0.0.2",), "10.0.0.2"),
        (("X-Forwarded-For: 192.0.2.7, 999.1.1.1",), "10.0.0.1"),
        (("X-Forwarded-For: 192.0.2.7, \xe9",), "10.0.0.1"),
        # Ports, brackets, IPv6, IPv4 in IPv6, zones.
        (("X-Forwarded-For: 192.0.2.7:4711",), "192.0.2.7"),
        (("X-Forwarded-For: 2001:db8::7",), "2001:db8::7"),
        (("X-Forwarded-For: [2001:db8::7]",), "2001:db8::7"),
        (("X-Forwarded-For: [2001:db8::7]:4711",), "2001:db8::7"),
        (("X-Forwarded-For: [2001:db8::7",), "2001:db8::7"),
        (("X-Forwarded-For: ::ffff:192.0.2.7",), "192.0.2.7"),
        (("X-Forwarded-For: 192.0.2.7, ::ffff:10.0.0.2",), "192.0.2.7"),
        (("X-Forwarded-For: 192.0.2.7, fd00::2",), "192.0.2.7"),
        (("X-Forwarded-For: fe80::1%any text",), "fe80::1"),
        (("X-Forwarded-For: [fe80::1%eth0]:1",), "fe80::1"),
    ],
)
def test_client_is_the_first_from_the_right_that_is_no_proxy(
    lines: tuple[str, ...], expected: str
) -> None:
    found = client(*lines)
    assert str(found.address) == expected
    assert found.trusted
    assert str(found.peer) == "10.0.0.1"


def test_address_may_come_from_another_header() -> None:
    lines = ("CF-Connecting-IP: 192.0.2.7", "X-Forwarded-For: 1.2.3.4")
    assert str(client(*lines, address_header=b"cf-connecting-ip").address) == "192.0.2.7"


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        ((), "http"),
        (("X-Forwarded-Proto: https",), "https"),
        (("X-Forwarded-Proto: HTTPS",), "https"),
        (("X-Forwarded-Proto: wss",), "https"),
        (("X-Forwarded-Proto: ws",), "http"),
        (("X-Forwarded-Proto: http",), "http"),
        (("X-Forwarded-Proto: gopher",), "http"),
        (("X-Forwarded-Proto:",), "http"),
        (("X-Forwarded-Proto: https", "X-Forwarded-Proto: https"), "http"),
    ],
)
def test_trusted_proxy_tells_the_scheme(lines: tuple[str, ...], scheme: str) -> None:
    assert client(*lines).scheme == scheme


def test_proxy_over_tls_may_still_say_http() -> None:
    assert client(secure=True).scheme == "https"
    assert client("X-Forwarded-Proto: http", secure=True).scheme == "http"


@given(st.binary(max_size=60))
def test_any_forwarding_header_leads_to_an_address(value: bytes) -> None:
    line = bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F)
    found = client(b"X-Forwarded-For: " + line, b"X-Forwarded-Proto: " + line)
    assert str(found.address).replace(":", "").replace(".", "").isalnum()
    assert found.scheme in {"http", "https"}


hops = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.sampled_from(("10.9.9.9", "fd00::9", "unknown")),
)


@given(st.lists(hops, max_size=6))
def test_no_hop_in_front_of_the_client_matters(chain: list[str]) -> None:
    with_client = [*chain, "192.0.2.7", "10.0.0.2"]
    assert address("X-Forwarded-For: " + ", ".join(with_client)) == "192.0.2.7"

"""Clients: one for an IPv4 address, one for a /64 of IPv6."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.addresses import counted_as


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("0.0.0.0", "::", False),
        ("0.0.0.1", "0:0:0:1::", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_addresses_of_one_client_count_as_one(one: str, other: str, *, same: bool) -> None:
    assert (counted_as(ip_address(one)) == counted_as(ip_address(other))) is same


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**128 - 1))
def test_no_ipv6_network_counts_as_an_ipv4_address(four: int, six: int) -> None:
    address = IPv6Address(six)
    if address.ipv4_mapped is None:
        assert counted_as(IPv4Address(four)) != counted_as(address)

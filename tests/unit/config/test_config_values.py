"""Durations, sizes, addresses and networks, as text and as values."""

from __future__ import annotations

import ipaddress
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.faults import Several, Wrong
from proxy.config.values import (
    LARGEST_SIZE,
    LONGEST_DURATION,
    PRIVATE_RANGES,
    TcpAddress,
    UnixAddress,
    address,
    duration,
    network,
    networks,
    size,
    within,
)

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9, "B": 1}


@given(st.integers(1, 3600), st.sampled_from(sorted(SECONDS)))
def test_duration_is_number_times_unit(number: int, unit: str) -> None:
    assert duration(f"{number}{unit}") == pytest.approx(number * SECONDS[unit])


@given(st.floats(min_value=0.001, max_value=LONGEST_DURATION))
def test_plain_numbers_are_seconds(seconds: float) -> None:
    assert duration(seconds) == seconds


def test_duration_takes_fractions_and_digits_in_text() -> None:
    assert duration("1.5s") == 1.5
    assert duration("30") == 30.0


@pytest.mark.parametrize(
    "value",
    ["", "s", "5 weeks", "-5s", "1h30m", "1e3s", "0x10", "٣s", True, [], {}, b"5s", "5S", "1.s"],
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(Wrong, match="is not a duration"):
        duration(value)


@pytest.mark.parametrize("value", [0, "0", "0s", 0.0])
def test_duration_may_be_nothing_where_that_means_something(value: object) -> None:
    assert duration(value, zero=True) == 0.0


@pytest.mark.parametrize("value", [-1, None, math.nan, "-1s", True])
def test_but_nothing_less(value: object) -> None:
    with pytest.raises(Wrong):
        duration(value, zero=True)


@pytest.mark.parametrize("value", [0, -1, "0s", -math.inf, math.nan])
def test_duration_is_longer_than_nothing(value: object) -> None:
    with pytest.raises(Wrong):
        duration(value)


@pytest.mark.parametrize("value", ["3651d", math.inf, 10**400])
def test_duration_is_at_most_ten_years(value: object) -> None:
    with pytest.raises(Wrong, match="longer than ten years"):
        duration(value)


def test_duration_that_must_be_set_says_so_for_null() -> None:
    with pytest.raises(Wrong, match="cannot be `null`"):
        duration(None)


@given(st.text())
def test_any_text_is_a_positive_duration_or_refused(text: str) -> None:
    try:
        seconds = duration(text)
    except Wrong:
        return
    assert 0 < seconds <= LONGEST_DURATION


@given(st.integers(1, 999), st.sampled_from(sorted(BYTES)))
def test_size_is_number_times_unit(number: int, unit: str) -> None:
    assert size(f"{number}{unit}") == number * BYTES[unit]


def test_size_takes_whole_fractions_of_a_unit() -> None:
    assert size("1.5KiB") == 1536
    assert size(65_536) == 65_536


@pytest.mark.parametrize(
    "value", ["", "KiB", "1XiB", "-1", 1.5, True, None, [], "1.0001KiB", "0.5B"]
)
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(Wrong, match="is not a"):
        size(value)


@pytest.mark.parametrize("value", [0, -1, "0KiB", LARGEST_SIZE + 1, "9" * 400, "2000000GiB"])
def test_size_out_of_range_is_refused(value: object) -> None:
    with pytest.raises(Wrong, match="is not a size from"):
        size(value)


@given(st.text())
def test_any_text_is_a_positive_size_or_refused(text: str) -> None:
    try:
        number = size(text)
    except Wrong:
        return
    assert 0 < number <= LARGEST_SIZE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080)),
        ("[::]:8080", TcpAddress("::", 8080)),
        ("[0:0::1]:0", TcpAddress("::1", 0)),
        ("LocalHost:65535", TcpAddress("localhost", 65535)),
        ("unix:/run/x.sock", UnixAddress("/run/x.sock")),
    ],
)
def test_addresses_are_read(text: str, expected: object) -> None:
    assert address(text) == expected


@given(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str),
    st.integers(0, 65535),
)
def test_an_address_reads_back_what_it_prints(host: str, port: int) -> None:
    written = TcpAddress(host, port)
    assert address(str(written)) == written


def test_a_unix_address_reads_back_what_it_prints() -> None:
    assert str(UnixAddress("/run/x.sock")) == "unix:/run/x.sock"
    assert address(str(UnixAddress("/run/x.sock"))) == UnixAddress("/run/x.sock")


@pytest.mark.parametrize("text", [":8080", "*:8080", "8080", 8080])
def test_a_port_alone_is_refused_with_what_to_write(text: object) -> None:
    with pytest.raises(Wrong, match=r"127\.0\.0\.1:8080.*0\.0\.0\.0:8080"):
        address(text)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("127.0.0.1", "names no port"),
        ("127.0.0.1:http", "names no port"),
        ("127.0.0.1:70000", "port that does not exist"),
        ("127.0.0.1:" + "9" * 5000, "port that does not exist"),
        ("::1:8080", "without brackets"),
        ("[::g]:8080", "wrong IPv6 address"),
        ("[fe80::1%eth0]:8080", "IPv6 zone"),
        ("256.0.0.1:80", "wrong IPv4 address"),
        ("http://127.0.0.1:80", "is a URL"),
        ("a b:80", "no host name"),
        ("bücher.example:80", "not ASCII"),
        ("unix:", "names no socket"),
        ("unix:" + "x" * 200, "too long"),
        (None, "is not an address"),
        (True, "is not an address"),
        ([], "is not an address"),
    ],
)
def test_what_is_no_address_is_refused(value: object, problem: str) -> None:
    with pytest.raises(Wrong, match=problem):
        address(value)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("localhost:1", True),
        ("unix:/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example.com:1", False),
    ],
)
def test_only_this_machine_reaches_loopback(text: str, *, loopback: bool) -> None:
    assert address(text).is_loopback is loopback


def test_networks_take_cidrs_addresses_and_private_ranges() -> None:
    found = networks(["203.0.113.7", "2001:db8::/32", "private_ranges"])
    assert found == (
        ipaddress.ip_network("203.0.113.7/32"),
        ipaddress.ip_network("2001:db8::/32"),
        *PRIVATE_RANGES,
    )


def test_networks_take_one_entry_without_a_list_and_drop_repetition() -> None:
    assert networks("private_ranges") == PRIVATE_RANGES
    assert networks(["10.0.0.0/8", "private_ranges"]) == PRIVATE_RANGES


def test_every_wrong_network_is_named_by_its_position() -> None:
    with pytest.raises(Several) as caught:
        networks(["10.0.0.0/8", "10.0.0.0/33", "10.1.2.3/8", 7])
    assert sorted(caught.value.entries) == [1, 2, 3]
    assert "`10.0.0.0/8`" in caught.value.entries[2].mend


@pytest.mark.parametrize("value", [None, 5, {}])
def test_what_is_no_list_of_networks_is_refused(value: object) -> None:
    with pytest.raises(Wrong, match="not a list of networks"):
        networks(value)


def test_long_or_unprintable_text_is_not_repeated() -> None:
    for text in ("x" * 100, "\x1b[2J"):
        with pytest.raises(Wrong) as caught:
            network(text)
        assert text not in str(caught.value)


def test_mapped_networks_are_compared_as_ipv4() -> None:
    assert networks(["::ffff:10.0.0.0/104"]) == (ipaddress.ip_network("10.0.0.0/8"),)
    assert network(ipaddress.ip_network("10.0.0.0/8")) == ipaddress.ip_network("10.0.0.0/8")


@given(st.ip_addresses(v=4))
def test_a_mapped_address_lies_where_its_ipv4_address_lies(ip: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{ip}")
    assert within(mapped, PRIVATE_RANGES) is within(ip, PRIVATE_RANGES)


def test_an_address_outside_every_network_is_outside() -> None:
    assert within(ipaddress.ip_address("172.31.0.1"), PRIVATE_RANGES)
    assert not within(ipaddress.ip_address("172.32.0.1"), PRIVATE_RANGES)
    assert not within(ipaddress.ip_address("2001:db8::1"), PRIVATE_RANGES)

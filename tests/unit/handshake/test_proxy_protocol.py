"""The PROXY protocol, version 2: read to the byte, or refused as soon as that is certain."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.handshake.proxy_protocol import MAX_LENGTH, Malformed, Parsed, parse

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, UDP4, TCP6, UDP6, UNIX, UNIX_DATAGRAM = 0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32

V4 = ip_address("203.0.113.7").packed + ip_address("10.0.0.1").packed + struct.pack("!HH", 4711, 80)
V6 = (
    ip_address("2001:db8::7").packed
    + ip_address("2001:db8::1").packed
    + struct.pack("!HH", 4711, 80)
)
MAPPED = (
    ip_address("::ffff:203.0.113.7").packed
    + ip_address("::ffff:10.0.0.1").packed
    + struct.pack("!HH", 4711, 80)
)


def block(command: int, family: int, rest: bytes = b"", length: int | None = None) -> bytes:
    size = len(rest) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + rest


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


# PP2_TYPE_ALPN, CRC32C, NOOP, an SSL one with others in it, AWS's, and an empty one.
TLVS = (
    tlv(1, b"h2")
    + tlv(3, bytes(4))
    + tlv(4, b"")
    + tlv(0x20, b"\1" + bytes(4) + tlv(0x21, b"TLSv1.3"))
    + tlv(0xEA, b"\1vpce-08d2bf15fac5001c9")
)


def outcome(data: bytes) -> Parsed | str | None:
    try:
        return parse(data)
    except Malformed as malformed:
        return str(malformed)


# What is read --------------------------------------------------------------------------------

GOOD = {
    "TCP4": (block(PROXY, TCP4, V4), "203.0.113.7", 4711, False),
    "TCP4 with TLVs": (block(PROXY, TCP4, V4 + TLVS), "203.0.113.7", 4711, False),
    "TCP6": (block(PROXY, TCP6, V6), "2001:db8::7", 4711, False),
    "TCP6 with TLVs": (block(PROXY, TCP6, V6 + TLVS), "2001:db8::7", 4711, False),
    "IPv4 in IPv6": (block(PROXY, TCP6, MAPPED), "203.0.113.7", 4711, False),
    "all zero": (block(PROXY, TCP4, bytes(12)), "0.0.0.0", 0, False),
    "largest port": (block(PROXY, TCP4, V4[:8] + b"\xff" * 4), "203.0.113.7", 65535, False),
    "health check": (block(LOCAL, UNSPEC), None, None, True),
    "health check with TLVs": (block(LOCAL, UNSPEC, TLVS), None, None, True),
    "health check with addresses": (block(LOCAL, TCP4, V4), None, None, True),
    "health check of any family": (block(LOCAL, 0xFF, b"\xff"), None, None, True),
    "unknown": (block(PROXY, UNSPEC), None, None, False),
    "unknown with anything": (block(PROXY, UNSPEC, b"\xff\xff\xff"), None, None, False),
    "UDP4": (block(PROXY, UDP4, V4), None, None, False),
    "UDP6": (block(PROXY, UDP6, V6), None, None, False),
    "Unix": (block(PROXY, UNIX, b"/a".ljust(108, b"\0") * 2), None, None, False),
    "Unix datagram": (block(PROXY, UNIX_DATAGRAM, bytes(216) + TLVS), None, None, False),
    "longest": (
        block(PROXY, TCP4, V4 + tlv(4, bytes(MAX_LENGTH - 15))),
        "203.0.113.7",
        4711,
        False,
    ),
}


@pytest.mark.parametrize(("raw", "source", "port", "local"), GOOD.values(), ids=GOOD)
def test_block_is_read_once_it_is_whole(
    raw: bytes, source: str | None, port: int | None, *, local: bool
) -> None:
    address = None if source is None else ip_address(source)
    expected = Parsed(address, port, local=local, size=len(raw))
    assert parse(raw) == expected
    for end in range(len(raw)):
        assert parse(raw[:end]) is None
    for tail in (b"GET / HTTP/1.1\r\n", SIGNATURE, b"\0" * 5000):
        assert parse(raw + tail) == expected


# What is not ---------------------------------------------------------------------------------

BAD = {
    "version 1": (block(0x11, TCP4, V4), "version", 16),
    "version 3": (block(0x31, TCP4, V4), "version", 16),
    "version 0": (block(0x01, TCP4, V4), "version", 16),
    "command 2": (block(0x22, TCP4, V4), "command", 16),
    "command 15": (block(0x2F, TCP4, V4), "command", 16),
    "family 4": (block(PROXY, 0x41, V4), "family", 16),
    "transport 3": (block(PROXY, 0x13, V4), "family", 16),
    "IPv4 without a transport": (block(PROXY, 0x10, V4), "family", 16),
    "transport without a family": (block(PROXY, 0x01, V4), "family", 16),
    "short for IPv4": (block(PROXY, TCP4, V4[:-1]), "too short", 16),
    "short for IPv6": (block(PROXY, TCP6, V6[:-1]), "too short", 16),
    "short for UDP": (block(PROXY, UDP4, V4[:-1]), "too short", 16),
    "short for Unix": (block(PROXY, UNIX, bytes(215)), "too short", 16),
    "no addresses": (block(PROXY, TCP4), "too short", 16),
    "too long": (block(PROXY, TCP4, V4, length=MAX_LENGTH + 1), "longer than 2048", 16),
    "health check too long": (block(LOCAL, UNSPEC, length=0xFFFF), "longer than 2048", 16),
    "TLV of one byte": (block(PROXY, TCP4, V4 + b"\4"), "TLV", 29),
    "TLV of two bytes": (block(PROXY, TCP4, V4 + b"\4\0"), "TLV", 30),
    "TLV beyond the block": (block(PROXY, TCP4, V4 + b"\4\0\1"), "TLV", 31),
    "second TLV beyond the block": (block(PROXY, TCP6, V6 + TLVS + b"\4\xff\xff"), "TLV", None),
    "TLV beyond a block of UDP": (block(PROXY, UDP4, V4 + b"\4\0\1"), "TLV", 31),
    "version 1 in text": (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n", "send version 2", 6),
    "version 1, unknown": (b"PROXY UNKNOWN\r\n", "send version 2", 6),
    "request": (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "no PROXY", 1),
    "POST": (b"POST / HTTP/1.1\r\n\r\n", "no PROXY", 2),
    "PROXY without a blank": (b"PROXYTCP4", "no PROXY", 6),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "no PROXY", 1),
    "request behind blank lines": (b"\r\n\r\nGET / HTTP/1.1", "no PROXY", 5),
    "other signature": (SIGNATURE[:-1] + b"\r" + V4, "no PROXY", 12),
}


@pytest.mark.parametrize(("raw", "says", "certain"), BAD.values(), ids=BAD)
def test_bad_block_is_refused_as_soon_as_that_is_certain(
    raw: bytes, says: str, certain: int | None
) -> None:
    certain = len(raw) if certain is None else certain
    for end in range(certain):
        assert parse(raw[:end]) is None
    for data in (raw[:certain], raw, raw + b"tail"):
        with pytest.raises(Malformed, match=says):
            parse(data)


def test_version_1_is_told_apart_and_its_mend_named() -> None:
    with pytest.raises(Malformed, match=r"send-proxy-v2"):
        parse(b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n")


# Anything ------------------------------------------------------------------------------------

tlvs = st.lists(st.builds(tlv, st.integers(0, 255), st.binary(max_size=20)), max_size=4)


@given(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.integers(0, 65535),
    tlvs,
    st.binary(max_size=20),
)
def test_every_address_is_read(source, port: int, extra: list[bytes], tail: bytes) -> None:
    packed = source.packed
    rest = packed * 2 + struct.pack("!HH", port, 80) + b"".join(extra)
    raw = block(PROXY, TCP4 if source.version == 4 else TCP6, rest)
    mapped = getattr(source, "ipv4_mapped", None)
    assert parse(raw + tail) == Parsed(mapped or source, port, local=False, size=len(raw))


@st.composite
def near_blocks(draw: st.DrawFn) -> bytes:
    """A good block with a few bytes changed, put in or taken out."""
    raw = bytearray(draw(st.sampled_from([raw for raw, *_ in GOOD.values() if len(raw) < 500])))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, min(len(raw) - 1, 70)))
        raw[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(raw)


@given(st.one_of(st.binary(max_size=60), near_blocks()), st.binary(max_size=4))
def test_any_bytes_have_one_outcome_however_they_arrive(raw: bytes, tail: bytes) -> None:
    final = None
    for end in range(len(raw) + 1):
        final = outcome(raw[:end])
        if final is not None:
            break
    if final is None:
        return
    assert outcome(raw) == outcome(raw + tail) == final
    if isinstance(final, Parsed):
        assert final.size == end
        assert final.size <= MAX_LENGTH + 16
        assert (final.source is None) == (final.port is None)
        assert final.source is None or not final.local

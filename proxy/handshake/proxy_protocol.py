"""The PROXY protocol, version 2 (HAProxy's proxy-protocol.txt, section 2.2), as a server reads it.

A balancer puts one block in front of what it relays and says in it who connected to it. Version 1
is told apart, so that its error can name the mend, and is not read.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from proxy.handshake.client import Address

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_VERSION_1: Final = b"PROXY "

# The fixed part: signature, version and command, family, length.
_FIXED: Final = 16
# Of the rest. Addresses take 216 bytes at most, the TLVs balancers send some hundred more.
MAX_LENGTH: Final = 2048

_VERSION: Final = 0x2
_LOCAL: Final = 0x0
_PROXY: Final = 0x1

# The families there are (address family, transport), with the size of their two addresses.
_UNSPEC: Final = 0x00
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_SIZES: Final = {
    _UNSPEC: 0,
    _TCP4: 12,
    0x12: 12,  # UDP over IPv4
    _TCP6: 36,
    0x22: 36,  # UDP over IPv6
    0x31: 216,  # Unix stream
    0x32: 216,  # Unix datagram
}


class Malformed(ValueError):
    """No PROXY protocol block of version 2; the message quotes nothing of it."""


class Parsed(NamedTuple):
    """A whole block.

    Args:
        source: who connected to the balancer; None when it names nobody, or by no TCP address.
        port: theirs; None without a source.
        local: whether the balancer speaks for itself, as its health checks do. Without a source
            and not local, somebody unknown is behind it.
        size: bytes that the block took; what follows is the stream.
    """

    source: Address | None
    port: int | None
    local: bool
    size: int


def parse(data: bytes) -> Parsed | None:
    """Reads the block at the beginning of a connection.

    Args:
        data: all that arrived so far, at most `MAX_LENGTH` + 16 bytes of it are looked at.

    Returns:
        None when it is not complete yet, and sound so far.

    Raises:
        Malformed: it is no such block, longer than `MAX_LENGTH`, or does not add up.
    """
    _check_signature(data[: len(SIGNATURE)])
    if len(data) < _FIXED:
        return None
    version, command = data[12] >> 4, data[12] & 0x0F
    family = data[13]
    length = int.from_bytes(data[14:_FIXED], "big")
    if version != _VERSION:
        raise Malformed("the PROXY protocol block is of no version but 2 by its signature")
    if command not in {_LOCAL, _PROXY}:
        raise Malformed("the PROXY protocol block has an unknown command")
    if length > MAX_LENGTH:
        raise Malformed(f"the PROXY protocol block is longer than {MAX_LENGTH} bytes")
    if command == _PROXY:
        if family not in _SIZES:
            raise Malformed("the PROXY protocol block has an unknown address family or transport")
        if length < _SIZES[family]:
            raise Malformed("the PROXY protocol block is too short for its addresses")
    size = _FIXED + length
    if len(data) < size:
        return None
    if command == _LOCAL or family == _UNSPEC:
        # Whatever else it holds is to be ignored.
        return Parsed(None, None, local=command == _LOCAL, size=size)
    block = data[_FIXED:size]
    _check_tlvs(block, _SIZES[family])
    if family == _TCP4:
        return _parsed(IPv4Address(block[:4]), block[8:10], size)
    if family == _TCP6:
        address = IPv6Address(block[:16])
        return _parsed(address.ipv4_mapped or address, block[32:34], size)
    return Parsed(None, None, local=False, size=size)


def _parsed(source: Address, port: bytes, size: int) -> Parsed:
    return Parsed(source, int.from_bytes(port, "big"), local=False, size=size)


def _check_signature(begin: bytes) -> None:
    if SIGNATURE.startswith(begin):
        return
    if begin.startswith(_VERSION_1):
        raise Malformed(
            "the PROXY protocol is spoken in version 1: have the proxy send version 2 "
            "(HAProxy: send-proxy-v2)"
        )
    if not _VERSION_1.startswith(begin):
        raise Malformed("there is no PROXY protocol block of version 2 before the request")


def _check_tlvs(block: bytes, position: int) -> None:
    """Steps over the type-length-value triples behind the addresses (section 2.2.7)."""
    while position < len(block):
        position += 3 + int.from_bytes(block[position + 1 : position + 3], "big")
    if position != len(block):
        raise Malformed("a TLV of the PROXY protocol block ends behind it")

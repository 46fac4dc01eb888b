"""What counts as one client: limits per address would not hold an IPv6 host, which has 2^64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

# Of IPv6: what one household or server is given (RFC 6177, RFC 7421).
_IPV6_HOST_BITS: Final = 64
# Keeps networks apart from IPv4 addresses.
_IPV6: Final = 1 << 64


def counted_as(address: IPv4Address | IPv6Address) -> int:
    """A number for an IPv4 address, or for the /64 of an IPv6 one; for dictionaries, not people.

    An IPv4 address mapped into IPv6 counts as the IPv4 address it is.
    """
    if address.version == 6:
        mapped = address.ipv4_mapped
        if mapped is None:
            return _IPV6 | int(address) >> _IPV6_HOST_BITS
        address = mapped
    return int(address)

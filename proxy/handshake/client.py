"""Who is at the other end: the client's address and scheme, through proxies we trust."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.handshake.head import Headers


Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# A peer on a Unix socket is a process of this machine.
LOCAL = ip_address("127.0.0.1")


class Client(NamedTuple):
    """The caller of one request.

    Args:
        address: of the client itself.
        peer: of the socket we accepted; the client's, or a trusted proxy's.
        trusted: whether the peer's forwarding headers are believed.
        scheme: `http` or `https`, as the client spoke it.
        text: the address as text.
    """

    address: Address
    peer: Address
    trusted: bool
    scheme: str
    text: str

    @classmethod
    def of(cls, address: Address, peer: Address, *, trusted: bool, scheme: str) -> Client:
        """Makes the caller of a request."""
        return cls(address, peer, trusted, scheme, text_of(address))


@lru_cache(maxsize=4096)
def text_of(address: Address) -> str:
    """An address as text; formatting one costs more than finding it again."""
    return str(address)


def within(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    return any(address in network for network in networks)


def peer_address(sockname: object) -> Address:
    """The address out of `getpeername()`; an IPv4 address mapped into IPv6 as the IPv4 it is."""
    if not isinstance(sockname, tuple) or not sockname:
        return LOCAL
    return _address(str(sockname[0]))


@lru_cache(maxsize=4096)
def _address(text: str) -> Address:
    """Reads an address; an IPv6 zone is cut off, since it may be any text."""
    address = ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


def client_of(
    peer: Address,
    headers: Headers,
    *,
    secure: bool,
    trusted_proxies: Sequence[Network],
    address_header: bytes,
) -> Client:
    """Works out who sent a request.

    Args:
        peer: the socket's peer.
        headers: of the request.
        secure: whether the peer came over TLS.
        trusted_proxies: whose forwarding headers are believed.
        address_header: the lower-case name of the list read from right to left: the first
            address that is no trusted proxy is the client's.
    """
    scheme = "https" if secure else "http"
    if not trusted_proxies or not within(peer, trusted_proxies):
        return _direct(peer, scheme)
    address = peer
    for hop in reversed(headers.tokens(address_header)):
        try:
            address = _address(_without_port(hop.decode("ascii")))
        except ValueError:
            break
        if not within(address, trusted_proxies):
            break
    told = headers.one(b"x-forwarded-proto")
    if told is not None:
        scheme = _SCHEMES.get(told.lower(), scheme)
    return Client.of(address, peer, trusted=True, scheme=scheme)


@lru_cache(maxsize=4096)
def _direct(peer: Address, scheme: str) -> Client:
    """Who is the peer of a socket; many come again and again."""
    return Client.of(peer, peer, trusted=False, scheme=scheme)


_SCHEMES = {b"http": "http", b"ws": "http", b"https": "https", b"wss": "https"}


def _without_port(hop: str) -> str:
    """`1.2.3.4:5`, `[::1]:5` and `[::1]` as Azure's and AWS's balancers write them."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop

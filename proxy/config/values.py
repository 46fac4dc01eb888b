"""Values that a configuration holds as text: durations, sizes, addresses, networks, targets."""

from __future__ import annotations

import ipaddress
import itertools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from proxy.config import names
from proxy.config.faults import Wrong, each

if TYPE_CHECKING:
    from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?")
_DURATION_UNITS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Ten years: beyond it the number is a slip, and timers overflow.
LONGEST_DURATION = 3650 * 86400.0

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)?")
_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
}
LARGEST_SIZE = 1 << 50

_LARGEST_PORT = 65_535
_LONGEST_QUOTE = 60
# sun_path holds 108 bytes on Linux (104 on macOS), the closing NUL among them.
_LONGEST_SOCKET_PATH = 107

PRIVATE_RANGES: tuple[Network, ...] = (
    ipaddress.IPv4Network("10.0.0.0/8"),
    ipaddress.IPv4Network("172.16.0.0/12"),
    ipaddress.IPv4Network("192.168.0.0/16"),
    ipaddress.IPv4Network("127.0.0.0/8"),
    ipaddress.IPv6Network("fd00::/8"),
    ipaddress.IPv6Network("::1/128"),
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def duration(value: object, *, zero: bool = False) -> float:
    """Seconds out of `250ms`, `30s`, `5m`, `1h`, `7d`, or a number of seconds.

    Args:
        value: as it stands in the document.
        zero: whether it may be 0.

    Raises:
        Wrong: not of that form, not positive, or longer than ten years.
    """
    example = "write it as in `250ms`, `30s`, `5m`, `1h`, `7d`, or as a number of seconds"
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise Wrong("is not a duration", example)
        seconds = float(match[1]) * _DURATION_UNITS[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # A YAML integer may have any number of digits; float() raises on the longest ones.
        seconds = float(value) if abs(value) <= LONGEST_DURATION else math.inf
    elif value is None:
        mend = "write `0` for none" if zero else "write a duration: it protects the gateway"
        raise Wrong("cannot be `null`", mend)
    else:
        raise Wrong("is not a duration", example)
    if seconds == 0 and zero:
        return 0.0
    if not seconds > 0:
        mend = "write `0` or a duration" if zero else "write a duration above 0"
        raise Wrong("is less than nothing" if zero else "is not longer than nothing", mend)
    if seconds > LONGEST_DURATION:
        raise Wrong("is longer than ten years", "write a shorter duration")
    return seconds


def size(value: object) -> int:
    """Bytes out of `64KiB`, `1MiB`, `2GiB`, `10kB`, `5MB`, or a number of bytes.

    Raises:
        Wrong: not of that form, not whole, not positive, or absurdly large.
    """
    example = "write it as in `64KiB`, `1MiB`, or as a number of bytes"
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        unit = _SIZE_UNITS.get((match[2] or "").lower()) if match else None
        if match is None or unit is None:
            raise Wrong("is not a size", example)
        number = float(match[1]) * unit if "." in match[1] else int(match[1][:20]) * unit
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        raise Wrong("is not a size", example)
    if not 0 < number <= LARGEST_SIZE:
        raise Wrong("is not a size from 1 byte to 1024 TiB", example)
    if number != int(number):
        raise Wrong("is not a whole number of bytes", example)
    return int(number)


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """Where to listen on TCP.

    Args:
        host: an IP address (IPv6 without brackets) or a host name.
        port: 0 lets the system choose.
    """

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return plain(ipaddress.ip_address(self.host)).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """Where to listen on a Unix socket: an absolute path, once loaded from a file."""

    path: str

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it: always."""
        return True

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


def address(value: object) -> Address:
    """What `listen` holds: `127.0.0.1:8080`, `[::]:8080`, `unix:/run/wskeeper.sock`.

    Raises:
        Wrong: something else.
    """
    example = "write address and port, as in `127.0.0.1:8080`, or `unix:/run/wskeeper.sock`"
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Wrong("is not an address", example)
    if value.isascii() and value.isdigit():
        raise Wrong("names a port alone", _every_address(value))
    if value.startswith("unix:"):
        return UnixAddress(socket_path(value.removeprefix("unix:")))
    if "://" in value:
        raise Wrong("is a URL", f"{example}, without a scheme")
    host, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise Wrong("names no port", example)
    if host in {"", "*"}:
        raise Wrong("names no address", _every_address(port))
    if ":" in host and not host.startswith("["):
        raise Wrong("is an IPv6 address without brackets", f'write `"[::1]:{port[:5]}"`, in quotes')
    return TcpAddress(names.host(host).strip("[]"), port_number(port, smallest=0))


def _every_address(port: str) -> str:
    port = port[:5]
    return (
        f"write `127.0.0.1:{port}` for this machine only, "
        f'`0.0.0.0:{port}` for every IPv4 address, `"[::]:{port}"` for every address'
    )


def port_number(text: str, *, smallest: int = 1) -> int:
    """A port out of its digits.

    Raises:
        Wrong: it is out of range.
    """
    if len(text) > len(str(_LARGEST_PORT)) or not smallest <= int(text) <= _LARGEST_PORT:
        raise Wrong("names a port that does not exist", f"write one from {smallest} to 65535")
    return int(text)


def socket_path(text: str) -> str:
    """The path of a Unix socket, if the system can take it.

    Raises:
        Wrong: it is empty, too long, or holds a NUL.
    """
    if not text or "\0" in text:
        raise Wrong("names no socket", "write its path, as in `unix:/run/wskeeper.sock`")
    if len(text.encode("utf-8", "surrogateescape")) > _LONGEST_SOCKET_PATH:
        raise Wrong("is too long for a Unix socket", "choose a path of at most 107 bytes")
    return text


def networks(value: object) -> tuple[Network, ...]:
    """Networks out of a list of CIDRs, addresses and the word `private_ranges`.

    IPv4-mapped IPv6 networks become IPv4 ones, as `within` compares them.

    Raises:
        Wrong: it is no list; `Several` when entries are none of these.
    """
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise Wrong("is not a list of networks", "write `[10.0.0.0/8]`, or `[private_ranges]`")
    found = each(_ranges, dict(enumerate(value)))
    return tuple(dict.fromkeys(itertools.chain.from_iterable(found)))


def _ranges(entry: object) -> tuple[Network, ...]:
    return PRIVATE_RANGES if entry == "private_ranges" else (network(entry),)


def network(value: object) -> Network:
    """One network out of a CIDR or an address.

    Raises:
        Wrong: it is neither, or has bits behind its prefix.
    """
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    text = value if isinstance(value, str) else ""
    try:
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Wrong(
            f"is `{_shown(value)}`, which is no network",
            "write a CIDR such as `10.0.0.0/8`, an address, or `private_ranges`",
        ) from None
    try:
        exact: Network = ipaddress.ip_network(text)
    except ValueError:
        raise Wrong(
            f"is `{_shown(text)}`, which has bits behind its prefix", f"write `{loose}`"
        ) from None
    if isinstance(exact, ipaddress.IPv6Network) and exact.subnet_of(_MAPPED):
        start = plain(exact.network_address)
        return ipaddress.ip_network(f"{start}/{exact.prefixlen - 96}")
    return exact


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_QUOTE and text.isprintable() else "…"


def plain(ip: IpAddress) -> IpAddress:
    """The address itself: IPv4 for an IPv4-mapped IPv6 one (a dual-stack socket's IPv4 peers)."""
    return getattr(ip, "ipv4_mapped", None) or ip


def within(ip: IpAddress, ranges: Iterable[Network]) -> bool:
    """Whether an address lies in one of the networks; IPv4-mapped ones count as IPv4."""
    ip = plain(ip)
    return any(ip in network for network in ranges)


@dataclass(frozen=True, slots=True)
class Target:
    """Where an upstream listens, and at which path.

    Args:
        scheme: `ws`, `wss` or `ws+unix`.
        host: name or IP address, IPv6 without brackets; `localhost` for a Unix socket.
        port: 0 for a Unix socket.
        socket_path: of the Unix socket, else None.
        path: what replaces the route's prefix; empty when the URL has none or only `/`: the
            request's path then goes on unchanged.
    """

    scheme: Literal["ws", "wss", "ws+unix"]
    host: str
    port: int
    socket_path: str | None
    path: bytes

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme == "wss"

    @property
    def authority(self) -> bytes:
        """The value of a Host header (RFC 9110 7.2), without the scheme's default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.socket_path is not None or self.port == (443 if self.secure else 80):
            return host.encode("ascii")
        return f"{host}:{self.port}".encode("ascii")

    def __str__(self) -> str:
        path = self.path.decode("ascii")
        if self.socket_path is not None:
            return f"ws+unix:{self.socket_path}" + (f":{path}" if path else "")
        return f"{self.scheme}://{self.authority.decode('ascii')}{path}"

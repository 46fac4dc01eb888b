"""Listening sockets: TCP, Unix and TLS, with errors an operator can act on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.config.values import TcpAddress, UnixAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.model import ListenerTls
    from proxy.config.values import Address

# Connections the kernel keeps for us while the loop is busy; the kernel caps it (somaxconn).
BACKLOG: Final = 4096


class CannotListen(Exception):
    """An address cannot be listened on; the message says why and what to do."""


def server_context(tls: ListenerTls) -> ssl.SSLContext:
    """The TLS context of a listener: TLS 1.2 and up, HTTP/1.1 alone.

    Raises:
        OSError: a file cannot be used (`ssl.SSLError` included).
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.certificate, tls.private_key)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def listen(
    address: Address,
    protocol: Callable[[], asyncio.BaseProtocol],
    *,
    name: str,
    tls: ssl.SSLContext | None = None,
    handshake_timeout: float = 10.0,
    close_timeout: float = 5.0,
) -> asyncio.Server:
    """Listens on an address.

    Args:
        protocol: makes the protocol of a connection.
        name: of the configuration field, for errors.
        tls: None for plain TCP.
        handshake_timeout: seconds for a client's TLS handshake.
        close_timeout: seconds for TLS to be shut down in good order.

    Raises:
        CannotListen: with the place and the mend.
    """
    secure: dict[str, Any] = {}
    if tls is not None:
        secure = {
            "ssl": tls,
            "ssl_handshake_timeout": handshake_timeout,
            "ssl_shutdown_timeout": close_timeout,
        }
    loop = asyncio.get_running_loop()
    try:
        if isinstance(address, UnixAddress):
            _remove_stale(Path(address.path))
            return await loop.create_unix_server(protocol, address.path, backlog=BACKLOG, **secure)
        return await loop.create_server(protocol, sock=_bound(address), backlog=BACKLOG, **secure)
    except OSError as failure:
        raise CannotListen(
            f"cannot listen on {address} ({failure.strerror or failure}); "
            f"free the address or change '{name}'"
        ) from None


def _bound(address: TcpAddress) -> socket.socket:
    """A bound TCP socket; `[::]` takes IPv4 as well, as operators expect."""
    family, _, _, _, name = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by accepted sockets: the kernel notices peers that vanished.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if family == socket.AF_INET6 and address.host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(name)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    """Removes the socket file of a process that is gone; one that answers stays."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
        # The event loop would take a living process's socket away from it.
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def address_of(server: asyncio.Server, configured: Address) -> str:
    """Where a server really listens, the port chosen by the system included."""
    if isinstance(configured, UnixAddress):
        return str(configured)
    host, port = server.sockets[0].getsockname()[:2]
    return str(TcpAddress(host, port))

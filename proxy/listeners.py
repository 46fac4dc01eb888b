"""Listening sockets: TCP, Unix and TLS, with errors an operator can act on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import ssl
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from cryptography import x509

from proxy.config.model import PublicTls
from proxy.config.values import TcpAddress, UnixAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config.model import ListenerTls
    from proxy.config.values import Address
    from proxy.logs import Logger

# Connections the kernel keeps for us while the loop is busy; the kernel caps it (somaxconn).
BACKLOG: Final = 4096

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"

# Files beside the sockets: libraries, the store, the log, a margin for what is being accepted.
_OTHER_FILES: Final = 64
# Each session has two sockets.
_FILES_PER_SESSION: Final = 2

# What to do beside changing the address, by why it cannot be listened on.
_MENDS: Final[dict[int | None, str]] = {
    errno.EADDRINUSE: "free the address or ",
    errno.EADDRNOTAVAIL: "this machine has no such address: ",
    errno.EACCES: "allow this user to listen there or ",
}

# What stands for the field where there is no file, as with `serve --upstream`.
_WITHOUT_FILE: Final = {
    "listen": "--listen or WSKEEPER_LISTEN",
    "admin.listen": "WSKEEPER_ADMIN_LISTEN",
}


class CannotListen(Exception):
    """An address cannot be listened on; the message says why and what to do."""


class Listener(Protocol):
    """What listens: an `asyncio.Server`, or what accepts by itself."""

    @property
    def sockets(self) -> Sequence[Any]:
        """Where it listens; nowhere once it was closed."""

    def close(self) -> None:
        """Accepts nobody any more; what it has handed over stays."""


def server_context(tls: ListenerTls) -> ssl.SSLContext:
    """The TLS context of a listener: TLS 1.2 and up, HTTP/1.1 alone.

    Raises:
        OSError: a file cannot be used (`ssl.SSLError` included).
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Of TLS 1.2 what Mozilla calls intermediate: forward secrecy, no CBC.
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Without a password OpenSSL would ask the terminal for that of an encrypted key.
    context.load_cert_chain(tls.certificate, tls.private_key, "")
    context.set_alpn_protocols(["http/1.1"])
    if isinstance(tls, PublicTls) and tls.client_ca is not None:
        context.load_verify_locations(cafile=tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
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
    loop = asyncio.get_running_loop()
    unix = isinstance(address, UnixAddress)
    serve: Any = loop.create_unix_server if unix else loop.create_server
    secure = secured(tls, handshake_timeout=handshake_timeout, close_timeout=close_timeout)
    server: asyncio.Server = await serve(
        protocol, sock=listening_socket(address, name=name), backlog=BACKLOG, **secure
    )
    return server


def secured(
    tls: ssl.SSLContext | None, *, handshake_timeout: float, close_timeout: float
) -> dict[str, Any]:
    """What event loops want to be told of TLS, and only where there is some."""
    if tls is None:
        return {}
    return {
        "ssl": tls,
        "ssl_handshake_timeout": handshake_timeout,
        "ssl_shutdown_timeout": close_timeout,
    }


def listening_socket(address: Address, *, name: str) -> socket.socket:
    """A socket that listens on an address.

    Args:
        name: of the configuration field, for errors.

    Raises:
        CannotListen: with the place and the mend.
    """
    try:
        return _unix_socket(address) if isinstance(address, UnixAddress) else _tcp_socket(address)
    except OSError as failure:
        instead = f" (or {_WITHOUT_FILE[name]})" if name in _WITHOUT_FILE else ""
        raise CannotListen(
            f"cannot listen on {address} ({failure.strerror or failure}); "
            f"{_MENDS.get(failure.errno, '')}change '{name}'{instead}"
        ) from None


def _unix_socket(address: UnixAddress) -> socket.socket:
    """A listening Unix socket, in place of one that a process left behind."""
    _remove_stale(Path(address.path))
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(address.path)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _tcp_socket(address: TcpAddress) -> socket.socket:
    """A listening TCP socket; `[::]` takes IPv4 as well, as operators expect."""
    family, kind, protocol, _, name = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # By its protocol asyncio knows that accepted sockets are to send without delay.
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by accepted sockets: the kernel notices peers that vanished.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if family == socket.AF_INET6 and address.host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(name)
        sock.listen(BACKLOG)
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


def address_of(server: Listener, configured: Address) -> str:
    """Where a server really listens, the port chosen by the system included."""
    if isinstance(configured, UnixAddress):
        return str(configured)
    host, port = server.sockets[0].getsockname()[:2]
    return str(TcpAddress(host, port))


def certificate_end(path: Path) -> float:
    """When the first certificate of a PEM file ends, in seconds since the epoch."""
    leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
    return leaf.not_valid_after_utc.timestamp()


def affordable(wanted: int | None, log: Logger) -> int | None:
    """The connection limit that the process's open-file limit allows, raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _OTHER_FILES + _FILES_PER_SESSION * (wanted or 0)
    if soft != resource.RLIM_INFINITY and (wanted is None or soft < needed):
        target = hard if wanted is None or hard != resource.RLIM_INFINITY else needed
        if target != resource.RLIM_INFINITY and target > soft and sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
            soft = target
    if soft == resource.RLIM_INFINITY:
        return wanted
    fits = max(1, (soft - _OTHER_FILES) // _FILES_PER_SESSION)
    if wanted is None:
        return None
    if fits < wanted:
        log.warning(
            "open_files_limit",
            limit=soft,
            total_connections=fits,
            mend=f"raise the hard limit of open files to {needed} (ulimit -Hn, LimitNOFILE)",
        )
    return min(wanted, fits)

"""`wskeeper healthcheck`: asks a running gateway whether it is ready."""

from __future__ import annotations

import http.client
import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from proxy.cli import options
from proxy.config.faults import ConfigInvalid, Wrong
from proxy.config.load import load_admin
from proxy.config.values import TcpAddress, UnixAddress, address

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config.values import Address

# Longer than a gateway that is alive needs, shorter than the interval of most health checks.
_TIMEOUT = 5.0
_READY = 200
# A listener on every address is asked on this machine's own.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


@click.command(epilog="Made for a container's HEALTHCHECK.")
@options.config_file
@click.option(
    "--admin",
    "url",
    metavar="URL",
    envvar="WSKEEPER_ADMIN_URL",
    help="Admin listener: http://HOST:PORT or unix:PATH; else found in the configuration.",
)
def healthcheck(path: Path | None, url: str | None) -> None:
    """Exit 0 when the gateway's /readyz says 200."""
    listener = _from_url(url) if url else _from_config(path)
    try:
        status = _readyz_status(listener)
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise click.ClickException(f"no answer from {listener}: {reason}") from None
    if status != _READY:
        raise click.ClickException(f"{listener} is not ready: /readyz says {status}")


def _from_url(url: str) -> Address:
    """Raises click.UsageError for what is no admin URL."""
    try:
        if url.startswith("unix:"):
            return address(url)
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.path in {"", "/"}:
            return address(parts.netloc if parts.port else f"{parts.netloc}:80")
    except (ValueError, Wrong):
        pass
    raise click.UsageError("--admin must be http://HOST:PORT or unix:PATH")


def _from_config(path: Path | None) -> Address:
    try:
        listener = load_admin(path, environ=os.environ).listen
    except ConfigInvalid as invalid:
        raise click.ClickException(str(invalid.faults[0])) from None
    if listener is None:
        raise click.ClickException("the admin listener is switched off; set `admin.listen`")
    if isinstance(listener, TcpAddress):
        return TcpAddress(_EVERYWHERE.get(listener.host, listener.host), listener.port)
    return listener


def _readyz_status(listener: Address) -> int:
    """The status of `GET /readyz`. Proxies that the environment names are not asked."""
    connection: http.client.HTTPConnection
    if isinstance(listener, UnixAddress):
        connection = _UnixConnection(listener.path)
    else:
        connection = http.client.HTTPConnection(listener.host, listener.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)

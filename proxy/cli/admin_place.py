"""Finds the admin listener that a command is to ask: named, or as a configuration has it."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from proxy.cli.admin_client import AdminPlace, trusting, trusting_nobody
from proxy.config.environment import Variables
from proxy.config.faults import Wrong
from proxy.config.values import TcpAddress, address

if TYPE_CHECKING:
    from proxy.config.model import Admin
    from proxy.config.values import Address

_TOKEN: Final = "WSKEEPER_ADMIN_TOKEN"  # noqa: S105 - a variable's name
_PORTS: Final = {"http": 80, "https": 443}
# A listener on every address is asked on this machine's own.
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
_END: Final = "-----END CERTIFICATE-----"


def find_admin(path: Path | None, url: str | None, ca: Path | None) -> AdminPlace:
    """The admin listener, and the token for it.

    A configuration's token is shown to the listener of that configuration, and to another one
    only when both were named on the command line.

    Args:
        path: the value of `-c`.
        url: of `--admin` or WSKEEPER_ADMIN_URL; None asks the configuration.
        ca: of `--admin-ca`; None trusts what the system trusts.

    Raises:
        click.UsageError: the URL is none.
        click.ClickException: the configuration or a variable cannot be used.
    """
    if url is None:
        place = _in_configuration(_admin_section(path), path)
        return place if ca is None else place._replace(context=trusting(ca), certificate=None)
    listener, secure = _read(url)
    token, found = _token(), _variable()
    if token is None and path is not None:
        token, found = _token_in(_admin_section(path)), str(path)
    context = trusting(ca) if secure else None
    return AdminPlace(listener, context, None, "--admin or WSKEEPER_ADMIN_URL", token, found)


def _read(url: str) -> tuple[Address, bool]:
    """The address in a URL, and whether TLS is spoken."""
    try:
        if url.startswith("unix:"):
            return address(url), False
        parts = urlsplit(url)
        if parts.scheme in _PORTS and parts.path in {"", "/"}:
            port = "" if parts.port else f":{_PORTS[parts.scheme]}"
            return address(f"{parts.netloc}{port}"), parts.scheme == "https"
    except (ValueError, Wrong):
        pass
    raise click.UsageError("--admin must be http://HOST:PORT, https://HOST:PORT or unix:PATH")


def _admin_section(path: Path | None) -> Admin:
    # Most of the time a health check takes; not needed when the listener is named.
    from proxy.config.faults import ConfigInvalid  # noqa: PLC0415 - see above
    from proxy.config.load import load_admin  # noqa: PLC0415 - see above

    try:
        return load_admin(path, environ=os.environ)
    except ConfigInvalid as invalid:
        raise click.ClickException(str(invalid.faults[0])) from None


def _in_configuration(section: Admin, path: Path | None) -> AdminPlace:
    listener = section.listen
    if listener is None:
        raise click.ClickException("the admin listener is switched off; set `admin.listen`")
    if isinstance(listener, TcpAddress):
        listener = TcpAddress(_EVERYWHERE.get(listener.host, listener.host), listener.port)
    name = "the configuration" if path is None else str(path)
    found = f"`admin.listen` of {name}"
    # A variable outranks the file.
    token_found = _variable() if _environment_token() else name
    place = AdminPlace(listener, None, None, found, _token_in(section), token_found)
    if section.tls is None:
        return place
    return place._replace(
        context=trusting_nobody, certificate=_first_certificate(section.tls.certificate)
    )


def _token_in(section: Admin) -> str | None:
    return None if section.token is None else section.token.get_secret_value()


def _first_certificate(file: Path) -> bytes:
    """The certificate, as DER, that the listener shows: the first one in its file."""
    try:
        text = file.read_text(encoding="ascii", errors="replace")
        return ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERT") :].split(_END)[0] + _END)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise click.ClickException(
            f"`admin.tls.certificate` names {file}, which cannot be read ({reason}); name the"
            " listener and its CA with --admin URL and --admin-ca FILE"
        ) from None
    except ValueError:
        raise click.ClickException(
            f"`admin.tls.certificate` names {file}, which holds no PEM certificate"
        ) from None


def _token() -> str | None:
    """The token in the environment, in a form that a header can carry."""
    token = _environment_token()
    if token and (not token.isprintable() or token != token.strip()):
        # http.client would quote it.
        raise click.ClickException(
            f"{_TOKEN} begins or ends with white space, or holds a control character"
        )
    return token


def _environment_token() -> str | None:
    """The token in the environment, as itself or in the file that `…_FILE` names."""
    variables = Variables(os.environ, lambda name: Path(name).read_text(encoding="utf-8"))
    try:
        return variables.get(_TOKEN) or None
    except Wrong as wrong:
        raise click.ClickException(f"the token {wrong}") from None


def _variable() -> str:
    """The variable that the environment's token is in."""
    return f"{_TOKEN}_FILE" if os.environ.get(f"{_TOKEN}_FILE") else _TOKEN

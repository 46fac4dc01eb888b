"""`wskeeper doctor`: dials a URL as a client would and says which hop ate what."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from proxy.cli import options, tables
from proxy.cli.admin_client import ask_json
from proxy.cli.admin_place import find_admin
from proxy.cli.diagnosis import Finding
from proxy.cli.examination import Examination, Wanted
from proxy.cli.masking import MASK
from proxy.cli.observation import read_url
from proxy.cli.prober import client_context, words
from proxy.config import values
from proxy.config.environment import Variables
from proxy.config.faults import Wrong
from proxy.handshake.head import TOKEN

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from proxy.cli.admin_client import AdminPlace
    from proxy.cli.observation import Place

_KEY: Final = "WSKEEPER_KEY"
_SIGNS: Final = {"ok": "✓", "bad": "✗", "unsure": "?"}
# What a header line takes without being read as something else.
_HEADER_TEXT: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_FILE: Final = click.Path(exists=True, dir_okay=False)


@click.command(
    epilog="Exits 0 when a WebSocket opened, or would with a key; else 1. The key is shown to"
    " nobody but the URL's own host, never where a redirect leads, and never before its"
    " certificate is trusted."
)
@click.argument("target", metavar="URL")
@click.option(
    "--key",
    metavar="KEY",
    help="What a client would send. Other users can see it in `ps`: better set WSKEEPER_KEY, or"
    " use --key-file.",
)
@click.option(
    "--key-file",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True, exists=True, dir_okay=False),
    help="A file with the key; '-' reads stdin.",
)
@click.option("--origin", metavar="ORIGIN", help="A page that is to connect: https://app.example.")
@click.option(
    "--subprotocol",
    "subprotocols",
    metavar="NAME",
    multiple=True,
    help="One to offer (may be repeated).",
)
@click.option(
    "--idle",
    metavar="TIME",
    help="Stay silent for so long, such as 70s, and say when and how the connection was cut.",
)
@click.option(
    "--ca", "trusted", metavar="FILE", type=_FILE, help="PEM bundle to trust, not the system's."
)
@click.option(
    "--certificate",
    metavar="FILE",
    type=_FILE,
    help="PEM file with a certificate and its key, where clients must show one.",
)
@options.admin
@options.as_json
def doctor(
    *,
    target: str,
    key: str | None,
    key_file: Path | None,
    origin: str | None,
    subprotocols: tuple[str, ...],
    idle: str | None,
    trusted: str | None,
    certificate: str | None,
    path: Path | None,
    url: str | None,
    ca: Path | None,
    as_json: bool,
) -> None:
    """Dial URL as a client would, and say which hop on the way ate what.

    Upgrade, Host, Origin, the client's address, compression, the key, silence: for each what
    arrived, and what to change. With --admin or -c the gateway is asked what it takes us for.
    """
    place = _place(target)
    secret = _key(key, key_file)
    admin = None if url is None and path is None else find_admin(path, url, ca)
    wanted = Wanted(
        key=secret,
        origin=_origin(origin),
        subprotocols=_subprotocols(subprotocols),
        idle=_seconds(idle),
    )
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        shown = _without(finding, secret)
        findings.append(shown)
        if not as_json:
            _show(shown)

    if admin is not None and _answers(admin, tell):
        wanted = wanted._replace(seen=_asking(admin))
    examination = Examination(
        place,
        _context(trusted, certificate) if place.secure else None,
        wanted,
        agent=f"wskeeper-doctor/{version('wskeeper')}",
        now=time.time(),
        tell=tell,
    )
    opens = asyncio.run(examination.run())
    if as_json:
        click.echo(json.dumps(_report(place, findings, opens=opens), indent=2))
    if not opens:
        raise click.ClickException("no WebSocket opens there")


# What is asked for -----------------------------------------------------------------------------


def _place(text: str) -> Place:
    try:
        return read_url(text)
    except Wrong as wrong:
        raise click.UsageError(f"URL {wrong.problem}; {wrong.mend}") from None


def _key(given: str | None, file: Path | None) -> str | None:
    """The key, from the first of command line, file and environment."""
    if given is not None and file is not None:
        raise click.UsageError("--key and --key-file are given; keep one of them")
    if file is not None:
        with click.open_file(str(file), encoding="utf-8", errors="replace") as stream:
            given = stream.read().rstrip("\r\n")
    elif given is None:
        try:
            given = Variables(os.environ, lambda name: Path(name).read_text("utf-8")).get(_KEY)
        except Wrong as wrong:
            raise click.ClickException(f"the key {wrong}") from None
    if given and not _HEADER_TEXT.fullmatch(given):
        raise click.UsageError(
            "the key is empty, begins or ends with white space, or is not ASCII: no header holds it"
        )
    return given or None


def _origin(text: str | None) -> str | None:
    if text is not None and not _HEADER_TEXT.fullmatch(text):
        raise click.UsageError("--origin is none; write it as in https://app.example")
    return text


def _subprotocols(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(re.fullmatch(TOKEN, name.encode()) for name in names):
        raise click.UsageError("--subprotocol is no HTTP token (RFC 9110 section 5.6.2)")
    return names


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return values.duration(text)
    except Wrong as wrong:
        raise click.UsageError(f"--idle {wrong.problem}; {wrong.mend}") from None


def _context(trusted: str | None, certificate: str | None) -> ssl.SSLContext:
    try:
        return client_context(trusted, certificate)
    except OSError as failure:
        raise click.UsageError(
            f"--ca or --certificate names a file that cannot be used ({words(failure)})"
        ) from None


def _answers(admin: AdminPlace, tell: Callable[[Finding], None]) -> bool:
    """Whether the admin listener answers; what it says of itself is told."""
    try:
        status = ask_json(admin, "GET", "/status", {})
    except click.ClickException as failure:
        tell(Finding("admin", "bad", failure.message))
        return False
    tell(Finding("admin", "ok", f"{admin} answers: wskeeper {status.get('version')}"))
    return True


def _asking(admin: AdminPlace) -> Callable[[str], Awaitable[str]]:
    """Asks the gateway for the client's address of a session."""

    async def seen(session: str) -> str:
        if not session:
            raise click.ClickException("the 101 has no X-Request-Id")
        told = await asyncio.to_thread(
            ask_json, admin, "GET", f"/connections/{quote(session, safe='')}", {}
        )
        return str(told.get("client"))

    return seen


# What is shown ---------------------------------------------------------------------------------


def _without(finding: Finding, secret: str | None) -> Finding:
    """A finding in which no answer can have put the key, nor move a terminal's cursor."""

    def cleaned(text: str) -> str:
        for form in () if secret is None else (secret, quote(secret, safe="")):
            text = text.replace(form, MASK)
        return tables.safe(text)

    return finding._replace(text=cleaned(finding.text), mend=tuple(map(cleaned, finding.mend)))


def _show(finding: Finding) -> None:
    click.echo(f"{_SIGNS[finding.verdict]} {finding.probe:<12} {finding.text}")
    for line in finding.mend:
        click.echo(f"{'':<15}{line}")


def _report(place: Place, findings: list[Finding], *, opens: bool) -> dict[str, Any]:
    return {
        "url": str(place),
        "opens": opens,
        "findings": [finding._asdict() for finding in findings],
    }

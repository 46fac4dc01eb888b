"""`wskeeper healthcheck`: asks a running gateway whether it is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from proxy.cli import options
from proxy.cli.admin_client import NoAnswer, ask, stranger
from proxy.cli.admin_place import find_admin

if TYPE_CHECKING:
    from pathlib import Path

# Longer than a gateway that is alive needs, shorter than the interval of most health checks.
_TIMEOUT = 5.0
_READY = 200
_NOT_READY = 503


@click.command(epilog="Made for a container's HEALTHCHECK.")
@options.admin
def healthcheck(path: Path | None, url: str | None, ca: Path | None) -> None:
    """Exit 0 when the gateway's /readyz says 200."""
    # It is open to all, so no token is shown.
    place = find_admin(path, url, ca)._replace(token=None)
    try:
        answer = ask(place, "GET", "/readyz", timeout=_TIMEOUT)
    except NoAnswer as none:
        raise click.ClickException(f"no answer from {place}: {none}") from None
    if answer.status not in {_READY, _NOT_READY}:
        raise click.ClickException(stranger(place, answer))
    if answer.status != _READY:
        raise click.ClickException(f"{place} is not ready: /readyz says {answer.status}")

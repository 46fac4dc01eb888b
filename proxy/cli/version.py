"""`wskeeper version`: what is installed."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import click

from proxy.cli import options

_DISTRIBUTIONS = ("aiohttp", "uvloop")


@click.command()
@options.as_json
def version(*, as_json: bool) -> None:
    """Print the versions of wskeeper and of what it runs on."""
    versions = {
        "wskeeper": _installed("wskeeper"),
        "python": platform.python_version(),
        **{name: _installed(name) for name in _DISTRIBUTIONS},
    }
    if as_json:
        click.echo(json.dumps(versions, indent=2))
    else:
        for name, number in versions.items():
            click.echo(f"{name} {number or 'not installed'}")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

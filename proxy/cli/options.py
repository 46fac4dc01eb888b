"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_F = TypeVar("_F", bound="Callable[..., Any]")

config_file = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="Configuration file; else WSKEEPER_CONFIG, else ./wskeeper.yaml.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
store = click.option(
    "--store",
    "url",
    metavar="URL",
    help="Where keys are kept: sqlite:PATH; else WSKEEPER_STORE, else as the configuration has it.",
)
_admin_url = click.option(
    "--admin",
    "url",
    metavar="URL",
    envvar="WSKEEPER_ADMIN_URL",
    help="Admin listener: http[s]://HOST:PORT or unix:PATH; else WSKEEPER_ADMIN_URL, else found in"
    " the configuration.",
)
_admin_ca = click.option(
    "--admin-ca",
    "ca",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM bundle that an https admin listener is trusted by, in place of the system's.",
)


def admin(command: _F) -> _F:
    """Where the admin listener is: `path`, `url`, `ca`."""
    return config_file(_admin_url(_admin_ca(command)))

"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

config_file = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="Configuration file; else WSKEEPER_CONFIG, else ./wskeeper.yaml.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

"""`wskeeper schema`: the configuration's JSON Schema."""

from __future__ import annotations

import json

import click

from proxy.config.schema import schema as config_schema


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors and CI."""
    click.echo(json.dumps(config_schema(), indent=2, ensure_ascii=False))

"""`wskeeper demo`."""

from __future__ import annotations

import click


@click.command()
def demo() -> None:
    """Placeholder."""
    raise click.ClickException("demo is not built")

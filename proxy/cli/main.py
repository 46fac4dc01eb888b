"""The group of all commands. Exit codes: 0 done, 1 failed (one line on stderr), 2 wrong usage."""

from __future__ import annotations

import click

from proxy.cli.check import check
from proxy.cli.demo import demo
from proxy.cli.healthcheck import healthcheck
from proxy.cli.schema import schema
from proxy.cli.serve import serve
from proxy.cli.version import version


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wskeeper", message="%(package)s %(version)s")
def main() -> None:
    """Puts API keys in front of WebSocket services that have no authentication of their own."""


for command in (serve, demo, check, healthcheck, schema, version):
    main.add_command(command)

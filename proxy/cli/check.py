"""`wskeeper check`: every fault and warning of a configuration."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING

import click

from proxy.cli import options
from proxy.config.faults import ConfigInvalid
from proxy.config.files import check_files
from proxy.config.load import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxy.config.faults import Fault
    from proxy.config.model import Config, Route


@click.command(epilog="Exits 1 when there is a fault; warnings alone exit 0.")
@options.config_file
@options.as_json
def check(path: Path | None, *, as_json: bool) -> None:
    """Validate the configuration.

    Prints every fault and warning with file, line, path and mend, and without faults one line for
    each route. Nothing is contacted; plugins are imported, as `wskeeper serve` does.
    """
    config, found = _examine(path)
    if as_json:
        click.echo(json.dumps(_report(config, found), indent=2))
    else:
        for fault in found:
            click.echo(f"{fault.severity}: {fault}")
        for route in config.routes if config else ():
            click.echo(route_line(route))
    if config is None:
        faults = sum(fault.severity == "error" for fault in found)
        noun = "fault" if faults == 1 else "faults"
        raise click.ClickException(f"the configuration has {faults} {noun}")


def route_line(route: Route) -> str:
    """Where a route leads, in one line: `chat  /chat → ws://chat-1:9002/ws`."""
    own = route.path.encode("ascii")
    targets = [
        target if target.path else dataclasses.replace(target, path=own)
        for target in route.upstream.targets
    ]
    shown = ", ".join(map(str, targets))
    return f"{route.name}  {route.host or ''}{route.path} → {shown}"


def _examine(path: Path | None) -> tuple[Config | None, Sequence[Fault]]:
    """The configuration, None when it cannot be used, and what was found."""
    try:
        loaded = load(path, environ=os.environ)
    except ConfigInvalid as invalid:
        return None, invalid.faults
    faults = check_files(loaded.config, loaded.places)
    return None if faults else loaded.config, [*faults, *loaded.warnings]


def _report(config: Config | None, found: Sequence[Fault]) -> dict[str, object]:
    return {
        "valid": config is not None,
        "faults": [dataclasses.asdict(fault) for fault in found],
        "routes": [
            {
                "name": route.name,
                "host": route.host,
                "path": route.path,
                "upstream": ", ".join(map(str, route.upstream.targets)),
            }
            for route in (config.routes if config else ())
        ],
    }

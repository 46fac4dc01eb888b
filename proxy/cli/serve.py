"""`wskeeper serve`: runs the gateway in the foreground."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from proxy.auth.jwk import UnusableKeys
from proxy.cli import options
from proxy.cli.running import loop_factory, run
from proxy.config.faults import ConfigInvalid
from proxy.config.files import check_files
from proxy.config.load import Loaded, load
from proxy.config.stores import MEMORY
from proxy.identity.plugins import CannotLoad
from proxy.listeners import CannotListen
from proxy.routes import Route
from proxy.stores.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from proxy.app import Gateway
    from proxy.config.faults import Fault
    from proxy.config.model import Config
    from proxy.config.values import Target


@click.command()
@options.config_file
@click.option("--listen", metavar="ADDR", help="Public address, in place of the file's.")
@click.option(
    "--upstream", metavar="URL", help="Protect this one service, without any file: ws://h:9000/ws."
)
def serve(path: Path | None, listen: str | None, upstream: str | None) -> None:
    """Run the gateway in the foreground."""
    flags = {"listen": listen, "upstream": upstream}
    try:
        loaded = _read(path, flags)
    except ConfigInvalid as invalid:
        raise click.ClickException(_shown(invalid.faults)) from None
    config = loaded.config
    reread = None if loaded.path is None else partial(_read, loaded.path, flags)
    for line in worked_lines(config):
        click.echo(line)
    for warning in loaded.warnings:
        click.echo(f"{warning.severity}: {warning}", err=True)
    sys.stdout.flush()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            started = partial(_tell_of_keys, path=loaded.path)
            runner.run(run(config, started=started, reread=reread))
    except (CannotListen, CannotLoad, StoreUnavailable, UnusableKeys) as failure:
        raise click.ClickException(str(failure)) from None


def _read(path: Path | None, flags: dict[str, str | None]) -> Loaded:
    """Loads the configuration and looks at its files.

    Raises:
        ConfigInvalid: with every fault.
    """
    loaded = load(path, environ=os.environ, overrides=flags)
    faults = check_files(loaded.config, loaded.places)
    if faults:
        raise ConfigInvalid(faults)
    return loaded


def _shown(faults: Iterable[Fault]) -> str:
    return "\n".join(["the configuration has faults", *(f"{f.severity}: {f}" for f in faults)])


def worked_lines(config: Config) -> list[str]:
    """For each route one example of what goes where, joined as requests will be."""
    width = max((len(route.name) for route in config.routes), default=0)
    lines = []
    for route in map(partial(Route.of, config), config.routes):
        asked = route.path.rstrip(b"/") + b"/room1"
        sent = ", ".join(_example(route, target, asked) for target in route.targets)
        lines.append(f"{route.name:<{width}}  {route.host or ''}{asked.decode()} → {sent}")
    return lines


def _example(route: Route, target: Target, asked: bytes) -> str:
    """Where a request goes at one of a route's targets."""
    server = str(target).removesuffix(target.path.decode())
    colon = ":" if target.socket_path is not None and not target.path else ""
    return f"{server}{colon}{route.upstream_target(asked, b'', target).decode()}"


def _tell_of_keys(gateway: Gateway, *, path: Path | None) -> None:
    """Says where keys are kept, and how to make the first one."""
    place = gateway.keeper.place
    click.echo(f"keys in {place}")
    if not len(gateway.ring):
        kept = f"--store {shlex.quote(place)}" if path is None else f"-c {shlex.quote(str(path))}"
        mend = (
            f"make one: wskeeper keys create --name NAME {kept}"
            if place != MEMORY
            else "this store forgets: write `store: sqlite:PATH`, or put a key under `keys:`"
        )
        click.echo(f"there is no key yet, so every client is refused; {mend}")
    sys.stdout.flush()

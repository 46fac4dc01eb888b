"""`wskeeper serve`: runs the gateway in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from proxy import logs
from proxy.app import Gateway
from proxy.cli.options import config_file
from proxy.config.faults import ConfigInvalid
from proxy.config.files import check_files
from proxy.config.load import Loaded, load
from proxy.listeners import CannotListen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.config.model import Config

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@click.command()
@config_file
@click.option("--listen", metavar="ADDR", help="Public address, in place of the file's.")
@click.option(
    "--upstream", metavar="URL", help="Protect this one service, without any file: ws://h:9000/ws."
)
def serve(path: Path | None, listen: str | None, upstream: str | None) -> None:
    """Run the gateway in the foreground."""
    loaded = load_or_fail(path, {"listen": listen, "upstream": upstream})
    config = loaded.config
    for warning in loaded.warnings:
        click.echo(str(warning), err=True)
    faults = check_files(config, loaded.places)
    if faults:
        raise click.ClickException("\n".join(map(str, faults)))
    for line in worked_lines(config):
        click.echo(line)
    sys.stdout.flush()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(run(config))
    except CannotListen as failure:
        raise click.ClickException(str(failure)) from None


def load_or_fail(path: Path | None, flags: dict[str, str | None]) -> Loaded:
    """Loads the configuration; all its faults become the command's error."""
    try:
        return load(path, environ=os.environ, overrides=flags)
    except ConfigInvalid as invalid:
        raise click.ClickException("\n".join(map(str, invalid.faults))) from None


def worked_lines(config: Config) -> list[str]:
    """For each route one example of what goes where."""
    width = max((len(route.name) for route in config.routes), default=0)
    lines = []
    for route in config.routes:
        target = route.upstream.target
        example = target.path.decode() if target.path not in {b"", b"/"} else route.path
        shown = str(target).removesuffix(target.path.decode())
        host = route.host or ""
        lines.append(f"{route.name:<{width}}  {host}{route.path} → {shown}{example}")
    return lines


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Prefers uvloop; WSKEEPER_EVENT_LOOP=asyncio asks for the standard one."""
    if os.environ.get("WSKEEPER_EVENT_LOOP") != "asyncio":
        try:
            import uvloop  # noqa: PLC0415 - absent on some platforms
        except ImportError:
            return asyncio.new_event_loop
        return uvloop.new_event_loop
    return asyncio.new_event_loop


async def run(config: Config) -> None:
    """Runs a gateway until a signal says otherwise: the first drains, the second ends at once."""
    log = logs.logger(level=config.log.level, form=config.log.format)
    logs.bridge_libraries(log)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: _unhandled(log, context))
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, asked.put_nowait, number)
    gateway = Gateway(config, log, loop)
    try:
        await gateway.start()
        await asked.get()
        draining = loop.create_task(gateway.drain(), name="drain")
        again = loop.create_task(asked.get(), name="second signal")
        await asyncio.wait((draining, again), return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, again):
            task.cancel()
        await asyncio.gather(draining, again, return_exceptions=True)
    finally:
        await gateway.close()


def _unhandled(log: logs.Logger, context: dict[str, Any]) -> None:
    """What asyncio could not give to anybody; its other context may quote what was received."""
    log.error("unhandled", message=str(context.get("message")), failure=context.get("exception"))

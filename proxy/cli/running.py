"""Runs a gateway in the foreground until a signal says otherwise."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import click

from proxy import logs
from proxy.app import Gateway
from proxy.config.faults import Fault
from proxy.events import EventRing
from proxy.notify import notify
from proxy.tracing.switch import tracing_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.admin.try_page.page import TryPage
    from proxy.config.load import Loaded
    from proxy.config.model import Config

# Containers made between two rounds of the youngest generation.
_GC_THRESHOLD: Final = 10_000

_NO_LOOP: Final = Fault(
    "environment",
    None,
    "WSKEEPER_EVENT_LOOP",
    "names no event loop",
    "write `uvloop` or `asyncio`, or leave it out",
)

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Prefers uvloop; WSKEEPER_EVENT_LOOP=asyncio asks for the standard library's loop.

    Raises:
        ClickException: the variable names another loop.
    """
    asked = os.environ.get("WSKEEPER_EVENT_LOOP", "")
    if asked not in {"", "asyncio", "uvloop"}:
        raise click.ClickException(str(_NO_LOOP))
    if asked != "asyncio":
        try:
            import uvloop  # noqa: PLC0415 - absent on some platforms
        except ImportError:
            return asyncio.new_event_loop
        return uvloop.new_event_loop
    return asyncio.new_event_loop


async def run(
    config: Config,
    *,
    started: Callable[[Gateway], None],
    reread: Callable[[], Loaded] | None = None,
    try_page: TryPage | None = None,
) -> None:
    """Runs a gateway: the first signal to stop drains it, the second ends it at once.

    Args:
        config: valid.
        started: is told when the gateway listens.
        reread: reads the configuration again, for a reload; None where there is no file.
        try_page: what the demo shows on the admin listener; else None.

    Raises:
        StoreUnavailable: the store cannot be used.
        CannotListen: an address is taken or may not be used.
        OSError: a TLS file cannot be used.
    """
    loop = asyncio.get_running_loop()
    events = EventRing(time.time)
    log = logs.logger(
        level=config.log.level, form=config.log.format, later=loop.call_later, heard=events.note
    )
    events.catch_up = log.flush
    logs.bridge_libraries(log, loop.call_soon_threadsafe)
    loop.set_exception_handler(lambda _, context: _unhandled(log, context))
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, asked.put_nowait, number)
    # A reload that is asked for during the start comes behind it.
    reload = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    # All that is made until the start is over will stay; see _settle.
    gc.disable()
    gateway = Gateway(
        config,
        log,
        loop,
        events=events,
        set_level=log.set_level,
        reread=reread,
        try_page=try_page,
    )
    tracing = tracing_of(os.environ, wall=time.time, log=log, loop=loop)
    if tracing is not None:
        tracing.watch(gateway.admission, gateway.registry)
    try:
        await gateway.start()
        started(gateway)
        notify("READY=1")
        loop.add_signal_handler(signal.SIGHUP, gateway.reloading.on_signal)
        if reload.is_set():
            gateway.reloading.on_signal()
        _settle()
        await asked.get()
        notify("STOPPING=1")
        draining = loop.create_task(gateway.drain(), name="drain")
        again = loop.create_task(asked.get(), name="second signal")
        await asyncio.wait((draining, again), return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, again):
            task.cancel()
        await asyncio.gather(draining, again, return_exceptions=True)
    finally:
        gc.enable()
        await gateway.close()
        if tracing is not None:
            await tracing.close()
        log.flush()


def _settle() -> None:
    """Takes all that was made for the start out of the garbage collector's rounds.

    Sessions are freed by reference counting; full rounds over a million bytes of modules would
    only delay them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    gc.enable()


def _unhandled(log: logs.Logger, context: dict[str, Any]) -> None:
    """What asyncio could give to nobody; the rest of its context may quote what was received."""
    log.error("unhandled", message=str(context.get("message")), failure=context.get("exception"))

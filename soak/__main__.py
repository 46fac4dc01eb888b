"""`python -m soak`: thousands of sessions, with churn, resets, stalls, reloads and restarts."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from soak.clients import Clients
from soak.world import KEY, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# Of a hundred sessions, how many are of each kind.
SHARES = {"steady": 70, "fickle": 14, "switched": 6, "restless": 6, "stalled": 4}
# Sessions that begin in a second.
OPENED_PER_SECOND = 200.0
# Seconds for all sessions to be gone, and what may be left then.
GONE_WITHIN = 60.0
SPARE_FILES = 3
SPARE_BYTES = 12 << 20


async def wave(world: World, sessions: int, seconds: float, *, trouble: bool) -> Clients:
    """All kinds of clients for so long; with `trouble`, things happen to the gateway meanwhile."""
    stopping = asyncio.Event()
    clients = Clients(world.address, KEY, stopping)
    kinds: list[Callable[[], Awaitable[None]]] = [
        getattr(clients, name) for name, share in SHARES.items() for _ in range(share)
    ]
    troubles = [world.reload_again_and_again(), world.restart_again_and_again()] if trouble else []
    happening = [asyncio.create_task(one) for one in troubles]
    running = []
    for number in range(sessions):
        running.append(asyncio.create_task(clients.run(kinds[number * 37 % len(kinds)])))
        await asyncio.sleep(1 / OPENED_PER_SECOND)
    await asyncio.sleep(seconds)
    for task in happening:
        task.cancel()
    outcomes = await asyncio.gather(*happening, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            clients.findings.faults[f"trouble failed: {outcome!r}"] += 1
    stopping.set()
    await asyncio.gather(*running)
    await world.emptied(GONE_WITHIN)
    return clients


async def soak(sessions: int, minutes: float, folder: Path) -> bool:
    """Runs it and tells how it went; returns whether all was well."""
    async with World(folder) as world:
        # What a first crowd leaves behind is the allocator's, not a leak.
        await wave(world, sessions, 5, trouble=False)
        files, memory = world.files(), world.memory()
        click.echo(f"before: {files} files, {memory >> 20} MiB")
        clients = await wave(world, sessions, minutes * 60, trouble=True)
        world.reload(switched=True)
        await asyncio.sleep(2)
        found = clients.findings
        files_after, memory_after, left = world.files(), world.memory(), world.sessions
        log_faults = world.faults()
        click.echo(f"after:  {files_after} files, {memory_after >> 20} MiB, {left:.0f} sessions")
        click.echo(
            f"{found.messages} messages over {found.opened} sessions, "
            f"{world.reloads} reloads, {world.restarts} restarts"
        )
        for (kind, told), count in sorted(found.ends.items()):
            click.echo(f"  {kind} ended with {told}: {count}")
        faults = [f"{count} x {fault}" for fault, count in found.faults.most_common()]
        faults += [f"logged: {line[:300]}" for line in log_faults[:20]]
        if left:
            faults.append(f"{left:.0f} sessions are left")
        if files_after > files + SPARE_FILES:
            faults.append(f"{files_after - files} files are left open")
        if memory_after > memory + SPARE_BYTES:
            faults.append(f"memory grew by {(memory_after - memory) / (1 << 20):.1f} MiB")
        for fault in faults:
            click.echo(f"FAULT: {fault}", err=True)
        return not faults


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--sessions", type=click.IntRange(10, 8000), default=2000, show_default=True)
@click.option("--minutes", type=click.FloatRange(0.1, 600), default=5.0, show_default=True)
def main(*, sessions: int, minutes: float) -> None:
    """Try the gateway with everything at once, and look for what it lost or left behind."""
    with tempfile.TemporaryDirectory() as folder:
        well = asyncio.run(soak(sessions, minutes, Path(folder)))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()

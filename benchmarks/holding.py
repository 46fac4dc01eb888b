"""What limits, keepalive and a drain cost: `python -m benchmarks.holding`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks import wire
from benchmarks.echo import Echo
from benchmarks.keys import PROBE_EVERY, Closed, affordable
from benchmarks.load import LoadError, OpenLoop, PingPong, leave, open_sessions
from benchmarks.loop import Loop
from benchmarks.measure import cores
from benchmarks.processes import Child, Command, cpu_seconds, free_port, resident_bytes
from benchmarks.proxies import PREFIX, ROOT, python

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

SECRET = "benchmark-benchmark-benchmark"
SIZES = (64, 64 * 1024)
SESSIONS = 16
FIRST_SESSIONS = 200
PROBES = 20
SPREAD = 10.0
DRAINED_WITHIN = 60.0

NONE: dict[str, Any] = {
    "limits": {"total_connections": None, "auth_failures_per_minute": None},
    "timeouts": {"write": None},
    "keepalive": None,
}
# Every limit that a message or a handshake can meet, each too high to be met.
ALL: dict[str, Any] = {
    "limits": {
        "total_connections": 100_000,
        "connections": 100_000,
        "connections_per_address": 100_000,
        "connections_per_subject": 100_000,
        "handshakes_per_second": 100_000,
        "message_size": {"client_to_upstream": "1GiB", "upstream_to_client": "1GiB"},
        "messages_per_second": 10_000_000,
        "bytes_per_second": "100GiB",
        "on_exceed": "close",
    },
    "timeouts": {"write": "30s", "idle": "1h"},
    "keepalive": {"interval": "20s", "timeout": "20s"},
    "max_lifetime": "1d",
}
KEEPALIVE: dict[str, Any] = {"limits": {"total_connections": None}}


class Gateway:
    """A running gateway with these settings."""

    def __init__(self, folder: Path, echo: Echo, settings: dict[str, Any], *, core: int) -> None:
        self.port = free_port()
        config = {
            "listen": f"127.0.0.1:{self.port}",
            "admin": {"listen": None},
            "log": {"level": "warning", "format": "json"},
            "store": "memory:",
            "keys": [{"name": "benchmark", "secret": SECRET}],
            "drain": {"spread": f"{SPREAD}s", "timeout": f"{DRAINED_WITHIN}s"},
            "routes": [
                {"name": "bench", "path": PREFIX, "upstream": f"ws://127.0.0.1:{echo.port}"}
            ],
            **settings,
        }
        file = folder / "wskeeper.yaml"
        file.write_text(json.dumps(config))
        command = Command([*python("proxy"), "serve", "-c", str(file)], self.port)
        self._child = Child(command, core, folder / "log", ROOT)
        self._child.wait_until_listening()
        self.pids = self._child.tree()

    def open(self, loop: Loop, mode: str, count: int) -> list[socket.socket]:
        """So many sessions."""
        request = wire.upgrade_request(f"{PREFIX}/{mode}", SECRET)
        return open_sessions(loop, self.port, request, count, timeout=120)

    def drain(self) -> None:
        """Tells it to go."""
        os.kill(self.pids[0], signal.SIGTERM)

    def stop(self) -> None:
        self._child.stop()


@contextlib.contextmanager
def running(echo: Echo, settings: dict[str, Any], *, core: int) -> Iterator[Gateway]:
    """A gateway, for as long as it is needed."""
    folder = Path(tempfile.mkdtemp(prefix="wskeeper-holding-"))
    try:
        gateway = Gateway(folder, echo, settings, core=core)
        try:
            yield gateway
        finally:
            gateway.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def message_cpu(loop: Loop, gateway: Gateway, size: int, seconds: float) -> float:
    """Microseconds of processor time of the gateway for one round trip."""
    clients = [PingPong(loop, sock, size) for sock in gateway.open(loop, str(size), SESSIONS)]
    for client in clients:
        client.start()
    loop.run(seconds / 4)
    before, began = sum(client.count for client in clients), cpu_seconds(gateway.pids)
    loop.run(seconds)
    after, spent = sum(client.count for client in clients), cpu_seconds(gateway.pids) - began
    for client in clients:
        client.running = False
    if not loop.run(10, lambda: all(client.idle for client in clients)):
        raise LoadError("an answer is missing 10 s after the last message")
    leave(loop, clients)
    return spent / (after - before) * 1e6


def idle(loop: Loop, gateway: Gateway, sessions: int, seconds: float) -> tuple[float, float]:
    """(KiB of memory per session, percent of a core that all of them take)."""
    sockets = gateway.open(loop, "64", FIRST_SESSIONS)
    before = resident_bytes(gateway.pids)
    sockets += gateway.open(loop, "64", sessions)
    memory = (resident_bytes(gateway.pids) - before) / sessions / 1024
    began, cpu = time.perf_counter(), cpu_seconds(gateway.pids)
    time.sleep(seconds)
    share = 100 * (cpu_seconds(gateway.pids) - cpu) / (time.perf_counter() - began)
    for sock in sockets:
        sock.close()
    return memory, share


class Probe(OpenLoop):
    """A session that sends a message every 50 ms until it is told to go, too."""

    __slots__ = ("over",)

    def __init__(self, loop: Loop, sock: socket.socket, latencies: list[float]) -> None:
        self.over = False
        super().__init__(loop, sock, 64, latencies)

    def ready(self, events: int) -> None:
        try:
            super().ready(events)
        except LoadError:
            self.end()

    def end(self) -> None:
        if not self.over:
            self.over = True
            self.close()


def drain(loop: Loop, gateway: Gateway, count: int) -> tuple[float, list[int], float]:
    """(seconds until the last Close, Closes in each tenth of the time, p99 of echoes in ms)."""
    sessions = [Closed(loop, sock, b"draining") for sock in gateway.open(loop, "sink", count)]
    latencies: list[float] = []
    probes = [Probe(loop, sock, latencies) for sock in gateway.open(loop, "64", PROBES)]
    began = due = time.perf_counter()
    gateway.drain()
    while not all(session.at for session in sessions):
        now = time.perf_counter()
        if now > began + DRAINED_WITHIN:
            raise LoadError("sessions live on")
        if now >= due:
            due = now + PROBE_EVERY
            for probe in probes:
                if not probe.over:
                    with contextlib.suppress(OSError):
                        probe.ping(now)
        loop.turn(0.001)
    for probe in probes:
        probe.end()
    ends = [session.at - began for session in sessions]
    last = max(ends)
    tenths = [0] * 10
    for end in ends:
        tenths[min(int(10 * end / last), 9)] += 1
    p99 = statistics.quantiles(latencies, n=100, method="inclusive")[-1]
    return last, tenths, 1e3 * p99


def _compare(loop: Loop, echo: Echo, core: int, *, rounds: int, seconds: float) -> None:
    with running(echo, NONE, core=core) as off, running(echo, ALL, core=core) as on:
        for size in SIZES:
            found: dict[str, list[float]] = {"off": [], "on": []}
            for number in range(rounds):
                pair = [("off", off), ("on", on)]
                for name, gateway in pair if number % 2 else reversed(pair):
                    found[name].append(message_cpu(loop, gateway, size, seconds))
            without, with_all = (statistics.median(found[name]) for name in ("off", "on"))
            more = 100 * (with_all / without - 1)
            click.echo(
                f"CPU of a round trip of {size:,} B: no limit {without:.1f} µs, "
                f"all limits {with_all:.1f} µs ({more:+.0f} %)"
            )


@click.command()
@click.option("--quick", is_flag=True, help="Small numbers: only to see that it works.")
def main(*, quick: bool) -> None:
    """Measure what limits, keepalive and a drain cost.

    Both sides of each comparison run in turns. Everything is on loopback; Linux only.
    """
    sessions = affordable(1000 if quick else 10_000)
    proxy_core, load_core = cores()
    os.sched_setaffinity(0, {load_core})
    loop = Loop()
    echo = Echo(loop)
    rounds, seconds = (2, 0.5) if quick else (7, 2.0)
    _compare(loop, echo, proxy_core, rounds=rounds, seconds=seconds)
    for name, settings in (("without keepalive", NONE), ("with keepalive", KEEPALIVE)):
        with running(echo, settings, core=proxy_core) as gateway:
            memory, _ = idle(loop, gateway, sessions // 2, 0.1)
            click.echo(f"memory of an idle session {name}: {memory:.1f} KiB")
    unpinged = {**KEEPALIVE, "keepalive": {"interval": "5m"}}
    with running(echo, unpinged, core=proxy_core) as gateway:
        _, share = idle(loop, gateway, sessions - FIRST_SESSIONS, 5 if quick else 20)
        click.echo(f"{sessions:,} idle sessions, no ping due: {share:.2f} % of a core")
    with running(echo, KEEPALIVE, core=proxy_core) as gateway:
        last, tenths, p99 = drain(loop, gateway, sessions - PROBES)
        shown = " ".join(map(str, tenths))
        click.echo(f"drain of {sessions:,} sessions over {SPREAD:.0f} s: {last:.1f} s")
        click.echo(f"  Close frames in each tenth of it: {shown}")
        click.echo(f"  p99 of the others' echo meanwhile: {p99:.1f} ms")
    echo.close()


if __name__ == "__main__":
    main()

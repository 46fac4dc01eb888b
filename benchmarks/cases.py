"""What is measured of one proxy in one round."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.load import (
    Handshakes,
    HugeMessage,
    LoadError,
    OpenLoop,
    PingPong,
    leave,
    send_on_schedule,
)
from benchmarks.processes import forget_peak, peak_bytes, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contest import Contestant

Sample = dict[str, float]

KIB = 1024
MIB = 1024 * 1024
# The load runs this part of the measured time before the clocks are read.
WARM_UP = 0.2
SESSIONS = 16
HANDSHAKES_AT_ONCE = 4
# Opened before the memory is first read: what a proxy allocates once is not a session's.
FIRST_SESSIONS = 200
HUGE_TIMEOUT = 120.0
LATENCY_SIZE = 64
LATENCY_SLICES = 9


@dataclass(frozen=True)
class Effort:
    """How much is spent on one sample."""

    seconds: float = 1.0
    idle_sessions: int = 5000
    huge_bytes: int = 1 << 30
    # Memory hardly varies: fewer rounds do.
    memory_rounds: int = 3
    # Messages a second of the latency case; 0 until it is known.
    rate: float = 0

    def quick(self) -> Effort:
        return replace(self, seconds=0.3, idle_sessions=1000, huge_bytes=128 * MIB, memory_rounds=1)


def echo_case(size: int) -> Callable[[Contestant, Effort], Sample]:
    """CPU of a round trip: ping-pong on a handful of sessions, as fast as it goes."""

    def measure(contestant: Contestant, effort: Effort) -> Sample:
        loop = contestant.arena.loop
        clients = [PingPong(loop, sock, size) for sock in contestant.open(str(size), SESSIONS)]
        for client in clients:
            client.start()
        sample = _rate(contestant, effort, clients)
        leave(loop, clients)
        return sample

    return measure


def handshakes(contestant: Contestant, effort: Effort) -> Sample:
    """CPU of a session that opens and closes with nothing between."""
    arena = contestant.arena
    request = arena.request("0")
    slots = [Handshakes(arena.loop, contestant.port, request) for _ in range(HANDSHAKES_AT_ONCE)]
    return _rate(contestant, effort, slots)


def _rate(
    contestant: Contestant, effort: Effort, clients: list[PingPong] | list[Handshakes]
) -> Sample:
    """CPU per unit of whatever the clients count, read while they are at it; then stops them."""
    loop = contestant.arena.loop
    loop.run(WARM_UP * effort.seconds)
    count, cpu, wall = _reading(contestant, clients)
    loop.run(effort.seconds)
    count, cpu, wall = (
        after - before
        for before, after in zip((count, cpu, wall), _reading(contestant, clients), strict=True)
    )
    for client in clients:
        client.running = False
    if not loop.run(10, lambda: all(client.idle for client in clients)):
        raise LoadError("an answer is missing 10 s after the last message")
    if not count:
        raise LoadError("nothing came back")
    return {"cpu_us": 1e6 * cpu / count, "per_second": count / wall, "busy": cpu / wall}


def _reading(
    contestant: Contestant, clients: list[PingPong] | list[Handshakes]
) -> tuple[float, float, float]:
    count = sum(client.count for client in clients)
    return count, contestant.cpu_seconds(), time.perf_counter()


def idle_sessions(contestant: Contestant, effort: Effort) -> Sample:
    """Memory of a session: after its handshake, and after one message each way."""
    loop = contestant.arena.loop
    mode = str(LATENCY_SIZE)
    sockets = contestant.open(mode, FIRST_SESSIONS)
    before = resident_bytes(contestant.pids)
    sockets += contestant.open(mode, effort.idle_sessions)
    opened = resident_bytes(contestant.pids)
    clients = [PingPong(loop, sock, LATENCY_SIZE) for sock in sockets]
    for client in clients:
        client.running = False
        client.start()
    if not loop.run(30, lambda: all(client.idle for client in clients)):
        raise LoadError("an idle session did not answer")
    used = resident_bytes(contestant.pids)
    for client in clients:
        client.close()
    return {
        "kib": (opened - before) / effort.idle_sessions / KIB,
        "kib_used": (used - before) / effort.idle_sessions / KIB,
    }


def huge_message(contestant: Contestant, effort: Effort) -> Sample:
    """Growth of memory while one huge frame passes to a service that reads all of it."""
    arena = contestant.arena
    (sock,) = contestant.open("sink", 1)
    before = forget_peak(contestant.pids)
    wall = time.perf_counter()
    target = arena.echo.sunk + effort.huge_bytes
    client = HugeMessage(arena.loop, sock, effort.huge_bytes)
    try:
        arrived = arena.loop.run(HUGE_TIMEOUT, lambda: arena.echo.sunk >= target)
    finally:
        client.close()
    if not arrived:
        raise LoadError(f"the message had not passed after {HUGE_TIMEOUT:.0f} s")
    wall = time.perf_counter() - wall
    return {"mib": (peak_bytes(contestant.pids) - before) / MIB, "seconds": wall}


def latency(contestant: Contestant, effort: Effort) -> Sample:
    """Time of a round trip at a fixed rate, in microseconds.

    Percentiles are those of the median slice: a core taken away by the hypervisor for 20 ms would
    otherwise be all that the 99th percentile shows.
    """
    loop = contestant.arena.loop
    latencies: list[float] = []
    sockets = contestant.open(str(LATENCY_SIZE), SESSIONS)
    clients = [OpenLoop(loop, sock, LATENCY_SIZE, latencies) for sock in sockets]
    send_on_schedule(loop, clients, effort.rate, WARM_UP * effort.seconds)
    p50, p99 = [], []
    for _ in range(LATENCY_SLICES):
        latencies.clear()
        send_on_schedule(loop, clients, effort.rate, effort.seconds / LATENCY_SLICES)
        cuts = statistics.quantiles(latencies, n=100)
        p50.append(1e6 * cuts[49])
        p99.append(1e6 * cuts[98])
    leave(loop, clients)
    return {"p50_us": statistics.median(p50), "p99_us": statistics.median(p99)}


@dataclass(frozen=True)
class Case:
    """One measurement; a fresh one, of memory, gets a proxy that has just been started."""

    name: str
    measure: Callable[[Contestant, Effort], Sample]
    fresh: bool = False
    # Also measured without a proxy, to be subtracted.
    direct: bool = False


CASES = (
    Case("64B", echo_case(64)),
    Case("64KiB", echo_case(64 * KIB)),
    Case("1MiB", echo_case(MIB)),
    Case("handshake", handshakes),
    Case("latency", latency, direct=True),
    Case("idle", idle_sessions, fresh=True),
    Case("huge", huge_message, fresh=True),
)

"""What many keys cost, and how fast a revoked one is out: `python -m benchmarks.keys`."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import resource
import secrets
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks import wire
from benchmarks.echo import BUFFER, Echo
from benchmarks.load import Handshakes, LoadError, OpenLoop, open_sessions
from benchmarks.loop import Loop, Stream
from benchmarks.measure import cores
from benchmarks.processes import Child, Command, cpu_seconds, free_port, resident_bytes
from benchmarks.proxies import PREFIX, ROOT, python
from proxy.keys.key import Key, Secret
from proxy.keys.lifecycle import revoked
from proxy.stores.open import open_store

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

MANY = 100_000
SLOTS = 16
PROBE_EVERY = 0.05
# Files of a process that are no session's.
SPARE_FILES = 400
CLOSED_WITHIN = 30.0


class Gateway:
    """A running gateway with its store, whose first key everybody uses."""

    def __init__(self, folder: Path, echo: Echo, *, keys: int, core: int) -> None:
        self.store = f"sqlite:{folder / 'keys.db'}"
        self.port, self._admin_port = free_port(), free_port()
        self.secrets = _fill(self.store, keys)
        config = {
            "listen": f"127.0.0.1:{self.port}",
            "admin": {"listen": f"127.0.0.1:{self._admin_port}"},
            "log": {"level": "warning", "format": "json"},
            "store": self.store,
            "limits": {"total_connections": None},
            "routes": [
                {"name": "bench", "path": PREFIX, "upstream": f"ws://127.0.0.1:{echo.port}"}
            ],
        }
        file = folder / "wskeeper.yaml"
        file.write_text(json.dumps(config))
        command = Command([*python("proxy"), "serve", "-c", str(file)], self.port)
        began = time.perf_counter()
        self._child = Child(command, core, folder / "log", ROOT)
        self._child.wait_until_listening()
        # Seconds until it listened.
        self.started_in = time.perf_counter() - began
        self.pids = self._child.tree()

    def request(self, mode: str, number: int = 0) -> bytes:
        """An upgrade request with the key of that number."""
        return wire.upgrade_request(f"{PREFIX}/{mode}", self.secrets[number])

    def revoke_by_api(self, number: int) -> None:
        """Through the gateway's own admin API."""
        admin = http.client.HTTPConnection("127.0.0.1", self._admin_port, timeout=10)
        path = f"/api/v1/keys/key-{number}/revoke"
        admin.request("POST", path, headers={"Content-Type": "application/json"})
        status = admin.getresponse().status
        admin.close()
        if status != 200:
            raise LoadError(f"revocation answered {status}")

    def revoke_in_store(self, number: int) -> None:
        """As `wskeeper keys revoke` does, in another process than the gateway."""
        with contextlib.closing(open_store(self.store, create=False)) as store:
            key_id = store.find(f"key-{number}").id
            store.change(key_id, lambda key: revoked(key, time.time()), by="benchmark")

    def stop(self) -> None:
        self._child.stop()


def _fill(store: str, count: int) -> list[str]:
    """Makes a store with so many keys; returns the secrets of the first ones."""
    known = [secrets.token_hex(20) for _ in range(min(count, 8))]
    made = []
    for number in range(count):
        secret = known[number] if number < len(known) else secrets.token_hex(20)
        digest = hashlib.sha256(secret.encode()).digest()
        made.append(
            Key(f"id{number}", f"key-{number}", (Secret(digest),), created_at=1e9, expires_at=4e9)
        )
    with contextlib.closing(open_store(store, create=True)) as opened:
        opened.add(made, by="benchmark")
    return known


@contextlib.contextmanager
def running(echo: Echo, *, keys: int, core: int) -> Iterator[Gateway]:
    """A gateway with so many keys in its store."""
    folder = Path(tempfile.mkdtemp(prefix="wskeeper-keys-"))
    try:
        gateway = Gateway(folder, echo, keys=keys, core=core)
        try:
            yield gateway
        finally:
            gateway.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def handshake_cpu(loop: Loop, gateway: Gateway, seconds: float) -> float:
    """Microseconds of processor time of the gateway for one session, opened and closed."""
    slots = [Handshakes(loop, gateway.port, gateway.request("echo")) for _ in range(SLOTS)]
    loop.run(seconds / 4)
    before, began = sum(slot.count for slot in slots), cpu_seconds(gateway.pids)
    loop.run(seconds)
    after, spent = sum(slot.count for slot in slots), cpu_seconds(gateway.pids) - began
    for slot in slots:
        slot.running = False
    if not loop.run(5, lambda: all(slot.idle for slot in slots)):
        raise LoadError("handshakes do not end")
    return spent / (after - before) * 1e6


class Closed(Stream):
    """An idle session that waits for its Close frame, and leaves."""

    __slots__ = ("_reason", "at")

    def __init__(self, loop: Loop, sock: socket.socket, reason: bytes = b"key_revoked") -> None:
        self._reason = reason
        # When the Close came, on the clock of `time.perf_counter`; 0 until then.
        self.at = 0.0
        super().__init__(loop, sock)

    def ready(self, events: int) -> None:
        del events
        received = self.receive_into(BUFFER)
        if not received or BUFFER[0] != wire.CLOSE or self._reason not in BUFFER[:received]:
            raise LoadError("a session ended without its Close frame")
        self.at = time.perf_counter()
        self.close()


class Probe:
    """A session of another key that sends a message every 50 ms."""

    def __init__(self, loop: Loop, gateway: Gateway, number: int) -> None:
        self._latencies: list[float] = []
        (sock,) = open_sessions(loop, gateway.port, gateway.request("64", number), 1)
        self._loop = loop
        self._client = OpenLoop(loop, sock, 64, self._latencies)
        self._due = time.perf_counter()

    def turn(self) -> None:
        now = time.perf_counter()
        if now >= self._due:
            self._client.ping(self._due)
            self._due = now + PROBE_EVERY
        self._loop.turn(0.001)

    def taken(self) -> str:
        """The latencies since the last call."""
        found = sorted(self._latencies)
        self._latencies.clear()
        if len(found) < 2:
            return "no answer"
        p99 = statistics.quantiles(found, n=100, method="inclusive")[-1]
        return f"p50 {found[len(found) // 2] * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms ({len(found)})"

    def leave(self) -> None:
        self._client.close()


def revoke_1000(loop: Loop, gateway: Gateway, number: int, *, by_api: bool) -> float:
    """Seconds from the revocation to the last of 1,000 Close frames."""
    sessions = [
        Closed(loop, sock)
        for sock in open_sessions(loop, gateway.port, gateway.request("sink", number), 1000)
    ]
    began = time.perf_counter()
    (gateway.revoke_by_api if by_api else gateway.revoke_in_store)(number)
    if not loop.run(CLOSED_WITHIN, lambda: all(session.at for session in sessions)):
        raise LoadError("sessions of a revoked key live on")
    return max(session.at for session in sessions) - began


def close_all_beside_probe(
    loop: Loop, gateway: Gateway, number: int, probed: int, count: int
) -> tuple[float, str, str]:
    """Seconds for all Close frames, and what a session of another key felt before and meanwhile."""
    sockets = open_sessions(loop, gateway.port, gateway.request("sink", number), count, timeout=120)
    sessions = [Closed(loop, sock) for sock in sockets]
    probe = Probe(loop, gateway, probed)
    end = time.perf_counter() + 3
    while time.perf_counter() < end:
        probe.turn()
    quiet = probe.taken()
    began = time.perf_counter()
    gateway.revoke_in_store(number)
    while not all(session.at for session in sessions):
        if time.perf_counter() > began + CLOSED_WITHIN:
            raise LoadError("sessions of a revoked key live on")
        probe.turn()
    took = max(session.at for session in sessions) - began
    end = time.perf_counter() + 0.5
    while time.perf_counter() < end:
        probe.turn()
    busy = probe.taken()
    probe.leave()
    return took, quiet, busy


def affordable(wished: int) -> int:
    """As many sessions as the files of one process allow; both ends of each are one's."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        wanted = 2 * wished + SPARE_FILES
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, wanted), max(hard, wanted)))
        return wished
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wished, (hard - SPARE_FILES) // 2)


def _compare(loop: Loop, echo: Echo, core: int, *, many: int, rounds: int, seconds: float) -> None:
    """What keys cost that are only there."""
    with running(echo, keys=1, core=core) as few, running(echo, keys=many, core=core) as full:
        grown = resident_bytes(full.pids) - resident_bytes(few.pids)
        cpu: dict[int, list[float]] = {1: [], many: []}
        for number in range(rounds):
            pair = [(1, few), (many, full)]
            for count, gateway in pair if number % 2 else reversed(pair):
                cpu[count].append(handshake_cpu(loop, gateway, seconds))
        for count, found in cpu.items():
            spread = f"{min(found):.0f} to {max(found):.0f}"
            click.echo(
                f"handshake CPU, {count:,} keys: {statistics.median(found):.0f} µs ({spread})"
            )
        click.echo(f"memory per key: {grown / (many - 1):.0f} bytes")
        for count, gateway in ((1, few), (many, full)):
            click.echo(f"start with {count:,} keys: {gateway.started_in:.2f} s")


def _revoke(loop: Loop, echo: Echo, core: int, *, sessions: int, rounds: int) -> None:
    """How fast a revoked key is out."""
    with running(echo, keys=8, core=core) as gateway:
        for name, by_api in (("through the API", True), ("by another process", False)):
            numbers = range(rounds) if by_api else range(rounds, 2 * rounds)
            took = [revoke_1000(loop, gateway, number, by_api=by_api) for number in numbers]
            shown = ", ".join(f"{each * 1e3:.0f}" for each in took)
            click.echo(f"revocation {name} to the last of 1,000 Close frames: {shown} ms")
    with running(echo, keys=8, core=core) as gateway:
        took_all, quiet, busy = close_all_beside_probe(loop, gateway, 0, 1, sessions)
        click.echo(f"{sessions:,} sessions of one key closed in {took_all:.2f} s")
        click.echo(f"  an echo of another key before: {quiet}")
        click.echo(f"  an echo of another key meanwhile: {busy}")


@click.command()
@click.option("--quick", is_flag=True, help="Small numbers: only to see that it works.")
def main(*, quick: bool) -> None:
    """Measure what many keys cost, and how fast a revoked one is out.

    Both sides of each comparison run in turns. Everything is on loopback; Linux only.
    """
    sessions = affordable(1000 if quick else 10_000)
    proxy_core, load_core = cores()
    os.sched_setaffinity(0, {load_core})
    loop = Loop()
    echo = Echo(loop)
    many, rounds, seconds = (20_000, 2, 0.5) if quick else (MANY, 5, 3.0)
    _compare(loop, echo, proxy_core, many=many, rounds=rounds, seconds=seconds)
    _revoke(loop, echo, proxy_core, sessions=sessions, rounds=2 if quick else 3)
    echo.close()


if __name__ == "__main__":
    main()

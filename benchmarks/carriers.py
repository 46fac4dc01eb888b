"""What each way in costs: `python -m benchmarks.carriers`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks import wire
from benchmarks.echo import Echo
from benchmarks.keys import SLOTS
from benchmarks.load import Handshakes, LoadError
from benchmarks.loop import Loop
from benchmarks.measure import cores
from benchmarks.processes import Child, Command, cpu_seconds, free_port
from benchmarks.proxies import PREFIX, ROOT, python

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = f"{PREFIX}/echo"
TICKET_ROUTE = "/tickets"
FIRST_ROUTE = "/first"
# A key may have 1,000 tickets waiting.
BUYERS = 8
TICKETS_EACH = 300
TEXT = 0x81
KEY = secrets.token_hex(20)


class Gateway:
    """A gateway that is open in every way."""

    def __init__(self, folder: Path, echo: Echo, core: int) -> None:
        self.port = free_port()
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._private.public_key()))
        jwks = folder / "jwks.json"
        jwks.write_text(json.dumps({"keys": [{**public, "kid": "one", "alg": "RS256"}]}))
        self.buyers = [secrets.token_hex(20) for _ in range(BUYERS)]
        upstream = f"ws://127.0.0.1:{echo.port}{PREFIX}"
        config = {
            "listen": f"127.0.0.1:{self.port}",
            "admin": {"listen": None},
            "log": {"level": "warning", "format": "json"},
            "store": "memory:",
            "tickets": {"ttl": "10m"},
            "keys": [
                {"name": f"key-{number}", "secret": secret}
                for number, secret in enumerate((KEY, *self.buyers))
            ],
            "carriers": [{"header": "X-Api-Key"}, "bearer", "subprotocol", {"query": "api_key"}],
            "jwt": {"audience": "bench", "jwks_file": str(jwks), "algorithms": ["RS256"]},
            "routes": [
                {"name": "bench", "path": PREFIX, "upstream": f"ws://127.0.0.1:{echo.port}"},
                {
                    "name": "cookie",
                    "path": "/cookie",
                    "carriers": [{"cookie": "api_key"}],
                    "upstream": upstream,
                },
                {
                    "name": "tickets",
                    "path": TICKET_ROUTE,
                    "carriers": ["ticket"],
                    "upstream": upstream,
                },
                {
                    "name": "first",
                    "path": FIRST_ROUTE,
                    "carriers": [{"first_message": {"reply": None}}],
                    "upstream": upstream,
                },
            ],
        }
        file = folder / "wskeeper.yaml"
        file.write_text(json.dumps(config))
        command = Command([*python("proxy"), "serve", "-c", str(file)], self.port)
        self._child = Child(command, core, folder / "log", ROOT)
        self._child.wait_until_listening()
        self.pids = self._child.tree()

    def token(self) -> str:
        """A token for an hour."""
        claims = {"aud": "bench", "sub": "somebody", "exp": time.time() + 3600}
        return jwt.encode(claims, self._private, "RS256", headers={"kid": "one"})

    def tickets(self) -> list[str]:
        """As many tickets as the buyers may have."""
        bought = []
        for secret in self.buyers:
            for _ in range(TICKETS_EACH):
                shop = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                shop.request("POST", "/.wskeeper/ticket", headers={"X-Api-Key": secret})
                answer = shop.getresponse()
                if answer.status != 201:
                    raise LoadError(f"no ticket: {answer.status}")
                bought.append(json.load(answer)["ticket"])
                shop.close()
        return bought

    def stop(self) -> None:
        self._child.stop()


class _EachAnew(Handshakes):
    """Handshakes that differ: each takes the next request of a pile."""

    __slots__ = ("_pile",)

    def __init__(self, loop: Loop, port: int, pile: list[bytes]) -> None:
        self._pile = pile
        super().__init__(loop, port, b"")

    def _begin(self, loop: Loop) -> None:
        if not self._pile:
            self.running, self.idle = False, True
            return
        self._request = self._pile.pop()
        super()._begin(loop)


def request(path: str, *lines: str, behind: bytes = b"") -> bytes:
    """An upgrade request with further header lines, and what is sent behind it."""
    bare = wire.upgrade_request(path, "").replace(b"X-Api-Key: \r\n", b"")
    head = bare.removesuffix(b"\r\n") + "".join(f"{line}\r\n" for line in lines).encode()
    return head + b"\r\n" + behind


def ways(gateway: Gateway) -> dict[str, bytes]:
    """One request for each way in that can be repeated."""
    said = json.dumps({"type": "auth", "token": KEY}).encode()
    return {
        "header": request(PATH, f"X-Api-Key: {KEY}"),
        "bearer": request(PATH, f"Authorization: Bearer {KEY}"),
        "query": request(f"{PATH}?api_key={KEY}"),
        "cookie": request("/cookie/echo", f"Cookie: theme=dark; api_key={KEY}"),
        "subprotocol": request(PATH, f"Sec-WebSocket-Protocol: wskeeper, wskeeper.key.{KEY}"),
        "first message": request(f"{FIRST_ROUTE}/echo", behind=wire.client_frame(said, TEXT)),
        "JWT, RS256": request(PATH, f"Authorization: Bearer {gateway.token()}"),
    }


def cpu(loop: Loop, gateway: Gateway, slots: list[Handshakes], seconds: float) -> float:
    """Microseconds of processor time of the gateway for one session, opened and closed."""
    loop.run(seconds / 4)
    before, began = sum(slot.count for slot in slots), cpu_seconds(gateway.pids)
    loop.run(seconds)
    after, spent = sum(slot.count for slot in slots), cpu_seconds(gateway.pids) - began
    for slot in slots:
        slot.running = False
    if not loop.run(5, lambda: all(slot.idle for slot in slots)):
        raise LoadError("handshakes do not end")
    return spent / (after - before) * 1e6


@contextlib.contextmanager
def running(echo: Echo, core: int) -> Iterator[Gateway]:
    folder = Path(tempfile.mkdtemp(prefix="wskeeper-carriers-"))
    gateway = Gateway(folder, echo, core)
    try:
        yield gateway
    finally:
        gateway.stop()
        shutil.rmtree(folder, ignore_errors=True)


@click.command()
@click.option("--quick", is_flag=True, help="Small numbers: only to see that it works.")
def main(*, quick: bool) -> None:
    """Measure what a handshake costs by each way in; Linux only."""
    rounds, seconds = (2, 0.4) if quick else (5, 2.0)
    proxy_core, load_core = cores()
    os.sched_setaffinity(0, {load_core})
    loop = Loop()
    echo = Echo(loop)
    found: dict[str, list[float]] = {}
    with running(echo, proxy_core) as gateway:
        for _ in range(rounds):
            for name, raw in ways(gateway).items():
                slots = [Handshakes(loop, gateway.port, raw) for _ in range(SLOTS)]
                found.setdefault(name, []).append(cpu(loop, gateway, slots, seconds))
        pile = [
            request(f"{TICKET_ROUTE}/echo?wskeeper_ticket={ticket}") for ticket in gateway.tickets()
        ]
        share = len(pile) // rounds
        for _ in range(rounds):
            part = [pile.pop() for _ in range(share)]
            fresh: list[Handshakes] = [_EachAnew(loop, gateway.port, part) for _ in range(SLOTS)]
            # The pile is the measure here, not the clock.
            found.setdefault("ticket", []).append(_cpu_of_pile(loop, gateway, fresh, part))
    for name, costs in found.items():
        spread = f"{min(costs):.0f} to {max(costs):.0f}"
        click.echo(f"{name:<14} {statistics.median(costs):4.0f} µs ({spread})")
    echo.close()


def _cpu_of_pile(loop: Loop, gateway: Gateway, slots: list[Handshakes], pile: list[bytes]) -> float:
    """Microseconds a session until the pile is used up."""
    before, began = sum(slot.count for slot in slots), cpu_seconds(gateway.pids)
    if not loop.run(60, lambda: not pile):
        raise LoadError("tickets are not taken")
    spent = cpu_seconds(gateway.pids) - began
    counted = sum(slot.count for slot in slots) - before
    if not loop.run(5, lambda: all(slot.idle for slot in slots)):
        raise LoadError("handshakes do not end")
    return spent / counted * 1e6


if __name__ == "__main__":
    main()

"""What the pictures show: a gateway in use, its services, its keys and who connects."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import sys
import time
import urllib.request
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.processes import free_port
from proxy.config.values import network
from proxy.keys.key import Key, KeyLimits, Secret, digest_of
from proxy.stores.open import open_store
from proxy.stores.store import HOUR, Usage
from soak.world import until_listening

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from pathlib import Path

DAY = 86400
TOKEN = "the-token-of-the-pictures"
# Addresses of their own, which Linux has without being told: names would have to resolve.
SERVICES = {
    "127.0.2.1:9002": "backends.chat",
    "127.0.2.2:9002": "backends.chat",
    "127.0.2.3:9001": "backends.echo",
    "127.0.2.5:9003": "backends.clock",
}


class Crowd(NamedTuple):
    """Clients that are alike.

    Args:
        key: the name of theirs.
        path: where they connect; `{room}` is a number of theirs.
        network: the first three numbers of their addresses.
        size: of their messages, in bytes at the most; 0 for clients that only listen.
        pause: seconds from one message to the next, about.
    """

    key: str
    path: str
    many: int
    network: str
    size: int = 0
    pause: float = 3.0
    origin: str | None = None
    subjects: tuple[str, ...] = ()


SHOP = "https://shop.example.com"
SUBJECTS = ("ada", "grace", "linus", "margaret", "edsger", "barbara", "donald", "radia")
CROWDS = (
    Crowd("mobile-app", "/chat/{room}", 56, "198.51.100", 300),
    Crowd("web-shop", "/chat/{room}", 24, "203.0.113", 200, 4.0, SHOP, SUBJECTS),
    Crowd("orders-service", "/orders", 14, "10.20.4", 1800, 0.8),
    Crowd("warehouse-scanners", "/orders", 12, "10.31.0", 700, 2.0),
    Crowd("partner-feed", "/prices", 16, "192.0.2"),
    Crowd("contractor-2025", "/prices", 3, "198.51.100"),
)


def secret(name: str) -> str:
    """The secret of the key with that name."""
    return f"{name}-secret-of-the-pictures"


def keys(now: float) -> list[Key]:
    """Keys of every kind, made over the last year."""
    draw = Random(4)

    def key(name: str, days: float, **more: Any) -> Key:
        public = "".join(draw.choices("abcdefghkmnpqrstuvwxyzABCDEFGHKMNPQRSTUVWXYZ23456789", k=10))
        secrets = (Secret(digest_of(secret(name).encode())),)
        return Key(id=public, name=name, secrets=secrets, created_at=now - days * DAY, **more)

    return [
        key("mobile-app", 212, routes=frozenset({"chat", "prices"}), metadata={"tier": "gold"},
            limits=KeyLimits(connections=5000, messages_per_second=400.0)),
        key("web-shop", 97, routes=frozenset({"chat"}), origins=frozenset({SHOP.encode()}),
            limits=KeyLimits(connections_per_subject=5, message_size=(65536, None))),
        key("orders-service", 340, routes=frozenset({"orders"}), allow=(network("10.20.0.0/16"),),
            expires_at=now + 71 * DAY),
        key("warehouse-scanners", 58, routes=frozenset({"orders"}),
            limits=KeyLimits(connections=12)),
        key("partner-feed", 41, routes=frozenset({"prices"}), expires_at=now + 49 * DAY,
            metadata={"tenant": "acme"}),
        key("contractor-2025", 120, routes=frozenset({"prices"}), expires_at=now + 20 * DAY),
        key("old-dashboard", 300, suspended_at=now - 3 * DAY),
        key("beta-trial", 44, routes=frozenset({"chat"}), expires_at=now - 14 * DAY),
        key("load-test", 190, revoked_at=now - 150 * DAY),
    ]  # fmt: skip


def usage(key: Key, now: float, scale: float) -> list[Usage]:
    """A week of a key: more by day than by night."""
    draw = Random(key.id)
    rows = []
    this_hour = int(now) // HOUR * HOUR
    for hour in range(this_hour - 7 * DAY, this_hour, HOUR):
        light = 1.2 + math.sin((hour % DAY / DAY - 0.3) * 2 * math.pi)
        sessions = int(scale * light * draw.uniform(0.8, 1.2))
        said, size = sessions * draw.randint(50, 70), draw.randint(140, 240)
        rows.append(
            Usage(key.id, hour, sessions, sessions * 900.0, (said, 3 * said),
                  (said * size, said * 3 * size), float(hour + HOUR - 1))
        )  # fmt: skip
    return rows


class Scene:
    """The gateway and its services, on loopback.

    Args:
        folder: for the configuration and the store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._public = free_port()
        self._admin = free_port()
        self._programs: list[Process] = []
        self._draw = Random(7)
        self._began = time.monotonic()

    @property
    def console(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self._admin}"

    async def __aenter__(self) -> Self:
        file = self._folder / "wskeeper.yaml"
        file.write_text(json.dumps(self._configuration()), encoding="utf-8")
        self._fill(time.time())
        for address, module in SERVICES.items():
            await self._start(module, "--listen", address)
        await self._start("proxy", "serve", "-c", str(file))
        await until_listening(self._admin)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for program in reversed(self._programs):
            with contextlib.suppress(ProcessLookupError):
                program.terminate()
            await program.wait()

    async def _start(self, *words: str) -> None:
        quiet = asyncio.subprocess.DEVNULL
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *words, stdout=quiet, stderr=quiet
        )
        self._programs.append(program)

    def _configuration(self) -> dict[str, Any]:
        tokens = {"alex": ("admin", TOKEN), "oncall": ("operator", TOKEN + "-of-oncall")}
        return {
            "listen": f"127.0.0.1:{self._public}",
            "admin": {
                "listen": f"127.0.0.1:{self._admin}",
                "tokens": [
                    {"name": name, "role": role, "sha256": hashlib.sha256(it.encode()).hexdigest()}
                    for name, (role, it) in tokens.items()
                ],
            },
            "trusted_proxies": ["127.0.0.1"],
            "keepalive": {"interval": "3s"},
            "drain": {"spread": "0s"},
            "limits": {"auth_failures_per_minute": 6},
            "keys": [{"name": "monitoring", "secret": secret("monitoring"), "routes": ["prices"]}],
            "routes": [
                {
                    "name": "chat",
                    "path": "/chat",
                    "upstream": {
                        "targets": ["ws://127.0.2.1:9002", "ws://127.0.2.2:9002"],
                        "balance": "least_connections",
                    },
                    "carriers": [{"header": "X-Api-Key"}, "ticket"],
                    "origins": [SHOP],
                },
                {
                    "name": "orders",
                    "path": "/orders",
                    "upstream": {
                        "targets": ["ws://127.0.2.3:9001", "ws://127.0.2.4:9001"],
                        "health": {"interval": "5s"},
                    },
                    "addresses": ["10.0.0.0/8"],
                },
                {"name": "prices", "path": "/prices", "upstream": "ws://127.0.2.5:9003"},
            ],
        }

    def _fill(self, now: float) -> None:
        store = open_store(f"sqlite:{self._folder}/wskeeper.db", create=True)
        made = keys(now)
        store.add(made, by="cli:alex")
        scales = {"mobile-app": 420, "web-shop": 130, "orders-service": 24, "partner-feed": 12}
        for key in made:
            if key.name in scales:
                store.record(usage(key, now, scales[key.name]))
            elif key.state(now) != "active":
                then = int(now - 16 * DAY) // HOUR * HOUR
                store.record([Usage(key.id, then, 9, 900.0, (40, 40), (900, 900), then + 60.0)])
        store.close()

    # Who connects ------------------------------------------------------------------------------

    async def live(self) -> None:
        """Clients come, talk, go and come again, others are refused, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for crowd in CROWDS:
                for number in range(crowd.many):
                    tasks.create_task(self._client(crowd, number))
            tasks.create_task(self._refused())

    async def _client(self, crowd: Crowd, number: int) -> None:
        draw = Random(f"{crowd.key}{number}")
        await asyncio.sleep(draw.uniform(0, 30))
        while True:
            # The first of each stays: somebody to look at.
            life = draw.expovariate(1 / 70) if number else 600
            with contextlib.suppress(WebSocketException, OSError):
                async with await self._dial(crowd, number) as session:
                    speaking = asyncio.create_task(self._speak(session, crowd, draw), name="speaks")
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(life):
                            async for _ in session:
                                pass
                    speaking.cancel()
            await asyncio.sleep(draw.uniform(1, 8))

    async def _dial(self, crowd: Crowd, number: int) -> ClientConnection:
        path = crowd.path.format(room=f"room{number % 18}")
        headers = {"X-Forwarded-For": f"{crowd.network}.{number * 7 % 250 + 1}"}
        if not crowd.subjects:
            return await self.dial(path, headers | {"X-Api-Key": secret(crowd.key)})
        subject = crowd.subjects[number % len(crowd.subjects)]
        order = {"route": "chat", "subject": subject}
        bought = await asyncio.to_thread(self._buy, order, secret(crowd.key))
        return await self.dial(
            f"{path}?wskeeper_ticket={bought}", headers | {"Origin": str(crowd.origin)}
        )

    async def dial(self, path: str, headers: dict[str, str]) -> ClientConnection:
        """A WebSocket to the gateway; raises what the library does where it is refused."""
        url = f"ws://127.0.0.1:{self._public}{path}"
        return await connect(url, additional_headers=headers, compression=None)

    def _buy(self, order: dict[str, str], key: str) -> str:
        headers = {"X-Api-Key": key, "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self._public}/.wskeeper/ticket"
        request = urllib.request.Request(url, json.dumps(order).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["ticket"])

    async def _speak(self, session: ClientConnection, crowd: Crowd, draw: Random) -> None:
        with contextlib.suppress(WebSocketException):
            while crowd.size:
                swell = 1.3 + math.sin((time.monotonic() - self._began) / 11 + len(crowd.path))
                await session.send("x" * draw.randint(20, crowd.size))
                await asyncio.sleep(crowd.pause * draw.uniform(0.5, 1.5) / swell)

    async def _refused(self) -> None:
        """Those whose key is missing, wrong, suspended, ended, too much used or for elsewhere."""
        shown = {
            "no key": ("/chat/room1", "", "203.0.113.77"),
            "a wrong one": ("/chat/room1", "wrong-{number}", "192.0.2.200"),
            "suspended": ("/prices", secret("old-dashboard"), "10.31.0.9"),
            "expired": ("/chat/room4", secret("beta-trial"), "198.51.100.23"),
            "one too many": ("/orders", secret("warehouse-scanners"), "10.31.0.250"),
            "elsewhere": ("/orders", secret("partner-feed"), "10.31.0.44"),
            "from outside": ("/orders", secret("orders-service"), "203.0.113.5"),
        }
        for number in range(10_000):
            name = self._draw.choices(list(shown), (5, 6, 6, 2, 3, 2, 1))[0]
            path, key, client = shown[name]
            headers = {"X-Forwarded-For": client}
            if key:
                headers["X-Api-Key"] = key.format(number=number)
            with contextlib.suppress(WebSocketException, OSError):
                async with await self.dial(path, headers):
                    pass
            burst = 25 < time.monotonic() - self._began < 40
            await asyncio.sleep(self._draw.uniform(0.1, 0.5) if burst else 2.2)

    # What operators do -------------------------------------------------------------------------

    async def operate(self, method: str, path: str, body: Any = None, who: str = "") -> None:
        """Asks the admin API, as alex unless told who else."""
        headers = {
            "Authorization": f"Bearer {TOKEN}{who and '-of-' + who}",
            "Content-Type": "application/json",
        }
        request = urllib.request.Request(
            f"{self.console}/api/v1{path}", json.dumps(body or {}).encode(), headers, method=method
        )
        await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=10).close())

"""A gateway whose keys lie in a file, with those who change them and those who use them."""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.harness.client import LABEL, Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.operators import AdminApi, CommandLine
from tests.harness.process import BUSY, SLOWNESS, wait_until
from tests.harness.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.client import Client

# Within which a change of a key is to be felt everywhere, in seconds.
AT_ONCE = 1.0 * SLOWNESS

STORE = "keys.db"
Operator = CommandLine | AdminApi

_names = (f"key-{number}" for number in itertools.count(1))


def new_name() -> str:
    """A name that no key has yet."""
    return next(_names)


class Scene(NamedTuple):
    """Everything around one gateway; the routes `app` and `other` lead to one service."""

    gateway: Gateway
    upstream: Upstream
    door: Door
    store: Path
    line: CommandLine
    api: AdminApi

    def operator(self, way: str) -> Operator:
        """`line` or `api`."""
        return self.line if way == "line" else self.api

    def open(self, key: str, target: str = "/app", **parts: Any) -> Client:
        """A session with that key."""
        return self.door.open(asking(key, target, **parts))

    def ask(self, key: str, target: str = "/app", **parts: Any) -> Any:
        """The answer to a handshake with that key."""
        return self.door.ask(asking(key, target, **parts))

    def create(self, **fields: Any) -> dict[str, Any]:
        """A new key, with its secret; the gateway knows it."""
        return self.api.create(new_name(), **fields)

    def wait_for(self, event: str, made: dict[str, Any]) -> None:
        """Waits until the gateway knows of a change of a key."""
        self.gateway.wait_for_event(event, key_id=made["id"], timeout=AT_ONCE + BUSY)

    def rotate(self, way: str, made: dict[str, Any], overlap: str) -> dict[str, Any]:
        """A key with a new secret, as soon as the gateway knows that."""
        before = len(self.gateway.events("key_rotated", key_id=made["id"]))
        rotated = self.operator(way).rotate(made["name"], overlap)
        assert wait_until(
            lambda: len(self.gateway.events("key_rotated", key_id=made["id"])) > before, AT_ONCE
        )
        return rotated

    def leave(self) -> None:
        """Ends all clients and connections of the service."""
        self.door.close_all()
        self.upstream.forget()


def asking(
    key: str, target: str = "/app", *, origin: str | None = None, client: str | None = None
) -> bytes:
    """An upgrade request: with a key, from a page, from a client behind a trusted proxy."""
    lines = [] if origin is None else [f"Origin: {origin}"]
    lines += [] if client is None else [f"X-Forwarded-For: {client}"]
    return upgrade(target, key=key, lines=tuple(lines))


def configuration(upstream: Upstream, store: Path, **fields: Any) -> dict[str, Any]:
    """What the scene's gateway is told; further fields replace its own."""
    return {
        "store": f"sqlite:{store}",
        "trusted_proxies": ["127.0.0.0/8"],
        "timeouts": {"close": "1s", "upstream_handshake": "10s"},
        "routes": [
            {"name": "app", "path": "/app", "upstream": upstream.url},
            {"name": "other", "path": "/other", "upstream": upstream.url},
        ],
        **fields,
    }


@contextmanager
def scene(folder: Path, store: Path | None = None, **fields: Any) -> Iterator[Scene]:
    """A scene with a gateway of its own, whose store lies in its folder unless told otherwise."""
    store = store or folder / STORE
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        config = configuration(upstream, store, **fields)
        gateway = stack.enter_context(Gateway(folder, config))
        door = stack.enter_context(Door(gateway.public))
        yield Scene(gateway, upstream, door, store, CommandLine(store), AdminApi(gateway))


def echoes(client: Client, text: str = "still here") -> bool:
    """Whether a session carries a message there and back."""
    client.send_text(text)
    return client.read_frame().payload == text.encode()


def metric(metrics: dict[str, float], name: str, **labels: str) -> float:
    """The value of a series, whatever the order of its labels; 0 while it has none."""
    for series, value in metrics.items():
        found, _, rest = series.partition("{")
        if found == name and dict(LABEL.findall(rest)) == labels:
            return value
    return 0.0

"""Keys in a store of their own, for the tests of commands."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from proxy.keys.key import KeyLimits
from proxy.stores.open import open_store
from proxy.stores.store import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from proxy.keys.key import Key

    Command = Callable[..., Result]

SECRET = re.compile(r"wsk_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}")
NO_LIMITS = dict.fromkeys(KeyLimits._fields)
CONFIG = f"""\
keys:
  - {{name: legacy, sha256: {"ab" * 32}, routes: [chat]}}
routes:
  - {{name: chat, path: /chat, upstream: "ws://127.0.0.1:9001"}}
  - {{name: echo, path: /echo, upstream: "ws://127.0.0.1:9002"}}
"""


def created(wskeeper: Command, *options: str, name: str = "alice") -> str:
    """Makes a key, and the store if need be; returns its secret."""
    result = wskeeper("keys", "create", "--name", name, "--init", *options)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def shown(wskeeper: Command, reference: str = "alice") -> dict[str, Any]:
    result = wskeeper("keys", "show", reference, "--json")
    assert result.exit_code == 0, result.stderr
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def kept(file: str = "wskeeper.db") -> list[Key]:
    store = open_store(f"sqlite:{file}", create=False)
    try:
        return store.keys()
    finally:
        store.close()


def failed(result: Result, *words: str, code: int = 1) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr
    if code == 1:
        assert result.stderr.startswith("Error: ")


def used(*key_ids: str, hours_ago: float = 0.0, connections: int = 1) -> None:
    """Records that keys were used."""
    store = open_store("sqlite:wskeeper.db", create=False)
    at = time.time() - hours_ago * 3600
    store.record(
        Usage(key_id, int(at // 3600) * 3600, connections, 90.5, (3, 4), (2048, 5), at)
        for key_id in key_ids
    )
    store.close()

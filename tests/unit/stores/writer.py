"""A process of its own that writes to a store.

`python -m tests.unit.stores.writer PATH NAME COUNT`

It says each number once the store has it; a count of 0 is no end.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from proxy.stores.sqlite import SqliteStore
from tests.unit.stores.scene import BY, key, usage


def main(path: str, name: str, count: str) -> None:
    store = SqliteStore(Path(path), create=True)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(count)) if int(count) else itertools.count():
        store.add([key(f"{name}-{number}")], by=BY)
        store.record([usage("shared")])
        print(number, flush=True)
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

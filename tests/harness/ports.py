"""Ports for programs that cannot be asked which one the system gave them."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port of loopback that is given to nobody else meanwhile.

    A socket stays bound to it and does not listen: a server that sets SO_REUSEADDR, as they all
    do, may bind it too.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])

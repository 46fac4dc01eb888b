"""What the kernel is asked to do for the sockets of a session."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

# Linux alone has it.
_TCP_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)

# Milliseconds: what fits into the option, 24 days.
_LONGEST: Final = 2**31 - 1


def give_up_after(transport: asyncio.Transport, seconds: float) -> None:
    """Has the kernel end a connection whose other host acknowledges nothing for so long."""
    if _TCP_USER_TIMEOUT is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family == socket.AF_UNIX:
        return
    patience = min(int(seconds * 1000), _LONGEST)
    with contextlib.suppress(OSError):  # It is gone already, as its transport will report.
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, patience)

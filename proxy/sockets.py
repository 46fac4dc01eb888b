"""What the kernel is asked to do for the sockets of clients and upstreams."""

from __future__ import annotations

import socket
from typing import Final, Protocol

# Linux alone has it.
_TCP_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)

# Milliseconds: what fits into the option, 24 days.
_LONGEST: Final = 2**31 - 1


class Socket(Protocol):
    """A socket, or what an event loop shows in its place."""

    def setsockopt(self, level: int, option: int, value: int) -> None: ...


def give_up_after(sock: Socket, seconds: float | None) -> None:
    """Has the kernel end a connection whose other host acknowledges nothing for so long.

    What a listening socket is told holds for those that it accepts.

    Args:
        seconds: None for as long as the kernel likes, some fifteen minutes.
    """
    if _TCP_USER_TIMEOUT is None:
        return
    patience = 0 if seconds is None else min(int(seconds * 1000), _LONGEST)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, patience)
    except OSError:
        return  # A Unix socket has no such option; one that is gone its transport will report.

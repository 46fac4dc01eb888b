"""What the kernel is asked to do for the sockets of clients and upstreams, and why it cannot."""

from __future__ import annotations

import os
import select
import socket
import ssl
from typing import Final, Protocol

# Linux alone has it.
_TCP_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)

# Milliseconds: what fits into the option, 24 days.
_LONGEST: Final = 2**31 - 1


# What a connection says of itself that is over, and of one whose other end has sent all it will:
# Linux alone tells that.
_OVER: Final = select.POLLERR | select.POLLHUP
_SENT_ALL: Final = getattr(select, "POLLRDHUP", 0)


class Socket(Protocol):
    """A socket, or what an event loop shows in its place."""

    def fileno(self) -> int: ...
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


def is_over(sock: Socket, *, or_half: bool) -> bool:
    """Whether the other end has gone, which event loops tell by reading alone.

    Args:
        or_half: whether it is enough that it will send nothing more.
    """
    poll = select.poll()
    poll.register(sock.fileno(), _SENT_ALL)
    told = sum(events for _, events in poll.poll(0))
    return bool(told & (_OVER | _SENT_ALL if or_half else _OVER))


def words_of(failure: OSError) -> str:
    """An operating system's, a resolver's or TLS library's failure, for the log."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return f"TLS: {failure.verify_message}"
    if isinstance(failure, ssl.SSLError):
        return f"TLS: {failure.reason or 'handshake failed'}"
    if failure.errno and not isinstance(failure, socket.gaierror):
        return os.strerror(failure.errno)  # Event loops put other words beside it.
    return failure.strerror or str(failure)

"""The kernel gives up a host that acknowledges nothing, where it can be asked to."""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING

import pytest

from proxy import sockets
from proxy.sockets import give_up_after, is_over

if TYPE_CHECKING:
    from collections.abc import Iterator

USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
needs_option = pytest.mark.skipif(USER_TIMEOUT is None, reason="Linux alone has TCP_USER_TIMEOUT")


class Recording:
    """A socket that keeps which options were set."""

    def __init__(self) -> None:
        self.options: list[tuple[int, ...]] = []

    def fileno(self) -> int:
        return -1

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)


def patience_of(sock: socket.socket) -> int:
    assert USER_TIMEOUT is not None
    return sock.getsockopt(socket.IPPROTO_TCP, USER_TIMEOUT)


@needs_option
def test_kernel_is_told_in_milliseconds() -> None:
    with socket.socket(socket.AF_INET) as sock:
        give_up_after(sock, 40.5)
        assert patience_of(sock) == 40_500


@needs_option
def test_kernel_is_as_patient_as_it_likes_again() -> None:
    with socket.socket(socket.AF_INET) as sock:
        give_up_after(sock, 40)
        give_up_after(sock, None)
        assert patience_of(sock) == 0


@needs_option
def test_accepted_socket_has_the_patience_of_its_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        give_up_after(listener, 40)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert patience_of(accepted) == 40_000


@needs_option
def test_patience_longer_than_the_option_holds_is_the_longest_it_does() -> None:
    with socket.socket(socket.AF_INET) as sock:
        give_up_after(sock, 365 * 86_400.0)
        assert patience_of(sock) == 2**31 - 1


@needs_option
def test_socket_that_is_gone_is_left_to_its_transport() -> None:
    sock = socket.socket(socket.AF_INET)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        patience_of(sock)
    give_up_after(sock, 40)


@needs_option
def test_unix_socket_has_no_host_to_give_up() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        give_up_after(sock, 40)
        with pytest.raises(OSError, match="not supported"):
            patience_of(sock)


@needs_option
def test_host_is_given_up_over_ipv6_too() -> None:
    with socket.socket(socket.AF_INET6) as sock:
        give_up_after(sock, 40)
        assert patience_of(sock) == 40_000


def test_system_without_the_option_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_TCP_USER_TIMEOUT", None)
    sock = Recording()
    give_up_after(sock, 40)
    assert sock.options == []


# Whether the other end is there ---------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection, of which nothing is read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near, (far, _) = socket.create_connection(listener.getsockname()), listener.accept()
    with near, far:
        far.sendall(b"something that waits")
        yield near, far


Ends = tuple[socket.socket, socket.socket]


def told(sock: socket.socket) -> tuple[bool, bool]:
    """Whether it is over, and whether it is or half of it."""
    return is_over(sock, or_half=False), is_over(sock, or_half=True)


def test_connection_that_lasts_is_not_over(ends: Ends) -> None:
    assert told(ends[0]) == (False, False)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells of a stream's end")
def test_stream_that_ended_is_over_by_half(ends: Ends) -> None:
    ends[1].shutdown(socket.SHUT_WR)
    assert told(ends[0]) == (False, True)


def test_reset_is_the_end(ends: Ends) -> None:
    ends[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ends[1].close()
    assert told(ends[0]) == (True, True)

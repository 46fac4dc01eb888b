"""The kernel gives up a host that acknowledges nothing, where it can be asked to."""

from __future__ import annotations

import socket

import pytest

from proxy import sockets
from proxy.sockets import give_up_after

USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
needs_option = pytest.mark.skipif(USER_TIMEOUT is None, reason="Linux alone has TCP_USER_TIMEOUT")


class Recording:
    """A socket that keeps which options were set."""

    def __init__(self) -> None:
        self.options: list[tuple[int, ...]] = []

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

"""The kernel gives up a host that acknowledges nothing, where it can be asked to."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from proxy.relay.liveness import Keepalive
from proxy.sessions import sockets
from proxy.sessions.sockets import give_up_after
from tests.unit.loop import FakeTransport
from tests.unit.sessions.scene import House

USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
needs_option = pytest.mark.skipif(USER_TIMEOUT is None, reason="Linux alone has TCP_USER_TIMEOUT")


class Wired(FakeTransport):
    """A transport that tells its socket."""

    def __init__(self, sock: Any) -> None:
        super().__init__()
        self._sock = sock

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._sock if name == "socket" else default


class Recording:
    """A socket that keeps which options were set."""

    def __init__(self, family: int) -> None:
        self.family = family
        self.options: list[tuple[int, ...]] = []

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)


def patience_of(sock: socket.socket) -> int:
    assert USER_TIMEOUT is not None
    return sock.getsockopt(socket.IPPROTO_TCP, USER_TIMEOUT)


@needs_option
def test_kernel_is_told_in_milliseconds() -> None:
    with socket.socket(socket.AF_INET) as sock:
        give_up_after(Wired(sock), 40.5)
        assert patience_of(sock) == 40_500


@needs_option
def test_patience_longer_than_the_option_holds_is_the_longest_it_does() -> None:
    with socket.socket(socket.AF_INET) as sock:
        give_up_after(Wired(sock), 365 * 86_400.0)
        assert patience_of(sock) == 2**31 - 1


@needs_option
def test_socket_that_is_gone_is_left_to_its_transport() -> None:
    sock = socket.socket(socket.AF_INET)
    sock.close()
    give_up_after(Wired(sock), 40)


def test_unix_socket_has_no_host_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_TCP_USER_TIMEOUT", 18)
    local, remote = Recording(socket.AF_UNIX), Recording(socket.AF_INET6)
    give_up_after(Wired(local), 40)
    give_up_after(Wired(remote), 40)
    assert (local.options, remote.options) == ([], [(socket.IPPROTO_TCP, 18, 40_000)])
    give_up_after(Wired(None), 40)  # Some transports have no socket to show.


def test_system_without_the_option_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_TCP_USER_TIMEOUT", None)
    sock = Recording(socket.AF_INET)
    give_up_after(Wired(sock), 40)
    assert sock.options == []


@pytest.mark.parametrize(
    ("rules", "patience"),
    [
        ({"keepalive": Keepalive(20, 20, strict=False), "write_timeout": 60.0}, [60_000]),
        ({"keepalive": None}, []),
    ],
)
def test_session_asks_it_for_both_its_sockets(
    monkeypatch: pytest.MonkeyPatch, rules: dict[str, Any], patience: list[int]
) -> None:
    monkeypatch.setattr(sockets, "_TCP_USER_TIMEOUT", 18)
    client, upstream = Recording(socket.AF_INET), Recording(socket.AF_INET)
    House().session(**rules).begin(Wired(client), Wired(upstream))
    for sock in (client, upstream):
        assert [value for _, _, value in sock.options] == patience

"""systemd is told how the service fares."""

from __future__ import annotations

import socket

import pytest

from proxy.notify import notify, notify_reloading


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if request.param == "path":
        address = shown = str(tmp_path / "notify")
    else:
        name = f"wskeeper-test-{tmp_path.name}"
        address, shown = f"\0{name}", f"@{name}"
    sock.bind(address)
    sock.settimeout(2)
    monkeypatch.setenv("NOTIFY_SOCKET", shown)
    yield sock
    sock.close()


def test_states_arrive_in_one_datagram(systemd) -> None:
    notify("READY=1", "STATUS=ok")
    assert systemd.recv(200) == b"READY=1\nSTATUS=ok"


def test_reload_carries_the_monotonic_clock(systemd) -> None:
    notify_reloading()
    first, second = systemd.recv(200).decode().split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


class Opened(Exception):
    """A socket was asked for."""


@pytest.mark.parametrize("address", [None, "", "tcp:1", "notify"])
def test_without_systemd_no_socket_is_opened(address, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise Opened

    monkeypatch.setattr("proxy.notify.socket.socket", refuse)
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    with pytest.raises(Opened):
        notify("READY=1")
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET")
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


def test_systemd_that_is_gone_is_no_failure(tmp_path, monkeypatch) -> None:
    asked = []
    connect = socket.socket.connect
    monkeypatch.setattr(
        "proxy.notify.socket.socket.connect",
        lambda sock, address: asked.append(address) or connect(sock, address),
    )
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
    assert asked == [str(tmp_path / "gone")]

"""`wskeeper healthcheck`, against a small admin listener of its own."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.cli.admin_scene import TcpServer6, UnixServer, admin, port

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

ECHO = "routes: [{name: echo, path: /echo, upstream: 'ws://h'}]\n"


def test_a_ready_gateway_exits_0(wskeeper: Callable[..., Result]) -> None:
    with admin() as server:
        result = wskeeper("healthcheck", "--admin", f"http://127.0.0.1:{port(server)}")
    assert (result.exit_code, result.output) == (0, "")
    assert [asked.line for asked in server.asked] == ["GET /readyz"]


def test_one_that_is_not_ready_exits_1_with_one_line(wskeeper: Callable[..., Result]) -> None:
    with admin(("127.0.0.1", 0), (503, b"")) as server:
        result = wskeeper("healthcheck", "--admin", f"http://127.0.0.1:{port(server)}/")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: http://127.0.0.1:{port(server)} is not ready: /readyz says 503\n"
    )


def test_the_admin_url_may_come_from_the_environment(wskeeper: Callable[..., Result]) -> None:
    with admin() as server:
        url = f"http://127.0.0.1:{port(server)}"
        assert wskeeper("healthcheck", WSKEEPER_ADMIN_URL=url).exit_code == 0


def test_the_admin_listener_is_found_in_the_configuration(wskeeper: Callable[..., Result]) -> None:
    with admin() as server:
        Path("c.yaml").write_text(f"{ECHO}admin: {{listen: '127.0.0.1:{port(server)}'}}\n")
        assert wskeeper("healthcheck", "-c", "c.yaml").exit_code == 0


def test_the_admin_listener_is_found_without_a_file(wskeeper: Callable[..., Result]) -> None:
    with admin() as server:
        listen = f"127.0.0.1:{port(server)}"
        assert wskeeper("healthcheck", WSKEEPER_ADMIN_LISTEN=listen).exit_code == 0


def test_a_listener_on_every_address_is_asked_on_loopback(wskeeper: Callable[..., Result]) -> None:
    with admin() as server:
        listen = f"0.0.0.0:{port(server)}"
        assert wskeeper("healthcheck", WSKEEPER_ADMIN_LISTEN=listen).exit_code == 0


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_so_is_one_on_every_ipv6_address(wskeeper: Callable[..., Result]) -> None:
    with admin(("::1", 0), kind=TcpServer6) as server:
        listen = f"[::]:{port(server)}"
        assert wskeeper("healthcheck", WSKEEPER_ADMIN_LISTEN=listen).exit_code == 0


def test_a_listener_on_a_unix_socket_is_asked(wskeeper: Callable[..., Result]) -> None:
    with admin("admin.sock", kind=UnixServer):
        assert wskeeper("healthcheck", "--admin", "unix:admin.sock").exit_code == 0
        assert wskeeper("healthcheck", WSKEEPER_ADMIN_LISTEN="unix:admin.sock").exit_code == 0


def test_a_proxy_in_the_environment_is_not_asked(wskeeper: Callable[..., Result]) -> None:
    with admin() as server:
        url = f"http://127.0.0.1:{port(server)}"
        result = wskeeper("healthcheck", "--admin", url, http_proxy="http://127.0.0.1:1")
    assert result.exit_code == 0


def test_nobody_listening_is_one_line(wskeeper: Callable[..., Result]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = wskeeper("healthcheck", "--admin", url)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no answer from http://127.0.0.1:")
    assert result.stderr.count("\n") == 1


def test_something_else_listening_is_one_line(wskeeper: Callable[..., Result]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1024)
                peer.sendall(b"SSH-2.0-nothing\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        result = wskeeper("healthcheck", "--admin", url)
        thread.join()
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no answer from")


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8081",
        "ws://h:1",
        "https://h:1/path",
        "http://h:1/path",
        "http://",
        "http://h:x",
        "unix:",
        "http://a@h:1",
    ],
)
def test_what_is_no_admin_url_is_wrong_usage(wskeeper: Callable[..., Result], url: str) -> None:
    result = wskeeper("healthcheck", "--admin", url)
    assert result.exit_code == 2
    assert "http://HOST:PORT" in result.stderr


def test_no_token_is_shown_where_none_is_needed(wskeeper: Callable[..., Result]) -> None:
    with admin() as server:
        url = f"http://127.0.0.1:{port(server)}"
        assert wskeeper("healthcheck", "--admin", url, WSKEEPER_ADMIN_TOKEN="t" * 20).exit_code == 0
    assert server.asked[0].authorization is None


def test_a_switched_off_listener_cannot_be_asked(wskeeper: Callable[..., Result]) -> None:
    result = wskeeper("healthcheck", WSKEEPER_ADMIN_LISTEN="null")
    assert result.exit_code == 1
    assert "switched off" in result.stderr


def test_a_broken_configuration_is_one_line(wskeeper: Callable[..., Result]) -> None:
    Path("wskeeper.yaml").write_text("admin: {listen: 5, token: [x]}\n")
    result = wskeeper("healthcheck")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: wskeeper.yaml:1: admin.listen: names a port alone")
    assert result.stderr.count("\n") == 1

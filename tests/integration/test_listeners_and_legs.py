"""Every kind of socket: TCP, TLS and Unix, towards clients and towards upstreams."""

from __future__ import annotations

import fcntl
import signal
import socket
import ssl
import sys
import termios
import threading

import pytest
from websockets.sync.client import connect as dial
from websockets.sync.client import unix_connect
from websockets.sync.server import serve as serve_websockets
from websockets.sync.server import unix_serve

from tests.harness import frames
from tests.harness.peer import Peer
from tests.harness.process import MB, wait_until
from tests.harness.upstream import Upstream, UpstreamConnection
from tests.integration.conftest import KEY, asking

HEADERS = {"X-Api-Key": KEY}
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


def echo(websocket):
    for message in websocket:
        websocket.send(message)


@LOOPS
def test_client_comes_over_tls(start, certificates, loop):
    gateway = start(
        tls={
            "certificate": str(certificates.certificate),
            "private_key": str(certificates.private_key),
        },
        environment={"WSKEEPER_EVENT_LOOP": loop},
    )
    url = gateway.url.replace("ws://", "wss://") + "/app"
    with dial(url, additional_headers=HEADERS, ssl=certificates.client_context()) as client:
        client.send("x" * 300_000)
        assert client.recv() == "x" * 300_000
    closed = gateway.wait_for_event("connection_closed")
    assert (closed["initiator"], closed["code"]) == ("client", 1000)
    name = 'wskeeper_tls_certificate_expiry_timestamp_seconds{listener="public"}'
    assert gateway.metrics()[name] > 1_700_000_000


def test_upstream_hears_that_the_client_came_over_tls(start, certificates, upstream, connect):
    gateway = start(
        tls={
            "certificate": str(certificates.certificate),
            "private_key": str(certificates.private_key),
        }
    )
    connect(gateway, tls=certificates.client_context()).open(asking())
    assert upstream.connection().request.get("X-Forwarded-Proto") == "https"


def test_old_tls_is_refused(start, certificates):
    gateway = start(
        tls={
            "certificate": str(certificates.certificate),
            "private_key": str(certificates.private_key),
        }
    )
    context = certificates.client_context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with socket.create_connection(gateway.public) as sock, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(sock, server_hostname="localhost")


@LOOPS
def test_upstream_is_dialled_over_tls_with_our_own_authority(start, certificates, loop, connect):
    with Upstream(tls=certificates.server_context()) as upstream:
        gateway = start(
            route={
                "upstream": {
                    "targets": [upstream.url],
                    "tls": {"ca": str(certificates.authority), "server_name": "localhost"},
                }
            },
            environment={"WSKEEPER_EVENT_LOOP": loop},
        )
        client = connect(gateway).open(asking())
        client.send_text("through TLS")
        assert client.read_frame().payload == b"through TLS"


def test_upstream_with_a_certificate_nobody_knows_is_not_trusted(start, certificates, connect):
    with Upstream(tls=certificates.server_context()) as upstream:
        gateway = start(route={"upstream": upstream.url})
        response = connect(gateway).ask(asking())
        assert (response.status, response.code) == (502, "upstream_unreachable")
        assert "TLS" in gateway.wait_for_event("handshake_refused")["cause"]


def test_our_certificate_is_shown_to_the_upstream(start, certificates, connect):
    context = certificates.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=certificates.authority)
    with Upstream(tls=context) as upstream:
        gateway = start(
            route={
                "upstream": {
                    "targets": [upstream.url],
                    "tls": {
                        "ca": str(certificates.authority),
                        "certificate": str(certificates.certificate),
                        "private_key": str(certificates.private_key),
                    },
                }
            }
        )
        assert connect(gateway).open(asking())


def test_client_and_upstream_on_unix_sockets(tmp_path, start):
    # Paths of Unix sockets are short; pytest's folders may not be.
    with unix_serve(echo, str(tmp_path / "up.sock")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        public = tmp_path / "in.sock"
        gateway = start(
            route={"upstream": f"ws+unix:{tmp_path / 'up.sock'}:/inside"}, listen=f"unix:{public}"
        )
        with unix_connect(
            str(public), "ws://localhost/app/room", additional_headers=HEADERS
        ) as client:
            client.send("over Unix sockets")
            assert client.recv() == "over Unix sockets"
        assert gateway.wait_for_event("connection_closed")["client"] == "127.0.0.1"
        server.shutdown()


def _unread(sock):
    """What was sent on a Unix socket and its peer has not read."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


@LOOPS
def test_service_that_reads_nothing_of_what_came_early_holds_its_client_back(tmp_path, start, loop):
    # What the buffers of Unix sockets take is less than what may come early.
    size = 16 * MB
    data = frames.header(frames.BINARY, size, mask=frames.MASK) + bytes(size)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as sock:
        listener.bind(str(tmp_path / "up.sock"))
        listener.listen()
        gateway = start(
            route={"upstream": f"ws+unix:{tmp_path / 'up.sock'}:/"},
            environment={"WSKEEPER_EVENT_LOOP": loop},
            listen=f"unix:{tmp_path / 'in.sock'}",
        )
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
        sock.connect(str(tmp_path / "in.sock"))
        client = Peer(sock)
        client.send(asking())
        service = UpstreamConnection(listener.accept()[0])
        service.read_request()
        client.send(data[:60_000])
        assert wait_until(lambda: _unread(sock) == 0)
        gateway.signal(signal.SIGSTOP)  # What follows is read in one go.
        sent = 60_000 + client.send_some(data[60_000:], patience=0.1)
        gateway.signal(signal.SIGCONT)
        sent += client.send_some(data[sent:], patience=0.3)
        service.send(service.switching())
        assert client.read_head().startswith(b"HTTP/1.1 101")
        sent += client.send_some(data[sent:], patience=0.5)
        service.close()
    assert sent < 4 * MB


def test_stale_unix_socket_is_replaced(tmp_path, start):
    stale = tmp_path / "in.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    assert start(listen=f"unix:{stale}")


def test_name_with_several_addresses_is_dialled_on_the_one_that_answers(start):
    with serve_websockets(echo, "127.0.0.1", 0) as server:  # not on ::1
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        gateway = start(route={"upstream": f"ws://localhost:{port}"})
        with dial(gateway.url + "/app", additional_headers=HEADERS) as client:
            client.send("found")
            assert client.recv() == "found"
        server.shutdown()

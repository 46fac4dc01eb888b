"""The PROXY protocol before a running gateway: a balancer's word, HAProxy's included."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect as dial

from tests.harness.client import Door
from tests.harness.heads import plain
from tests.harness.ports import reserved_port
from tests.harness.process import wait_until
from tests.integration.conftest import KEY, asking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.gateway import Gateway

DEADLINE = 20.0
HEALTH = "/.wskeeper/ready"
HEADERS = {"X-Api-Key": KEY}
LOOPS = ("uvloop", "asyncio")

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FROM_BALANCER = SIGNATURE + b"\x20\x00\0\0"


def from_client(address: str = "203.0.113.7", port: int = 4711) -> bytes:
    """The block that names a client."""
    pair = socket.inet_aton(address) + socket.inet_aton("10.0.0.1")
    return SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 12) + pair + struct.pack("!HH", port, 443)


@pytest.fixture(params=LOOPS)
def gateway(request, start):
    return start(
        proxy_protocol=True,
        trusted_proxies=["127.0.0.1"],
        health_path=HEALTH,
        environment={"WSKEEPER_EVENT_LOOP": request.param},
    )


def client_in_the_log(gateway: Gateway) -> str:
    return gateway.wait_for_event("connection_opened")["client"]


def test_client_is_who_the_block_says(gateway, connect, upstream):
    client = connect(gateway).send(from_client() + asking())
    assert client.read_response().status == 101
    client.send_text("hello")
    assert client.read_frame().payload == b"hello"
    assert client_in_the_log(gateway) == "203.0.113.7"
    assert upstream.connection().request.get("X-Forwarded-For") == "203.0.113.7"


def test_block_may_come_in_pieces(gateway, connect):
    client = connect(gateway).connect()
    for byte in from_client() + asking():
        client.send(bytes([byte]))
    assert client.read_response().status == 101
    assert client_in_the_log(gateway) == "203.0.113.7"


def test_client_cannot_name_itself_in_a_header(gateway, connect, upstream):
    forged = asking(lines=("X-Forwarded-For: 198.51.100.1",))
    connect(gateway).open(from_client() + forged)
    assert client_in_the_log(gateway) == "203.0.113.7"
    assert "198.51.100.1" not in upstream.connection().request.raw.decode()


def test_header_of_a_trusted_proxy_before_the_balancer_is_believed(gateway, connect):
    told = asking(lines=("X-Forwarded-For: 198.51.100.1",))
    connect(gateway).open(from_client("127.0.0.1") + told)
    assert client_in_the_log(gateway) == "198.51.100.1"


def test_addresses_judge_the_client_not_the_balancer(start, connect):
    gateway = start(
        route={"addresses": {"allow": ["203.0.113.0/24"]}},
        proxy_protocol=True,
        trusted_proxies=["127.0.0.1"],
    )
    assert connect(gateway).open(from_client() + asking())
    response = connect(gateway).ask(from_client("192.0.2.1") + asking())
    assert (response.status, response.code) == (403, "address_forbidden")


@pytest.mark.parametrize("block", [FROM_BALANCER, from_client()], ids=["balancer", "client"])
def test_health_is_told_with_a_block(gateway, connect, block):
    assert connect(gateway).ask(block + plain(HEALTH)).status == 200


def test_client_behind_kept_alive_health_checks_is_still_who_the_block_says(gateway, connect):
    client = connect(gateway).connect()
    client.send(from_client() + plain(HEALTH))
    assert client.read_response().status == 200
    client.send(asking())
    assert client.read_response().status == 101
    assert client_in_the_log(gateway) == "203.0.113.7"


def test_request_without_a_block_is_not_answered(gateway, connect, upstream):
    with upstream.untouched():
        assert connect(gateway).send(asking()).read_to_end() == b""
    event = gateway.wait_for_event("proxy_protocol_refused")
    assert (event["level"], event["peer"]) == ("warning", "127.0.0.1")


def test_peer_that_is_not_trusted_is_not_answered(start, connect, upstream):
    gateway = start(proxy_protocol=True, trusted_proxies=["10.0.0.0/8"])
    with upstream.untouched():
        assert connect(gateway).send(from_client() + asking()).read_to_end() == b""
    assert "trusted_proxies" in gateway.wait_for_event("proxy_protocol_refused")["cause"]


@pytest.mark.parametrize("loop", LOOPS)
def test_block_comes_before_tls(start, certificates, loop):
    gateway = start(
        tls={
            "certificate": str(certificates.certificate),
            "private_key": str(certificates.private_key),
        },
        proxy_protocol=True,
        trusted_proxies=["127.0.0.1"],
        environment={"WSKEEPER_EVENT_LOOP": loop},
    )
    with socket.create_connection(gateway.public) as sock:
        sock.sendall(from_client())
        url = gateway.url.replace("ws://", "wss://").replace("127.0.0.1", "localhost") + "/app"
        context = certificates.client_context()
        with dial(url, sock=sock, ssl=context, additional_headers=HEADERS) as client:
            client.send("x" * 300_000)
            assert client.recv() == "x" * 300_000
    assert client_in_the_log(gateway) == "203.0.113.7"


def test_gateway_stops_while_blocks_are_awaited(gateway, connect):
    door = connect(gateway)
    waiting = [door.send(sent) for sent in (from_client()[:5], from_client())]
    assert gateway.stop() == 0
    for client in waiting:
        assert client.read_to_end() == b""
    assert not gateway.events("unhandled")


# HAProxy -------------------------------------------------------------------------------------


def listens(port: int) -> bool:
    """Whether somebody does; HAProxy does not say when it is ready."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def haproxy(folder: Path, server: str) -> Iterator[tuple[str, int]]:
    """HAProxy that passes TCP on to a server, given as its line; yields its address."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("HAProxy is not installed (Debian: haproxy)")
    file = folder / "haproxy.cfg"
    command = [program, "-db", "-f", str(file)]
    with reserved_port() as port:
        file.write_text(
            "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 30s\n"
            "    timeout server 30s\n"
            f"frontend public\n    bind 127.0.0.1:{port}\n    default_backend wskeeper\n"
            "backend wskeeper\n    option httpchk\n"
            f"    http-check send meth GET uri {HEALTH} ver HTTP/1.1 hdr Host wskeeper\n"
            f"    server gateway {server}\n"
        )
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                assert wait_until(lambda: listens(port), DEADLINE)
                yield "127.0.0.1", port
            finally:
                process.terminate()


def test_haproxy_says_who_its_client_is(gateway, tmp_path):
    server = "{}:{} send-proxy-v2".format(*gateway.public)
    with haproxy(tmp_path, server) as address:
        with socket.socket() as sock:
            # Another address of this machine than HAProxy's own.
            sock.bind(("127.0.0.3", 0))
            sock.connect(address)
            with dial("ws://gateway.test/app", sock=sock, additional_headers=HEADERS) as client:
                client.send("through")
                assert client.recv() == "through"
        assert client_in_the_log(gateway) == "127.0.0.3"
    assert not gateway.events("proxy_protocol_refused")


def test_haproxy_finds_the_gateway_in_good_health(gateway, tmp_path):
    server = "{}:{} send-proxy-v2 check inter 100ms fall 1".format(*gateway.public)
    with haproxy(tmp_path, server) as address:
        # Until several checks were made: one that fails takes the server out at once.
        for _ in range(5):
            time.sleep(0.1)
            with Door(address) as door:
                assert door.open(asking())
    assert not gateway.events("proxy_protocol_refused")


def is_refused(gateway: Gateway, cause: str) -> bool:
    return any(cause in event["cause"] for event in gateway.events("proxy_protocol_refused"))


def test_haproxy_without_the_protocol_is_told_apart(gateway, tmp_path):
    for option, cause in (("", "no PROXY protocol block"), (" send-proxy", "send-proxy-v2")):
        server = "{}:{}".format(*gateway.public) + option
        with haproxy(tmp_path, server) as address, Door(address) as door:
            assert door.send(asking()).read_to_end() == b""
        assert wait_until(partial(is_refused, gateway, cause)), option

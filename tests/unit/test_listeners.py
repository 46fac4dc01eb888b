"""Listening: TCP, Unix sockets, TLS, and errors an operator can act on."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from proxy.config.model import ListenerTls
from proxy.config.values import TcpAddress, UnixAddress
from proxy.listeners import (
    CannotListen,
    address_of,
    affordable,
    certificate_end,
    listen,
    server_context,
)
from tests.harness.certificates import Certificates
from tests.unit.sessions.scene import Log

if TYPE_CHECKING:
    import ssl

    from proxy.config.values import Address

LOOPBACK = TcpAddress("127.0.0.1", 0)


class Greeter(asyncio.Protocol):
    """Says hello and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


async def greeting(address: Address | TcpAddress, tls: ssl.SSLContext | None = None) -> bytes:
    """What a client of an address hears."""
    if isinstance(address, UnixAddress):
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=tls, server_hostname="localhost" if tls else None
        )
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def bound_to(server: asyncio.Server) -> TcpAddress:
    return TcpAddress(*server.sockets[0].getsockname()[:2])


async def test_tcp_listener_says_which_port_it_got() -> None:
    server = await listen(LOOPBACK, Greeter, name="listen")
    async with server:
        where = bound_to(server)
        assert address_of(server, LOOPBACK) == f"127.0.0.1:{where.port}"
        assert await greeting(where) == b"hello"


async def test_accepted_sockets_notice_peers_that_vanish() -> None:
    server = await listen(LOOPBACK, Greeter, name="listen")
    async with server:
        keepalive = server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert keepalive == 1


async def test_accepted_sockets_send_without_delay() -> None:
    delays: list[bool] = []

    class Looker(Greeter):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            sock = transport.get_extra_info("socket")
            delays.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0)
            super().connection_made(transport)

    async with await listen(LOOPBACK, Looker, name="listen") as server:
        await greeting(bound_to(server))
    assert delays == [False]


async def test_address_can_be_taken_again_at_once() -> None:
    first = await listen(LOOPBACK, Greeter, name="listen")
    where = bound_to(first)
    await greeting(where)
    first.close()
    await first.wait_closed()
    async with await listen(where, Greeter, name="listen"):
        assert await greeting(where) == b"hello"


async def test_address_in_use_is_told_with_the_field_to_change() -> None:
    async with await listen(LOOPBACK, Greeter, name="listen") as first:
        where = bound_to(first)
        with pytest.raises(CannotListen) as caught:
            await listen(where, Greeter, name="admin.listen")
        assert str(where) in str(caught.value)
        assert "in use" in str(caught.value)
        assert "admin.listen" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("listen", "change 'listen' (or --listen or WSKEEPER_LISTEN)"),
        ("admin.listen", "change 'admin.listen' (or WSKEEPER_ADMIN_LISTEN)"),
        # No variable stands for it.
        ("metrics.listen", "change 'metrics.listen'"),
    ],
)
async def test_who_has_no_file_is_told_what_to_set_instead(name: str, mend: str) -> None:
    async with await listen(LOOPBACK, Greeter, name="listen") as first:
        with pytest.raises(CannotListen) as caught:
            await listen(bound_to(first), Greeter, name=name)
    assert str(caught.value).endswith(f"; free the address or {mend}")


async def test_host_that_is_not_ours_is_told() -> None:
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1"):
        await listen(TcpAddress("192.0.2.1", 0), Greeter, name="listen")
    with pytest.raises(CannotListen, match="nowhere"):
        await listen(TcpAddress("nowhere.invalid", 0), Greeter, name="listen")


def ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6")
async def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    everywhere = TcpAddress("::", 0)
    async with await listen(everywhere, Greeter, name="listen") as server:
        port = server.sockets[0].getsockname()[1]
        assert address_of(server, everywhere) == f"[::]:{port}"
        assert await greeting(TcpAddress("127.0.0.1", port)) == b"hello"
        assert await greeting(TcpAddress("::1", port)) == b"hello"


# Unix ----------------------------------------------------------------------------------------


@pytest.fixture
def unix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UnixAddress:
    """A short path: the kernel takes about a hundred bytes."""
    monkeypatch.chdir(tmp_path)
    return UnixAddress("gateway.sock")


async def test_unix_listener_is_a_file(unix: UnixAddress) -> None:
    async with await listen(unix, Greeter, name="listen") as server:
        assert address_of(server, unix) == str(unix)
        assert await greeting(unix) == b"hello"


def leave_behind(path: str) -> None:
    """What a process that was killed leaves."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()


async def test_socket_file_of_a_dead_process_is_replaced(unix: UnixAddress) -> None:
    leave_behind(unix.path)
    async with await listen(unix, Greeter, name="listen"):
        assert await greeting(unix) == b"hello"


async def test_socket_of_a_living_process_stays(unix: UnixAddress) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(unix.path)
        other.listen()
        with pytest.raises(CannotListen, match="in use"):
            await listen(unix, Greeter, name="listen")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(unix.path)


@pytest.fixture
def precious(unix: UnixAddress) -> Path:
    """A file of somebody's where a socket should be."""
    path = Path(unix.path)
    path.write_text("precious")
    return path


def is_untouched(path: Path) -> bool:
    return path.read_text() == "precious"


async def test_file_that_is_no_socket_stays(unix: UnixAddress, precious: Path) -> None:
    with pytest.raises(CannotListen):
        await listen(unix, Greeter, name="listen")
    assert is_untouched(precious)


async def test_folder_that_is_missing_is_told(unix: UnixAddress) -> None:
    address = UnixAddress(f"missing/{unix.path}")
    with pytest.raises(CannotListen, match="missing"):
        await listen(address, Greeter, name="listen")


# TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def tls(certificates: Certificates) -> ListenerTls:
    return ListenerTls(certificate=certificates.certificate, private_key=certificates.private_key)


async def test_tls_listener_speaks_http_1_1_over_tls(certificates: Certificates) -> None:
    context = server_context(tls(certificates))
    client = certificates.client_context()
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with await listen(LOOPBACK, Greeter, name="listen", tls=context) as server:
        where = bound_to(server)
        assert await greeting(where, client) == b"hello"
        reader, writer = await asyncio.open_connection(
            where.host, where.port, ssl=client, server_hostname="localhost"
        )
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_old_tls_is_not_spoken(certificates: Certificates) -> None:
    context = server_context(tls(certificates))
    assert context.minimum_version.name == "TLSv1_2"


async def test_every_cipher_has_forward_secrecy_and_authenticates(
    certificates: Certificates,
) -> None:
    for cipher in server_context(tls(certificates)).get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["kea"] in {"kx-any", "kx-ecdhe"}, cipher["name"]


def test_tls_file_that_cannot_be_used_is_told_at_once(
    certificates: Certificates, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for certificate, private_key in (
        (tmp_path / "missing.pem", certificates.private_key),
        (broken, certificates.private_key),
        (certificates.certificate, broken),
    ):
        with pytest.raises(OSError, match=r".+"):
            server_context(ListenerTls(certificate=certificate, private_key=private_key))


def test_end_of_a_certificate_is_that_of_the_first_in_the_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    ends = [datetime(2030, 1, day, tzinfo=UTC) for day in (1, 2)]
    first, second = (
        authority.issue_cert("localhost", not_after=end).cert_chain_pems[0].bytes() for end in ends
    )
    chain = tmp_path / "chain.pem"
    for pems, end in (([first, second], ends[0]), ([second, first], ends[1]), ([first], ends[0])):
        chain.write_bytes(b"".join(pems))
        assert certificate_end(chain) == end.timestamp()


# Open files ----------------------------------------------------------------------------------

UNLIMITED = resource.RLIM_INFINITY


class OpenFiles:
    """Stands in for the process's limit of open files."""

    def __init__(self, soft: int, hard: int) -> None:
        self.limits = (soft, hard)

    def getrlimit(self, _which: int) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, _which: int, limits: tuple[int, int]) -> None:
        assert limits[1] == self.limits[1]
        assert limits[1] == UNLIMITED or limits[0] <= limits[1]
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "expected", "raised"),
    [
        # Enough as it is: nothing is touched.
        (1024, 4096, 480, 480, 1024),
        # As far as it goes: 64 for other things, two for each session.
        (1024, 4096, 1000, 1000, 4096),
        (1024, 4096, 10_000, 2016, 4096),
        (1024, UNLIMITED, 10_000, 10_000, 20_064),
        (UNLIMITED, UNLIMITED, 10_000, 10_000, UNLIMITED),
        # Without a limit of ours, all the files there may be.
        (1024, 4096, None, None, 4096),
        (UNLIMITED, UNLIMITED, None, None, UNLIMITED),
        # However few: one session.
        (32, 32, 100, 1, 32),
    ],
)
def test_connections_are_as_many_as_open_files_allow(
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    wanted: int | None,
    expected: int | None,
    raised: int,
) -> None:
    files, log = OpenFiles(soft, hard), Log()
    monkeypatch.setattr(resource, "getrlimit", files.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", files.setrlimit)
    monkeypatch.setattr(sys, "platform", "linux")
    assert affordable(wanted, log) == expected
    assert files.limits == (raised, hard)
    lines = log.events("open_files_limit")
    assert bool(lines) is (expected != wanted)
    for line in lines:
        assert (line["limit"], line["total_connections"]) == (raised, expected)
        assert str(64 + 2 * (wanted or 0)) in line["mend"]

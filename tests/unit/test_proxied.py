"""Listening behind balancers: the PROXY protocol's block is taken off, all behind it is not."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import struct
from contextlib import suppress
from functools import wraps
from inspect import Parameter, Signature, signature
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import uvloop

from proxy import proxied
from proxy.config.model import ListenerTls
from proxy.config.values import TcpAddress, UnixAddress
from proxy.deadlines import DeadlineQueue
from proxy.handshake.proxy_protocol import MAX_LENGTH
from proxy.listeners import CannotListen, address_of, listening_socket, server_context
from proxy.proxied import ProxiedListener, listen_proxied
from tests.harness.certificates import Certificates
from tests.unit.sessions.scene import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.config.values import Address

LOOPBACK = TcpAddress("127.0.0.1", 0)
TRUSTED = (ip_network("127.0.0.1/32"),)
CLIENT = ip_address("203.0.113.7")
CLIENT_V6 = ip_address("2001:db8::7")

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, TCP6, UNIX = 0x00, 0x11, 0x21, 0x31
PORTS = struct.pack("!HH", 4711, 443)
REQUEST = b"GET /app HTTP/1.1\r\n"

CUT = "the PROXY protocol block was not sent whole"
# Seconds; for tests that are about their end.
SHORT = 0.15


def block(command: int, family: int, rest: bytes = b"", length: int | None = None) -> bytes:
    size = len(rest) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + rest


FROM_V4 = block(PROXY, TCP4, CLIENT.packed + ip_address("10.0.0.1").packed + PORTS)
FROM_V6 = block(PROXY, TCP6, CLIENT_V6.packed + ip_address("2001:db8::1").packed + PORTS)
FROM_BALANCER = block(LOCAL, UNSPEC)
# With a TLV that does nothing, as long as they come.
LONGEST = block(
    PROXY,
    TCP4,
    FROM_V4[16:] + b"\x04" + struct.pack("!H", MAX_LENGTH - 15) + bytes(MAX_LENGTH - 15),
)


class Door(asyncio.Protocol):
    """What is behind the listener: keeps what comes and answers `hello`."""

    transport: asyncio.Transport

    def __init__(self, source: Any) -> None:
        self.source = source
        self.data = b""
        self.opened = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(b"hello")
        self.opened = True

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost = True


def open_sockets() -> int:
    """How many this process has; loops open other files when they please."""
    count = 0
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(file.readlink()).startswith("socket:")
    return count


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that the system tells nobody about."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.001)


async def turns(count: int = 5) -> None:
    """Lets the loop see what the kernel has."""
    for _ in range(count):
        await asyncio.sleep(0)


class Failing:
    """A listening socket that fails to accept so many times, as the system may."""

    def __init__(self, sock: socket.socket, failures: list[int]) -> None:
        self._sock = sock
        self.failures = failures
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def accept(self) -> Any:
        self.asked += 1
        if self.failures:
            number = self.failures.pop(0)
            raise OSError(number, os.strerror(number))
        return self._sock.accept()


class Scene:
    """A listener and those who connect to it."""

    def __init__(self) -> None:
        self.log = Log()
        self.doors: list[Door] = []
        self.faults: list[dict[str, Any]] = []
        self._listeners: list[ProxiedListener] = []
        self._clients: list[socket.socket] = []
        # Set once the loop runs.
        self.listener: ProxiedListener
        self._where: Any = None

    def listen(self, address: Address = LOOPBACK, **options: Any) -> ProxiedListener:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.faults.append(context))
        settings: dict[str, Any] = {"trusted": TRUSTED, "at_most": 100, "door": self.door}
        self.listener = listen_proxied(
            address, name="listen", log=self.log, loop=loop, **{**settings, **options}
        )
        return self._stand_before(self.listener)

    def _stand_before(self, listener: ProxiedListener) -> ProxiedListener:
        self._listeners.append(listener)
        self._where = listener.sockets[0].getsockname()
        self._family = listener.sockets[0].family
        self.listener = listener
        return listener

    def listen_failing(self, failures: list[int]) -> Failing:
        """Listens on a socket that accepts nobody until it has failed so often."""
        sock: Any = Failing(listening_socket(LOOPBACK, name="listen"), failures)
        loop = asyncio.get_running_loop()
        self._stand_before(
            ProxiedListener(
                sock,
                self.door,
                trusted=TRUSTED,
                at_most=None,
                deadlines=DeadlineQueue(5.0, loop),
                secure={},
                log=self.log,
                loop=loop,
            )
        )
        return sock

    def door(self, source: Any) -> Door:
        self.doors.append(Door(source))
        return self.doors[-1]

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        for client in self._clients:
            client.close()
        for door in self.doors:
            if door.opened:
                door.transport.abort()

    async def connect(self, data: bytes = b"") -> socket.socket:
        """A client that has sent this, in one segment."""
        client = socket.socket(self._family)
        self._clients.append(client)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, self._where)
        if self._family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_sendall(client, data)
        return client

    async def opened(self, data: bytes) -> Door:
        """The door that a connection with this reached."""
        client = await self.connect(data)
        async with asyncio.timeout(5):
            assert await asyncio.get_running_loop().sock_recv(client, 5) == b"hello"
        return self.doors[-1]

    def refusals(self) -> list[tuple[str, str]]:
        """(level, cause) of each line about one."""
        assert {name for _, name, _ in self.log.lines} <= {"proxy_protocol_refused"}
        return [(level, fields["cause"]) for level, _, fields in self.log.lines]


async def heard(client: socket.socket) -> bytes:
    """All that a client hears until its connection ends; what it sent may not have been read."""
    said = b""
    async with asyncio.timeout(5):
        try:
            while data := await asyncio.get_running_loop().sock_recv(client, 65536):
                said += data
        except ConnectionResetError:
            pass
    return said


def on_both_loops(story: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Makes a test of a coroutine whose first argument is a scene."""

    @wraps(story)
    def test(loop_factory: Callable[[], asyncio.AbstractEventLoop], **given: Any) -> None:
        async def tell() -> None:
            scene = Scene()
            try:
                await story(scene, **given)
            finally:
                scene.close()
            await until(lambda: all(door.lost for door in scene.doors if door.opened))
            await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
            assert scene.faults == []

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(tell())

    _, *parameters = signature(story).parameters.values()
    loop_factory = Parameter("loop_factory", Parameter.POSITIONAL_OR_KEYWORD)
    test.__signature__ = Signature([loop_factory, *parameters])  # type: ignore[attr-defined]
    factories = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("loop_factory", factories, ids=["asyncio", "uvloop"])(test)


# Who it is from ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "source"),
    [(FROM_V4, CLIENT), (FROM_V6, CLIENT_V6), (LONGEST, CLIENT), (FROM_BALANCER, None)],
    ids=["IPv4", "IPv6", "longest", "balancer itself"],
)
@pytest.mark.parametrize("tail", [b"", REQUEST, REQUEST * 5000], ids=["alone", "tail", "long tail"])
@on_both_loops
async def test_door_learns_the_source_and_gets_what_is_behind_the_block_once(
    scene: Scene, sent: bytes, source: Any, tail: bytes
) -> None:
    scene.listen()
    door = await scene.opened(sent + tail)
    assert door.source == source
    await until(lambda: len(door.data) >= len(tail))
    await turns()
    assert door.data == tail
    assert len(scene.doors) == 1
    assert scene.log.lines == []


@pytest.mark.parametrize("sent", [FROM_V4, FROM_V6, FROM_BALANCER], ids=["v4", "v6", "balancer"])
@on_both_loops
async def test_block_may_come_byte_by_byte(scene: Scene, sent: bytes) -> None:
    scene.listen()
    client = await scene.connect()
    for byte in sent:
        assert scene.doors == []
        client.send(bytes([byte]))
        await turns()
    client.send(REQUEST)
    await until(lambda: bool(scene.doors) and scene.doors[0].data == REQUEST)


@on_both_loops
async def test_block_may_be_cut_anywhere(scene: Scene) -> None:
    scene.listen()
    for cut in range(1, len(FROM_V4)):
        client = await scene.connect(FROM_V4[:cut])
        await turns()
        client.send(FROM_V4[cut:] + REQUEST)
        assert await asyncio.get_running_loop().sock_recv(client, 5) == b"hello"
        await until(lambda: scene.doors[-1].data == REQUEST)
        assert scene.doors[-1].source == CLIENT


@on_both_loops
async def test_peer_of_the_socket_remains_known_to_the_transport(scene: Scene) -> None:
    scene.listen()
    client = await scene.connect(FROM_BALANCER)
    await until(lambda: len(scene.doors) == 1 and scene.doors[0].opened)
    assert scene.doors[0].transport.get_extra_info("peername") == client.getsockname()


@on_both_loops
async def test_connection_is_one_as_any_other_listener_makes_it(scene: Scene) -> None:
    scene.listen()
    sock = (await scene.opened(FROM_V4)).transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_both_loops
async def test_door_hears_that_its_client_left(scene: Scene) -> None:
    scene.listen()
    client = await scene.connect(FROM_V4 + REQUEST)
    client.close()
    await until(lambda: len(scene.doors) == 1 and scene.doors[0].lost)
    assert scene.doors[0].data == REQUEST


@on_both_loops
async def test_half_a_block_does_not_keep_the_loop_awake(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bytes] = []
    monkeypatch.setattr(proxied, "parse", looks.append)
    scene.listen()
    await scene.connect(FROM_V4[:20])
    await until(lambda: bool(looks))
    await turns(50)
    assert looks == [FROM_V4[:20]]


@on_both_loops
async def test_waking_for_nothing_does_no_harm(scene: Scene) -> None:
    scene.listen()
    client = await scene.connect()
    await until(lambda: len(scene.listener) == 1)
    [arrival] = scene.listener._arrivals
    arrival._read()
    client.send(FROM_V4)
    await until(lambda: len(scene.doors) == 1)


@pytest.mark.parametrize("at_once", [1, 1000])
@on_both_loops
async def test_many_connect_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(proxied, "_AT_ONCE", at_once)
    scene.listen(at_most=None)
    clients = [await scene.connect(FROM_V4 + b"%d" % number) for number in range(300)]
    await until(lambda: all(door.data for door in scene.doors) and len(scene.doors) == 300)
    assert {int(door.data) for door in scene.doors} == set(range(len(clients)))
    await until(lambda: len(scene.listener) == 0)


# TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(certificates: Certificates) -> ssl.SSLContext:
    return server_context(
        ListenerTls(certificate=certificates.certificate, private_key=certificates.private_key)
    )


class TlsClient:
    """TLS in memory, so that its first bytes can travel with others."""

    def __init__(self, certificates: Certificates) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = certificates.client_context().wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost"
        )

    def hello(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()

    async def say(self, client: socket.socket, data: bytes) -> bytes:
        """Ends the handshake, says something and returns what it hears."""
        loop = asyncio.get_running_loop()
        for step in (self._tls.do_handshake, lambda: self._tls.write(data), self._tls.read):
            while True:
                try:
                    result = step()
                    break
                except ssl.SSLWantReadError:
                    await loop.sock_sendall(client, self._outgoing.read())
                    self._incoming.write(await loop.sock_recv(client, 65536))
            await loop.sock_sendall(client, self._outgoing.read())
        assert isinstance(result, bytes)
        return result


@pytest.mark.parametrize("cut", [None, 5, len(FROM_V4), len(FROM_V4) + 5])
@on_both_loops
async def test_block_comes_before_tls(
    scene: Scene, tls: ssl.SSLContext, certificates: Certificates, cut: int | None
) -> None:
    scene.listen(tls=tls)
    end = TlsClient(certificates)
    sent = FROM_V4 + end.hello()
    client = await scene.connect(sent[:cut])
    if cut is not None:
        await turns()
        client.send(sent[cut:])
    async with asyncio.timeout(5):
        assert await end.say(client, REQUEST) == b"hello"
    [door] = scene.doors
    await until(lambda: door.data == REQUEST)
    assert door.source == CLIENT
    assert door.transport.get_extra_info("ssl_object").version() == "TLSv1.3"


@on_both_loops
async def test_client_that_fails_in_tls_is_closed_without_a_line(
    scene: Scene, tls: ssl.SSLContext
) -> None:
    scene.listen(tls=tls)
    before = open_sockets()
    client = await scene.connect(FROM_V4 + REQUEST * 3)
    await heard(client)
    client.close()
    await until(lambda: open_sockets() == before and len(scene.listener) == 0)
    assert scene.log.lines == []


@on_both_loops
async def test_tls_handshake_has_a_deadline(scene: Scene, tls: ssl.SSLContext) -> None:
    scene.listen(tls=tls, handshake_timeout=SHORT)
    before = open_sockets()
    client = await scene.connect(FROM_V4)
    assert await heard(client) == b""
    client.close()
    await until(lambda: open_sockets() == before and len(scene.listener) == 0)


# Who is turned away --------------------------------------------------------------------------


@on_both_loops
async def test_peer_that_is_not_trusted_is_closed_at_once(scene: Scene) -> None:
    scene.listen(trusted=(ip_network("10.0.0.0/8"), ip_network("::/0")))
    for _ in range(3):
        assert await heard(await scene.connect()) == b""
        assert await heard(await scene.connect(FROM_V4 + REQUEST)) == b""
    assert scene.doors == []
    cause = "the peer is in no network of trusted_proxies"
    assert scene.refusals() == [("warning", cause)] + [("debug", cause)] * 5
    assert {fields["peer"] for _, _, fields in scene.log.lines} == {"127.0.0.1"}


REFUSED = {
    "version 1": (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n", "send-proxy-v2"),
    "request": (REQUEST, "no PROXY protocol block"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", "no PROXY protocol block"),
    "too long": (block(PROXY, TCP4, length=MAX_LENGTH + 1), f"longer than {MAX_LENGTH}"),
    "version 3": (SIGNATURE + b"\x31\x11\0\0", "no version but 2"),
    "short": (block(PROXY, TCP4, b"\0"), "too short"),
    "unknown client": (block(PROXY, UNSPEC), "names no client"),
    "client on a Unix socket": (block(PROXY, UNIX, bytes(216)), "names no client"),
}


@pytest.mark.parametrize(("sent", "cause"), REFUSED.values(), ids=REFUSED)
@on_both_loops
async def test_connection_without_a_good_block_is_closed_at_once(
    scene: Scene, sent: bytes, cause: str
) -> None:
    scene.listen()
    assert await heard(await scene.connect(sent)) == b""
    assert await heard(await scene.connect(sent + REQUEST)) == b""
    assert scene.doors == []
    (first, text), (second, again) = scene.refusals()
    assert (first, second) == ("warning", "debug")
    assert cause in text
    assert text == again


@on_both_loops
async def test_warning_of_a_cause_is_repeated_after_a_while(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxied, "_WARN_EVERY", 0.0)
    scene.listen()
    for _ in range(3):
        await heard(await scene.connect(REQUEST))
    assert [level for level, _ in scene.refusals()] == ["warning"] * 3


@on_both_loops
async def test_silent_peer_is_closed_in_time_without_a_line(scene: Scene) -> None:
    scene.listen(handshake_timeout=SHORT)
    began = asyncio.get_running_loop().time()
    assert await heard(await scene.connect()) == b""
    assert asyncio.get_running_loop().time() - began >= SHORT * 0.9
    assert scene.log.lines == []
    assert len(scene.listener) == 0


@pytest.mark.parametrize("sent", [FROM_V4[:1], FROM_V4[:16], FROM_V4[:-1], LONGEST[:-1]])
@on_both_loops
async def test_peer_that_stops_within_the_block_is_closed_in_time(
    scene: Scene, sent: bytes
) -> None:
    scene.listen(handshake_timeout=SHORT)
    assert await heard(await scene.connect(sent)) == b""
    assert scene.refusals() == [("warning", CUT)]


@on_both_loops
async def test_dribbling_wins_no_time(scene: Scene) -> None:
    scene.listen(handshake_timeout=SHORT)
    client = await scene.connect()

    async def dribble() -> None:
        for byte in LONGEST:
            await asyncio.sleep(0.005)
            await asyncio.get_running_loop().sock_sendall(client, bytes([byte]))

    async with asyncio.timeout(SHORT * 10):
        with pytest.raises(ConnectionError):
            await dribble()
    assert scene.refusals() == [("warning", CUT)]


@on_both_loops
async def test_deadline_ends_with_the_block(scene: Scene) -> None:
    scene.listen(handshake_timeout=SHORT)
    door = await scene.opened(FROM_V4)
    await asyncio.sleep(SHORT * 1.5)
    assert not door.lost


@pytest.mark.parametrize("sent", [b"", FROM_V4[:7]])
@on_both_loops
async def test_peer_that_leaves_before_its_block_is_forgotten(scene: Scene, sent: bytes) -> None:
    scene.listen()
    before = open_sockets()
    (await scene.connect(sent)).close()
    await turns()
    await until(lambda: open_sockets() == before and len(scene.listener) == 0)
    assert scene.refusals() == ([("warning", CUT)] if sent else [])


@on_both_loops
async def test_peer_that_resets_is_forgotten(scene: Scene) -> None:
    scene.listen()
    client = await scene.connect(FROM_V4[:7])
    await until(lambda: len(scene.listener) == 1)
    await turns()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    await until(lambda: len(scene.listener) == 0)
    assert scene.log.lines == []


@on_both_loops
async def test_oldest_makes_room_for_the_newest(scene: Scene) -> None:
    scene.listen(at_most=2)
    first = await scene.connect()
    await until(lambda: len(scene.listener) == 1)
    await scene.connect(FROM_V4[:9])
    await until(lambda: len(scene.listener) == 2)
    assert (await scene.opened(FROM_V4)).source == CLIENT
    assert await heard(first) == b""
    [(level, cause)] = scene.refusals()
    assert level == "warning"
    assert "too many" in cause
    # Those that have reached a door take no room.
    for _ in range(3):
        await scene.opened(FROM_V4)
        await until(lambda: len(scene.listener) == 1)


@on_both_loops
async def test_client_in_its_tls_handshake_makes_room_too(
    scene: Scene, tls: ssl.SSLContext
) -> None:
    scene.listen(tls=tls, at_most=1)
    first = await scene.connect(FROM_V4)
    await until(lambda: len(scene.doors) == 1)
    await scene.connect()
    assert await heard(first) == b""
    assert len(scene.listener) == 1


@on_both_loops
async def test_fault_of_a_door_is_told_and_closes_its_connection(scene: Scene) -> None:
    def broken(source: Any) -> asyncio.Protocol:
        raise RuntimeError("a fault of ours")

    scene.listen(door=broken)
    before = open_sockets()
    client = await scene.connect(FROM_V4)
    assert await heard(client) == b""
    client.close()
    await until(lambda: open_sockets() == before)
    [fault] = scene.faults
    assert str(fault["exception"]) == "a fault of ours"
    scene.faults.clear()
    assert len(scene.listener) == 0


# The end -------------------------------------------------------------------------------------


@on_both_loops
async def test_closing_leaves_neither_files_nor_tasks(scene: Scene, tls: ssl.SSLContext) -> None:
    before = open_sockets()
    listener = scene.listen(tls=tls)
    clients = [
        await scene.connect(sent)
        for sent in (b"", FROM_V4[:20], FROM_V4, FROM_V4 + b"\x16\x03\x01")
    ]
    await until(lambda: len(listener) == 4 and len(scene.doors) == 2)
    # One whose handing over has not begun when the listener closes.
    clients.append(await scene.connect(FROM_V4))
    await until(lambda: len(scene.doors) == 3 or len(listener) == 5)
    listener.close()
    listener.close()
    assert listener.sockets == ()
    assert len(listener) == 0
    for client in clients:
        assert await heard(client) == b""
        client.close()
    await until(lambda: open_sockets() == before)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert scene.log.lines == []


async def block_read(scene: Scene, client: socket.socket) -> None:
    """Lets the block be read; the task that hands the connection over has not begun then."""
    await until(lambda: len(scene.listener) == 1)
    [arrival] = scene.listener._arrivals
    client.send(FROM_V4)
    arrival._read()


@on_both_loops
async def test_listener_closes_while_tls_is_about_to_begin(
    scene: Scene, tls: ssl.SSLContext
) -> None:
    """The task is cancelled before its first step: nothing in it can close the socket."""
    before = open_sockets()
    scene.listen(tls=tls)
    client = await scene.connect()
    await block_read(scene, client)
    scene.listener.close()
    assert await heard(client) == b""
    client.close()
    await until(lambda: open_sockets() == before)
    assert scene.doors == []


@pytest.mark.parametrize("wait", range(4))
@on_both_loops
async def test_door_that_opens_while_the_listener_closes_hears_of_its_client(
    scene: Scene, wait: int
) -> None:
    scene.listen()
    client = await scene.connect()
    await block_read(scene, client)
    await turns(wait)
    scene.listener.close()
    client.send(REQUEST)
    assert await asyncio.get_running_loop().sock_recv(client, 5) == b"hello"
    client.close()
    await until(lambda: scene.doors[0].lost)
    assert scene.doors[0].data == REQUEST


@on_both_loops
async def test_session_outlives_the_listener(scene: Scene) -> None:
    listener = scene.listen()
    client = await scene.connect(FROM_V4)
    await until(lambda: len(scene.doors) == 1 and len(listener) == 0)
    listener.close()
    client.send(REQUEST)
    await until(lambda: scene.doors[0].data == REQUEST)
    with pytest.raises(ConnectionRefusedError):
        await scene.connect()


# Listening -----------------------------------------------------------------------------------


@on_both_loops
async def test_listener_says_where_it_listens(scene: Scene) -> None:
    listener = scene.listen()
    assert address_of(listener, LOOPBACK) == "{}:{}".format(*listener.sockets[0].getsockname())


@on_both_loops
async def test_address_in_use_is_told_with_the_field_to_change(scene: Scene) -> None:
    listener = scene.listen()
    with pytest.raises(CannotListen, match=r"in use.*'listen'"):
        scene.listen(TcpAddress(*listener.sockets[0].getsockname()))


@pytest.mark.parametrize("trusted", [True, False])
@on_both_loops
async def test_peer_on_a_unix_socket_counts_as_this_machine(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    networks = TRUSTED if trusted else (ip_network("10.0.0.0/8"),)
    address = UnixAddress("gateway.sock")
    assert address_of(scene.listen(address, trusted=networks), address) == str(address)
    if trusted:
        door = await scene.opened(FROM_V4 + REQUEST)
        await until(lambda: door.data == REQUEST)
        assert door.source == CLIENT
    else:
        assert await heard(await scene.connect()) == b""
        assert [level for level, _ in scene.refusals()] == ["warning"]


@on_both_loops
async def test_client_that_is_gone_before_it_is_accepted_keeps_nobody_waiting(
    scene: Scene,
) -> None:
    scene.listen_failing([errno.ECONNABORTED, errno.EPROTO, errno.ECONNABORTED])
    assert (await scene.opened(FROM_V4)).source == CLIENT
    assert scene.log.lines == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
@on_both_loops
async def test_system_without_files_is_asked_again_after_a_rest(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    monkeypatch.setattr(proxied, "_REST", SHORT)
    sock = scene.listen_failing([number] * 3)
    began = asyncio.get_running_loop().time()
    assert (await scene.opened(FROM_V4)).source == CLIENT
    assert asyncio.get_running_loop().time() - began >= 3 * SHORT * 0.9
    # Three times in vain, once for the client, once to learn that there is no other.
    assert sock.asked == 5
    assert scene.log.lines == [
        (
            "warning",
            "accept_failed",
            {"listener": "public", "cause": os.strerror(number), "retry_in_s": SHORT},
        )
    ]


@on_both_loops
async def test_listener_that_rests_can_be_closed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxied, "_REST", SHORT)
    sock = scene.listen_failing([errno.EMFILE] * 10)
    client = await scene.connect(FROM_V4)
    await until(lambda: sock.asked == 1)
    scene.listener.close()
    assert await heard(client) == b""
    await asyncio.sleep(SHORT * 1.5)
    assert sock.asked == 1

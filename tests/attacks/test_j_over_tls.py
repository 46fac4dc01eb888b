"""J again, over TLS on both legs: its buffers are others, and it has no half-close."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import configuration, good
from tests.attacks.test_j_lifecycle import SMALL, WRITE_DEADLINE, blocked
from tests.harness import frames
from tests.harness.accounts import Accounts, log_faults
from tests.harness.certificates import Certificates
from tests.harness.client import Client, Door
from tests.harness.gateway import Gateway
from tests.harness.peer import pour
from tests.harness.process import BUSY, MB, Watch
from tests.harness.upstream import Upstream, UpstreamConnection, silent

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.timeout(90), pytest.mark.slow]

# On either leg the TLS layer holds some hundred KiB of its own, in plain and in cipher text.
ROOM = 4 * MB


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def upstream(certificates: Certificates) -> Iterator[Upstream]:
    with Upstream(receive_buffer=SMALL, tls=certificates.server_context()) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def roomy(certificates: Certificates) -> Iterator[Upstream]:
    """A service that is no slow reader, behind `/roomy`."""
    with Upstream(tls=certificates.server_context()) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory,
    certificates: Certificates,
    upstream: Upstream,
    roomy: Upstream,
    other: Upstream,
) -> Iterator[Gateway]:
    config = configuration(upstream, other, 9)
    config["tls"] = {
        "certificate": str(certificates.certificate),
        "private_key": str(certificates.private_key),
    }
    tls = {"ca": str(certificates.authority)}
    config["routes"] = [
        {"name": "app", "path": "/app", "upstream": {"targets": [upstream.url], "tls": tls}},
        {"name": "roomy", "path": "/roomy", "upstream": {"targets": [roomy.url], "tls": tls}},
    ]
    config["keys"] = config["keys"][:1]
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as gateway:
        yield gateway
    faults = log_faults(gateway.log)
    assert not faults, "\n".join(faults[:20])


@pytest.fixture(scope="module")
def door(gateway: Gateway, certificates: Certificates, upstream: Upstream) -> Iterator[Door]:
    with Door(gateway.public, certificates.client_context()) as door:
        accounts = Accounts(gateway, door.books)
        yield door
        door.close_all()
        upstream.forget()
        faults = accounts.faults()
    assert not faults, "\n".join(faults)


def opened(
    door: Door, upstream: Upstream, *, receive_buffer: int | None = None
) -> tuple[Client, UpstreamConnection]:
    """Both ends of a session; use within `upstream.by_hand()`."""
    client = door.connect(receive_buffer=receive_buffer)
    client.send(good())
    connection = upstream.connection()
    connection.accept()
    assert client.read_response().status == 101
    return client, connection


@pytest.mark.parametrize("reader", ["client", "upstream"])
def test_p83_a_slow_reader_stops_its_peer_and_is_cut_off(
    gateway: Gateway, door: Door, upstream: Upstream, reader: str
) -> None:
    size = 100 * MB
    with upstream.by_hand():
        opened(door, upstream)[0].close()  # what TLS loads lazily is loaded
        client, connection = opened(door, upstream, receive_buffer=SMALL)
        mask = frames.MASK if reader == "upstream" else None
        data = frames.header(frames.BINARY, size, mask=mask) + bytes(size)
        sender, slow = (connection, client) if reader == "client" else (client, connection)
        with Watch(gateway.pid) as watch:
            began = time.monotonic()
            blocked(sender, data)
            sender.read_to_end(2 * WRITE_DEADLINE)
            took = time.monotonic() - began
        assert WRITE_DEADLINE - 0.5 <= took <= WRITE_DEADLINE + 2.5 + BUSY
        assert watch.growth < ROOM, f"{watch.growth / MB:.2f} MB"
        slow.close()


def test_p43_endless_early_data_is_held_back_not_kept(
    door: Door, upstream: Upstream, gateway: Gateway
) -> None:
    data = memoryview(frames.masked(frames.BINARY, bytes(MB)) * 20)
    with upstream.by_hand(), Watch(gateway.pid) as watch:
        client = door.connect(timeout=30)
        client.send(good())
        connection = upstream.connection()
        connection.read_request()
        sent = client.send_some(data, patience=0.5)
        assert sent < len(data), "the client was never held back"
        connection.send(connection.switching())
        rest = threading.Thread(target=client.send, args=(data[sent:],), daemon=True)
        rest.start()
        digest = hashlib.sha256(connection.read_exactly(len(data)))
        rest.join(5)
        assert client.read_response().status == 101
    assert digest.digest() == hashlib.sha256(data).digest()
    assert watch.growth < ROOM, f"{watch.growth / MB:.2f} MB"


@pytest.mark.parametrize("count", [1_000, 10_000, 30_000])
def test_p81_many_frames_said_before_leaving_arrive(
    door: Door, roomy: Upstream, count: int
) -> None:
    """As long as their reader keeps up, and no more waits for its turn than `leg.MAX_WAITING`.

    uvloop's TLS drops what it has not delivered when the peer of a paused leg leaves.
    """
    flood = frames.frame(frames.TEXT, b"x") * count

    def speak_and_leave(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.send(connection.switching() + flood)

    with roomy.plays(speak_and_leave), door.open(good("/roomy")) as client:
        assert client.read_exactly(len(flood)) == flood
        client.expect_close(1012, "upstream_lost")
    roomy.connection()

    said = frames.masked(frames.TEXT, b"x") * count
    with roomy.plays(silent):
        client = door.open(good("/roomy"))
        client.send(said)
        client.close()
        connection = roomy.connection()
        assert connection.done.wait(5)
        assert connection.heard == said


def test_p69_large_messages_pass_both_ways(door: Door, upstream: Upstream) -> None:
    with upstream.by_hand():
        client, connection = opened(door, upstream)
        pour(client, connection, frames.masked(frames.BINARY, bytes(range(256)) * 40_000))
        pour(connection, client, frames.frame(frames.BINARY, bytes(range(256)) * 40_000))
        client.send(frames.masked(frames.CLOSE, frames.close_payload(1000)))
        connection.expect_close(1000)
        connection.send(frames.frame(frames.CLOSE, frames.close_payload(1000)))
        client.expect_close(1000)
        client.read_to_end(1.2)
        connection.read_to_end(1.2)

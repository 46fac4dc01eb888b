"""D. Early data: what follows the handshake waits for the 101, or is never seen."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import APP_ONLY, BAD, assert_refused, good
from tests.harness import frames
from tests.harness.heads import plain, upgrade
from tests.harness.process import MB, Watch

if TYPE_CHECKING:
    from tests.harness.client import Door
    from tests.harness.gateway import Gateway
    from tests.harness.upstream import Upstream

pytestmark = pytest.mark.timeout(60)

FRAME = frames.masked(frames.TEXT, b"early bird")


def test_p39_an_early_frame_arrives_once_and_after_the_101(door: Door, upstream: Upstream) -> None:
    with upstream.by_hand():
        client = door.send(good() + FRAME)
        connection = upstream.connection()
        connection.read_request()
        connection.expect_silence(0.3)
        connection.send(connection.switching())
        assert client.read_response().status == 101
        assert connection.read_exactly(len(FRAME)) == FRAME
        connection.expect_silence(0.2)


def test_p40_an_early_frame_may_be_cut_anywhere(door: Door, upstream: Upstream) -> None:
    with upstream.by_hand():
        clients, connections = [], []
        for cut in range(len(FRAME) + 1):
            clients.append(door.send(good() + FRAME[:cut]))
            connections.append(upstream.connection())
            connections[-1].read_request()
        connections[0].expect_silence(0.2)
        for cut, client in enumerate(clients):
            client.send(FRAME[cut:] or b"")
        for connection in connections:
            assert not connection.is_readable(), "a byte came before the 101"
            connection.send(connection.switching())
        for client, connection in zip(clients, connections, strict=True):
            assert client.read_response().status == 101
            assert connection.read_exactly(len(FRAME)) == FRAME
        connections[-1].expect_silence(0.2)
        assert not any(connection.is_readable() for connection in connections)


def test_p40_the_rest_of_an_early_frame_may_come_after_the_101(
    door: Door, upstream: Upstream
) -> None:
    with upstream.by_hand():
        for cut in range(len(FRAME)):
            client = door.send(good() + FRAME[:cut])
            connection = upstream.connection()
            connection.accept()
            assert client.read_response().status == 101
            client.send(FRAME[cut:])
            assert connection.read_exactly(len(FRAME)) == FRAME


@pytest.mark.parametrize("split", [1, 3, 4, 17, 100])
def test_p40_a_head_in_pieces_is_the_same_head(door: Door, upstream: Upstream, split: int) -> None:
    request = good() + FRAME
    client = door.connect()
    for at in range(0, len(request), split):
        client.send(request[at : at + split])
    assert client.read_response().status == 101
    assert client.read_frame().payload == b"early bird"
    assert upstream.count


def test_p41_nothing_behind_a_refused_handshake_is_looked_at(
    door: Door, upstream: Upstream
) -> None:
    tails = [
        FRAME + plain("/app", f"X-Api-Key: {APP_ONLY}"),
        good(),
        FRAME * 100 + good(),
        b"x" * 200_000,
    ]
    with upstream.untouched():
        for tail in tails:
            response = door.ask(upgrade("/app", key=BAD) + tail)
            assert_refused(response, 401, "key_unknown")


def test_p41_nothing_behind_a_plain_request_is_looked_at(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        response = door.ask(plain("/app") + good())
    assert_refused(response, 426, "upgrade_required")


def test_p42_early_data_of_a_refused_handshake_never_travels(
    door: Door, upstream: Upstream
) -> None:
    with upstream.by_hand():
        client = door.send(good() + FRAME + plain("/internal"))
        connection = upstream.connection()
        connection.read_request()
        connection.expect_silence(0.5)
        connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        response = client.read_response()
        connection.expect_end()
    assert response.status == 403
    assert response.rest == b""


def test_p43_endless_early_data_is_held_back_not_kept(
    door: Door, upstream: Upstream, gateway: Gateway
) -> None:
    size = 50
    chunk = frames.masked(frames.BINARY, bytes(MB))
    expected = hashlib.sha256(chunk * size).hexdigest()

    with upstream.by_hand(), Watch(gateway.pid) as watch:
        client = door.connect(send_buffer=64 * 1024, timeout=30)
        client.send(good())
        connection = upstream.connection()
        connection.read_request()
        data = memoryview(chunk * size)
        sent = client.send_some(data, patience=0.5)
        assert sent < len(data), "the client was never held back"
        assert not connection.is_readable(), "a byte came before the 101"
        connection.send(connection.switching())
        rest = threading.Thread(target=client.send, args=(data[sent:],), daemon=True)
        rest.start()
        digest, left = hashlib.sha256(), len(data)
        while left:
            part = connection.read_some(5)
            assert part, "the gateway left"
            digest.update(part)
            left -= len(part)
        rest.join(5)
        assert client.read_response().status == 101
    assert left == 0
    assert digest.hexdigest() == expected
    assert watch.growth < 1 * MB, f"{watch.growth / MB:.2f} MB"


def test_p44_an_extra_line_end_after_the_head_is_no_frame(door: Door, upstream: Upstream) -> None:
    """0x0D is a frame header with the reserved opcode 13."""
    with upstream.by_hand():
        client = door.send(good() + b"\r\n")
        connection = upstream.connection()
        connection.accept()
        assert client.read_response().status == 101
        client.expect_close(1002, "protocol_error")
        connection.expect_close(1001, "peer_error")
        client.expect_end(2)
        connection.expect_end(2)
    door.open(good()).close()

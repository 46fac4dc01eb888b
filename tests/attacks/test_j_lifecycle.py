"""J. Lifecycle and faults: when one side goes, the other goes, and nothing stays behind."""

from __future__ import annotations

import operator
import selectors
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import configuration, good
from tests.harness import frames
from tests.harness.accounts import log_faults
from tests.harness.client import Client, Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.probe import Probe
from tests.harness.process import BUSY, MB, Watch, open_files, wait_until
from tests.harness.upstream import Upstream, UpstreamConnection, silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.peer import Peer

pytestmark = pytest.mark.timeout(90)

SMALL = 4096
WRITE_DEADLINE = 2.0
HEAD_DEADLINE = 2.0
WHOLE = frames.masked(frames.TEXT, b"whole")
HALF = frames.header(frames.BINARY, 1000, mask=frames.MASK) + b"half a frame"
# It may be held until it can be judged.
HEADER_CUT = HALF[:3]
HALF_DOWN = frames.header(frames.BINARY, 1000) + b"half a frame"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """Small buffers: what the gateway does not hold back is not hidden in the kernel's."""
    with Upstream(receive_buffer=SMALL) as upstream:
        yield upstream


def opened(door: Door, upstream: Upstream) -> tuple[Client, UpstreamConnection]:
    """Both ends of a session; use within `upstream.by_hand()`."""
    client = door.send(good())
    connection = upstream.connection()
    connection.accept()
    assert client.read_response().status == 101
    return client, connection


# -- P80 to P82: one side goes


@pytest.mark.parametrize("leave", ["reset", "finish_sending", "close"])
@pytest.mark.parametrize("said", [b"", WHOLE, HALF, HEADER_CUT, WHOLE + HALF])
def test_p80_a_vanished_client_ends_the_upstream(
    door: Door, upstream: Upstream, gateway: Gateway, said: bytes, leave: str
) -> None:
    before = open_files(gateway.pid)
    with upstream.by_hand():
        client, connection = opened(door, upstream)
        client.send(said)
        heard = b"" if said == HEADER_CUT else connection.read_exactly(len(said))
        assert heard == said[: len(heard)]
        getattr(client, leave)()
        assert connection.read_to_end(1) in {b"", said[len(heard) :]}, "more than was said"
        connection.close()
    assert wait_until(lambda: open_files(gateway.pid) <= before, 1.5), "fds are not back"


@pytest.mark.parametrize("leave", ["reset", "close"])
def test_p81_a_vanished_upstream_is_told_at_a_boundary(
    door: Door, upstream: Upstream, leave: str
) -> None:
    with upstream.by_hand():
        for said in (b"", frames.frame(frames.TEXT, b"whole"), frames.frame(1, b"x", fin=False)):
            client, connection = opened(door, upstream)
            connection.send(said)
            assert client.read_exactly(len(said)) == said
            began = time.monotonic()
            getattr(connection, leave)()
            client.expect_close(1012, "upstream_lost")
            client.expect_end(1.2)
            assert time.monotonic() - began < 1.2 + BUSY


@pytest.mark.parametrize("leave", ["reset", "close", "finish_sending"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_p81_an_upstream_that_vanishes_in_a_header_is_lost_as_any(
    door: Door, upstream: Upstream, leave: str, size: int
) -> None:
    lost = frames.frame(frames.CLOSE, frames.close_payload(1012, "upstream_lost"))
    with upstream.by_hand():
        client, connection = opened(door, upstream)
        connection.send(HALF_DOWN[:size])
        client.expect_silence(0.05)
        getattr(connection, leave)()
        assert client.read_to_end(1.2) in {lost, b""}
        connection.close()


@pytest.mark.parametrize("leave", ["reset", "close", "finish_sending"])
def test_p81_a_vanished_upstream_in_mid_frame_is_no_close_frame(
    door: Door, upstream: Upstream, leave: str
) -> None:
    """A Close frame there would be payload of the frame that was begun."""
    with upstream.by_hand():
        client, connection = opened(door, upstream)
        connection.send(HALF_DOWN)
        assert client.read_exactly(len(HALF_DOWN)) == HALF_DOWN
        getattr(connection, leave)()
        client.expect_end(1.2)
        connection.close()


def test_p81_an_upstream_that_finished_sending_is_gone_within_a_second(
    door: Door, upstream: Upstream
) -> None:
    with upstream.by_hand():
        client, connection = opened(door, upstream)
        connection.finish_sending()
        rest = client.read_to_end(1.2)
        connection.read_to_end(1.2)
    lost = frames.frame(frames.CLOSE, frames.close_payload(1012, "upstream_lost"))
    assert rest in {b"", lost}


def test_p81_what_an_upstream_said_before_it_left_arrives(door: Door, upstream: Upstream) -> None:
    message = frames.frame(frames.BINARY, bytes(200_000))
    close = frames.frame(frames.CLOSE, frames.close_payload(1000))
    with upstream.by_hand():
        client, connection = opened(door, upstream)
        connection.send(message + close)
        connection.close()
        assert client.read_exactly(len(message)) == message
        client.expect_close(1000)
        client.send(frames.masked(frames.CLOSE, frames.close_payload(1000)))
        client.expect_end(1.2)


@pytest.mark.parametrize("leave", ["finish_sending", "close"])
@pytest.mark.parametrize("count", [1_000, 10_000, 50_000])
def test_p81_p82_many_frames_said_before_leaving_arrive(
    door: Door, upstream: Upstream, count: int, leave: str
) -> None:
    with upstream.by_hand():
        client, connection = opened(door, upstream)
        flood = frames.frame(frames.TEXT, b"x") * count
        with client:
            sent = threading.Thread(target=lambda: (connection.send(flood), leaving(connection)))
            leaving = operator.methodcaller(leave)
            sent.start()
            assert client.read_exactly(len(flood)) == flood
            sent.join()
            client.expect_close(1012, "upstream_lost")
        connection.close()

        client, connection = opened(door, upstream)
        flood = frames.masked(frames.TEXT, b"x") * count
        with connection:
            sent = threading.Thread(target=lambda: (client.send(flood), leaving(client)))
            sent.start()
            assert connection.read_to_end(5) == flood
            sent.join()


def test_p82_a_half_closed_client_still_gets_its_answer(door: Door, upstream: Upstream) -> None:
    with upstream.by_hand():
        client, connection = opened(door, upstream)
        client.send(WHOLE)
        client.finish_sending()
        assert connection.read_exactly(len(WHOLE)) == WHOLE
        client.expect_silence(0.5)
        connection.send(frames.frame(frames.TEXT, b"late answer"))
        assert client.read_frame().payload == b"late answer"
        client.read_to_end(1.2)
        connection.read_to_end(1.2)


# -- P83: who does not read


def blocked(sender: Peer, data: bytes) -> int:
    """Sends until nothing more is taken; far less than all of it may have gone."""
    sent = sender.send_some(data, patience=0.5)
    assert sent < len(data), "the sender was never held back"
    return sent


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["client", "upstream"])
def test_p83_a_slow_reader_stops_its_peer_and_is_cut_off(
    gateway: Gateway, door: Door, upstream: Upstream, other: Upstream, reader: str
) -> None:
    size = 200 * MB
    with Probe(door.open(good("/other"))) as probe, upstream.by_hand():
        quiet = probe.baseline()
        client = door.connect(receive_buffer=SMALL)
        client.send(good())
        connection = upstream.connection()
        connection.accept()
        assert client.read_response().status == 101
        mask = frames.MASK if reader == "upstream" else None
        data = frames.header(frames.BINARY, size, mask=mask) + bytes(size)
        sender, slow = (connection, client) if reader == "client" else (client, connection)
        with Watch(gateway.pid) as watch:
            began = time.monotonic()
            blocked(sender, data)
            # The sender is told, or just cut off; it is never left hanging.
            told = sender.read_to_end(2 * WRITE_DEADLINE)
            took = time.monotonic() - began
        assert told == b"" or frames.take(bytearray(told)) is not None, told[:50]
        assert WRITE_DEADLINE - 0.5 <= took <= WRITE_DEADLINE + 2.5 + BUSY
        assert watch.growth < 1 * MB, f"{watch.growth / MB:.2f} MB"
        probe.assert_unaffected(quiet)
        slow.close()
    assert other.count


# -- P84: who never finishes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dribbling", "silent"])
def test_p84_unfinished_heads_end_at_the_deadline(
    door: Door, upstream: Upstream, kind: str
) -> None:
    count, head = 500, good()
    with upstream.untouched(0):
        began = time.monotonic()
        waiting = selectors.DefaultSelector()
        for _ in range(count):
            client = door.connect()
            if kind == "dribbling":
                client.send(head[:20])
            waiting.register(client.sock, selectors.EVENT_READ, client)
        connected = time.monotonic()
        dribble_at, at = connected + 0.5, 20
        while waiting.get_map() and time.monotonic() < connected + HEAD_DEADLINE + 2 + BUSY:
            for key, _ in waiting.select(0.05):
                key.data.read_to_end(0.5)
                assert time.monotonic() - began >= HEAD_DEADLINE - 0.1, "cut off too early"
                waiting.unregister(key.fileobj)
            if kind == "dribbling" and time.monotonic() >= dribble_at:
                dribble_at, at = dribble_at + 0.5, at + 1
                for key in list(waiting.get_map().values()):
                    try:
                        key.data.send(head[at : at + 1])
                    except OSError:
                        continue  # its end is about to be read
        left = len(waiting.get_map())
        waiting.close()
    assert left == 0, f"{left} connections outlive the deadline"


def test_p84_slow_heads_do_not_keep_others_waiting(door: Door) -> None:
    with Probe(door.open(good("/other"))) as probe:
        quiet = probe.baseline()
        for _ in range(300):
            door.connect().send(b"GET /app HTTP/1.1\r\nHost: x\r\n")
        began = time.monotonic()
        door.open(good()).close()
        assert time.monotonic() - began < 0.5 + BUSY
        probe.assert_unaffected(quiet)
        door.close_all()


# -- P85: the end


@pytest.mark.slow
def test_p85_a_stop_says_goodbye_to_everybody(
    tmp_path: Path, upstream: Upstream, other: Upstream
) -> None:
    count = 200
    with (
        Gateway(tmp_path, configuration(upstream, other, 9)) as gateway,
        Door(gateway.public) as door,
        upstream.plays(silent),
    ):
        clients = [door.open(good()) for _ in range(count)]
        in_mid_frame = door.open(good())
        in_mid_frame.send(HALF)
        waiting = door.send(good()[:30])
        gateway.signal(signal.SIGTERM)
        for client in clients:
            client.timeout = 15
            client.expect_close(1001, "draining")
            client.send(frames.masked(frames.CLOSE, frames.close_payload(1001)))
        in_mid_frame.read_to_end(15)
        waiting.read_to_end(15)
        assert gateway.wait(15) == 0
        with pytest.raises(ConnectionRefusedError):
            door.connect()
        # The upstreams were told too.
        for _ in range(count):
            connection = upstream.connection()
            assert connection.done.wait(5)
            frame = frames.take(connection.heard)
            assert frame is not None
            assert (frame.opcode, frame.close_code) == (frames.CLOSE, 1001)
    assert not log_faults(gateway.log)


def test_p85_a_stop_refuses_new_handshakes(
    tmp_path: Path, upstream: Upstream, other: Upstream
) -> None:
    with (
        Gateway(tmp_path, configuration(upstream, other, 9)) as gateway,
        Door(gateway.public) as door,
        upstream.plays(silent),
    ):
        client = door.open(good())
        late = door.connect()
        late.send(good()[:30])
        gateway.signal(signal.SIGTERM)
        client.timeout = 15
        client.expect_close(1001, "draining")
        with upstream.untouched():
            try:
                late.send(upgrade("/app")[30:])
                answer = late.read_to_end(5)
            except ConnectionError:
                answer = b""
        assert answer == b"" or answer.startswith(b"HTTP/1.1 503 "), answer[:100]
        client.close()
        assert gateway.wait(15) == 0

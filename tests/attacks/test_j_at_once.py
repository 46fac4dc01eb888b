"""J again, both sides at once: what happens while the gateway is stopped comes in one turn."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import good
from tests.attacks.test_j_lifecycle import HALF, HALF_DOWN, WHOLE, opened
from tests.harness import frames
from tests.harness.client import Client, Door
from tests.harness.process import open_files, wait_until
from tests.harness.upstream import Upstream, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.gateway import Gateway
    from tests.harness.peer import Peer

pytestmark = pytest.mark.timeout(60)


@contextlib.contextmanager
def at_once(gateway: Gateway) -> Iterator[None]:
    gateway.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        gateway.signal(signal.SIGCONT)


REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"


@pytest.mark.parametrize("first", ["client", "upstream"])
@pytest.mark.parametrize("leave", ["reset", "close"])
@pytest.mark.parametrize("answer", ["101", "101 and a frame", "403", "half", "reset", "close"])
def test_p87_a_client_that_leaves_while_the_upstream_answers(
    door: Door, upstream: Upstream, gateway: Gateway, answer: str, leave: str, first: str
) -> None:
    before = open_files(gateway.pid)
    with upstream.by_hand():
        client = door.send(good())
        connection = upstream.connection()
        connection.read_request()
        said = {
            "101": connection.switching(),
            "101 and a frame": connection.switching() + frames.frame(frames.TEXT, b"hello"),
            "403": REFUSAL,
            "half": REFUSAL[:20],
        }

        def upstream_acts() -> None:
            if answer in said:
                connection.send(said[answer])
            else:
                getattr(connection, answer)()

        acts = [getattr(client, leave), upstream_acts]
        with at_once(gateway):
            for act in acts if first == "client" else reversed(acts):
                act()
        if answer in said:
            connection.read_to_end(1.2)
        connection.close()
    assert wait_until(lambda: open_files(gateway.pid) <= before, 1.5), "fds are not back"


@pytest.mark.parametrize("answer", ["101", "403"])
def test_p30_an_answer_at_the_very_deadline_is_taken_or_left(
    door: Door, upstream: Upstream, gateway: Gateway, answer: str
) -> None:
    with upstream.by_hand():
        client = door.send(good("/impatient"))
        connection = upstream.connection()
        connection.read_request()
        with at_once(gateway):
            connection.send(connection.switching() if answer == "101" else REFUSAL)
            client.expect_silence(1.1)  # the gateway's second is over meanwhile
        response = client.read_response()
        assert response.status in {int(answer), 504}
        if response.status == 101:
            connection.send(frames.frame(frames.TEXT, b"hello"))
            assert client.read_frame().payload == b"hello"
        else:
            connection.read_to_end(1)


def _reset(peer: Peer) -> None:
    peer.reset()


def _close(peer: Peer) -> None:
    peer.close()


def _goodbye(peer: Peer) -> None:
    mask = frames.MASK if isinstance(peer, Client) else None
    peer.send(frames.frame(frames.CLOSE, frames.close_payload(1000), mask=mask))


def _violation(peer: Peer) -> None:
    peer.send(frames.frame(3, mask=frames.MASK if isinstance(peer, Client) else None))


def _half_a_frame_and_reset(peer: Peer) -> None:
    peer.send(HALF if isinstance(peer, Client) else HALF_DOWN)
    peer.reset()


ACTS = [_reset, _close, _goodbye, _violation, _half_a_frame_and_reset]


@pytest.mark.parametrize("second", ACTS)
@pytest.mark.parametrize("first", ACTS)
def test_p81_both_ends_may_go_at_the_same_time(
    door: Door,
    upstream: Upstream,
    gateway: Gateway,
    first: Callable[[Peer], None],
    second: Callable[[Peer], None],
) -> None:
    before = open_files(gateway.pid)
    with upstream.by_hand():
        sessions = [opened(door, upstream), opened(door, upstream)]
        with at_once(gateway):
            for (client, connection), turned in zip(sessions, (False, True), strict=True):
                first(connection if turned else client)
                second(client if turned else connection)
        for end in (end for session in sessions for end in session):
            if end.sock.fileno() >= 0:
                end.read_to_end(1.5)
                end.close()
    assert wait_until(lambda: open_files(gateway.pid) <= before, 1.5), "fds are not back"


def test_p80_a_whole_life_in_one_turn(door: Door, upstream: Upstream, gateway: Gateway) -> None:
    """Handshake, message, Close and FIN lie in the socket before the gateway reads any of it."""
    whole = good() + WHOLE + frames.masked(frames.CLOSE, frames.close_payload(1000))
    before = open_files(gateway.pid)
    with upstream.plays(silent):
        for leave in ("finish_sending", "close", "reset"):
            with at_once(gateway):
                client = door.send(whole)
                getattr(client, leave)()
        door.close_all()
        upstream.forget()
    assert wait_until(lambda: open_files(gateway.pid) <= before, 3), "fds are not back"

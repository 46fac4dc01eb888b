"""The harness against itself: raw clients talk to the scripted upstream without a gateway."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.harness import frames
from tests.harness.accounts import log_faults
from tests.harness.certificates import Certificates
from tests.harness.client import Door, handshakes
from tests.harness.heads import Head, upgrade
from tests.harness.peer import PeerGoneError
from tests.harness.process import BUSY, wait_until
from tests.harness.upstream import Upstream, UpstreamConnection, answers, silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REFUSAL = (
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nX-Wskeeper-Code: key_missing\r\n"
    b"Connection: close\r\n\r\n{}"
)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def door(upstream: Upstream) -> Iterator[Door]:
    with Door(("127.0.0.1", upstream.port)) as door:
        yield door


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("mask", [None, frames.MASK])
def test_frames_are_read_as_they_were_built(size: int, mask: bytes | None) -> None:
    payload = bytes(i % 251 for i in range(size))
    raw = frames.frame(frames.BINARY, payload, mask=mask, rsv=4, fin=False)
    for cut in (1, 2, 5, len(raw) - 1):
        assert frames.take(bytearray(raw[: min(cut, len(raw) - 1)])) is None
    buffer = bytearray(raw + b"tail")
    frame = frames.take(buffer)
    assert frame == frames.Frame(
        fin=False, rsv=4, opcode=frames.BINARY, mask=mask, payload=payload, raw=raw
    )
    assert buffer == b"tail"


def test_rfc_6455_examples_of_section_5_7_are_built() -> None:
    assert frames.frame(frames.TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert frames.frame(frames.TEXT, b"Hello", mask=bytes.fromhex("37fa213d")) == bytes.fromhex(
        "818537fa213d7f9f4d5158"
    )


def test_an_echoed_message_comes_back_unmasked(door: Door) -> None:
    with door.open(upgrade()) as client:
        client.send_text("hello")
        assert client.read_frame().raw == frames.frame(frames.TEXT, b"hello")
        client.send(frames.masked(frames.CLOSE, frames.close_payload(1000, "done")))
        client.expect_close(1000, "done")
        client.expect_end()
    assert door.books.outcomes == {"accepted": 1}


def test_the_upstream_can_be_played_by_hand(upstream: Upstream, door: Door) -> None:
    with upstream.by_hand():
        client = door.send(upgrade("/x?y=1"))
        connection = upstream.connection()
        request = connection.accept("Sec-WebSocket-Protocol: chat")
        assert request.target == "/x?y=1"
        assert client.read_response().get("Sec-WebSocket-Protocol") == "chat"
        client.expect_silence(0.05)
        connection.reset()
        client.expect_end()
        assert client.ended == "rst"


def test_silent_upstreams_keep_what_they_hear(upstream: Upstream, door: Door) -> None:
    with upstream.plays(silent):
        client = door.open(upgrade())
        client.send(b"abc")
        client.finish_sending()
        client.expect_end()
        connection = upstream.connection()
        assert connection.done.wait(1)
        assert connection.heard == b"abc"


def test_an_untouched_upstream_notices_a_late_connection(upstream: Upstream, door: Door) -> None:
    with upstream.untouched(0.05):
        pass
    with pytest.raises(AssertionError, match="1 connections dialled"), upstream.untouched(1):
        door.connect()


def test_a_script_that_fails_fails_its_test() -> None:
    def script(connection: UpstreamConnection) -> None:
        connection.read_request()
        raise ValueError("the script")

    upstream = Upstream(script)
    with Door(("127.0.0.1", upstream.port)) as door:
        door.send(upgrade())
        assert wait_until(upstream.connection().done.is_set)
    with pytest.raises(AssertionError, match="the script"), upstream:
        pass


def test_a_refusal_is_read_whole_with_what_follows(upstream: Upstream, door: Door) -> None:
    def script(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.send(REFUSAL + b"more")

    with upstream.plays(script):
        response = door.ask(upgrade())
    assert (response.status, response.code, response.problem) == (401, "key_missing", {})
    assert (response.rest, response.ended) == (b"more", True)


def test_a_client_that_is_told_nothing_says_so(upstream: Upstream, door: Door) -> None:
    with upstream.plays(lambda connection: connection.close()):
        client = door.send(upgrade())
        with pytest.raises(PeerGoneError):
            client.read_response()
    with upstream.plays(answers(b"HTTP/1.1 200 OK\r\n")):
        client = door.send(upgrade())
        with pytest.raises(TimeoutError):
            client.read_response(within=0.05)


def test_the_books_notice_what_does_not_add_up(door: Door) -> None:
    door.open(upgrade())
    counted = 'wskeeper_handshakes_total{route="app",outcome="accepted"}'
    assert door.books.faults({counted: 1.0}) == []
    assert len(door.books.faults({counted: 2.0})) == 1  # one too many
    assert len(door.books.faults({})) == 2  # none at all, and not the one that was seen
    door.send(b"GET").reset()
    assert door.books.faults({counted: 1.0}) == []  # nobody knows whether it was heard
    assert door.books.faults({counted: 2.0}) == []
    assert handshakes({counted: 2.0, 'wskeeper_connections{route="app"}': 7.0}) == {"accepted": 2}


def test_log_faults_are_found() -> None:
    assert log_faults(['{"event": "fine"}']) == []
    assert len(log_faults(['{"event": "Traceback"}', "no json", '{"a": "\x1b"}'])) == 4
    assert len(log_faults(['{"event": "CANARY-good"}'])) == 1


def test_both_ends_speak_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with (
        Upstream(tls=certificates.server_context()) as upstream,
        Door(("127.0.0.1", upstream.port), certificates.client_context()) as door,
    ):
        client = door.open(upgrade())
        client.send_text("hello")
        assert client.read_frame().payload == b"hello"
        client.reset()
        assert upstream.connection().done.wait(2)


def test_a_deadline_is_kept(door: Door) -> None:
    client = door.open(upgrade())
    began = time.monotonic()
    with pytest.raises(AssertionError, match="still open"):
        client.read_to_end(0.1)
    assert 0.1 <= time.monotonic() - began < 1 + 2 * BUSY


def test_a_head_refuses_to_guess_between_two_lines() -> None:
    head = Head.parse(b"HTTP/1.1 200 OK\r\nA: 1\r\na: 2\r\n\r\n")
    assert head.all("A") == ["1", "2"]
    with pytest.raises(AssertionError, match="2 lines"):
        head.get("A")

"""Python's websockets at both ends; what one end sends is what the other sees."""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.interop.tap import Tap

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE = 10.0
MAX_REASON = "r" * 123


class Recording:
    """What keeps the frames that a connection receives."""

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame):
            vars(self).setdefault("frames", []).append(event)
        super().process_event(event)


class RecordingServer(Recording, ServerConnection):
    """The upstream's end of a session."""


class RecordingClient(Recording, ClientConnection):
    """The client's end of a session."""


class Upstream:
    """A server whose behaviour a client chooses by the path, and that remembers its sessions."""

    def __init__(self) -> None:
        self.ended: queue.SimpleQueue[ServerConnection] = queue.SimpleQueue()
        self._server = serve(
            self._serve,
            "127.0.0.1",
            0,
            create_connection=RecordingServer,
            max_size=None,
            ping_interval=None,
            select_subprotocol=lambda _, offered: "v2.chat" if "v2.chat" in offered else None,
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        host, port = self._server.socket.getsockname()
        self.url = f"ws://{host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()

    def _serve(self, socket: ServerConnection) -> None:
        try:
            getattr(self, socket.request.path.strip("/"))(socket)
        except ConnectionClosed:
            pass
        finally:
            self.ended.put(socket)

    def echo(self, socket: ServerConnection) -> None:
        for message in socket:
            socket.send(message)

    def echo_fragments(self, socket: ServerConnection) -> None:
        socket.send(socket.recv_streaming())
        socket.recv()

    def ping(self, socket: ServerConnection) -> None:
        answered = socket.ping(b"from upstream").wait(DEADLINE)
        socket.send(f"answered: {answered}")
        socket.recv()

    def close(self, socket: ServerConnection) -> None:
        code, reason = socket.recv().split(" ", 1)
        socket.close(int(code), reason)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def tap(upstream: Upstream) -> Iterator[Tap]:
    with Tap(upstream.url) as hop:
        yield hop


@pytest.fixture(scope="module")
def url(in_front_of, tap) -> str:
    return in_front_of(tap.url)


@pytest.fixture
def dial(url, key):
    def dial(path: str, **options: Any):
        options = {"compression": None, "max_size": None, **options}
        return connect(
            url + path,
            additional_headers=dict([key]),
            create_connection=RecordingClient,
            ping_interval=None,
            proxy=None,
            **options,
        )

    return dial


def test_compression_is_negotiated_end_to_end_and_used(dial, upstream, tap):
    text = "the same again and again, " * 40_000
    before = tap.to_target, tap.to_client
    with dial("/echo", compression="deflate") as client:
        client.send(text)
        assert client.recv(DEADLINE) == text
        assert [type(each) for each in client.protocol.extensions] == [PerMessageDeflate]
    server = upstream.ended.get(timeout=DEADLINE)
    assert [type(each) for each in server.protocol.extensions] == [PerMessageDeflate]
    assert tap.to_target - before[0] < len(text) / 50
    assert tap.to_client - before[1] < len(text) / 50


def test_no_compression_unless_the_client_offers_it(dial, upstream, tap):
    text = "the same again and again, " * 40_000
    before = tap.to_target
    with dial("/echo") as client:
        client.send(text)
        assert client.recv(DEADLINE) == text
        assert client.protocol.extensions == []
    assert upstream.ended.get(timeout=DEADLINE).protocol.extensions == []
    assert tap.to_target - before > len(text)


def test_text_and_binary_stay_what_they_are(dial, upstream):
    messages = ["grüß dich 🐝", b"\x00\xff\x80", "", b""]
    with dial("/echo", compression="deflate") as client:
        for message in messages:
            client.send(message)
        assert [client.recv(DEADLINE) for _ in messages] == messages
    upstream.ended.get(timeout=DEADLINE)


def test_a_message_of_16_mib_passes_both_ways(dial, upstream):
    message = os.urandom(16 * 1024 * 1024)
    with dial("/echo") as client:
        client.send(message)
        assert client.recv(4 * DEADLINE) == message
    upstream.ended.get(timeout=DEADLINE)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, ""), (1001, "going"), (3000, "ü"), (4999, MAX_REASON)],
    ids=["1000", "1001", "3000", "4999"],
)
def test_upstream_sees_the_close_code_and_reason_of_the_client(dial, upstream, code, reason):
    with dial("/echo") as client:
        client.close(code, reason)
        assert client.protocol.close_rcvd == Close(code, reason)
    server = upstream.ended.get(timeout=DEADLINE)
    assert server.protocol.close_rcvd == Close(code, reason)
    assert server.protocol.close_rcvd_then_sent


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, ""), (1012, "restart"), (3999, "ü"), (4001, MAX_REASON)],
    ids=["1000", "1012", "3999", "4001"],
)
def test_client_sees_the_close_code_and_reason_of_the_upstream(dial, upstream, code, reason):
    with dial("/close") as client:
        client.send(f"{code} {reason}")
        with pytest.raises(ConnectionClosed):
            client.recv(DEADLINE)
        assert client.protocol.close_rcvd == Close(code, reason)
        assert client.protocol.close_rcvd_then_sent
    # The answer travelled back: the upstream ended in a clean closing handshake too.
    assert upstream.ended.get(timeout=DEADLINE).protocol.close_rcvd == Close(code, reason)


def test_upstream_answers_the_ping_of_the_client(dial, upstream):
    with dial("/echo") as client:
        assert client.ping(b"from client").wait(DEADLINE)
    server = upstream.ended.get(timeout=DEADLINE)
    assert control_frames(server) == [(Opcode.PING, b"from client")]


def test_client_answers_the_ping_of_the_upstream(dial, upstream):
    with dial("/ping") as client:
        assert client.recv(DEADLINE) == "answered: True"
        assert control_frames(client) == [(Opcode.PING, b"from upstream")]
    server = upstream.ended.get(timeout=DEADLINE)
    assert control_frames(server) == [(Opcode.PONG, b"from upstream")]


def test_an_unsolicited_pong_travels(dial, upstream):
    with dial("/echo") as client:
        client.pong(b"still here")
    server = upstream.ended.get(timeout=DEADLINE)
    assert control_frames(server) == [(Opcode.PONG, b"still here")]


def control_frames(connection: Any) -> list[tuple[Opcode, bytes]]:
    """The pings and pongs that arrived, in order."""
    return [
        (frame.opcode, bytes(frame.data))
        for frame in connection.frames
        if frame.opcode in {Opcode.PING, Opcode.PONG}
    ]


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_fragments_arrive_as_they_were_cut(dial, upstream, compression):
    fragments = ["a", "bc" * 500, "", "def"]
    expected = [
        (Opcode.TEXT, b"a", False),
        (Opcode.CONT, b"bc" * 500, False),
        (Opcode.CONT, b"", False),
        (Opcode.CONT, b"def", False),
        (Opcode.CONT, b"", True),
    ]
    with dial("/echo_fragments", compression=compression) as client:
        client.send(fragments)
        assert client.recv(DEADLINE) == "".join(fragments)
        assert data_frames(client)[:4] == expected[:4]
    server = upstream.ended.get(timeout=DEADLINE)
    assert data_frames(server) == expected


def data_frames(connection: Any) -> list[tuple[Opcode, bytes, bool]]:
    """The data frames that arrived: opcode, payload, whether the last of its message."""
    return [
        (frame.opcode, bytes(frame.data), frame.fin)
        for frame in connection.frames
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}
    ]


@pytest.mark.parametrize(
    ("offered", "selected"),
    [(["v1.chat", "v2.chat"], "v2.chat"), (["v1.chat"], None), (None, None)],
)
def test_subprotocol_is_the_one_the_upstream_selects(dial, upstream, offered, selected):
    with dial("/echo", subprotocols=offered) as client:
        assert client.subprotocol == selected
    assert upstream.ended.get(timeout=DEADLINE).subprotocol == selected


@pytest.mark.parametrize(
    ("headers", "code"),
    [({}, "key_missing"), ({"X-Api-Key": "not-the-key-we-want"}, "key_unknown")],
)
def test_client_without_the_key_is_refused_and_told_why(gateway_to, tap, headers, code):
    before = tap.to_target
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(gateway_to(tap.url) + "/echo", additional_headers=headers, proxy=None),
    ):
        pass
    answer = refused.value.response
    assert (answer.status_code, answer.headers["X-Wskeeper-Code"]) == (401, code)
    assert tap.to_target == before

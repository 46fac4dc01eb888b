"""Raw clients of one listener, with books on what they began and what they were told."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

from tests.harness.heads import Response
from tests.harness.peer import Peer
from tests.harness.process import BUSY

if TYPE_CHECKING:
    import ssl

SERIES = re.compile(r"wskeeper_handshakes_total\{(?P<labels>.*)\}")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Books:
    """How many request heads were begun, and which outcomes the clients saw.

    A client that resets before it was answered may never have been heard: such heads are
    only an upper bound.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.heads = 0
        self.unsure = 0
        self.outcomes: Counter[str] = Counter()

    def begun(self, heads: int = 1) -> None:
        with self._lock:
            self.heads += heads

    def maybe_unheard(self) -> None:
        with self._lock:
            self.unsure += 1

    def told(self, outcome: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1

    def faults(self, metrics: dict[str, float]) -> list[str]:
        """What in `wskeeper_handshakes_total` contradicts the books."""
        counted = handshakes(metrics)
        total = sum(counted.values())
        found = [
            f"clients saw {outcome} {seen} times, the gateway counted {counted[outcome]:g}"
            for outcome, seen in self.outcomes.items()
            if counted[outcome] < seen
        ]
        if not self.heads - self.unsure <= total <= self.heads:
            found.append(
                f"outcomes add up to {total:g}; heads begun: {self.heads - self.unsure}"
                f" to {self.heads}; counted {dict(counted)}; seen {dict(self.outcomes)}"
            )
        if counted["internal_error"]:
            found.append(f"{counted['internal_error']:g} times internal_error")
        return found


def handshakes(metrics: dict[str, float]) -> Counter[str]:
    """`wskeeper_handshakes_total` by outcome, over all routes."""
    counted: Counter[str] = Counter()
    for series, value in metrics.items():
        if match := SERIES.fullmatch(series):
            counted[dict(LABEL.findall(match["labels"]))["outcome"]] += value
    return counted


class Client(Peer):
    """One client connection to the gateway."""

    def __init__(self, sock: socket.socket, books: Books, timeout: float) -> None:
        super().__init__(sock, timeout)
        self._books = books
        self._begun = False
        self._answered = False

    def send(self, data: bytes | memoryview) -> None:
        self._note_begin()
        super().send(data)

    def send_some(self, data: bytes | memoryview, *, patience: float) -> int:
        self._note_begin()
        return super().send_some(data, patience=patience)

    def _note_begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._books.begun()

    def _receive(self, timeout: float | None = None) -> bytes:
        data = super()._receive(timeout)
        self._answered = self._answered or bool(data)
        return data

    def reset(self) -> None:
        if self._begun and not self._answered:
            self._books.maybe_unheard()
            self._answered = True
        super().reset()

    def read_response(self, within: float | None = None) -> Response:
        """The answer; unless it keeps the connection, it is read until that has ended."""
        if within is not None:
            self.timeout, before = within + BUSY, self.timeout
            try:
                return self.read_response()
            finally:
                self.timeout = before
        response = Response.parse(self.read_head())
        if response.status == 101:
            self._books.told("accepted")
            return response
        size = response.get("Content-Length")
        if size is not None and "close" not in (response.get("Connection") or "").lower():
            response.body = self.read_exactly(int(size))
            return response
        tail = self.read_to_end()
        cut = len(tail) if size is None else int(size)
        response.body, response.rest, response.ended = tail[:cut], tail[cut:], True
        if response.code is not None:
            self._books.told(response.code)
        return response


class Door:
    """The gateway's public listener as clients meet it; closes what it opened."""

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self.books = Books()
        self._address = address
        self._tls = tls
        self._clients: list[Client] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close_all()

    def connect(
        self,
        *,
        receive_buffer: int | None = None,
        send_buffer: int | None = None,
        timeout: float = 5.0,
    ) -> Client:
        """A connection without a byte sent yet; buffer sizes are set before it connects."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        sock = socket.socket(family)
        try:
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if send_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            sock.settimeout(timeout)
            sock.connect(self._address)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise
        client = Client(sock, self.books, timeout)
        self._clients.append(client)
        return client

    def send(self, request: bytes) -> Client:
        """A connection with this already sent."""
        client = self.connect()
        client.send(request)
        return client

    def open(self, request: bytes) -> Client:
        """A connection that was answered 101."""
        client = self.send(request)
        response = client.read_response()
        assert response.status == 101, (response.first_line, response.body[:300])
        return client

    def ask(self, request: bytes, *, pieces: int | None = None) -> Response:
        """The whole answer to a request; `pieces` sends it in segments of so many bytes.

        A gateway may answer and close before it has read all: what it did not take is not sent.
        """
        client = self.connect()
        step = pieces or max(len(request), 1)
        with client:
            with contextlib.suppress(ConnectionError):
                for at in range(0, len(request), step):
                    client.send(request[at : at + step])
            return client.read_response()

    def close_all(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()

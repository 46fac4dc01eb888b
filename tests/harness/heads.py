"""Request heads of any shape, good and bad, and answers read without mercy."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from typing import Any

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DEFAULT_HOST = "gateway.test"

Header = tuple[str, str]


def accept_for(key: str) -> str:
    """The Sec-WebSocket-Accept that answers `key` (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def websocket_key() -> str:
    return base64.b64encode(os.urandom(16)).decode()


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


def upgrade(
    target: str | bytes = "/app",
    *,
    key: str | bytes | None = None,
    changed: dict[str, str | bytes | None] | None = None,
    lines: tuple[str | bytes, ...] = (),
    method: str = "GET",
    version: str = "HTTP/1.1",
) -> bytes:
    """An upgrade request.

    Args:
        target: the request target, sent as it is.
        key: the value of X-Api-Key; None sends no such line.
        changed: other values for the standard lines; None leaves the line out.
        lines: further lines, as they are, without their line ends.
        method: of the request line.
        version: of the request line.
    """
    standard: dict[str, str | bytes | None] = {
        "Host": DEFAULT_HOST,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": websocket_key(),
        "X-Api-Key": key,
        **(changed or {}),
    }
    head = [b" ".join((_bytes(method), _bytes(target), _bytes(version)))]
    head += [
        _bytes(name) + b": " + _bytes(value)
        for name, value in standard.items()
        if value is not None
    ]
    head += [_bytes(line) for line in lines]
    return b"\r\n".join([*head, b"", b""])


def plain(
    target: str = "/app", *lines: str | bytes, method: str = "GET", host: str | None = DEFAULT_HOST
) -> bytes:
    """An ordinary HTTP request, without anything of WebSocket."""
    head = [_bytes(f"{method} {target} HTTP/1.1")]
    if host is not None:
        head.append(b"Host: " + _bytes(host))
    return b"\r\n".join([*head, *map(_bytes, lines), b"", b""])


def _split(raw: bytes) -> tuple[str, list[Header]]:
    first, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        assert colon, f"a header line without a colon: {line!r}"
        headers.append((name, value.strip(" \t")))
    return first, headers


@dataclass(slots=True)
class Head:
    """A message head: the first line, the header lines in order, and its very bytes."""

    first_line: str
    headers: list[Header]
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Head:
        first, headers = _split(raw)
        return cls(first, headers, raw)

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of a header that may stand there once."""
        values = self.all(name)
        assert len(values) <= 1, f"{len(values)} lines of {name}: {values}"
        return values[0] if values else None


@dataclass(slots=True)
class Request(Head):
    """What the upstream was asked."""

    @property
    def target(self) -> str:
        return self.first_line.split(" ")[1]


@dataclass(slots=True)
class Response(Head):
    """What the client was told; `body` is empty after a 101."""

    body: bytes = b""
    # Whether the connection ended after the answer, and what came before its end.
    ended: bool = False
    rest: bytes = b""
    _problem: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]*", self.first_line)
        assert match, f"not a status line: {self.first_line!r}"
        return int(match[1])

    @property
    def code(self) -> str | None:
        return self.get("X-Wskeeper-Code")

    @property
    def problem(self) -> dict[str, Any]:
        """The body of a refusal, read as JSON."""
        return json.loads(self.body)

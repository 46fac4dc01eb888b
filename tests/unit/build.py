"""Heads and header lines as values, for the tests of what judges them."""

from __future__ import annotations

from typing import Any

from proxy.config.model import Config
from proxy.handshake.answer import read_answer
from proxy.handshake.head import AnswerHead, Headers, RequestHead, parse_request


def headers(*lines: str | bytes) -> Headers:
    """Header lines, as they stand in a head."""
    return parse_request(head("GET / HTTP/1.1", *lines)).headers


def head(first: str | bytes, *lines: str | bytes) -> bytes:
    """A head out of its first line and its header lines."""
    return b"".join(_bytes(line) + b"\r\n" for line in (first, *lines, b""))


def request(raw: bytes) -> RequestHead:
    """A request head, parsed."""
    return parse_request(raw)


def answer(first: str | bytes, *lines: str | bytes) -> AnswerHead:
    """An answer head, parsed."""
    return read_answer(head(first, *lines))


def config(*routes: dict[str, Any], **sections: Any) -> Config:
    """A configuration out of plain data; routes get what they must have."""
    return Config.model_validate(
        {
            "routes": [
                {"name": "chat", "path": "/chat", "upstream": "ws://127.0.0.1:9000/ws", **route}
                for route in routes
            ],
            **sections,
        }
    )


def _bytes(line: str | bytes) -> bytes:
    return line if isinstance(line, bytes) else line.encode("latin-1")

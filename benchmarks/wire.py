"""Frames and handshakes made beforehand, so that the load costs less than what it measures."""

from __future__ import annotations

import base64
import hashlib

MASK = b"\x5a\xa5\x3c\xc3"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLIENT_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
END_OF_HEAD = b"\r\n\r\n"

BINARY = 0x82
CLOSE = 0x88
OPCODE = 0x0F
CLOSE_OPCODE = 0x08
NORMAL_CLOSURE = (1000).to_bytes(2, "big")


def mask(payload: bytes, key: bytes = MASK) -> bytes:
    """The payload under the masking key (RFC 6455 section 5.3); masking twice gives it back."""
    length = len(payload)
    stretched = (key * (length // 4 + 1))[:length]
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(stretched, "little")
    return masked.to_bytes(length, "little")


def header(first: int, length: int, *, masked: bool) -> bytes:
    """A frame header with the shortest length field (RFC 6455 section 5.2)."""
    bit = 0x80 if masked else 0
    if length < 126:
        return bytes((first, bit | length))
    if length < 1 << 16:
        return bytes((first, bit | 126)) + length.to_bytes(2, "big")
    return bytes((first, bit | 127)) + length.to_bytes(8, "big")


def client_frame(payload: bytes, first: int = BINARY) -> bytes:
    return header(first, len(payload), masked=True) + MASK + mask(payload)


def server_frame(payload: bytes, first: int = BINARY) -> bytes:
    return header(first, len(payload), masked=False) + payload


CLIENT_CLOSE = client_frame(NORMAL_CLOSURE, CLOSE)
SERVER_CLOSE = server_frame(NORMAL_CLOSURE, CLOSE)


def upgrade_request(path: str, key: str) -> bytes:
    """The client's opening handshake, with the API key on it (RFC 6455 section 4.1)."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: benchmark\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {CLIENT_KEY.decode()}\r\nSec-WebSocket-Version: 13\r\n"
        f"X-Api-Key: {key}\r\n\r\n"
    ).encode()


def upgrade_response(client_key: bytes) -> bytes:
    """The server's opening handshake (RFC 6455 section 4.2.2)."""
    accept = base64.b64encode(hashlib.sha1(client_key + GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + END_OF_HEAD
    )

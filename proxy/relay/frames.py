"""WebSocket frames on the wire (RFC 6455 section 5.2): opcodes, close codes, frames we make."""

from __future__ import annotations

from enum import IntEnum


class Opcode(IntEnum):
    """The opcodes of RFC 6455 section 11.8."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


FIN = 0x80
RSV1 = 0x40
RSV_BITS = 0x70
OPCODE_BITS = 0x0F
CONTROL_BIT = 0x08
MASKED = 0x80
LENGTH_BITS = 0x7F

# RFC 6455 section 5.5: the payload of a control frame.
MAX_CONTROL_PAYLOAD = 125

# Masking keys in a row that cover such a payload.
_MOST_MASKS = MAX_CONTROL_PAYLOAD // 4 + 1

# The longest header: two bytes, a 64-bit length, a masking key.
MAX_HEADER = 14


def close_code_may_travel(code: int) -> bool:
    """Whether a Close frame may carry this code (RFC 6455 section 7.4, IANA's registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def close_frame(code: int, reason: str, *, mask: bytes | None = None) -> bytes:
    """A Close frame.

    Args:
        code: a code that may travel.
        reason: at most 123 bytes of UTF-8.
        mask: four unpredictable bytes towards a server (RFC 6455 section 5.3), None towards a
            client.
    """
    payload = code.to_bytes(2, "big") + reason.encode()
    if mask is None:
        return bytes((FIN | Opcode.CLOSE, len(payload))) + payload
    return bytes((FIN | Opcode.CLOSE, len(payload) | MASKED)) + mask + unmask(payload, mask)


def unmask(payload: bytes, key: bytes) -> bytes:
    """A control frame's payload (≤ 125 bytes) with its mask removed, or put on (section 5.3)."""
    size = len(payload)
    stretched = (key * _MOST_MASKS)[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return masked.to_bytes(size, "big")

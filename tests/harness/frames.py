"""RFC 6455 frames, built and read on their own terms: nothing here knows the gateway's scanner."""

from __future__ import annotations

import struct
from dataclasses import dataclass

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

MASK = b"\x37\xfa\x21\x3d"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it stood on the wire; `payload` is unmasked, `raw` is every byte of it."""

    fin: bool
    rsv: int
    opcode: int
    mask: bytes | None
    payload: bytes
    raw: bytes

    @property
    def close_code(self) -> int | None:
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else None

    @property
    def close_reason(self) -> str:
        return self.payload[2:].decode()


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(
        size, "little"
    )


def header(
    opcode: int,
    length: int,
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = None,
    form: int | None = None,
) -> bytes:
    """A frame header; `form` (7, 16 or 64) forces the bits that the length is written in."""
    if form is None:
        form = 7 if length < 126 else 16 if length < 65536 else 64
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    masked = 0x80 if mask is not None else 0
    if form == 7:
        packed = struct.pack("!BB", first, masked | length)
    elif form == 16:
        packed = struct.pack("!BBH", first, masked | 126, length)
    else:
        packed = struct.pack("!BBQ", first, masked | 127, length)
    return packed + (mask or b"")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = None,
    form: int | None = None,
) -> bytes:
    """A whole frame; without a mask it is a server's."""
    head = header(opcode, len(payload), fin=fin, rsv=rsv, mask=mask, form=form)
    return head + (payload if mask is None else apply_mask(payload, mask))


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A client's frame."""
    return frame(opcode, payload, fin=fin, rsv=rsv, mask=MASK)


def close_payload(code: int, reason: str | bytes = b"") -> bytes:
    return struct.pack("!H", code) + (reason.encode() if isinstance(reason, str) else reason)


def take(buffer: bytearray) -> Frame | None:
    """The first whole frame of `buffer`, removed from it; None when it is not complete yet."""
    if len(buffer) < 2:
        return None
    length, at = buffer[1] & 0x7F, 2
    if length >= 126:
        size = 2 if length == 126 else 8
        if len(buffer) < at + size:
            return None
        length, at = int.from_bytes(buffer[at : at + size], "big"), at + size
    mask = None
    if buffer[1] & 0x80:
        mask, at = bytes(buffer[at : at + 4]), at + 4
    if len(buffer) < at + length or (mask is not None and len(mask) < 4):
        return None
    raw = bytes(buffer[: at + length])
    del buffer[: at + length]
    payload = raw[at:] if mask is None else apply_mask(raw[at:], mask)
    return Frame(bool(raw[0] & 0x80), raw[0] >> 4 & 7, raw[0] & 0xF, mask, payload, raw)

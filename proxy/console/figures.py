"""Numbers and moments as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def count(number: float) -> str:
    """`12345` as `12,345`; fractions with one digit."""
    return f"{number:,.0f}" if number == int(number) or number >= 100 else f"{number:,.1f}"


def size(number: float) -> str:
    """Bytes with three digits or so, as in `1.2 MiB`."""
    steps = 0
    while number >= 999.5 and steps < len(_UNITS) - 1:
        number /= 1024
        steps += 1
    text = count(number) if not steps else f"{number:.0f}" if number >= 99.95 else f"{number:.1f}"
    return f"{text} {_UNITS[steps]}"


def span(seconds: float) -> str:
    """How long something lasts or lasted, in its two largest units: `3 d 4 h`, `12 min 5 s`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def milliseconds(seconds: float) -> str:
    """A short time, as in `1.3 ms`."""
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"


def moment(seconds: float) -> str:
    """Seconds since the epoch, as in `2026-11-23 08:15:00`, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def plural(number: int, one: str, many: str = "") -> str:
    """`1 session`, `2 sessions`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def stamp(text: str) -> str:
    """RFC 3339 text, as in `2026-11-23 08:15:00 UTC`."""
    return f"{text[:10]} {text[11:19]} UTC"


def day(text: str) -> str:
    """The day of RFC 3339 text."""
    return text[:10]


def visible(text: str) -> str:
    """A client's text, without what hides or turns round what stands beside it."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def segment(text: str) -> str:
    """A text as one segment of a path (RFC 3986 section 3.3)."""
    return quote(text, safe="")

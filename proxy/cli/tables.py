"""Tables and values for people: aligned, in UTC, cut only where a terminal is too narrow."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP: Final = "  "
# A column is not cut below this: less says nothing.
_NARROWEST: Final = 8
NOTHING: Final = "–"

_SPANS: Final = (
    (86400 * 365.25, "year"),
    (86400.0, "day"),
    (3600.0, "hour"),
    (60.0, "minute"),
    (1.0, "second"),
)
# A larger unit is taken from twice its length on: `in 36 hours` says more than `in 1 day`.
_ENOUGH: Final = 2


def show(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table on stdout: cut to a terminal's width, whole into a pipe or file."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table(head, rows, width=width):
        click.echo(line)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None
) -> list[str]:
    """Lines of aligned columns.

    Args:
        head: the columns' names; those of numbers begin with `#`, which aligns them right.
        rows: cells, as many as there are columns.
        width: in cells of a terminal; the widest columns are cut until a line fits. None cuts
            nothing.
    """
    numeric = [name.startswith("#") for name in head]
    lines = [[name.removeprefix("#") for name in head]]
    lines += [[safe(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(*lines, strict=True)]
    if width is not None:
        _narrow(widths, width - len(_GAP) * (len(widths) - 1))
    return [
        _GAP.join(
            _fitted(cell, size, right=right)
            for cell, size, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    ]


def _narrow(widths: list[int], room: int) -> None:
    while sum(widths) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1


def _fitted(text: str, size: int, *, right: bool) -> str:
    if cells(text) > size:
        while cells(text) > size - 1:
            text = text[:-1]
        text += "…"
    padding = " " * (size - cells(text))
    return padding + text if right else text + padding


def safe(text: str) -> str:
    """Text in which nothing can move a terminal's cursor: others may have chosen it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return sum(
        2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1
        for c in text
    )


def when(seconds: float | None, now: float) -> str:
    """A moment as people read it: `2026-03-01 12:00 UTC, in 12 days`."""
    if seconds is None:
        return NOTHING
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC, {ago(seconds, now)}"


def ago(seconds: float | None, now: float) -> str:
    """How far a moment is away: `in 12 days`, `3 hours ago`."""
    if seconds is None:
        return NOTHING
    span = span_text(abs(seconds - now))
    if span is None:
        return "now"
    return f"in {span}" if seconds > now else f"{span} ago"


def span_text(seconds: float) -> str | None:
    """A span in its largest fitting unit, rounded: `12 days`; None below a second."""
    for length, unit in _SPANS:
        if round(seconds) >= length * (1 if unit in {"second", "minute"} else _ENOUGH):
            count = round(seconds / length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return None


def duration(seconds: float) -> str:
    """A length of time: `3d 04h`, `2h 05m`, `7m 09s`, `12s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def size(count: float) -> str:
    """Bytes as people read them: `512 B`, `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"

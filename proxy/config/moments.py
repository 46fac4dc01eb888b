"""Moments as they are written, as seconds since the epoch."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time

from proxy.config.faults import Wrong

# RFC 3339 5.6, as loosely as YAML 1.1 writes it: a blank for the `T`, no zone for UTC, or no time.
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d"
    r"(?:(?:[Tt]|[ \t]+)\d\d:\d\d:\d\d(?:\.\d{1,9})?[ \t]*(?:[Zz]|[+-]\d\d:\d\d)?)?",
    re.ASCII,
)
# The last second of the year 9999.
LAST_MOMENT = 253_402_300_799
# As a number: a date without its hyphens, which would be a moment in the seventies.
_DATES_AS_NUMBERS = range(19_000_101, 99_991_232)


def moment(value: object) -> float:
    """Seconds since the epoch out of RFC 3339 text, a date (its first instant, UTC), or a number.

    Without a zone UTC is meant, as YAML 1.1 says of its timestamps.

    Raises:
        Wrong: not of that form, no such day or time, or outside the years 1970 to 9999.
    """
    example = "write it as in `2030-12-31T23:59:59Z`, or a date such as `2030-12-31`"
    if isinstance(value, str):
        value = _read_moment(value.strip(), example)
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    elif isinstance(value, date):
        value = datetime.combine(value, time(), UTC).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong("is not a moment", example)
    if isinstance(value, int) and value in _DATES_AS_NUMBERS:
        raise Wrong("is a date without its hyphens", example)
    if not 0 <= value <= LAST_MOMENT:
        raise Wrong("lies outside the years 1970 to 9999", example)
    return float(value)


def _read_moment(text: str, example: str) -> datetime:
    if not _MOMENT.fullmatch(text):
        raise Wrong("is not a moment", example)
    day, clock = text[:10], "".join(text[10:].lstrip("Tt \t").split()).upper()
    try:
        read = datetime.fromisoformat(f"{day}T{clock or '00:00:00'}")
    except ValueError:
        raise Wrong("names a day or time that does not exist", example) from None
    return read

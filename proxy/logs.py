"""The log: one event a line, JSON for machines or columns for people, never a credential.

Events carry plain fields that their callers chose; nothing here formats a request, and what
libraries have to say below a warning is not asked for, since it may quote one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
import traceback
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

    Event = dict[str, Any]
    Later = Callable[[float, Callable[[], None]], object]
    # Hears of an event: its level, its name, and its fields, which it may keep.
    Hear = Callable[[str, str, Event], None]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

# Seconds that a line may wait for others.
FLUSH_EVERY: Final = 0.05

# What of a value reaches a line that would be longer than this: clients choose some of them.
_MAX_LINE: Final = 2048
_MAX_VALUE: Final = 512


class Logger(Protocol):
    """What the gateway calls: an event's name and its fields; `failure` is an exception."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...
    def flush(self) -> None: ...


class Lines:
    """A logger that writes a line for each event of its level or above.

    Whoever hears of events does so whatever the level, but for debugging.

    Two lines a session are a good part of a session's price, most of it the system call. With a
    `later` lines are written together, at most `FLUSH_EVERY` seconds after the first; warnings
    and errors take all that waits with them at once.
    """

    def __init__(
        self,
        stream: TextIO,
        render: Callable[[str, str, Event, BaseException | None], str],
        level: str,
        later: Later | None,
        heard: Hear | None,
    ) -> None:
        self._stream = stream
        self._render = render
        self._later = later
        self._heard = heard
        self._waiting: list[str] = []
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Says anew from which level on events are written."""
        self._least = least = _LEVELS[level]
        for name, rank in _LEVELS.items():
            if rank < least and (self._heard is None or name == "debug"):
                setattr(self, name, _nothing)
            else:
                self.__dict__.pop(name, None)

    def debug(self, event: str, **fields: Any) -> None:
        self._write(self._render("debug", event, fields, fields.pop("failure", None)))

    def info(self, event: str, **fields: Any) -> None:
        self._take("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._take("warning", event, fields)
        self.flush()

    def error(self, event: str, **fields: Any) -> None:
        self._take("error", event, fields)
        self.flush()

    def _take(self, level: str, event: str, fields: Event) -> None:
        # Whoever keeps events keeps no exception: it would keep the frames it went through.
        failure = fields.pop("failure", None)
        if self._heard is not None:
            self._heard(level, event, fields)
        if _LEVELS[level] >= self._least:
            self._write(self._render(level, event, fields, failure))

    def _write(self, line: str) -> None:
        self._waiting.append(line)
        if self._later is None:
            self.flush()
        elif len(self._waiting) == 1:
            self._later(FLUSH_EVERY, self.flush)

    def flush(self) -> None:
        """Writes what waits. What cannot be written is dropped: a log never stops the gateway."""
        if not self._waiting:
            return
        lines = "\n".join(self._waiting) + "\n"
        self._waiting.clear()
        try:
            self._stream.write(lines)
            self._stream.flush()
        except (OSError, ValueError):
            return


def _nothing(event: str, **fields: Any) -> None:
    """An event below the level."""


_encode: Final = json.JSONEncoder(separators=(",", ":"), default=str, check_circular=False).encode


def _bounded(value: Any) -> Any:
    if type(value) is str and len(value) > _MAX_VALUE:
        return value[:_MAX_VALUE] + "…"
    return value


@lru_cache(maxsize=2)
def _second(moment: int) -> str:
    """The part of a time stamp that a busy gateway writes thousands of times."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))


def _json_line(level: str, event: str, fields: Event, failure: BaseException | None) -> str:
    """The contract's line: ts (RFC 3339 UTC), level, event, then the fields as given."""
    now = time.time()
    stamp = f"{_second(int(now))}.{int(now % 1 * 1000):03}Z"
    line = _encode({"ts": stamp, "level": level, "event": event, **fields})
    if len(line) > _MAX_LINE:
        bounded = {name: _bounded(value) for name, value in fields.items()}
        line = _encode({"ts": stamp, "level": level, "event": event, **bounded})
    if failure is not None:
        trace = "".join(traceback.format_exception(failure))
        line = f'{line[:-1]},"traceback":{_encode(trace)}}}'
    return line


def _pretty_line(level: str, event: str, fields: Event, failure: BaseException | None) -> str:
    now = time.time()
    moment = time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now % 1 * 1000):03}"
    shown = " ".join(f"{name}={_shown(value)}" for name, value in fields.items())
    line = f"{moment} {level:<7} {event:<20} {shown}".rstrip()
    if failure is not None:
        trace = "".join(traceback.format_exception(failure)).rstrip()
        line += "".join(f"\n{_harmless(part)}" for part in trace.split("\n"))
    return line


def _harmless(text: str) -> str:
    """A line of a traceback, without what a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _shown(value: Any) -> str:
    """A value on a terminal: quoted where it is not plain, so that it cannot forge or colour."""
    text = str(_bounded(value))
    plain = text.isascii() and text.isprintable() and " " not in text and '"' not in text
    return text if plain and text else json.dumps(text)


def logger(
    *,
    level: str,
    form: str,
    stream: TextIO = sys.stderr,
    later: Later | None = None,
    heard: Hear | None = None,
) -> Lines:
    """Makes the gateway's logger.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `json`, `pretty`, or `auto`: pretty when the stream is a terminal.
        stream: where lines go.
        later: calls a function in so many seconds; lines may wait for each other then. None
            writes each at once.
        heard: hears of every event that is more than debugging, whatever the level.
    """
    pretty = form == "pretty" or (form == "auto" and stream.isatty())
    return Lines(stream, _pretty_line if pretty else _json_line, level, later, heard)


class _Bridge(logging.Handler):
    """Carries the warnings of libraries into our log, from whatever thread they come."""

    def __init__(self, log: Logger, soon: Callable[[Callable[[], None]], object]) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._soon = soon

    def emit(self, record: logging.LogRecord) -> None:
        failure = record.exc_info[1] if record.exc_info else None
        tell = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)  # Its arguments do not fit; the log must not fail for it.
        with contextlib.suppress(RuntimeError):  # The loop has ended, and the log with it.
            self._soon(
                lambda: tell("library", logger=record.name, message=message, failure=failure)
            )


def bridge_libraries(log: Logger, soon: Callable[[Callable[[], None]], object]) -> None:
    """Routes the standard library's logging of this process into `log`, warnings and above.

    Args:
        soon: has something called on the event loop's thread, such as `call_soon_threadsafe`.
    """
    root = logging.getLogger()
    root.handlers[:] = [_Bridge(log, soon)]
    root.setLevel(logging.WARNING)
    # What it says quotes requests, credentials among them: errors and the access log alike.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)

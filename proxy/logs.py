"""The log: one event a line, JSON for machines or columns for people, never a credential.

Events carry plain fields that their callers chose; nothing here formats a request, and what
libraries have to say below a warning is not asked for, since it may quote one.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    Event = MutableMapping[str, Any]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

# What of a value reaches a line: a client chooses some of them.
_MAX_VALUE: Final = 512


class Logger(Protocol):
    """What the gateway calls: an event's name and its fields."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...


class _Lines:
    """Writes finished lines; what cannot be written is dropped, a log never stops the gateway."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = msg


_encode: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MAX_VALUE:
        return value[:_MAX_VALUE] + "…"
    return value


def _json_line(_logger: object, level: str, event: Event) -> str:
    """The contract's line: ts (RFC 3339 UTC), level, event, then the fields as given."""
    failure = event.pop("failure", None)
    line = {
        "ts": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "event": event.pop("event"),
    }
    line.update((name, _bounded(value)) for name, value in event.items())
    if failure is not None:
        line["traceback"] = "".join(traceback.format_exception(failure))
    return _encode(line)


def _pretty_line(_logger: object, level: str, event: Event) -> str:
    failure = event.pop("failure", None)
    moment = datetime.fromtimestamp(time.time()).astimezone().strftime("%H:%M:%S.%f")[:-3]
    name = event.pop("event")
    fields = " ".join(f"{field}={_shown(value)}" for field, value in event.items())
    line = f"{moment} {level:<7} {name:<20} {fields}".rstrip()
    if failure is not None:
        line += "\n" + "".join(traceback.format_exception(failure)).rstrip()
    return line


def _shown(value: Any) -> str:
    """A value on a terminal: quoted where it is not plain, so that it cannot forge or colour."""
    text = str(_bounded(value))
    plain = text.isascii() and text.isprintable() and " " not in text and '"' not in text
    return text if plain and text else json.dumps(text)


def logger(*, level: str, form: str, stream: TextIO = sys.stderr) -> Logger:
    """Makes the gateway's logger.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `json`, `pretty`, or `auto`: pretty when the stream is a terminal.
        stream: where lines go.
    """
    pretty = form == "pretty" or (form == "auto" and stream.isatty())
    render: Callable[[Any, str, Event], str] = _pretty_line if pretty else _json_line
    made: Logger = structlog.wrap_logger(
        _Lines(stream),
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        processors=[render],
    ).bind()
    return made


class _Bridge(logging.Handler):
    """Carries the warnings of libraries into our log."""

    def __init__(self, log: Logger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        failure = record.exc_info[1] if record.exc_info else None
        tell = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        tell("library", logger=record.name, message=record.getMessage(), failure=failure)


def bridge_libraries(log: Logger) -> None:
    """Routes the standard library's logging of this process into `log`, warnings and above."""
    root = logging.getLogger()
    root.handlers[:] = [_Bridge(log)]
    root.setLevel(logging.WARNING)
    # What it says quotes requests, credentials among them: errors and the access log alike.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)

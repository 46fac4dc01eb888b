"""The log: one event a line, JSON for machines or columns for people, never a credential.

Events carry plain fields that their callers chose; nothing here formats a request, and what
libraries have to say below a warning is not asked for, since it may quote one.
"""

from __future__ import annotations

import contextlib
import json
import json.encoder
import logging
import sys
import time
import traceback
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Event = dict[str, Any]
    Later = Callable[[float, Callable[[], None]], object]
    # Hears of an event: its level, its name, its fields, which it may keep, and when it was, in
    # seconds since the epoch.
    Hear = Callable[[str, str, Event, float], None]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

# Seconds that a line may wait for others.
FLUSH_EVERY: Final = 0.05

# What of a value reaches a line that would be longer than this, and whoever hears of events:
# clients choose some of them.
_MAX_LINE: Final = 2048
_MAX_VALUE: Final = 512


class Logger(Protocol):
    """What the gateway calls: an event's name and its fields; `failure` is an exception."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...
    def flush(self) -> None: ...


class Tell(Protocol):
    """Tells of an event of one level."""

    def __call__(self, event: str, **fields: Any) -> None: ...


class Lines:
    """A logger that writes a line for each event of its level or above.

    Whoever hears of events does so whatever the level, but for debugging.

    Two lines a session are a good part of a session's price. With a `later` events are rendered
    and written together, at most `FLUSH_EVERY` seconds after the first: one system call for all,
    and code that is run a hundred times in a row costs half. Warnings and errors take all that
    waits with them at once.
    """

    # Made for the level, so that no event asks for it; see `set_level`.
    debug: Tell
    info: Tell
    warning: Tell
    error: Tell

    def __init__(
        self,
        stream: TextIO,
        render: Callable[[str, str, Event, BaseException | None, float], str],
        level: str,
        later: Later | None,
        heard: Hear | None,
    ) -> None:
        self._stream = stream
        self._render = render
        self._later = later
        self._heard = heard
        # Level, name, fields, seconds since the epoch, whether it is written, and who hears of it.
        self._waiting: list[tuple[str, str, Event, float, bool, Hear | None]] = []
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Says anew from which level on events are written."""
        least = _LEVELS[level]
        for name, rank in _LEVELS.items():
            heard = self._heard if name != "debug" else None
            written = rank >= least
            is_asked_for = written or heard is not None
            setattr(
                self, name, self._tell(name, heard, written=written) if is_asked_for else _nothing
            )

    def _tell(self, level: str, heard: Hear | None, *, written: bool) -> Tell:
        waiting, flush, now = self._waiting, self.flush, time.time
        later = None if level in {"warning", "error"} else self._later

        def tell(event: str, **fields: Any) -> None:
            if later is not None and not waiting:
                later(FLUSH_EVERY, flush)
            waiting.append((level, event, fields, now(), written, heard))
            if later is None:
                flush()

        return tell

    def flush(self) -> None:
        """Tells what waits. What cannot be written is dropped: a log never stops the gateway."""
        events = self._waiting[:]
        self._waiting.clear()
        lines = []
        for level, event, fields, at, written, heard in events:
            try:
                # Whoever keeps events keeps no exception: it would keep the frames it went through.
                failure = fields.pop("failure", None)
                is_short = False
                if written:
                    line = self._render(level, event, fields, failure, at)
                    lines.append(line)
                    is_short = len(line) <= _MAX_VALUE  # So is every value that it shows.
                if heard is not None:
                    heard(level, event, fields if is_short else _bounded(fields), at)
            except Exception as error:  # noqa: BLE001 - the others of a batch are not to be lost
                stand_in = {"unshown_event": event}
                lines.append(self._render("error", "internal_error", stand_in, error, at))
        if not lines:
            return
        try:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return


def _nothing(event: str, **fields: Any) -> None:
    """An event below the level."""


def _bounded(fields: Event) -> Event:
    """Fields of which none is long; nearly all are taken as they are."""
    for value in fields.values():
        if type(value) is str and len(value) > _MAX_VALUE:
            break
    else:
        return fields
    return {name: _cut(value) for name, value in fields.items()}


def _cut(value: Any) -> Any:
    if type(value) is str and len(value) > _MAX_VALUE:
        return value[:_MAX_VALUE] + "…"
    return value


_quoted: Final = json.encoder.encode_basestring_ascii
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), default=str, check_circular=False)


def _made_once(encoder: json.JSONEncoder) -> Callable[[Event, int], Iterable[str]]:
    """What `encoder.encode` makes anew for each object, which costs as much as a short one."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # Only CPython has it.
        return lambda value, _: encoder.iterencode(value)
    made: Callable[[Event, int], Iterable[str]] = make(
        None,  # Looks for no cycles.
        encoder.default,
        _quoted,
        encoder.indent,
        encoder.key_separator,
        encoder.item_separator,
        encoder.sort_keys,
        encoder.skipkeys,
        encoder.allow_nan,
    )
    return made


_chunks: Final = _made_once(_ENCODER)


@lru_cache(maxsize=32)
def _head(level: str, event: str, second: int) -> str:
    """The part of a line that a busy gateway writes thousands of times, but for milliseconds."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    named = _quoted(event).replace("%", "%%")
    return f'{{"ts":"{stamp}.%03dZ","level":"{level}","event":{named}'


def _json_line(
    level: str, event: str, fields: Event, failure: BaseException | None, at: float
) -> str:
    """The line of an event: ts (RFC 3339 UTC), level, event, then the fields as given."""
    second, millisecond = divmod(int(at * 1000), 1000)
    head = _head(level, event, second) % millisecond
    line = f"{head},{''.join(_chunks(fields, 0))[1:]}"
    if failure is None and fields and len(line) <= _MAX_LINE:
        return line
    if len(line) > _MAX_LINE:
        fields = _bounded(fields)
    if failure is not None:
        fields = {**fields, "traceback": "".join(traceback.format_exception(failure))}
    return f"{head},{_ENCODER.encode(fields)[1:]}" if fields else head + "}"


def _pretty_line(
    level: str, event: str, fields: Event, failure: BaseException | None, at: float
) -> str:
    moment = time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03}"
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
    text = str(_cut(value))
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

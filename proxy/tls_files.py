"""TLS files that are replaced while the gateway runs, as certificate managers do."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from proxy.config.model import PublicTls
from proxy.listeners import certificate_end, server_context
from proxy.upstream.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from proxy.config.model import ListenerTls
    from proxy.config.upstream_fields import UpstreamTls
    from proxy.logs import Logger

# Seconds between two looks.
LOOK_EVERY: Final = 60.0

# Of each file what tells that it is another: inode, size, time of change; None where it is gone.
_Marks: TypeAlias = "tuple[tuple[int, int, int] | None, ...]"


class _Replaceable(ssl.SSLContext):
    """Begins every connection with the context of that moment.

    Loading new files into a context that is in use would leave authorities trusted that were taken
    out of theirs, and sessions resumable that were begun with the old ones. Event loops ask a
    context for `wrap_bio` alone.
    """

    current: ssl.SSLContext

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self.current.wrap_bio(*args, **kwargs)


class _Loaded(NamedTuple):
    """What a set of files held; `end` is that of a listener's certificate."""

    marks: _Marks
    context: ssl.SSLContext
    end: float | None


class _Unusable(NamedTuple):
    """A set of files that cannot be used."""

    marks: _Marks
    cause: str


@dataclass(slots=True)
class _Watched:
    """The files behind one context."""

    # What they are for, as the log names it.
    use: dict[str, str]
    files: tuple[Path, ...]
    make: Callable[[], ssl.SSLContext]
    # The certificate whose end is told; None for none.
    told: Path | None
    context: _Replaceable
    marks: _Marks = ()
    # Of the files that were last said to be unusable.
    rejected: _Marks | None = None

    def load(self) -> _Loaded:
        """Reads the files.

        Raises:
            OSError, ValueError: they cannot be used.
        """
        # Taken first: what changes meanwhile is seen at the next look.
        marks = tuple(map(_mark, self.files))
        return _Loaded(
            marks, self.make(), None if self.told is None else certificate_end(self.told)
        )

    def look(self) -> _Loaded | _Unusable | None:
        """What is new; None when nothing is."""
        marks = tuple(map(_mark, self.files))
        if marks == self.marks:
            return None
        try:
            return self.load()
        except (OSError, ValueError) as failure:
            return _Unusable(marks, _words(failure))


class TlsFiles:
    """Makes TLS contexts and renews them when their files have changed and belong together.

    Connections that are open keep what they began with.

    Args:
        every: seconds between two looks.
    """

    def __init__(
        self, log: Logger, loop: asyncio.AbstractEventLoop, *, every: float = LOOK_EVERY
    ) -> None:
        self._log = log
        self._loop = loop
        self._every = every
        self._watched: list[_Watched] = []
        # When the certificates of listeners end, in seconds since the epoch.
        self.ends: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def listener(self, name: str, tls: ListenerTls) -> ssl.SSLContext:
        """The context of a listener.

        Args:
            name: of the listener, for the log and `ends`.

        Raises:
            OSError, ValueError: a file cannot be used.
        """
        return self._watch(self._listened(name, tls))

    @staticmethod
    def _listened(name: str, tls: ListenerTls) -> _Watched:
        client_ca = tls.client_ca if isinstance(tls, PublicTls) else None
        return _Watched(
            {"listener": name},
            _named(tls.certificate, tls.private_key, client_ca),
            partial(server_context, tls),
            tls.certificate,
            _Replaceable(ssl.PROTOCOL_TLS_SERVER),
        )

    def upstream(self, route: str, tls: UpstreamTls) -> ssl.SSLContext:
        """The context for a route's `wss://` targets.

        Args:
            route: its name, for the log.

        Raises:
            OSError: a file cannot be used.
        """
        return self._watch(
            _Watched(
                {"route": route},
                _named(tls.ca, tls.certificate, tls.private_key),
                partial(client_context, tls),
                None,
                _Replaceable(ssl.PROTOCOL_TLS_CLIENT),
            )
        )

    def other_listener(self, name: str, tls: ListenerTls) -> Callable[[], None]:
        """Reads other files for a listener's context; returns what puts them into force.

        Raises:
            OSError, ValueError: a file cannot be used.
        """
        [watched] = [one for one in self._watched if one.use == {"listener": name}]
        other = self._listened(name, tls)
        loaded = other.load()

        def take() -> None:
            watched.files, watched.make, watched.told = other.files, other.make, other.told
            self._take(watched, loaded)

        return take

    def forget_upstreams_but(self, contexts: Collection[ssl.SSLContext]) -> None:
        """Looks no more after the files of other upstreams than these."""
        self._watched = [
            watched
            for watched in self._watched
            if "listener" in watched.use or any(watched.context is kept for kept in contexts)
        ]

    def start(self) -> None:
        """Begins to look at the files now and then."""
        self._task = self._loop.create_task(self._keep_looking(), name="watch TLS files")

    async def close(self) -> None:
        """Looks no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def look(self) -> None:
        """Takes what is new; files that cannot be used change nothing, and are told once."""
        for watched in self._watched:
            looked_with = watched.make
            found = await asyncio.to_thread(watched.look)
            if watched.make is not looked_with:
                continue  # A reload has named other files meanwhile, and read them.
            if isinstance(found, _Loaded):
                self._take(watched, found)
                self._log.info("tls_reloaded", **watched.use)
            elif found is not None and found.marks != watched.rejected:
                watched.rejected = found.marks
                self._log.warning(
                    "tls_rejected",
                    **watched.use,
                    cause=found.cause,
                    mend="put a certificate and its key there; until then the old ones serve",
                )

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.look()
            except Exception as failure:  # noqa: BLE001 - whatever it is, the next look may go well
                self._log.error("tls_look_failed", failure=failure)

    def _watch(self, watched: _Watched) -> ssl.SSLContext:
        self._take(watched, watched.load())
        if watched.files:
            self._watched.append(watched)
        return watched.context

    def _take(self, watched: _Watched, loaded: _Loaded) -> None:
        watched.context.current = loaded.context
        watched.marks = loaded.marks
        watched.rejected = None
        if loaded.end is not None:
            self.ends[watched.use["listener"]] = loaded.end


def _named(*files: Path | None) -> tuple[Path, ...]:
    return tuple(file for file in files if file is not None)


def _mark(file: Path) -> tuple[int, int, int] | None:
    # Links are followed: Kubernetes and certbot exchange what theirs lead to.
    with contextlib.suppress(OSError):
        found = file.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def _words(failure: OSError | ValueError) -> str:
    """A failure in words. None of them tells what a file holds."""
    if isinstance(failure, ssl.SSLError):
        if failure.reason == "KEY_VALUES_MISMATCH":
            return "the key is not that of the certificate"
        return f"TLS: {failure.reason or 'not valid PEM'}"
    if isinstance(failure, OSError):
        return failure.strerror or type(failure).__name__
    return "not valid PEM"

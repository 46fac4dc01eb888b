"""Asks the operator's own Python who is calling, within a deadline and without trusting it."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from proxy.config.faults import Wrong
from proxy.config.plugins import load_named
from proxy.errors import Refused
from proxy.keys.principal import bearer_of
from proxy.plugin import HandshakeRequest, Plugin, Principal, Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.auth.question import Question
    from proxy.keys.principal import Principal as Caller
    from proxy.logs import Logger

# Seconds for a plugin's answer.
DEADLINE: Final = 5.0

_MAX_SUBJECT: Final = 256
_MAX_DETAIL: Final = 200
_METADATA_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
# No such text can be written as bytes.
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Of the year 9999, in seconds since the epoch.
_LAST_MOMENT: Final = 253_402_300_799
_REFUSED: Final = "The caller could not be identified."


class CannotLoad(Exception):
    """A plugin cannot be used; the message names it, the cause and the mend."""


def load_plugin(name: str) -> Plugin:
    """Imports a plugin.

    Args:
        name: `package.module:callable`.

    Raises:
        CannotLoad: there is none of that name, or it is no async callable.
    """
    try:
        return load_named(name)
    except Wrong as wrong:
        raise CannotLoad(f"`plugins` {wrong}") from wrong


class PluginDesk:
    """Asks plugins in order until one has an answer.

    Args:
        plugins: (name, plugin), in the order in which they are asked.
        log: hears of those that fail.
    """

    def __init__(self, plugins: Sequence[tuple[str, Plugin]], log: Logger) -> None:
        self._plugins = plugins
        self._log = log

    async def ask(self, question: Question, credential: bytes | None) -> Caller | None:
        """The first answer of a plugin.

        Raises:
            Refused: `plugin_refused`: one said no, failed, was too slow or answered nonsense.
        """
        request = _shown(question)
        secret = None if credential is None else credential.decode("utf-8", "surrogateescape")
        for name, plugin in self._plugins:
            try:
                async with asyncio.timeout(DEADLINE):
                    answer = await plugin(request, secret)
                _leave_if_unwanted()  # It may have kept to itself that nobody waits any more.
            except TimeoutError:
                self._log.error("plugin_failed", plugin=name, request_id=request.id, cause="slow")
                raise Refused("plugin_refused", _REFUSED) from None
            # Whatever it is, nobody gets in by it; nor does a plugin that exits end the gateway.
            except (Exception, SystemExit, asyncio.CancelledError) as failure:  # noqa: BLE001
                _leave_if_unwanted()
                self._log.error(
                    "plugin_failed",
                    plugin=name,
                    request_id=request.id,
                    cause=type(failure).__name__,
                    at=_place_of(failure),
                )
                raise Refused("plugin_refused", _REFUSED) from None
            if answer is not None:
                return self._taken(name, request, answer)
        return None

    def _taken(self, name: str, request: HandshakeRequest, answer: object) -> Caller:
        if isinstance(answer, Refusal) and isinstance(answer.detail, str):
            detail = answer.detail
            # The answer is ASCII: what is not takes up to twelve bytes a character.
            detail = detail[: _MAX_DETAIL if detail.isascii() else _MAX_DETAIL // 4]
            raise Refused("plugin_refused", detail if detail.isprintable() else _REFUSED)
        cause = _objection(answer)
        if cause is not None or not isinstance(answer, Principal):
            self._log.error("plugin_failed", plugin=name, request_id=request.id, cause=cause)
            raise Refused("plugin_refused", _REFUSED)
        return bearer_of(
            "plugin",
            answer.subject,
            MappingProxyType(dict(answer.metadata)),
            until=None if answer.expires_at is None else float(answer.expires_at),
        )


def _shown(question: Question) -> HandshakeRequest:
    return HandshakeRequest(
        id=question.id,
        route=question.route,
        path=question.path.decode("ascii"),
        query=question.presented.query.decode("ascii"),
        headers=tuple(
            (lower.decode("ascii"), value.decode("latin-1"))
            for _, lower, value in question.presented.headers.lines
        ),
        client=str(question.address),
        origin=None if question.origin is None else question.origin.decode("latin-1"),
    )


def _leave_if_unwanted() -> None:
    """Ends the task here if it was cancelled; a plugin may be cancelled by its own doing.

    Raises:
        CancelledError: the client is gone, or the gateway is going.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _place_of(failure: BaseException) -> str:
    """Where a plugin failed; what it says of it may quote the credential."""
    frame = traceback.extract_tb(failure.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"


def _objection(answer: object) -> str | None:
    """What is wrong with an answer; None when it can be used."""
    if not isinstance(answer, Principal):
        return f"it answered with a {type(answer).__name__}"
    subject = answer.subject
    if subject is not None and not (
        isinstance(subject, str) and 0 < len(subject) <= _MAX_SUBJECT and subject.isprintable()
    ):
        return "its subject is not 1 to 256 printable characters"
    if not isinstance(answer.metadata, Mapping) or not all(
        isinstance(name, str)
        and _METADATA_NAME.fullmatch(name)
        and isinstance(value, str)
        and not _LONE_SURROGATE.search(value)
        for name, value in answer.metadata.items()
    ):
        return "its metadata has a name or a value that cannot be sent"
    if len({name.lower() for name in answer.metadata}) < len(answer.metadata):
        return "its metadata has a name in two spellings"
    end = answer.expires_at
    if end is not None and (
        not isinstance(end, int | float) or isinstance(end, bool) or not abs(end) <= _LAST_MOMENT
    ):
        return "its expires_at is no number of seconds"
    return None

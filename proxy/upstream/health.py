"""Checks of targets: what is asked, what counts as well, and what a row of results means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import Refused
from proxy.handshake.answer import check_switch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.config.values import Target
    from proxy.handshake.head import AnswerHead

# By how much of an interval checks are early or late, so that gateways and targets do not march
# in step.
_SPREAD: Final = 0.1


class Thresholds:
    """Turns the results of checks into a verdict; a target is healthy until they say otherwise.

    Args:
        unhealthy_after: failures in a row that make it unhealthy.
        healthy_after: successes in a row that make it healthy again.
        healthy: the verdict so far.
    """

    __slots__ = ("_healthy_after", "_opposing", "_unhealthy_after", "healthy")

    def __init__(self, *, unhealthy_after: int, healthy_after: int, healthy: bool = True) -> None:
        self._unhealthy_after = unhealthy_after
        self._healthy_after = healthy_after
        # Results in a row that speak against the verdict.
        self._opposing = 0
        self.healthy = healthy

    def note(self, *, passed: bool) -> bool:
        """Takes the next result; returns whether the verdict changed."""
        if passed is self.healthy:
            self._opposing = 0
            return False
        self._opposing += 1
        if self._opposing < (self._unhealthy_after if self.healthy else self._healthy_after):
            return False
        self._opposing = 0
        self.healthy = passed
        return True


def pause(interval: float, spent: float, noise: float) -> float:
    """Seconds from the end of one check to the begin of the next.

    Args:
        interval: seconds from begin to begin.
        spent: seconds that the check took.
        noise: from 0 to 1.
    """
    return max(0.0, interval * (1 - _SPREAD + 2 * _SPREAD * noise) - spent)


def check_request(target: Target, path: str, lines: Iterable[bytes]) -> bytes:
    """The request of a check by HTTP.

    Args:
        lines: header lines that the operator sets.
    """
    return _head(path.encode("ascii"), target, (*lines, b"Connection: close"))


def probe_request(target: Target, path: bytes, key: bytes, lines: Iterable[bytes]) -> bytes:
    """The request of a check that opens a WebSocket.

    Args:
        path: raw.
        key: of the handshake (RFC 6455 section 4.1).
        lines: header lines that the operator sets.
    """
    return _head(
        path,
        target,
        (
            *lines,
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: " + key,
        ),
    )


def objection(answer: AnswerHead, key: bytes | None) -> str | None:
    """Why an answer does not pass a check; None when it does.

    Args:
        key: of the handshake that was tried; None where the check was by HTTP.
    """
    if key is None:
        return None if 200 <= answer.status < 300 else f"it answered {answer.status}"
    if answer.status >= 400:
        return f"it answered {answer.status}"
    try:
        check_switch(answer, key=key, subprotocols=(), extensions=())
    except Refused as refused:
        return refused.cause
    return None


def _head(path: bytes, target: Target, lines: Iterable[bytes]) -> bytes:
    first = (b"GET " + path + b" HTTP/1.1", b"Host: " + target.authority)
    return b"\r\n".join((*first, b"User-Agent: wskeeper-health", *lines, b"\r\n"))

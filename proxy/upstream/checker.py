"""Asks the targets of routes with `health` now and then whether they are well."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Final

from proxy.errors import NORMAL
from proxy.relay.frames import close_frame
from proxy.upstream.health import Thresholds, check_request, objection, pause, probe_request
from proxy.upstream.pool import Member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from proxy.config.upstream_fields import Health
    from proxy.errors import Refused
    from proxy.handshake.head import AnswerHead
    from proxy.logs import Logger
    from proxy.routes import Route
    from proxy.upstream.dialer import Dial, Dialer
    from proxy.upstream.pool import Pool

_LATE: Final = "the check took too long"


class Checker:
    """Checks targets for as long as it is not closed.

    Args:
        routes: those without `health` are passed over.
        pools: by the routes' names; their members hear the verdicts.
        dialer: knows the way to targets.
        noise: makes so many random bytes.
        log: hears of checks that could not be made.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        pools: Mapping[str, Pool],
        dialer: Dialer,
        *,
        noise: Callable[[int], bytes],
        log: Logger,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._dialer = dialer
        self._noise = noise
        self._log = log
        self._loop = loop
        self._checked = [
            (route, route.health, member)
            for route in routes
            if route.health is not None
            for member in pools[route.name].members
        ]
        # One for each target, from start to close.
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins with a check of every target."""
        for route, health, member in self._checked:
            task = self._loop.create_task(
                self._watch(route, health, member), name=f"check {member.text}"
            )
            self._tasks.append(task)

    async def close(self) -> None:
        """Checks nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, route: Route, health: Health, member: Member) -> None:
        thresholds = Thresholds(
            unhealthy_after=health.unhealthy_after,
            healthy_after=health.healthy_after,
            healthy=member.healthy,
        )
        while True:
            began = self._loop.time()
            try:
                cause = await self._check(route, health, member)
            except Exception as failure:  # noqa: BLE001 - a fault of ours says nothing of a target
                self._log.error(
                    "internal_error", route=route.name, upstream=member.text, failure=failure
                )
            else:
                if cause is None:
                    member.reached()
                if thresholds.note(passed=cause is None):
                    member.judged(healthy=thresholds.healthy, cause=cause)
            spent = self._loop.time() - began
            await asyncio.sleep(pause(health.interval, spent, self._noise(1)[0] / 255))

    async def _check(self, route: Route, health: Health, member: Member) -> str | None:
        """Why a target does not pass; None when it does."""
        settings, target = route.settings, member.target
        lines = () if settings is None else settings.lines((b"X-Wskeeper-Route: " + _name(route),))
        if health.path is None:
            key = base64.b64encode(self._noise(16))
            path = target.path or route.path
            request = probe_request(target, path, key, lines)
        else:
            key = None
            request = check_request(target, health.path, lines)
        # Whether it can be connected to is judged by thresholds here, so not told to the pool.
        stand_in = Member(route.name, target, _tell_nobody)
        stand_in.failing = not member.up
        check = _Check(key, self._noise(4), self._loop)
        dial = self._dialer.probe(route, stand_in, request, check)
        check.dial = dial
        try:
            await asyncio.wait((check.result,), timeout=health.timeout)
        finally:
            if not check.result.done():
                dial.cancel()
        return check.result.result() if check.result.done() else check.objection


class _Check:
    """The caller of one check."""

    dial: Dial  # Set once it is dialled.

    def __init__(self, key: bytes | None, mask: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self._key = key
        self._mask = mask
        # Why it is not passed; None when it is.
        self.result: asyncio.Future[str | None] = loop.create_future()
        # What is to be said when time is over; set anew by the head, while the body is read.
        self.objection: str | None = _LATE

    def answered(self, answer: AnswerHead) -> None:
        self.objection = objection(answer, self._key)
        if self._key is not None and self.objection is None:
            transport = self.dial.transport
            transport.write(close_frame(NORMAL, "", mask=self._mask))
            transport.close()
            self._conclude(None)
        else:
            # A socket closed on what it was sent ends in a reset, which services complain about.
            self.dial.read_body(self)

    def body_read(self, body: bytes) -> None:
        del body
        self._conclude(self.objection)

    def unanswered(self, refused: Refused) -> None:
        self._conclude(refused.cause)

    def broken(self, failure: BaseException) -> None:
        self.result.set_exception(failure)

    def _conclude(self, objection: str | None) -> None:
        self.result.set_result(objection)


def _name(route: Route) -> bytes:
    return route.name.encode("ascii")


def _tell_nobody(member: Member, cause: str | None) -> None:
    """Nobody needs to hear of a stand-in."""

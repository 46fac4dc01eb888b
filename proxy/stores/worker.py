"""One thread for calls that block, in the order in which they were made."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_T = TypeVar("_T")


class Worker:
    """A thread that outlives nobody: unlike an executor's it is not waited for at exit.

    A store on a file system that hangs must not keep a stopped gateway from going.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def call(self, function: Callable[[], _T]) -> asyncio.Future[_T]:
        """Calls a function in the thread; a future that is cancelled does not stop it."""
        future: asyncio.Future[_T] = self._loop.create_future()

        def job() -> None:
            try:
                answer = function()
            except BaseException as failure:  # noqa: BLE001 - it is the caller's to handle
                self._tell(_fail, future, failure)
            else:
                self._tell(_fulfil, future, answer)

        self._jobs.put(job)
        return future

    def stop(self) -> None:
        """Ends the thread behind what is queued."""
        self._jobs.put(None)

    def _tell(self, how: Callable[..., None], *what: object) -> None:
        try:
            self._loop.call_soon_threadsafe(how, *what)
        except RuntimeError:  # The loop is closed: nobody waits any more.
            self.stop()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _fulfil(future: asyncio.Future[_T], answer: _T) -> None:
    if not future.done():
        future.set_result(answer)


def _fail(future: asyncio.Future[_T], failure: BaseException) -> None:
    if not future.done():
        future.set_exception(failure)

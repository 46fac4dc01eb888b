"""`wskeeper` in processes of its own, without the imports that each would begin with.

A nursery, started once by a test process, has imported the command and forks for each call: its
child is what `python -m proxy …` would be a while later. Where the system lacks what this takes,
or coverage is measured, there is a new interpreter each time.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from tests.harness.process import SLOWNESS

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN_DEADLINE = 60.0

_PROJECT = Path(__file__).parents[2]
_NURSERIES = SLOWNESS == 1 and hasattr(os, "pidfd_open") and hasattr(socket, "SOCK_SEQPACKET")


def _only_at_the_start(environment: Mapping[str, str] | None) -> bool:
    """Whether there are variables that the C library or the interpreter read when they begin."""
    return any(name.startswith(("MALLOC_", "PYTHON")) for name in environment or ())


class Program(Protocol):
    """What `subprocess.Popen` gives, as far as tests use it."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


def start(
    *words: str,
    stdout: IO[bytes],
    stderr: IO[bytes],
    stdin: IO[bytes] | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Starts a command.

    Args:
        words: the command line.
        stdout: where its output goes, unbuffered.
        stderr: where its errors go.
        stdin: what it reads; nothing unless told.
        folder: where it runs, unless in this process's own.
        environment: variables added to this process's own.
    """
    folder = folder or Path.cwd()
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
    with Path(os.devnull).open("rb") as nothing:
        files = [file.fileno() for file in (stdin or nothing, stdout, stderr)]
        if _NURSERIES and not _only_at_the_start(environment):
            return _nursery(sys.executable).call(words, folder, variables, files)
        return subprocess.Popen(
            [sys.executable, "-m", "proxy", *words],
            cwd=folder,
            env=variables,
            stdin=files[0],
            stdout=files[1],
            stderr=files[2],
        )


def run(
    *words: str,
    typed: str = "",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = RUN_DEADLINE,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, however it ends.

    Args:
        words: the command line.
        typed: what it reads.
        folder: where it runs, unless in this process's own.
        environment: variables added to this process's own.
        timeout: seconds that it may take.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
    """
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        stdin, stdout, stderr = files
        stdin.write(typed.encode())
        stdin.seek(0)
        program = start(
            *words,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            folder=folder,
            environment=environment,
        )
        try:
            code = program.wait(timeout)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
            raise
        for file in files:
            file.seek(0)
        return subprocess.CompletedProcess(
            words, code, stdout.read().decode(), stderr.read().decode()
        )


@lru_cache
def _nursery(python: str) -> _Nursery:
    return _Nursery(python)


class _Nursery:
    """The process that forks; it ends, and its children with it, when this process does.

    Args:
        python: the interpreter.
    """

    def __init__(self, python: str) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._asking = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [python, "-m", "tests.harness.nursery", str(theirs.fileno())],
                cwd=_PROJECT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._close)

    def call(
        self, words: tuple[str, ...], folder: Path, environment: dict[str, str], files: list[int]
    ) -> _Child:
        call = {"words": words, "folder": str(folder), "environment": environment}
        status, theirs = os.pipe()
        try:
            with self._asking:
                message = json.dumps(call).encode()
                socket.send_fds(self._control, [message], [*files, theirs])
                answer, (descriptor,), _, _ = socket.recv_fds(self._control, 64, 1)
        finally:
            os.close(theirs)
        return _Child(int(answer), descriptor, status)

    def _close(self) -> None:
        self._control.close()
        self._process.wait()


class _Child:
    """A process that a nursery bore.

    Args:
        pid: its number.
        descriptor: stands for it.
        status: where its exit code will be said.
    """

    def __init__(self, pid: int, descriptor: int, status: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._status = status
        self._code: int | None = None

    def poll(self) -> int | None:
        return self._code if self._ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended(timeout):
            raise subprocess.TimeoutExpired(["wskeeper"], timeout or 0)
        assert self._code is not None
        return self._code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> bool:
        if self._code is None:
            ready = select.poll()
            ready.register(self._status, select.POLLIN)
            if not ready.poll(None if timeout is None else timeout * 1000):
                return False
            said = os.read(self._status, 16)
            self._code = int(said) if said else -signal.SIGKILL
            os.close(self._status)
            os.close(self._descriptor)
        return True

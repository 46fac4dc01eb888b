"""A program of somebody else's that stands at one end of the gateway."""

from __future__ import annotations

import queue
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LINE_DEADLINE = 20.0
STOP_DEADLINE = 5.0


class ProgramFailedError(AssertionError):
    """It ended or said nothing in time; the message carries what it wrote to its errors."""


class Program:
    """A process whose standard output is read line by line, ended with the block.

    Args:
        errors: the file that takes its standard error.
        command: the program and its arguments.
        environment: all of its environment variables; this process's own when absent.
    """

    def __init__(
        self, errors: Path, command: list[str], *, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._errors = errors
        with errors.open("w") as file:
            self._process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=file, text=True
            )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)  # nothing follows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_DEADLINE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def line(self, timeout: float = LINE_DEADLINE) -> str:
        """The next line it wrote; waits for it for `timeout` seconds."""
        with suppress(queue.Empty):
            line = self._lines.get(timeout=timeout)
            if line is not None:
                return line
        raise ProgramFailedError(f"{self._command} said no more:\n{self._errors.read_text()}")

    def finish(self, timeout: float = LINE_DEADLINE) -> list[str]:
        """The lines it wrote until it ended by itself, with exit code 0."""
        code = self._process.wait(timeout)
        if code != 0:
            raise ProgramFailedError(f"{self._command} ended {code}:\n{self._errors.read_text()}")
        return list(iter(self._lines.get, None))

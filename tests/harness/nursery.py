"""Forks processes that have already imported `wskeeper`; `tests.harness.programs` asks it to.

Each call is a message: the words, the folder and the environment as JSON, with the descriptors of
stdin, stdout, stderr and of a pipe for the exit code. The answer is the process's id and a
descriptor that stands for it (Linux: pidfd).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from proxy.cli import main as command

CALL_SIZE = 1 << 20


def _import_everything() -> None:
    for name in command.main.list_commands(None):  # type: ignore[arg-type]
        importlib.import_module(f"proxy.cli.{name}")
    importlib.import_module("uvloop")
    gc.collect()
    gc.freeze()


class _Nursery:
    """Runs until the other end of `control` is gone; then its children end with it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        # By the descriptor that stands for a child: its id, and where its exit code goes.
        self._children: dict[int, tuple[int, int]] = {}
        self._ready = select.poll()

    def run(self) -> list[str] | None:
        """In a child: the words it was called with; None at the end."""
        self._ready.register(self._control, select.POLLIN)
        while True:
            for file, _ in self._ready.poll():
                if file != self._control.fileno():
                    self._bury(file)
                    continue
                message, files, _, _ = socket.recv_fds(self._control, CALL_SIZE, 4)
                if not message:
                    self._end()
                    return None
                call = json.loads(message)
                if self._bear(files):
                    _become(call, files)
                    return list(call["words"])

    def _bear(self, files: list[int]) -> bool:
        """Forks; whether this is the child."""
        pid = os.fork()
        if pid == 0:
            self._control.close()
            for child, (_, status) in self._children.items():
                os.close(child)
                os.close(status)
            return True
        child = os.pidfd_open(pid)
        self._children[child] = (pid, files[3])
        self._ready.register(child, select.POLLIN)
        for file in files[:3]:
            os.close(file)
        socket.send_fds(self._control, [str(pid).encode()], [child])
        return False

    def _bury(self, child: int) -> None:
        self._ready.unregister(child)
        pid, status = self._children.pop(child)
        _, how = os.waitpid(pid, 0)
        os.write(status, str(os.waitstatus_to_exitcode(how)).encode())
        os.close(status)
        os.close(child)

    def _end(self) -> None:
        for pid, _ in self._children.values():
            os.kill(pid, signal.SIGKILL)


def _become(call: dict[str, Any], files: list[int]) -> None:
    """What a process has when it starts."""
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [call["folder"], *filter(None, named)]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_everything()
    words = _Nursery(socket.socket(fileno=int(sys.argv[1]))).run()
    if words is not None:
        sys.argv = ["wskeeper", *words]
        command.main(words, prog_name="wskeeper")

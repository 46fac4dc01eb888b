"""A gateway in a process of its own, as an operator runs it, with its log read line by line."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Any, Self

import yaml

from proxy.logs import FLUSH_EVERY
from tests.harness import programs

if TYPE_CHECKING:
    from pathlib import Path

START_DEADLINE = 15.0
STOP_DEADLINE = 15.0
# What a gateway that hangs, or was stopped on purpose, may hold up a look into its log.
SETTLE_DEADLINE = 2.0


class Pipe:
    """What a process writes, line by line, as soon as it was written.

    Args:
        file: the descriptor of the end to read; closed with this.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        os.set_blocking(file, False)
        self._rest = b""
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def lines(self) -> list[str]:
        """Everything that the process has written up to now."""
        with self._changed:
            self._drain()
            return list(self._lines)

    def wait_for_more(self, than: int, timeout: float) -> None:
        """Until there are more than so many lines, or so many seconds are over."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._lines) > than, timeout)

    def close(self) -> None:
        """Takes what is left, and no more."""
        self._reader.join(timeout=5)
        with self._changed:
            self._ended = True
        os.close(self._file)

    def _read(self) -> None:
        ready = select.poll()
        ready.register(self._file, select.POLLIN)
        while not self._ended:
            ready.poll(1000)
            with self._changed:
                self._drain()

    def _drain(self) -> None:
        """Takes what lies in the pipe; whoever calls holds the lock."""
        while not self._ended:
            try:
                data = os.read(self._file, 65536)
            except BlockingIOError:
                return
            *whole, self._rest = (self._rest + data).split(b"\n")
            if not data:
                self._ended = True
                whole, self._rest = [self._rest] if self._rest else [], b""
            self._lines += [line.decode(errors="replace") for line in whole]
            self._changed.notify_all()


class GatewayFailed(Exception):
    """The gateway ended, or said nothing in time; the message carries its output."""


class Gateway:
    """`wskeeper serve` on loopback, on ports that the system chooses.

    Args:
        folder: where the configuration file goes.
        config: the configuration; `listen`, `admin`, `log` and `drain` are filled in when absent.
        environment: variables added to this process's own.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        *,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.config_path = folder / "wskeeper.yaml"
        config = {
            "listen": "127.0.0.1:0",
            "admin": {"listen": "127.0.0.1:0"},
            "log": {"level": "debug", "format": "json"},
            "drain": {"spread": "0s"},
            **config,
        }
        self.config_path.write_text(yaml.safe_dump(config))
        reading, writing = zip(os.pipe(), os.pipe(), strict=True)
        with (
            os.fdopen(writing[0], "wb") as stdout,
            os.fdopen(writing[1], "wb") as stderr,
        ):
            self._process = programs.start(
                *("serve", "-c", str(self.config_path)),
                stdout=stdout,
                stderr=stderr,
                folder=folder,
                environment=environment,
            )
        self._output, self._log = Pipe(reading[0]), Pipe(reading[1])
        # Both set once the gateway has said where it listens.
        self.public: tuple[str, int] = ("", 0)
        self.admin: tuple[str, int] = ("", 0)

    def __enter__(self) -> Self:
        try:
            self.public = self._address("public")
            self.admin = self._address("admin")
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self.stop()
        self._close_pipes()

    def _address(self, listener: str) -> tuple[str, int]:
        event = self.wait_for_event("listening", listener=listener, timeout=START_DEADLINE)
        if event["address"].startswith("unix:"):
            return event["address"].removeprefix("unix:"), 0
        host, _, port = event["address"].rpartition(":")
        return host.strip("[]"), int(port)

    def _close_pipes(self) -> None:
        self._log.close()
        self._output.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"ws://{self.public[0]}:{self.public[1]}"

    @property
    def admin_url(self) -> str:
        return f"http://{self.admin[0]}:{self.admin[1]}"

    @property
    def log(self) -> list[str]:
        """The log's lines, all that happened before included."""
        self._settle()
        return self._log.lines()

    @property
    def output(self) -> list[str]:
        """What was printed for people."""
        self._settle()
        return self._output.lines()

    def _settle(self) -> None:
        """Waits until the gateway has written what it had to say about what happened before.

        A client may see what a gateway does before the gateway has come to log it, and lines wait
        for each other. Who was answered twice, so long after another, was answered by a loop that
        had been through all that was ready, and through the timer of the log.
        """
        if self._process.poll() is None:
            answered = self._answers()
            time.sleep(1.2 * FLUSH_EVERY)
            if answered:
                self._answers()

    def _answers(self) -> bool:
        """Whether the admin listener answers in time."""
        connection = http.client.HTTPConnection("localhost", timeout=SETTLE_DEADLINE)
        try:
            connection.sock = self._dial_admin()
            connection.request("GET", "/livez")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True

    def _dial_admin(self) -> socket.socket:
        if self.admin[1]:
            return socket.create_connection(self.admin, SETTLE_DEADLINE)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(SETTLE_DEADLINE)
        try:
            sock.connect(self.admin[0])
        except OSError:
            sock.close()
            raise
        return sock

    def events(self, name: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """The events of all that happened before, in order, filtered by name and fields.

        What the gateway does later on its own, however soon, is for `wait_for_event`.
        """
        return _matching(self.log, name, **fields)

    def wait_for_event(self, name: str, *, timeout: float = 5.0, **fields: Any) -> dict[str, Any]:
        """The first event of that name with those fields; waits for it for `timeout` seconds."""
        return self.wait_for_events(1, name, timeout=timeout, **fields)[0]

    def wait_for_events(
        self, count: int, name: str, *, timeout: float = 5.0, **fields: Any
    ) -> list[dict[str, Any]]:
        """The events of that name with those fields, as soon as there are so many or more."""
        deadline = time.monotonic() + timeout
        while True:
            over = self._process.poll() is not None or time.monotonic() > deadline
            lines = self._log.lines()
            found = _matching(lines, name, **fields)
            if len(found) >= count:
                return found
            if over:
                said = "\n".join([*self._output.lines(), *lines][-40:])
                raise GatewayFailed(
                    f"{len(found)} of {count} events {name} {fields} within {timeout} s;"
                    f" it said:\n{said}"
                )
            self._log.wait_for_more(len(lines), 0.2)

    def metrics(self) -> dict[str, float]:
        """`/metrics` as one number per series, keyed as exposed: `name{label="value"}`."""
        with urllib.request.urlopen(self.admin_url + "/metrics", timeout=5) as answer:
            text = answer.read().decode()
        series = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                series[name] = float(value)
        return series

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM, then wait; returns the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout: float = STOP_DEADLINE) -> int:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise GatewayFailed("still running:\n" + "\n".join(self._log.lines()[-40:])) from None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close_pipes()


def _matching(lines: list[str], name: str | None, **fields: Any) -> list[dict[str, Any]]:
    """The events of that name with those fields."""
    # Plain words stand in JSON as they are: most lines need not be parsed.
    words = [word for word in (name, *fields.values()) if isinstance(word, str) and word.isalnum()]
    found = []
    for line in lines:
        if not all(word in line for word in words):
            continue
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if name is not None and event.get("event") != name:
            continue
        if all(event.get(field) == value for field, value in fields.items()):
            found.append(event)
    return found

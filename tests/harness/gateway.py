"""A gateway in a process of its own, as an operator runs it, with its log read line by line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Any, Self

import yaml

if TYPE_CHECKING:
    from pathlib import Path

START_DEADLINE = 15.0
STOP_DEADLINE = 15.0


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
        self.log: list[str] = []
        self.output: list[str] = []
        self._logged = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", "-c", str(self.config_path)],
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in (
                (self._process.stderr, self.log),
                (self._process.stdout, self.output),
            )
        ]
        for reader in self._readers:
            reader.start()
        # Both set once the gateway has said where it listens.
        self.public: tuple[str, int] = ("", 0)
        self.admin: tuple[str, int] = ("", 0)

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._logged:
                lines.append(line.rstrip("\n"))
                self._logged.notify_all()

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
        for reader in self._readers:
            reader.join(timeout=5)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"ws://{self.public[0]}:{self.public[1]}"

    @property
    def admin_url(self) -> str:
        return f"http://{self.admin[0]}:{self.admin[1]}"

    def events(self, name: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """The log's events so far, in order, filtered by name and fields."""
        with self._logged:
            lines = list(self.log)
        # Plain words stand in JSON as they are: most lines need not be parsed.
        words = [
            word for word in (name, *fields.values()) if isinstance(word, str) and word.isalnum()
        ]
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

    def wait_for_event(self, name: str, *, timeout: float = 5.0, **fields: Any) -> dict[str, Any]:
        """The first event of that name with those fields; waits for it for `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.events(name, **fields)
            if found:
                return found[0]
            left = deadline - time.monotonic()
            if left <= 0 or self._process.poll() is not None:
                if self.events(name, **fields):
                    continue
                said = "\n".join([*self.output, *self.log][-40:])
                raise GatewayFailed(
                    f"no event {name} {fields} within {timeout} s; it said:\n{said}"
                )
            with self._logged:
                self._logged.wait(min(left, 0.2))

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
            raise GatewayFailed("still running:\n" + "\n".join(self.log[-40:])) from None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close_pipes()

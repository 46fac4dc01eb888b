"""Those who make, change and end keys: on the command line, and through the admin API."""

from __future__ import annotations

import http.client
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.harness import programs

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.harness.gateway import Gateway

COMMAND_DEADLINE = 20.0


def epoch(moment: str) -> float:
    """A moment of an answer in seconds since the epoch."""
    return datetime.fromisoformat(moment).timestamp()


class CommandLine:
    """`wskeeper`, each command in a process of its own.

    Args:
        store: the file that keys are kept in.
    """

    def __init__(self, store: Path) -> None:
        self._store = f"sqlite:{store}"
        # Everything that was printed, but for secrets when they were made.
        self.said: list[str] = []

    def run(self, *words: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command on the store, however it ends."""
        done = programs.run(
            *words, "--store", self._store, typed=typed or "", timeout=COMMAND_DEADLINE
        )
        self.said.append(done.stderr)
        return done

    def _done(self, *words: str, typed: str | None = None) -> Any:
        done = self.run(*words, "--json", typed=typed)
        assert done.returncode == 0, (words, done.stderr)
        shown = json.loads(done.stdout)
        self.said.append(done.stdout.replace(shown.get("secret", ""), ""))
        return shown

    def create(self, name: str, **fields: Any) -> dict[str, Any]:
        return self._done("keys", "create", "--name", name, "--init", *_options(fields))

    def bring(self, name: str, secret: str, **fields: Any) -> dict[str, Any]:
        words = ("keys", "import", "--name", name, "--secret-stdin", *_options(fields))
        return self._done(*words, typed=secret + "\n")

    def update(self, key: str, **fields: Any) -> dict[str, Any]:
        return self._done("keys", "update", key, *_options(fields))

    def rotate(self, key: str, overlap: str) -> dict[str, Any]:
        return self._done("keys", "rotate", key, "--overlap", overlap)

    def act(self, verb: str, key: str) -> dict[str, Any]:
        """`revoke`, `suspend`, `resume` or `delete`."""
        return self._done("keys", verb, key)

    def show(self, key: str) -> dict[str, Any]:
        return self._done("keys", "show", key)

    def usage(self, key: str) -> dict[str, Any]:
        """What the key was used for, in all."""
        (total,) = self._done("usage", "--key", key)["totals"]
        return total


def _options(fields: dict[str, Any]) -> list[str]:
    """The fields of an API body as options."""
    words = []
    for name, value in fields.items():
        match name:
            case "routes":
                words += ["--routes", ",".join(value)]
            case "origins":
                words += [word for origin in value for word in ("--origin", origin)]
            case "addresses":
                words += [word for one in value.get("allow") or () for word in ("--address", one)]
                words += [word for one in value.get("deny", ()) for word in ("--deny-address", one)]
            case "limits":
                words += [word for key, n in value.items() for word in ("--limit", f"{key}={n}")]
            case "metadata":
                words += [word for key, v in value.items() for word in ("--metadata", f"{key}={v}")]
            case "expires_in":
                words += ["--expires", value]
            case _:
                raise AssertionError(f"no option for {name}")
    return words


class AdminApi:
    """The admin API of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        # Every answer, but for secrets when they were made.
        self.said: list[str] = []

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        connection = http.client.HTTPConnection("localhost", self._gateway.admin[1], timeout=10)
        headers = {} if method == "GET" else {"Content-Type": "application/json"}
        try:
            raw = None if body is None else json.dumps(body)
            connection.request(method, f"/api/v1{path}", raw, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        said = json.loads(text) if text else None
        self.said.append(text.replace(said.get("secret", ""), "") if said else "")
        return answer.status, said

    def do(self, method: str, path: str, body: Any = None) -> Any:
        """What is answered, if it was done."""
        status, said = self.ask(method, path, body)
        assert status < 300, (status, said)
        return said

    def create(self, name: str, **fields: Any) -> dict[str, Any]:
        return self.do("POST", "/keys", {"name": name, **fields})

    def bring(self, name: str, secret: str, **fields: Any) -> dict[str, Any]:
        return self.do("POST", "/keys", {"name": name, "secret": secret, **fields})

    def update(self, key: str, **fields: Any) -> dict[str, Any]:
        return self.do("PATCH", f"/keys/{key}", fields)

    def rotate(self, key: str, overlap: str) -> dict[str, Any]:
        return self.do("POST", f"/keys/{key}/rotate", {"overlap": overlap})

    def act(self, verb: str, key: str) -> dict[str, Any] | None:
        """`revoke`, `suspend`, `resume` or `delete`."""
        if verb == "delete":
            return self.do("DELETE", f"/keys/{key}")
        return self.do("POST", f"/keys/{key}/{verb}")

    def show(self, key: str) -> dict[str, Any]:
        return self.do("GET", f"/keys/{key}")

    def usage(self, key: str) -> dict[str, Any]:
        """What the key was used for, in all."""
        (total,) = self.do("GET", f"/usage?key={key}")["totals"]
        return total

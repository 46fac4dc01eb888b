"""`wskeeper doctor`, its options and what it prints; what it finds is in the integration tests."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.cli.keys_scene import failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.cli.keys_scene import Command

KEY = "CANARY-key-4d1c7e90"
NOBODY = "ws://127.0.0.1:1/app"


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server with an answer for each connection, the last one for all further; its URL, and
    what it was asked.
    """
    asked: list[bytes] = []
    left = list(answers)
    ready, stop = threading.Event(), threading.Event()
    port = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(left.pop(0) if len(left) > 1 else left[0])
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    async def serve() -> None:
        nonlocal port
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        ready.set()
        await asyncio.to_thread(stop.wait)
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(5)
    try:
        yield f"ws://127.0.0.1:{port}/app", asked
    finally:
        stop.set()
        thread.join()


def refusal(code: str, status: int, *lines: str, body: bytes = b"") -> bytes:
    head = (
        f"HTTP/1.1 {status} No",
        f"X-Wskeeper-Code: {code}",
        *lines,
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(head).encode() + body


PLAIN = refusal("upgrade_required", 426)
MISSING = refusal("key_missing", 401, 'WWW-Authenticate: ApiKey realm="wskeeper", header="X-K"')


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["http//x"], "URL is not"),
        (["ws://u:CANARY@a/"], "URL holds a user"),
        ([NOBODY, "--key", " CANARY"], "the key is"),
        ([NOBODY, "--key", "CANARY\r\nX: 1"], "the key is"),
        ([NOBODY, "--key", "CANARY", "--key-file", "-"], "keep one"),
        ([NOBODY, "--origin", "https://a\r\nX: 1"], "--origin is none"),
        ([NOBODY, "--subprotocol", "a b"], "--subprotocol is no"),
        ([NOBODY, "--idle", "soon"], "--idle is not a duration"),
        ([NOBODY, "--ca", "absent.pem"], "--ca"),
        (["wss://127.0.0.1:1", "--ca", "empty.pem"], "--ca or --certificate"),
        ([NOBODY, "--admin", "nowhere"], "--admin"),
    ],
)
def test_wrong_usage_is_told_and_not_repeated(
    wskeeper: Command, options: list[str], words: str
) -> None:
    Path("empty.pem").touch()
    result = wskeeper("doctor", *options)
    failed(result, words, code=2)
    assert "CANARY" not in result.stderr


def test_findings_are_lines_with_a_sign_and_the_mend_below(wskeeper: Command) -> None:
    result = wskeeper("doctor", NOBODY)
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first == "✗ connection   no connection to 127.0.0.1 port 1: Connection refused"
    assert second.startswith("               check that")
    assert result.stderr == "Error: no WebSocket opens there\n"


def test_a_name_without_an_address_is_told(
    wskeeper: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    result = wskeeper("doctor", "ws://gateway.example/")
    assert "gateway.example has no address: Name or service not known" in result.stdout


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
def test_name_that_can_have_no_address_is_told(wskeeper: Command, host: str) -> None:
    result = wskeeper("doctor", f"ws://{host}/")
    assert result.exit_code == 1
    assert "has no address: it is no host name" in result.stdout


def test_json_has_everything_but_the_query(wskeeper: Command) -> None:
    result = wskeeper("doctor", NOBODY + "?api_key=CANARY", "--json")
    told = json.loads(result.stdout)
    assert (told["url"], told["opens"]) == (NOBODY, False)
    [finding] = told["findings"]
    assert finding.keys() == {"probe", "verdict", "text", "mend"}
    assert "CANARY" not in result.output


@pytest.mark.parametrize(
    ("options", "stdin", "environ"),
    [
        (["--key", KEY], None, {}),
        (["--key-file", "key"], None, {}),
        (["--key-file", "-"], f"{KEY}\n".encode(), {}),
        ([], None, {"WSKEEPER_KEY": KEY}),
        ([], None, {"WSKEEPER_KEY_FILE": "key"}),
        (["--key", KEY], None, {"WSKEEPER_KEY": "another"}),
    ],
)
def test_key_comes_from_where_nobody_sees_it(
    wskeeper: Command, options: list[str], stdin: bytes | None, environ: dict[str, str]
) -> None:
    Path("key").write_text(KEY + "\n")
    unknown = refusal("key_unknown", 401, body=b'{"detail": "You sent ' + KEY.encode() + b'"}')
    with answering(PLAIN, MISSING, unknown) as (url, asked):
        result = wskeeper("doctor", url, *options, stdin=stdin, **environ)
    assert result.exit_code == 1
    assert f"\r\nX-K: {KEY}\r\n".encode() in asked[-1]
    assert not any(KEY.encode() in request for request in asked[:-1])
    assert KEY not in result.output
    assert "401 key_unknown: You sent ***" in result.stdout


def test_key_that_is_given_twice_in_the_environment_is_a_failure(wskeeper: Command) -> None:
    failed(wskeeper("doctor", NOBODY, WSKEEPER_KEY="a", WSKEEPER_KEY_FILE="b"), "set twice")


@pytest.mark.parametrize(
    "upgraded",
    [
        b"HTTP/1.1 301 Moved\r\nLocation: http://elsewhere.example/\r\n\r\n",
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nConnection: close\r\n\r\n",
        refusal("no_route", 404),
        refusal("upgrade_stripped", 426),
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
def test_key_stays_here_where_it_could_open_nothing(wskeeper: Command, upgraded: bytes) -> None:
    with answering(PLAIN, upgraded) as (url, asked):
        result = wskeeper("doctor", url, WSKEEPER_KEY=KEY)
    assert result.exit_code == 1
    assert not any(KEY.encode() in request for request in asked)
    assert "✗ upgrade " in result.stdout


def test_answer_cannot_move_the_cursor(wskeeper: Command) -> None:
    server = "HTTP/1.1 502 Bad\r\nServer: evil\x9b2J\r\nConnection: close\r\n\r\n".encode("latin-1")
    with answering(PLAIN, server) as (url, _):
        result = wskeeper("doctor", url)
    assert "502 by evil" in result.stdout
    assert "\x9b" not in result.stdout


@pytest.mark.parametrize("begin", [b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80", b"\x15\x03\x01"])
def test_what_speaks_something_else_ends_the_examination(wskeeper: Command, begin: bytes) -> None:
    with answering(begin) as (url, asked):
        result = wskeeper("doctor", url, WSKEEPER_KEY=KEY)
    assert result.exit_code == 1
    assert len(asked) == 1
    assert "✗ gateway " in result.stdout


def test_listener_of_operators_ends_the_examination(wskeeper: Command) -> None:
    page = b"HTTP/1.1 200 OK\r\nServer: wskeeper\r\nConnection: close\r\n\r\n"
    with answering(page) as (url, asked):
        result = wskeeper("doctor", url, WSKEEPER_KEY=KEY)
    assert result.exit_code == 1
    assert len(asked) == 1
    assert "✗ gateway      this is where a wskeeper serves its operators" in result.stdout


def test_admin_listener_that_is_away_is_told_before_the_url_is(wskeeper: Command) -> None:
    result = wskeeper("doctor", NOBODY, "--admin", "http://127.0.0.1:1", "--json")
    admin, connection = json.loads(result.stdout)["findings"]
    assert (admin["probe"], admin["verdict"]) == ("admin", "bad")
    assert "is the gateway running?" in admin["text"]
    assert connection["probe"] == "connection"

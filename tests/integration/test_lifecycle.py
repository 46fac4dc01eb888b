"""Starting, stopping, and what is said when neither works."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

from tests.harness import frames
from tests.harness.frames import close_payload, masked
from tests.harness.heads import upgrade
from tests.harness.process import BUSY
from tests.integration.conftest import KEY, asking


def run(*arguments, folder, **environment):
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def written(folder, **fields):
    config = {
        "listen": "127.0.0.1:0",
        "admin": {"listen": None},
        "keys": [{"name": "test", "secret": KEY}],
        "routes": [{"name": "app", "path": "/app", "upstream": "ws://127.0.0.1:9"}],
        **fields,
    }
    (folder / "wskeeper.yaml").write_text(yaml.safe_dump(config))


def test_sigterm_tells_every_client_to_go_and_exits_zero(start, connect):
    gateway = start()
    door = connect(gateway)
    clients = [door.open(asking()) for _ in range(20)]
    gateway.signal(signal.SIGTERM)
    for client in clients:
        client.expect_close(1001, "draining")
        client.send(masked(frames.CLOSE, close_payload(1001)))
    assert gateway.wait() == 0
    assert gateway.events("connection_closed", reason="draining", initiator="gateway")


def test_clients_that_do_not_answer_the_close_hold_nobody_up(start, connect):
    gateway = start()
    connect(gateway).open(asking())
    began = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - began < 5 + BUSY


def test_nobody_is_let_in_while_draining(start, connect):
    gateway = start()
    door = connect(gateway)
    session = door.open(asking())
    waiting = door.connect()
    gateway.signal(signal.SIGTERM)
    gateway.wait_for_event("draining")
    waiting.send(asking())
    response = waiting.read_response()
    assert (response.status, response.code) == (503, "draining")
    assert response.get("Retry-After")
    session.expect_close(1001, "draining")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(gateway.public, timeout=2)


def test_second_signal_ends_at_once(start, connect):
    gateway = start(timeouts={"close": "20s"})
    connect(gateway).open(asking())
    gateway.signal(signal.SIGTERM)
    gateway.wait_for_event("draining")
    began = time.monotonic()
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert time.monotonic() - began < 5 + BUSY


def test_port_in_use_is_one_clear_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        written(tmp_path, listen=address)
        result = run("serve", folder=tmp_path)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: cannot listen on " + address)
    assert "free the address or change 'listen' (or --listen or WSKEEPER_LISTEN)" in last
    assert "Traceback" not in result.stderr


def test_an_address_of_another_machine_is_one_clear_line(tmp_path):
    written(tmp_path, listen="192.0.2.1:8080")
    result = run("serve", folder=tmp_path)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: cannot listen on 192.0.2.1:8080 ")
    assert "this machine has no such address: change 'listen'" in last


def test_unreadable_tls_file_is_one_clear_line(tmp_path):
    written(tmp_path, tls={"certificate": "no.pem", "private_key": "no.key"})
    result = run("serve", folder=tmp_path)
    assert result.returncode == 1
    assert "tls.certificate" in result.stderr
    assert "no.pem" in result.stderr
    assert "Traceback" not in result.stderr


def test_five_faults_are_shown_at_once(tmp_path):
    (tmp_path / "wskeeper.yaml").write_text(
        "listen: nowhere\n"
        "timeouts: {close: soon}\n"
        "workers: 2\n"
        "rotues: []\n"
        "routes:\n"
        "  - {name: a, path: chat, upstream: 'http://x'}\n"
    )
    result = run("serve", folder=tmp_path)
    assert result.returncode == 1
    for place in ("listen", "timeouts.close", "workers", "rotues", "routes[0].upstream"):
        assert place in result.stderr
    assert "not built" in result.stderr


def test_plugin_that_cannot_be_loaded_stops_the_start(tmp_path):
    (tmp_path / "wskeeper.yaml").write_text(
        "listen: 127.0.0.1:0\nadmin: {listen: null}\nplugins: ['no_such_package.ours:ask']\n"
        "routes:\n  - {name: a, path: /a, upstream: 'ws://127.0.0.1:9'}\n"
    )
    result = run("serve", folder=tmp_path)
    assert result.returncode == 1
    assert (
        "wskeeper.yaml:3: plugins[0]: names no_such_package.ours:ask, which cannot be loaded:"
        " ModuleNotFoundError: No module named 'no_such_package'; put its folder into PYTHONPATH"
    ) in result.stderr
    assert "Traceback" not in result.stderr


def test_upstream_that_is_down_does_not_stop_the_start(start, connect):
    gateway = start(route={"upstream": "ws://does-not-exist.invalid:9"})
    response = connect(gateway).ask(asking())
    assert (response.status, response.code) == (502, "upstream_unreachable")


def test_serve_without_a_file_prints_the_command_that_makes_a_key(upstream, tmp_path):
    process = subprocess.Popen(
        [
            *(sys.executable, "-u", "-m", "proxy", "serve"),
            *("--upstream", f"{upstream.url}/ws", "--listen", "127.0.0.1:0"),
        ],
        cwd=tmp_path,
        env={**os.environ, "WSKEEPER_ADMIN_LISTEN": "127.0.0.1:0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline().startswith("default  /ws/room1 → ws://127.0.0.1:")
        assert process.stdout.readline() == f"keys in sqlite:{tmp_path}/wskeeper.db\n"
        told = process.stdout.readline().rstrip("\n")
        command = told.partition("make one: wskeeper ")[2].replace("NAME", "first").split()
        made = subprocess.run(
            [sys.executable, "-m", "proxy", *command],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        key = made.stdout.strip()
        events = map(json.loads, iter(process.stderr.readline, ""))
        listening = next(event for event in events if event.get("listener") == "public")
        next(event for event in events if event["event"] == "key_created")
        host, port = listening["address"].split(":")
        with socket.create_connection((host, int(port)), timeout=5) as client:
            client.sendall(upgrade("/ws", key=key))
            assert client.recv(100).startswith(b"HTTP/1.1 101 ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert key not in process.stderr.read()

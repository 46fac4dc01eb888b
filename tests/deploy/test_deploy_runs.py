"""The deployment as far as it runs without containers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.sync.client import connect

from tests.deploy.conftest import DEMO_KEY
from tests.harness import programs
from tests.harness.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]
CONFIGURATION = str(PROJECT / "deploy/wskeeper.yaml")
INSTALL_DEADLINE = 300  # seconds
OFFLINE = re.compile(
    r"Temporary failure|Failed to establish|Max retries|Connection (?:refused|reset)|timed out"
    r"|No matching distribution|Could not find a version"
)


@pytest.fixture
def addresses(example_services) -> Iterator[dict[str, str]]:
    """Where the example services listen, each started by its Compose command on a free port."""
    with ExitStack() as stack:
        processes = {}
        for name, service in example_services.items():
            program, *arguments = (*service["entrypoint"], *service["command"])
            assert program == "python"
            arguments[-1] = "127.0.0.1:0"
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, *arguments], cwd=PROJECT, stdout=subprocess.PIPE, text=True
                )
            )
            stack.callback(process.terminate)
            processes[name] = process
        found = {}
        for name, process in processes.items():
            assert process.stdout is not None
            found[name] = process.stdout.readline().rpartition(" ")[2].strip()
        yield found


def test_check_finds_nothing_wrong_with_the_configuration(secrets):
    ran = programs.run("check", "-c", CONFIGURATION, folder=PROJECT, environment=secrets)
    assert ran.returncode == 0, ran.stderr
    assert "warning" not in ran.stdout
    assert "echo  /echo → ws://echo:9001/echo" in ran.stdout


def test_check_names_the_secret_that_is_missing(secrets):
    environment = {**secrets, "WSKEEPER_DEMO_KEY_FILE": ""}
    ran = programs.run("check", "-c", CONFIGURATION, folder=PROJECT, environment=environment)
    assert ran.returncode == 1
    assert "WSKEEPER_DEMO_KEY" in ran.stdout


def test_every_service_is_reached_through_the_gateway(addresses, secrets, tmp_path):
    config = yaml.safe_load((PROJECT / "deploy/wskeeper.yaml").read_text())
    config["admin"]["listen"] = "127.0.0.1:0"
    for route in config["routes"]:
        name = route["upstream"].removeprefix("ws://").partition(":")[0]
        route["upstream"] = addresses[name]
    headers = {"X-Api-Key": DEMO_KEY}
    environment = {**secrets, "WSKEEPER_STORE": f"sqlite:{tmp_path}/kept.db"}
    with Gateway(tmp_path, config, environment=environment) as gateway:
        with connect(f"{gateway.url}/echo", additional_headers=headers) as echo:
            echo.send("hello")
            assert echo.recv(timeout=5) == "hello"
        with connect(f"{gateway.url}/chat/room1", additional_headers=headers) as chat:
            chat.send("hello")
            assert chat.recv(timeout=5) == "demo: hello"
        with connect(f"{gateway.url}/clock", additional_headers=headers) as clock:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", str(clock.recv(timeout=5)))
        healthy = programs.run("healthcheck", "--admin", gateway.admin_url, folder=PROJECT)
        assert healthy.returncode == 0
        commands = partial(run_command, gateway, environment)
        made = {"X-Api-Key": commands("keys", "create", "--name", "alice", "--routes", "chat")}
        assert gateway.wait_for_event("key_created")["by"].startswith("cli:")
        with connect(f"{gateway.url}/chat/room1", additional_headers=made) as chat:
            commands("keys", "revoke", "alice")
            with pytest.raises(ConnectionClosed) as closed:
                chat.recv(timeout=5)
        assert closed.value.rcvd == Close(1008, "key_revoked")


def run_command(gateway: Gateway, environment: dict[str, str], *words: str) -> str:
    """A command beside the gateway, as `docker compose exec` runs it; returns what it prints."""
    words = (*words, "-c", str(gateway.config_path))
    ran = programs.run(*words, folder=PROJECT, environment=environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def run_or_skip(command: list[str], **options) -> None:
    """Runs an installing command; offline it skips."""
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=INSTALL_DEADLINE,
        check=False,
        **options,
    )
    if ran.returncode != 0 and OFFLINE.search(ran.stderr + ran.stdout):
        pytest.skip(f"{' '.join(command[:4])} … needs a package index: {ran.stderr[-300:]}")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.timeout(2 * INSTALL_DEADLINE)
def test_what_the_image_installs_runs_in_a_clean_environment(tmp_path):
    """The Dockerfile's RUN lines, with its folders in a temporary place."""
    dockerfile = (PROJECT / "Dockerfile").read_text()
    build, target = tmp_path / "build", tmp_path / "wskeeper"
    build.mkdir()
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE):
        for source in map(PROJECT.joinpath, sources.split()):
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, build / source.name, ignore=ignored)
            else:
                shutil.copy(source, build)
    steps = [
        step
        for step in re.findall(r"^RUN (.*)$", dockerfile, re.MULTILINE)
        if not step.startswith("useradd")
    ]
    assert any("pip wheel" in step for step in steps)
    assert any("pip install" in step for step in steps)
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "VIRTUAL_ENV"}
    }
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    environment["PIP_NO_COMPILE"] = "1"
    pip = f"{sys.executable} -m pip"
    for step in steps:
        command = step.replace("/opt/wskeeper", str(target))
        # A folder's own pip takes half a minute, most of it to come there.
        command = command.replace("python -m venv", "python -m venv --without-pip")
        command = command.replace(f"{target}/bin/pip", f"{pip} --python {target}")
        command = re.sub(r"^pip\b", pip, command)
        command = re.sub(r"^python\b", sys.executable, command)
        run_or_skip(["bash", "-c", command], cwd=build, env=environment)
    version = subprocess.run(
        [target / "bin/wskeeper", "version"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert version.stdout.startswith("wskeeper ")
    traces = "import proxy.tracing.spans"
    subprocess.run([target / "bin/python", "-c", traces], capture_output=True, check=True, cwd="/")
    for name in ("echo", "chat", "clock"):
        subprocess.run(
            [target / "bin/python", "-m", f"backends.{name}", "--help"],
            capture_output=True,
            check=True,
            cwd="/",
        )

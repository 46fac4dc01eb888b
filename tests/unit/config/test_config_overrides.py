"""Flags and `WSKEEPER_*` variables above the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import proxy
from proxy.config.faults import ConfigInvalid
from proxy.config.overrides import KNOWN
from proxy.config.values import TcpAddress, UnixAddress

if TYPE_CHECKING:
    from tests.unit.config.conftest import ConfigFolder

ECHO = "routes: [{name: echo, path: /echo, upstream: 'ws://127.0.0.1:9001'}]\n"
KEYS = "keys: [{name: app, sha256: " + "ab" * 32 + "}]\n"


def test_a_flag_outranks_a_variable_and_a_variable_the_file(folder: ConfigFolder) -> None:
    text = ECHO + "listen: 127.0.0.1:1\nadmin: {listen: 127.0.0.1:2}\nlog: {level: error}\n"
    environ = {
        "WSKEEPER_LISTEN": "127.0.0.1:3",
        "WSKEEPER_ADMIN_LISTEN": "127.0.0.1:4",
        "WSKEEPER_LOG_LEVEL": "DEBUG",
        "WSKEEPER_ADMIN_TOKEN": "t" * 30,
    }
    config = folder.load(text, environ).config
    assert config.listen == TcpAddress("127.0.0.1", 3)
    assert config.admin.listen == TcpAddress("127.0.0.1", 4)
    assert config.admin.token is not None
    assert config.log.level == "debug"
    assert folder.load(text, environ, listen="127.0.0.1:5").config.listen == TcpAddress(
        "127.0.0.1", 5
    )
    assert folder.load(text).config.listen == TcpAddress("127.0.0.1", 1)


def test_variables_that_are_set_to_nothing_count_as_not_set(folder: ConfigFolder) -> None:
    environ = dict.fromkeys(
        ("WSKEEPER_LISTEN", "WSKEEPER_ADMIN_TOKEN", "WSKEEPER_CONFIG", "WSKEEPER_STORE"), ""
    )
    assert folder.load(ECHO, environ).config.listen == TcpAddress("127.0.0.1", 8080)


def test_the_admin_listener_can_be_switched_off_by_a_variable(folder: ConfigFolder) -> None:
    assert folder.load(ECHO, {"WSKEEPER_ADMIN_LISTEN": "null"}).config.admin.listen is None


def test_a_token_may_come_from_a_file(folder: ConfigFolder) -> None:
    (folder.path / "token").write_text("t" * 30 + "\n")
    config = folder.load(ECHO, {"WSKEEPER_ADMIN_TOKEN_FILE": "token"}).config
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == "t" * 30


def test_faults_of_variables_and_flags_name_them(folder: ConfigFolder) -> None:
    faults = folder.faults(
        ECHO,
        {
            "WSKEEPER_ADMIN_LISTEN": ":1",
            "WSKEEPER_LOG_LEVEL": "loud",
            "WSKEEPER_STORE": "redis://h",
            "WSKEEPER_ADMIN_TOKEN": "x",
            "WSKEEPER_ADMIN_TOKEN_FILE": "y",
        },
        listen="8080",
    )
    assert sorted(str(fault).partition(": ")[2].split(":")[0] for fault in faults) == [
        "--listen",
        "WSKEEPER_ADMIN_LISTEN",
        "WSKEEPER_ADMIN_TOKEN",
        "WSKEEPER_LOG_LEVEL",
        "WSKEEPER_STORE",
    ]
    assert {fault.file for fault in faults} == {"environment", "command line"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WSKEEPER_LISTN", "WSKEEPER_LISTEN"),
        ("WSKEEPER_LOGLEVEL", "WSKEEPER_LOG_LEVEL"),
        ("WSKEEPER_ADMIN_TOKENFILE", "WSKEEPER_ADMIN_TOKEN_FILE"),
        ("WSKEEPER_EVENTLOOP", "WSKEEPER_EVENT_LOOP"),
    ],
)
def test_a_misspelt_variable_is_warned_of_without_its_value(
    folder: ConfigFolder, name: str, meant: str
) -> None:
    [warning] = folder.load(ECHO, {name: "canary"}).warnings
    assert str(warning) == (
        f"environment: {name}: is no variable of wskeeper's; did you mean `{meant}`?"
    )
    assert warning.severity == "warning"
    # One service without a file starts all the same.
    assert len(folder.load(environ={name: "canary"}, upstream="ws://h:9000").warnings) == 1


def test_a_misspelt_variable_is_named_beside_what_is_missing_for_it(folder: ConfigFolder) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        folder.load(environ={"WSKEEPER_CONFG": "other.yaml"})
    missing, warning = caught.value.faults
    assert (missing.problem, missing.severity) == ("there is no configuration", "error")
    assert "did you mean `WSKEEPER_CONFIG`?" in str(warning)


def test_variables_of_others_are_not_warned_of(folder: ConfigFolder) -> None:
    environ = {
        # What the document asks for, and what Kubernetes sets for services of these names.
        "WSKEEPER_LISTENS": "127.0.0.1:1",
        "WSKEEPER_DEMO_KEY_FILE": "key",
        "WSKEEPER_PORT": "tcp://10.0.0.1:8080",
        "WSKEEPER_PORT_8080_TCP_ADDR": "10.0.0.1",
        "WSKEEPER_SERVICE_HOST": "10.0.0.1",
        "WSKEEPER_ADMIN_PORT": "tcp://10.0.0.1:9090",
        "WSKEEPER_ADMIN_SERVICE_PORT": "9090",
        "WSKEEPER_KEY": "for the doctor",
    }
    (folder.path / "key").write_text("k" * 40)
    text = ECHO + "listen: ${WSKEEPER_LISTENS}\nkeys: [{name: a, secret: '${WSKEEPER_DEMO_KEY}'}]\n"
    assert folder.load(text, environ).warnings == ()


def test_every_variable_that_the_program_asks_for_is_known() -> None:
    package = Path(proxy.__file__).parent
    named = {
        name.removesuffix("_FILE")
        for module in package.rglob("*.py")
        for name in re.findall(r'"(WSKEEPER_[A-Z_]*[A-Z])"', module.read_text())
    }
    assert named <= KNOWN


def test_a_section_that_is_no_mapping_stays_a_fault_beside_its_variable(
    folder: ConfigFolder,
) -> None:
    fault = folder.fault(ECHO + "log: loud\n", {"WSKEEPER_LOG_LEVEL": "debug"})
    assert (fault.path, fault.problem) == ("log", "is not a mapping")


@pytest.mark.parametrize(
    ("url", "path", "target"),
    [
        ("ws://h:9000/ws", "/ws", "ws://h:9000"),
        ("ws://h:9000/ws/", "/ws", "ws://h:9000"),
        ("wss://h", "/", "wss://h"),
    ],
)
def test_one_service_needs_no_file(folder: ConfigFolder, url: str, path: str, target: str) -> None:
    loaded = folder.load(upstream=url)
    [route] = loaded.config.routes
    assert (route.name, route.path, str(route.upstream.target)) == ("default", path, target)
    assert loaded.path is None
    assert loaded.warnings == ()


def test_relative_sockets_outside_the_file_lie_in_the_working_directory(
    folder: ConfigFolder,
) -> None:
    config = folder.load(
        environ={"WSKEEPER_ADMIN_LISTEN": "unix:admin.sock"},
        listen="unix:a.sock",
        upstream="ws+unix:b.sock:/ws",
    ).config
    assert config.listen == UnixAddress(str(folder.path / "a.sock"))
    assert config.admin.listen == UnixAddress(str(folder.path / "admin.sock"))
    assert config.routes[0].upstream.target.socket_path == str(folder.path / "b.sock")


def test_the_store_may_be_named_by_a_variable(folder: ConfigFolder) -> None:
    (folder.path / "etc").mkdir()
    (folder.path / "etc/c.yaml").write_text(f"{ECHO}store: sqlite:a.db\n")
    environ = {"WSKEEPER_CONFIG": "etc/c.yaml"}
    named = {**environ, "WSKEEPER_STORE": "sqlite:b.db"}
    assert folder.load(None, environ).config.store == f"sqlite:{folder.path}/etc/a.db"
    assert folder.load(None, named).config.store == f"sqlite:{folder.path}/b.db"
    named["WSKEEPER_STORE"] = "memory:"
    assert folder.load(None, named).config.store == "memory:"


@pytest.mark.parametrize("value", ["null", "sqlite::memory:", "sqlite:///a.db", "sqlite:", "a.db"])
def test_a_store_that_is_none_is_blamed_on_its_variable(folder: ConfigFolder, value: str) -> None:
    fault = folder.fault(ECHO, {"WSKEEPER_STORE": value})
    assert (fault.file, fault.path) == ("environment", "WSKEEPER_STORE")


def test_a_file_without_routes_may_stand_beside_one_service(folder: ConfigFolder) -> None:
    environ = {"WSKEEPER_CONFIG": "wskeeper.yaml"}
    config = folder.load(KEYS, environ, upstream="ws://h/ws").config
    assert (config.keys[0].name, config.routes[0].name) == ("app", "default")


def test_a_file_with_routes_may_not(folder: ConfigFolder) -> None:
    fault = folder.fault(ECHO, {"WSKEEPER_CONFIG": "wskeeper.yaml"}, upstream="ws://h/ws")
    assert fault.path == "--upstream"
    assert "routes of wskeeper.yaml" in fault.problem


def test_a_wrong_service_is_the_only_fault(folder: ConfigFolder) -> None:
    fault = folder.fault(upstream="http://h")
    assert (fault.file, fault.path) == ("command line", "--upstream")


def test_a_service_under_a_reserved_path_is_blamed_on_the_flag(folder: ConfigFolder) -> None:
    assert folder.fault(upstream="ws://h/.wskeeper/x").path == "--upstream"

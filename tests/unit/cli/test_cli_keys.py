"""`wskeeper keys create`, `list` and `show`, on a real store."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.keys.key import digest_of
from proxy.stores.sqlite import SqliteStore
from tests.unit.cli.keys_scene import (
    CONFIG,
    NO_LIMITS,
    SECRET,
    created,
    failed,
    kept,
    shown,
    used,
)

if TYPE_CHECKING:
    from tests.unit.cli.keys_scene import Command


# create --------------------------------------------------------------------------------------


def test_stdout_of_create_is_the_secret_alone(wskeeper: Command) -> None:
    result = wskeeper("keys", "create", "--name", "alice", "--init")
    assert result.exit_code == 0
    secret = result.stdout.removesuffix("\n")
    assert SECRET.fullmatch(secret)
    assert secret not in result.stderr
    assert "shown once" in result.stderr
    assert "every route" in result.stderr
    [key] = kept()
    assert key.secrets[0].digest == digest_of(secret.encode())
    assert key.id == secret.split("_")[1]


def test_create_as_json_is_one_object_with_the_secret(wskeeper: Command) -> None:
    result = wskeeper("keys", "create", "--name", "alice", "--init", "--json")
    told = json.loads(result.stdout)
    assert SECRET.fullmatch(told.pop("secret"))
    assert told == shown(wskeeper)
    assert result.stderr == ""


def test_every_field_can_be_given(wskeeper: Command) -> None:
    options = ["--routes", "chat, echo", "--routes", "more", "--expires", "90d"]
    options += ["--limit", "connections=5", "--origin", "https://A.example"]
    options += ["--origin", "https://b.example", "--address", "10.0.0.0/8"]
    options += ["--deny-address", "10.1.0.0/16", "--metadata", "plan=gold", "--metadata", "a=b=c"]
    created(wskeeper, *options)
    told = shown(wskeeper)
    assert told["routes"] == ["chat", "echo", "more"]
    assert told["limits"] == {**NO_LIMITS, "connections": 5}
    assert told["origins"] == ["https://a.example", "https://b.example"]
    assert told["addresses"] == {"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]}
    assert told["metadata"] == {"plan": "gold", "a": "b=c"}
    [key] = kept()
    assert key.expires_at is not None
    assert key.expires_at == pytest.approx(time.time() + 90 * 86400, abs=60)


def test_every_limit_can_be_given(wskeeper: Command) -> None:
    limits = [
        "connections=5",
        "connections_per_address=4",
        "connections_per_subject = 3",
        "handshakes_per_second=0.5",
        "message_size.upstream_to_client=1MiB",
        "message_size=64KiB",
        "messages_per_second=10",
        "bytes_per_second=1MB",
        "on_exceed=close",
    ]
    created(wskeeper, *(word for limit in limits for word in ("--limit", limit)))
    assert shown(wskeeper)["limits"] == {
        "connections": 5,
        "connections_per_address": 4,
        "connections_per_subject": 3,
        "handshakes_per_second": 0.5,
        "message_size": {"client_to_upstream": 65_536, "upstream_to_client": 1_048_576},
        "messages_per_second": 10,
        "bytes_per_second": 1_000_000,
        "on_exceed": "close",
    }
    [line] = [
        line
        for line in wskeeper("keys", "show", "alice").stdout.splitlines()
        if line.startswith("limits")
    ]
    assert line.split(maxsplit=1)[1] == (
        "connections=5, connections_per_address=4, connections_per_subject=3,"
        " handshakes_per_second=0.5, messages_per_second=10, bytes_per_second=1000000,"
        " on_exceed=close, message_size.client_to_upstream=65536,"
        " message_size.upstream_to_client=1048576"
    )


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2130-12-31", "2130-12-31T00:00:00Z"),
        ("2130-12-31T12:00:00+02:00", "2130-12-31T10:00:00Z"),
        ("never", None),
    ],
)
def test_an_expiry_may_be_a_moment(wskeeper: Command, text: str, moment: str | None) -> None:
    created(wskeeper, "--expires", text)
    assert shown(wskeeper)["expires_at"] == moment


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--expires", "90x"], ["--expires is neither a duration nor a moment", "`90d`"]),
        (["--expires", "2130-13-01"], ["--expires names a day", "`90d`"]),
        (["--expires", "2020-01-01"], ["--expires lies in the past"]),
        (["--expires", "-5d"], ["--expires"]),
        (["--expires", "5"], ["--expires 5 has no unit", "`90d`"]),
        (["--expires", "5.5"], ["--expires 5.5 has no unit"]),
        (["--expires", "0d"], ["--expires is not longer than nothing"]),
        (["--limit", "connection=5"], ["did you mean `connections`?"]),
        (["--limit", "speed=5"], ["there is `connections`"]),
        (["--limit", "connections"], ["write `connections=5`"]),
        (["--limit", "connections=0"], ["write `connections=5`"]),
        (["--limit", "connections=²"], ["write `connections=5`"]),
        (["--limit", "connections=-5"], ["write `connections=5`"]),
        (["--limit", "connections=" + "9" * 30], ["--limit connections: is too large"]),
        (["--limit", "connections=1.5"], ["--limit connections: is not a whole number"]),
        (["--limit", "messages_per_second=nan"], ["write `messages_per_second=5`"]),
        (["--limit", "messages_per_second=1e3"], ["write `messages_per_second=5`"]),
        (["--limit", "messages_per_second=0.0"], ["write `messages_per_second=5`"]),
        (
            ["--limit", "handshakes_per_second=" + "9" * 500],
            ["--limit handshakes_per_second: is out of range"],
        ),
        (
            ["--limit", "message_size"],
            ["--limit message_size has no value", "`message_size=64KiB`"],
        ),
        (["--limit", "message_size=0"], ["--limit message_size", "is not a size", "64KiB"]),
        (["--limit", "message_size.upstream_to_client=-1"], ["upstream_to_client: is not a size"]),
        (["--limit", "message_size.upstream=5"], ["`message_size.upstream_to_client`?"]),
        (["--limit", "bytes_per_second=1Mbit"], ["--limit bytes_per_second: is not a size"]),
        (["--limit", "on_exceed="], ["write `on_exceed=close`"]),
        (["--limit", "on_exceed=drop"], ["--limit on_exceed:", "`throttle` or `close`"]),
        (
            ["--limit", "auth_failures_per_minute=5"],
            ["is counted per client address", "under `limits:` of the configuration"],
        ),
        (["--origin", "https://a.example/"], ["--origin", "more than an origin"]),
        (["--address", "10.0.0.1/8"], ["--address", "write `10.0.0.0/8`"]),
        (["--deny-address", "x"], ["--deny-address", "no network"]),
        (["--address", "any", "--address", "::1"], ["--address any stands alone"]),
        (["--metadata", "plan"], ["write `plan=VALUE`"]),
        (["--metadata", "a b=c"], ["--metadata a b: cannot end a header's name"]),
        (["--metadata", "a=b\x01"], ["control character"]),
        (["--routes", "all,chat"], ["--routes all stands alone"]),
        (["--routes", "a,,b"], ["--routes", "is not a name"]),
        (["--origin", "x", "--address", "y"], ["--origin is", "--address is"]),
    ],
)
def test_what_cannot_be_taken_is_wrong_usage(
    wskeeper: Command, options: list[str], words: list[str]
) -> None:
    result = wskeeper("keys", "create", "--name", "alice", "--init", *options)
    failed(result, *words, code=2)
    assert not Path("wskeeper.db").exists()


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "x" * 65])
def test_a_name_must_be_one(wskeeper: Command, name: str) -> None:
    failed(wskeeper("keys", "create", f"--name={name}", "--init"), "--name is not a name", code=2)


def test_a_name_is_taken_once(wskeeper: Command) -> None:
    created(wskeeper)
    failed(wskeeper("keys", "create", "--name", "alice"), "`alice`", "already")
    assert len(kept()) == 1


def test_a_missing_store_is_not_made_by_the_way(wskeeper: Command, tmp_path: Path) -> None:
    for arguments in (["create", "--name", "a"], ["list"], ["revoke", "a"], ["export"]):
        failed(wskeeper("keys", *arguments), f"sqlite:{tmp_path}/wskeeper.db", "--init")
    assert not Path("wskeeper.db").exists()


def test_a_store_in_memory_is_out_of_reach(wskeeper: Command) -> None:
    failed(wskeeper("keys", "list", "--store", "memory:"), "gateway's process", "sqlite:PATH")


def test_the_store_may_be_named_in_every_way(wskeeper: Command, tmp_path: Path) -> None:
    created(wskeeper, "--store", "sqlite:a.db")
    created(wskeeper, "--store", f"sqlite:{tmp_path}/b.db")
    Path("conf").mkdir()
    Path("conf/c.yaml").write_text(CONFIG + "store: sqlite:c.db\n")
    created(wskeeper, "-c", "conf/c.yaml")
    wskeeper("keys", "create", "--name", "d", "--init", WSKEEPER_STORE="sqlite:d.db")
    for file in ("a.db", "b.db", "conf/c.db", "d.db"):
        assert len(kept(file)) == 1


def test_what_is_amiss_with_a_store_is_told_beside(
    wskeeper: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    created(wskeeper)
    monkeypatch.setattr(SqliteStore, "warning", "others may read it")
    result = wskeeper("keys", "list")
    assert result.exit_code == 0
    assert result.stderr == "warning: others may read it\n"


def test_a_store_that_is_none_is_told(wskeeper: Command) -> None:
    failed(wskeeper("keys", "list", "--store", "mysql://u:hunter2@h"), "--store", "sqlite:PATH")
    assert "hunter2" not in wskeeper("keys", "list", "--store", "mysql://u:hunter2@h").output


# The configuration beside it -----------------------------------------------------------------


def test_routes_are_those_of_the_configuration(wskeeper: Command) -> None:
    Path("wskeeper.yaml").write_text(CONFIG)
    result = wskeeper("keys", "create", "--name", "alice", "--init", "--routes", "caht")
    failed(result, "`caht`", "did you mean `chat`?", "`chat`, `echo`", "wskeeper.yaml")
    created(wskeeper, "--routes", "chat")
    failed(wskeeper("keys", "update", "alice", "--routes", "nowhere"), "there is `chat`, `echo`")
    assert wskeeper("keys", "update", "alice", "--routes", "echo").exit_code == 0
    assert shown(wskeeper)["routes"] == ["echo"]


def test_routes_of_a_store_that_is_named_alone_are_not_known(wskeeper: Command) -> None:
    Path("wskeeper.yaml").write_text(CONFIG)
    created(wskeeper, "--store", "sqlite:other.db", "--routes", "elsewhere")
    failed(
        wskeeper(
            *("keys", "create", "--name", "b", "--routes", "elsewhere"),
            *("--store", "sqlite:other.db", "-c", "wskeeper.yaml"),
        ),
        "`elsewhere`",
    )


def test_keys_of_the_configuration_are_listed_and_shown(wskeeper: Command) -> None:
    Path("wskeeper.yaml").write_text(CONFIG)
    created(wskeeper)
    lines = wskeeper("keys", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "alice", "legacy"]
    assert [line.split()[-1] for line in lines[1:]] == ["store", "configuration"]
    assert shown(wskeeper, "legacy")["source"] == "configuration"


def test_keys_of_the_configuration_are_changed_there(wskeeper: Command) -> None:
    Path("wskeeper.yaml").write_text(CONFIG)
    created(wskeeper)
    for arguments in (["update", "--name", "x"], ["revoke"], ["rotate"], ["delete"], ["suspend"]):
        result = wskeeper("keys", *arguments, "legacy")
        failed(result, "`legacy` stands in wskeeper.yaml", "`keys:`")


def test_a_name_or_secret_of_the_configuration_is_taken(wskeeper: Command) -> None:
    Path("wskeeper.yaml").write_text(CONFIG)
    created(wskeeper)
    for arguments in (["create", "--name", "legacy"], ["update", "alice", "--name", "legacy"]):
        failed(wskeeper("keys", *arguments), "`legacy`", "has that name already")
    result = wskeeper("keys", "import", "--name", "b", "--sha256", "ab" * 32)
    failed(result, "`legacy`", "has that secret already")


def test_a_faulty_configuration_does_not_stand_in_the_way(wskeeper: Command) -> None:
    created(wskeeper)
    Path("wskeeper.yaml").write_text(CONFIG + "rutes: []\n")
    result = wskeeper("keys", "list")
    assert result.exit_code == 0
    assert "alice" in result.stdout
    assert "wskeeper.yaml:6: rutes" in result.stderr
    assert wskeeper("keys", "revoke", "alice").exit_code == 0


def test_a_faulty_store_in_the_configuration_is_told(wskeeper: Command) -> None:
    Path("wskeeper.yaml").write_text(CONFIG + "store: 5\n")
    failed(wskeeper("keys", "list"), "wskeeper.yaml:6: store: names no store")


# list and show -------------------------------------------------------------------------------


def test_a_table_is_for_people(wskeeper: Command) -> None:
    created(wskeeper, "--expires", "90d", "--routes", "b,a")
    created(wskeeper, name="a-longer-name")
    head, second, first = wskeeper("keys", "list").stdout.splitlines()
    assert head.split("  ")[0] == "NAME"
    assert second.startswith("a-longer-name  ")
    assert re.match(r"alice          \S{10}  active  a,b     \d{4}-\d\d-\d\d \d\d:\d\d UTC", first)
    assert "in 90 days" in first
    assert first.index("active") == head.index("STATE")
    assert "\x1b" not in head + first


def test_a_list_as_json(wskeeper: Command) -> None:
    created(wskeeper)
    assert json.loads(wskeeper("keys", "list", "--json").stdout) == {"keys": [shown(wskeeper)]}


def test_no_keys_are_an_empty_list(wskeeper: Command) -> None:
    created(wskeeper)
    wskeeper("keys", "delete", "alice")
    result = wskeeper("keys", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "keys create" in result.stderr
    assert json.loads(wskeeper("keys", "list", "--json").stdout) == {"keys": []}


def test_a_key_is_shown_for_people(wskeeper: Command) -> None:
    created(wskeeper, "--deny-address", "10.0.0.0/8", "--metadata", "k=v")
    wskeeper("keys", "rotate", "alice", "--overlap", "1h")
    wskeeper("keys", "suspend", "alice")
    lines = dict(
        line.split(maxsplit=1) for line in wskeeper("keys", "show", "alice").stdout.splitlines()
    )
    assert lines["state"] == "suspended"
    assert lines["routes"] == "all"
    assert lines["limits"] == "none"
    assert lines["addresses"] == "any, not 10.0.0.0/8"
    assert lines["metadata"] == "k=v"
    assert lines["secret"].startswith("valid until ")


def test_a_key_goes_by_its_id_or_name(wskeeper: Command) -> None:
    secret = created(wskeeper)
    assert shown(wskeeper, secret.split("_")[1]) == shown(wskeeper)


def test_a_slip_in_a_name_is_told_what_may_have_been_meant(wskeeper: Command) -> None:
    created(wskeeper)
    for command in ("show", "revoke"):
        failed(wskeeper("keys", command, "alcie"), "did you mean `alice`?")
        failed(wskeeper("keys", command, "zzz"), "`wskeeper keys list`")


def test_last_use_is_shown(wskeeper: Command) -> None:
    used(created(wskeeper).split("_")[1], hours_ago=3)
    assert shown(wskeeper)["last_used_at"] is not None
    assert "3 hours ago" in wskeeper("keys", "list").stdout


# In a shell ----------------------------------------------------------------------------------


def test_a_shell_catches_the_secret(tmp_path: Path) -> None:
    program = f'KEY=$({sys.executable} -m proxy keys create --name a --init) && echo "<$KEY>"'
    done = subprocess.run(
        ["sh", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert SECRET.fullmatch(done.stdout.strip().strip("<>"))
    assert done.stderr.count("\n") == 2


@pytest.mark.parametrize("name", ["WSKEEPER_CONFIG", "WSKEEPER_CONFIG_FILE"])
def test_variable_that_is_empty_names_no_configuration(wskeeper: Command, name: str) -> None:
    assert "warning" not in wskeeper("keys", "create", "--name", "a", "--init", **{name: ""}).stderr

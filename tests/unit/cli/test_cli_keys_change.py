"""`wskeeper keys update` to `delete`, and what no command ever prints."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.keys.key import digest_of
from proxy.stores.open import open_store
from tests.unit.cli.keys_scene import SECRET, created, failed, kept, shown, used

if TYPE_CHECKING:
    from tests.unit.cli.keys_scene import Command


# update --------------------------------------------------------------------------------------


def test_update_changes_what_is_named_alone(wskeeper: Command) -> None:
    created(wskeeper, "--routes", "chat", "--limit", "connections=5", "--metadata", "plan=gold")
    before = shown(wskeeper)
    result = wskeeper("keys", "update", "alice", "--metadata", "Team=red", "--json")
    assert json.loads(result.stdout) == {
        **before,
        "metadata": {"plan": "gold", "Team": "red"},
    }
    wskeeper("keys", "update", "alice", "--metadata", "team=blue", "--metadata", "plan=")
    assert shown(wskeeper)["metadata"] == {"team": "blue"}
    wskeeper("keys", "update", "alice", "--deny-address", "10.0.0.0/8")
    wskeeper("keys", "update", "alice", "--address", "192.0.2.0/24")
    assert shown(wskeeper)["addresses"] == {"allow": ["192.0.2.0/24"], "deny": ["10.0.0.0/8"]}


def test_every_field_can_be_cleared(wskeeper: Command) -> None:
    created(wskeeper)
    plain = shown(wskeeper)
    options = ["--routes", "a", "--expires", "1d", "--limit", "connections=5", "--metadata", "a=b"]
    options += ["--origin", "https://a.example", "--address", "::1", "--deny-address", "::2"]
    assert wskeeper("keys", "update", "alice", *options).exit_code == 0
    assert shown(wskeeper) != plain
    options = ["--routes", "all", "--expires", "never", "--limit", "connections=none"]
    options += ["--metadata", "none", "--origin", "any", "--address", "any"]
    result = wskeeper("keys", "update", "alice", *options, "--deny-address", "none")
    assert result.stdout == f"changed the key alice (id {plain['id']})\n"
    assert shown(wskeeper) == plain


def test_update_changes_single_limits(wskeeper: Command) -> None:
    created(wskeeper, "--limit", "connections=5", "--limit", "message_size=64KiB")

    def after(*limits: str) -> dict[str, object]:
        words = [word for limit in limits for word in ("--limit", limit)]
        assert wskeeper("keys", "update", "alice", *words).exit_code == 0
        limits_now = shown(wskeeper)["limits"]
        return {name: value for name, value in limits_now.items() if value is not None}

    def size(to_upstream: int | None, to_client: int | None) -> dict[str, int | None]:
        return {"client_to_upstream": to_upstream, "upstream_to_client": to_client}

    expected = {"connections": 5, "message_size": size(65_536, None)}
    assert after("on_exceed=close") == {**expected, "on_exceed": "close"}
    assert after("on_exceed=none") == expected
    expected["message_size"] = size(65_536, 9)
    assert after("message_size.upstream_to_client=9") == expected
    expected["message_size"] = size(1024, 9)
    assert after("message_size=1KiB") == expected
    expected["message_size"] = size(None, 9)
    assert after("message_size.client_to_upstream=none") == expected
    expected["message_size"] = size(None, 7)
    assert after("message_size=none", "message_size.upstream_to_client=7") == expected
    assert after("message_size=none") == {"connections": 5}
    assert after("connections=none", "message_size.upstream_to_client=none") == {}


def test_a_key_can_be_renamed(wskeeper: Command) -> None:
    created(wskeeper)
    created(wskeeper, name="bob")
    failed(wskeeper("keys", "update", "alice", "--name", "bob"), "`bob`", "already")
    assert wskeeper("keys", "update", "alice", "--name", "carol").exit_code == 0
    assert [key.name for key in kept()] == ["bob", "carol"]


def test_update_without_a_field_is_wrong_usage(wskeeper: Command) -> None:
    created(wskeeper)
    failed(wskeeper("keys", "update", "alice"), "nothing to change", code=2)
    failed(wskeeper("keys", "update", "alice", "--origin", "x"), "--origin", code=2)


# rotate, suspend, resume, revoke, delete -----------------------------------------------------


def test_rotate_prints_a_new_secret_and_keeps_the_old_one_for_a_day(wskeeper: Command) -> None:
    first = created(wskeeper)
    result = wskeeper("keys", "rotate", "alice")
    second = result.stdout.removesuffix("\n")
    assert SECRET.fullmatch(second)
    assert second != first
    assert second.split("_")[1] == first.split("_")[1]
    assert "in 24 hours" in result.stderr
    [key] = kept()
    digests = [digest_of(secret.encode()) for secret in (second, first)]
    assert [secret.digest for secret in key.secrets] == digests
    assert key.secrets[0].until is None
    assert key.secrets[1].until == pytest.approx(time.time() + 86400, abs=60)


@pytest.mark.parametrize("overlap", ["0", "0s"])
def test_rotate_without_overlap_ends_the_old_secret_at_once(
    wskeeper: Command, overlap: str
) -> None:
    created(wskeeper)
    result = wskeeper("keys", "rotate", "alice", "--overlap", overlap, "--json")
    told = json.loads(result.stdout)
    assert SECRET.fullmatch(told["secret"])
    [key] = kept()
    assert key.secrets[1].until is not None
    assert key.secrets[1].until <= time.time()


def test_an_overlap_is_a_duration(wskeeper: Command) -> None:
    created(wskeeper)
    failed(wskeeper("keys", "rotate", "alice", "--overlap", "soon"), "--overlap is not", code=2)


def test_a_key_is_put_aside_and_brought_back(wskeeper: Command) -> None:
    created(wskeeper)
    for command, state in (("suspend", "suspended"), ("resume", "active"), ("revoke", "revoked")):
        assert json.loads(wskeeper("keys", command, "alice", "--json").stdout)["state"] == state
        assert wskeeper("keys", command, "alice").exit_code == 0


def test_a_revoked_key_stays_so(wskeeper: Command) -> None:
    created(wskeeper)
    assert wskeeper("keys", "revoke", "alice").stdout.startswith("revoked the key alice (id ")
    for command in ("suspend", "resume", "rotate"):
        failed(wskeeper("keys", command, "alice"), "revoked")


def test_a_deleted_key_is_gone(wskeeper: Command) -> None:
    created(wskeeper)
    assert json.loads(wskeeper("keys", "delete", "alice", "--json").stdout)["name"] == "alice"
    assert kept() == []
    failed(wskeeper("keys", "delete", "alice"), "no key in")


def test_changes_are_made_in_the_name_of_the_account(
    wskeeper: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    created(wskeeper)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    created(wskeeper, name="bob")
    store = open_store("sqlite:wskeeper.db", create=False)
    changes = store.changes(None)
    store.close()
    assert changes is not None
    assert {change.by for change in changes.changes} == {"cli:root", "cli:54321"}


# No secret is ever shown again ---------------------------------------------------------------


def test_no_other_command_ever_prints_a_secret(wskeeper: Command) -> None:
    imported = "canary-of-a-length-that-will-do"
    secrets = [created(wskeeper)]
    result = wskeeper("keys", "import", "--name", "bob", "--secret-stdin", stdin=imported.encode())
    outputs = [result.output]
    secrets += [imported, wskeeper("keys", "rotate", "alice").stdout.strip()]
    used("alice")
    lines = [
        *(["list"], ["list", "--json"], ["export"]),
        *(
            [command, name]
            for command in ("show", "suspend", "resume")
            for name in ("alice", "bob")
        ),
        ["show", "alice", "--json"],
        ["update", "alice", "--expires", "1d", "--json"],
        *(["show", secret] for secret in secrets),
        *(["revoke", secret] for secret in secrets),
        *(["import", "--name", "c", "--sha256", secret] for secret in secrets),
        ["revoke", "alice", "--json"],
        ["delete", "alice", "--json"],
    ]
    outputs += [wskeeper("keys", *line).output for line in lines]
    for secret in secrets:
        outputs += [wskeeper("usage", "--key", secret).output]
        outputs += [
            wskeeper("keys", "import", "--name", "c", "--secret-stdin", stdin=data).output
            for data in (secret[:-1].encode(), f"{secret}\n\n".encode(), f"{secret}\0".encode())
        ]
    for output in outputs:
        for secret in secrets:
            assert secret not in output
            assert secret[-20:] not in output
    assert all(secret.encode() not in Path("wskeeper.db").read_bytes() for secret in secrets)


def test_a_secret_in_place_of_a_name_is_told_as_such(wskeeper: Command) -> None:
    secret = created(wskeeper)
    failed(wskeeper("keys", "revoke", secret), "looks like a secret", f"`{secret.split('_')[1]}`")
    failed(wskeeper("keys", "revoke", secret[:-1]), "looks like a secret")
    stdin = b"an-imported-secret-of-some-length"
    wskeeper("keys", "import", "--name", "bob", "--secret-stdin", stdin=stdin)
    failed(wskeeper("keys", "revoke", stdin.decode()), "that is a secret of the key `bob`")
    assert [key.revoked_at for key in kept()] == [None, None]

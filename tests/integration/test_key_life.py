"""Keys with a whole life: made, imported, kept over restarts, told of to nobody."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.harness.accounts import log_faults
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.operators import CommandLine
from tests.harness.process import wait_until
from tests.integration.key_scene import (
    AT_ONCE,
    STORE,
    Scene,
    asking,
    configuration,
    echoes,
    new_name,
    scene,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("life")) as made:
        yield made
        made.leave()
        assert made.gateway.stop() == 0
        assert not log_faults(made.gateway.log)


@pytest.fixture
def house(everything: Scene) -> Iterator[Scene]:
    yield everything
    everything.leave()


# On the command line -----------------------------------------------------------------------


def test_a_key_lives_on_the_command_line(house: Scene) -> None:
    name = new_name()
    done = house.line.run("keys", "create", "--name", name, "--metadata", "plan=gold")
    assert done.returncode == 0, done.stderr
    secret = done.stdout.rstrip("\n")
    assert secret.startswith("wsk_")
    assert "\n" not in secret
    assert wait_until(lambda: house.ask(secret).status == 101, AT_ONCE)
    house.upstream.forget()
    with house.open(secret) as client:
        assert echoes(client)
    request = house.upstream.connection().request
    assert request is not None
    shown = house.line.show(name)
    assert request.get("X-Wskeeper-Key-Name") == name
    assert request.get("X-Wskeeper-Key-Id") == shown["id"]
    assert request.get("X-Wskeeper-Meta-plan") == "gold"
    assert request.get("X-Wskeeper-Auth") == "api_key"
    assert secret not in request.raw.decode()

    assert [house.line.act(verb, name)["state"] for verb in ("suspend", "resume", "revoke")] == [
        "suspended",
        "active",
        "revoked",
    ]
    for verb in ("suspend", "resume"):
        refused = house.line.run("keys", verb, name)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert len(refused.stderr.splitlines()) == 1
    house.line.act("delete", name)
    assert house.line.run("keys", "show", name).returncode == 1
    assert wait_until(lambda: house.ask(secret).code == "key_unknown", AT_ONCE)
    again = house.line.create(name)
    house.wait_for("key_created", again)
    assert house.ask(secret).code == "key_unknown"
    assert house.open(again["secret"])


def test_an_existing_key_is_brought_along(house: Scene) -> None:
    secret = "an existing secret, blanks and all"
    made = house.line.bring(new_name(), secret, routes=["app"])
    house.wait_for("key_created", made)
    assert echoes(house.open(secret))
    assert house.ask(secret, "/other").code == "route_forbidden"
    digest = hashlib.sha256(b"another one, known by its digest").hexdigest()
    done = house.line.run("keys", "import", "--name", new_name(), "--sha256", digest)
    assert done.returncode == 0, done.stderr
    assert wait_until(lambda: house.ask("another one, known by its digest").status == 101, AT_ONCE)
    twin = house.line.run("keys", "import", "--name", new_name(), "--sha256", digest)
    assert twin.returncode == 1
    assert digest not in twin.stderr


def test_a_short_secret_is_taken_only_if_it_must_be(house: Scene) -> None:
    words = ("keys", "import", "--name", new_name(), "--secret-stdin")
    refused = house.line.run(*words, typed="hunter2\n")
    assert refused.returncode in {1, 2}
    assert "hunter2" not in refused.stderr + refused.stdout
    assert house.line.run(*words, "--allow-weak", typed="hunter2\n").returncode == 0
    assert wait_until(lambda: house.ask("hunter2").status == 101, AT_ONCE)


def test_keys_move_to_another_store_without_their_secrets(house: Scene, tmp_path: Path) -> None:
    kept, revoked = house.create(), house.create()
    house.api.act("revoke", revoked["name"])
    exported = house.line.run("keys", "export")
    assert exported.returncode == 0, exported.stderr
    for made in (kept, revoked):
        assert made["secret"] not in exported.stdout
    file = tmp_path / "keys.json"
    file.write_text(exported.stdout)
    line = CommandLine(tmp_path / STORE)
    line.create("makes-the-file")
    moved = line.run("keys", "import-file", str(file))
    assert moved.returncode == 0, moved.stderr
    config = configuration(house.upstream, tmp_path / STORE)
    with Gateway(tmp_path, config) as gateway, Door(gateway.public) as door:
        assert echoes(door.open(asking(kept["secret"])))
        assert door.ask(asking(revoked["secret"])).code == "key_revoked"


def test_no_command_makes_a_store_by_accident(house: Scene, tmp_path: Path) -> None:
    del house
    line = CommandLine(tmp_path / "typo.db")
    for words in (
        ("keys", "create", "--name", "x"),
        ("keys", "list"),
        ("keys", "revoke", "x"),
        ("keys", "export"),
        ("usage",),
    ):
        done = line.run(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert str(tmp_path / "typo.db") in done.stderr
    assert not list(tmp_path.iterdir())


def test_keys_and_usage_outlive_the_gateway(tmp_path: Path) -> None:
    with scene(tmp_path) as first:
        active, revoked = first.create(), first.create()
        assert echoes(first.open(active["secret"]))
        first.api.act("revoke", revoked["name"])
        first.leave()
        assert first.gateway.stop() == 0
    with scene(tmp_path) as second:
        assert second.ask(revoked["secret"]).code == "key_revoked"
        assert echoes(second.open(active["secret"]))
        used = second.api.usage(active["name"])
        assert (used["connections"], used["messages_from_client"]) == (1, 1)
        assert second.api.show(active["name"])["last_used_at"] is not None
        second.leave()
        second.gateway.stop()
        assert second.line.usage(active["name"])["connections"] == 2


def test_usage_of_two_gateways_adds_up(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with scene(tmp_path) as first:
        config = configuration(first.upstream, first.store)
        made = first.create()
        secret = made["secret"]
        with Gateway(tmp_path / "b", config) as second, Door(second.public) as door:
            assert wait_until(lambda: door.ask(asking(secret)).status == 101, AT_ONCE)
            for _ in range(3):
                assert echoes(first.open(secret), "here")
                assert echoes(door.open(asking(secret)), "there")
            door.close_all()
            first.leave()
            assert second.stop() == first.gateway.stop() == 0
        used = first.line.usage(made["name"])
        assert used["messages_from_client"] == used["messages_from_upstream"] == 6
        assert used["connections"] >= 7


# Secrets -----------------------------------------------------------------------------------


def test_no_secret_stays_anywhere(tmp_path: Path) -> None:
    """Not in the file, its log, a copy of it, the log, the metrics, an answer, a report."""
    with scene(tmp_path) as house:
        brought = "CANARY-brought-6b1f0c9d8e7a5432"
        weak = "CANARY-weak"
        house.line.bring(new_name(), brought)
        house.api.bring(new_name(), weak, allow_weak=True)
        made = [house.create(), house.line.create(new_name())]
        secrets = [brought, weak, *(one["secret"] for one in made)]
        assert wait_until(lambda: house.ask(made[1]["secret"]).status == 101, AT_ONCE)
        for secret in (*secrets,):
            assert echoes(house.open(secret))
            assert house.ask(secret + "x").code == "key_unknown"
            house.api.ask("GET", f"/keys/{secret}")
            house.api.ask("POST", f"/keys/{secret}/revoke")
            house.api.ask("GET", f"/usage?key={secret}")
            house.api.ask("POST", "/keys", {"name": new_name(), "secret": secret})
            house.line.run("keys", "show", secret)
            house.line.run("usage", "--key", secret)
        secrets += [house.rotate("api", made[0], "1h")["secret"]]
        secrets += [house.rotate("line", made[1], "0")["secret"]]
        house.api.act("revoke", made[0]["name"])
        house.line.act("delete", made[1]["name"])
        house.line.run("keys", "list")
        exported = house.line.run("keys", "export").stdout
        told = ["\n".join(house.gateway.metrics())]
        while_running = _contents(tmp_path)
        house.leave()
        assert house.gateway.stop() == 0
        told += [*house.line.said, *house.api.said, *house.gateway.log, *house.gateway.output]
    digests = [hashlib.sha256(secret.encode()).hexdigest() for secret in secrets]
    assert not [line for line in told if any(digest in line for digest in digests)]
    said = "\n".join([*told, exported]).encode()
    places = {**while_running, **_contents(tmp_path), "what was said": said}
    assert {STORE, "wskeeper.yaml"} <= places.keys()
    for secret in secrets:
        # Of a made key the id is public.
        private = secret.rpartition("_")[2].encode()
        assert not [place for place, content in places.items() if private in content]


def _contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}

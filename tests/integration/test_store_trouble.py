"""A store in trouble: nobody new is believed, nobody is thrown out, and it heals by itself."""

from __future__ import annotations

import hashlib
import sqlite3
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from proxy.sessions.bookkeeper import BATCH_EVERY
from tests.harness import programs
from tests.harness.accounts import log_faults
from tests.harness.heads import upgrade
from tests.harness.operators import CommandLine
from tests.harness.process import BUSY, wait_until
from tests.harness.trouble import (
    GARBAGE,
    copy_of,
    directory_gone,
    file_deleted,
    file_hangs,
    file_locked,
    file_overwritten,
    file_read_only,
    file_replaced,
    file_unreadable,
    obey_rights,
)
from tests.integration.key_scene import (
    AT_ONCE,
    Scene,
    configuration,
    echoes,
    metric,
    new_name,
    scene,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.upstream import Upstream

pytestmark = pytest.mark.timeout(90)

FIXED = "the-key-of-the-configuration-3c5e7a"
UNKNOWN = "nobody-has-ever-had-this-key-1b2d"
# A store that hangs is given up after two seconds; time enough is left to see the time of grace.
GRACE, GRACE_HANGING = 3.0, 4.5
NOTICED = 4.0

TROUBLES: dict[str, Any] = {
    "directory gone": directory_gone,
    "file deleted": file_deleted,
    "file replaced": file_replaced,
    "file overwritten": file_overwritten,
    "file unreadable": file_unreadable,
    "file read-only": file_read_only,
    "file hangs": file_hangs,
}


@contextmanager
def troubled_scene(folder: Path, grace: float = GRACE) -> Iterator[Scene]:
    """A scene whose store has a folder of its own."""
    data = folder / "data"
    data.mkdir()
    keys = [{"name": "fixed", "sha256": hashlib.sha256(FIXED.encode()).hexdigest()}]
    store = data / "keys.db"
    with scene(folder, store, store_grace=f"{grace}s", keys=keys) as made:
        yield made
        made.leave()


def up(house: Scene) -> float:
    return metric(house.gateway.metrics(), "wskeeper_store_up")


def ready(house: Scene) -> int:
    try:
        with urllib.request.urlopen(house.gateway.admin_url + "/readyz", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


def outcome(house: Scene, key: str) -> tuple[int, str | None]:
    answer = house.ask(key)
    return answer.status, answer.code


AWAY = (503, "store_unavailable")


@pytest.mark.parametrize("name", TROUBLES)
def test_a_gateway_lives_through_trouble_with_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    obey_rights(monkeypatch)
    grace = GRACE_HANGING if name == "file hangs" else GRACE
    with troubled_scene(tmp_path, grace) as house:
        known, suspended = house.create(), house.create()
        house.api.act("suspend", suspended["name"])
        live = [house.open(known["secret"]), house.open(FIXED)]
        began = time.monotonic()
        with TROUBLES[name](house.store):
            assert wait_until(lambda: up(house) == 0, NOTICED), "the trouble was not noticed"
            # These two while the time of grace lasts.
            assert outcome(house, known["secret"]) == (101, None)
            assert outcome(house, suspended["secret"]) == (401, "key_suspended")
            assert ready(house) == 503
            with house.upstream.untouched():
                answer = house.ask(UNKNOWN)
            assert (answer.status, answer.code) == AWAY
            assert int(answer.get("Retry-After")) > 0

            assert wait_until(lambda: outcome(house, known["secret"]) == AWAY, grace + 1, 0.1)
            assert time.monotonic() - began > grace - 0.5, "no time of grace"
            with house.upstream.untouched():
                assert outcome(house, known["secret"]) == AWAY
            assert outcome(house, FIXED) == (101, None)
            assert all(echoes(client) for client in live)
            asked = time.monotonic()
            status, problem = house.api.ask("POST", "/keys", {"name": new_name()})
            assert (status, problem["code"]) == AWAY
            assert time.monotonic() - asked < 7 + BUSY
            event = house.gateway.wait_for_event("store_down")
            assert str(house.store) in event["store"]
            assert event["cause"]
        healed = time.monotonic()
        assert wait_until(lambda: outcome(house, known["secret"]) == (101, None), 10, 0.1)
        print(f"{name}: well again after {time.monotonic() - healed:.1f} s")
        assert wait_until(lambda: up(house) == 1 and ready(house) == 200, 2)
        assert outcome(house, UNKNOWN) == (401, "key_unknown")
        assert outcome(house, suspended["secret"]) == (401, "key_suspended")
        assert all(echoes(client) for client in live)
        later = house.line.create(new_name())
        assert wait_until(lambda: outcome(house, later["secret"]) == (101, None), AT_ONCE)
        house.line.act("revoke", known["name"])
        live[0].expect_close(1008, "key_revoked")
        assert echoes(live[1])
        house.leave()
        assert house.gateway.stop() == 0
        assert not log_faults(house.gateway.log)


def test_a_lock_for_writing_keeps_nobody_out(tmp_path: Path) -> None:
    """Readers do not wait for writers; who wants to write is told so, in time."""
    with troubled_scene(tmp_path) as house:
        known = house.create()
        live = house.open(known["secret"])
        with closing(sqlite3.connect(house.store, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            assert outcome(house, known["secret"]) == (101, None)
            assert outcome(house, UNKNOWN) == (401, "key_unknown")
            # Both wait at the same time, and longer than the time of grace.
            with ThreadPoolExecutor() as pool:
                asked = time.monotonic()
                told = pool.submit(house.api.ask, "POST", "/keys", {"name": new_name()})
                done = pool.submit(house.line.run, "keys", "revoke", known["name"]).result()
                status, problem = told.result()
            assert GRACE < time.monotonic() - asked < 7 + BUSY
            assert (status, problem["code"]) == AWAY
            assert "locked" in problem["detail"]
            assert done.returncode == 1
            assert "is locked by another process" in done.stderr
            assert outcome(house, known["secret"]) == (101, None)
            assert echoes(live)
            connection.execute("ROLLBACK")
        made = house.create()
        assert outcome(house, made["secret"]) == (101, None)
        house.line.act("revoke", known["name"])
        live.expect_close(1008, "key_revoked")


def test_usage_of_a_time_of_trouble_is_not_lost(tmp_path: Path) -> None:
    with troubled_scene(tmp_path) as house:
        known = house.create()
        with directory_gone(house.store):
            assert wait_until(lambda: up(house) == 0, NOTICED)
            client = house.open(known["secret"])
            assert all(echoes(client) for _ in range(3))
            house.leave()
            time.sleep(1.1 * BATCH_EVERY)  # A batch of usage is due, and cannot be written.
        assert wait_until(lambda: up(house) == 1, 5)
        assert house.gateway.stop() == 0
        used = house.line.usage(known["name"])
        assert (used["connections"], used["messages_from_client"]) == (1, 3)


def test_a_stop_in_trouble_ends_in_time(tmp_path: Path) -> None:
    with troubled_scene(tmp_path) as house:
        assert echoes(house.open(house.create()["secret"]))
        house.leave()
        with file_hangs(house.store):
            assert wait_until(lambda: up(house) == 0, NOTICED)
            asked = time.monotonic()
            assert house.gateway.stop() == 0
            assert time.monotonic() - asked < 12 + BUSY


def test_an_older_copy_put_in_place_is_believed(tmp_path: Path) -> None:
    """Whoever has no key in it any more is out, and whoever was revoked since is not back in."""
    with troubled_scene(tmp_path) as house:
        old = house.create()
        copy = copy_of(house.store)
        new = house.create()
        first, second = house.open(old["secret"]), house.open(new["secret"])
        copy.replace(house.store)
        second.expect_close(1008, "key_revoked")
        assert echoes(first)
        assert wait_until(lambda: outcome(house, new["secret"]) == (401, "key_unknown"), AT_ONCE)
        assert echoes(house.open(old["secret"]))


def test_a_first_look_at_a_key_is_never_believed_from_memory(tmp_path: Path) -> None:
    """A key that is new in the file cannot be known while the file is away."""
    with troubled_scene(tmp_path) as house:
        with directory_gone(house.store):
            assert wait_until(lambda: up(house) == 0, NOTICED)
            line = CommandLine(house.store.parent.with_name("away") / house.store.name)
            made = line.create(new_name())
            assert outcome(house, made["secret"]) == AWAY
        assert wait_until(lambda: outcome(house, made["secret"]) == (101, None), 5, 0.1)


# At the start ------------------------------------------------------------------------------


def _missing_directory(store: Path) -> None:
    store.parent.rmdir()


def _garbage(store: Path) -> None:
    store.write_bytes(GARBAGE)


def _directory(store: Path) -> None:
    store.mkdir()


def _foreign(store: Path) -> None:
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")


def _no_right(store: Path) -> None:
    _garbage(store)
    store.chmod(0)


def _no_right_to_write(store: Path) -> None:
    _garbage(store)
    store.chmod(0o400)


def _no_right_in_directory(store: Path) -> None:
    store.parent.chmod(0o500)


START_TROUBLES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing directory": (_missing_directory, "which is no folder; make the folder"),
    "garbage": (_garbage, "is damaged, or no SQLite database; put back a copy"),
    "directory": (_directory, "is a directory; name a file in it"),
    "foreign database": (_foreign, "is a database of another program; name another file"),
    "unreadable": (_no_right, "cannot be read and written by this user"),
    "read-only": (_no_right_to_write, "cannot be read and written by this user"),
    "read-only directory": (_no_right_in_directory, "cannot write: SQLite makes files there"),
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "keys.db"


def refused_start(folder: Path, upstream: Upstream, store: Path) -> str:
    """What `serve` says to people when it does not start."""
    config = {
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "log": {"format": "json"},
        **configuration(upstream, store),
    }
    path = folder / "wskeeper.yaml"
    path.write_text(yaml.safe_dump(config))
    done = programs.run("serve", "-c", str(path), timeout=20)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert said[0].startswith("Error: ")
    assert str(store.parent) in done.stderr
    assert "listening" not in done.stderr
    return "\n".join(said)


@pytest.mark.parametrize("case", START_TROUBLES)
def test_serve_says_what_is_the_matter_with_its_store(
    tmp_path: Path, upstream: Upstream, store: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    obey_rights(monkeypatch)
    make, words = START_TROUBLES[case]
    make(store)
    try:
        assert words in refused_start(tmp_path, upstream, store)
    finally:
        store.parent.mkdir(exist_ok=True)
        store.parent.chmod(0o700)


def test_serve_does_not_wait_for_ever_for_a_lock(
    tmp_path: Path, upstream: Upstream, store: Path
) -> None:
    with scene(tmp_path, store) as house:
        made = house.create()
        house.gateway.stop()
    with file_locked(store):
        began = time.monotonic()
        assert "is locked by another process; end what" in refused_start(tmp_path, upstream, store)
        assert time.monotonic() - began < 10 + BUSY
    with scene(tmp_path, store) as house:
        assert house.ask(made["secret"]).status == 101


def test_serve_makes_a_missing_file_that_nobody_else_can_read(tmp_path: Path, store: Path) -> None:
    with scene(tmp_path, store) as house:
        assert outcome(house, UNKNOWN) == (401, "key_unknown")
        assert house.door.ask(upgrade("/app")).code == "key_missing"
        assert any(f"keys in sqlite:{store}" in line for line in house.gateway.output)
        assert {path.stat().st_mode & 0o777 for path in store.parent.iterdir()} == {0o600}

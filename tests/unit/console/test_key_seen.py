"""Forms of keys in two tabs: what was seen before a change does nothing after it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console.key_seen import Marks
from proxy.keys.key import Key, KeyLimits, Secret
from tests.unit.admin.scene import NOW, Answer
from tests.unit.console.scene import FORM, Scene

if TYPE_CHECKING:
    from collections.abc import Iterator

ALICE = Key("alice-id", "alice", (Secret(b"a" * 32),), created_at=NOW - 1000)
ROTATE = "/keys/alice-id/rotate"
UNSAFE = ("edit", "rotate", "suspend", "resume", "revoke", "delete")
FILLED = {"name": "alice", "expires": "never", "metadata": "note: of this tab"}
CHANGED: dict[str, Any] = {
    "name": "bob",
    "secrets": (Secret(b"b" * 32), Secret(b"a" * 32, NOW)),
    "routes": frozenset({"echo"}),
    "expires_at": NOW + 60,
    "suspended_at": NOW,
    "revoked_at": NOW,
    "limits": KeyLimits(connections=5),
    "origins": frozenset({b"https://a.example"}),
    "allow": (),
    "metadata": {"note": "of another tab"},
}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Scene() as scene:
        scene.hold(ALICE)
        yield scene


def text(answer: Answer) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.body.decode())).split())


def stored(scene: Scene) -> Key:
    return scene.store.find("alice-id")


def happens(scene: Scene, name: str, **fields: str) -> None:
    """The log says so, as it does of a gateway that is no paper one."""
    scene.events.note("info", name, {"key_id": "alice-id", "by": "admin:other", **fields})


def test_second_press_is_told_of_the_first_and_rotates_nothing(scene: Scene) -> None:
    tabs = scene.seen(ROTATE), scene.seen(ROTATE)
    assert "is rotated" in text(scene.post(ROTATE, {"seen": tabs[0], "overlap": "1h"}))
    happens(scene, "key_rotated")
    once = stored(scene)
    answer = scene.post(ROTATE, {"seen": tabs[1], "overlap": "0"})
    assert answer.status == 409
    assert "alice was rotated meanwhile, at 2027-01-15 08:00:00 UTC by admin:other." in text(answer)
    assert "Nothing was done now." in text(answer)
    assert "Rotate alice again?" in text(answer)
    assert b"wsk_" not in answer.body
    assert b'<option value="0" selected>' in answer.body
    assert stored(scene) == once


def test_who_is_told_can_rotate_again(scene: Scene) -> None:
    late = scene.seen(ROTATE)
    scene.post(ROTATE, {"seen": scene.seen(ROTATE)})
    answer = scene.post(ROTATE, {"seen": late})
    found = re.search(rb'name="seen" value="([^"]+)"', answer.body)
    assert found is not None
    assert scene.post(ROTATE, {"seen": found[1].decode()}).status == 200
    assert len(stored(scene).secrets) == 3


def test_page_that_was_sent_is_not_sent_again_by_reloading_it(scene: Scene) -> None:
    form = {"seen": scene.seen(ROTATE)}
    assert [scene.post(ROTATE, form).status for _ in range(3)] == [200, 409, 409]
    assert len(stored(scene).secrets) == 2


def test_presses_at_the_same_moment_rotate_once(scene: Scene) -> None:
    body = f"seen={scene.seen(ROTATE)}&csrf={scene.csrf()}".encode()
    lines = (
        f"POST {ROTATE} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Cookie: {scene.cookie}",
        f"Content-Type: {FORM}",
        f"Content-Length: {len(body)}",
    )

    async def press() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer[9:12]

    async def press_all() -> list[bytes]:
        return await asyncio.gather(*(press() for _ in range(4)))

    assert sorted(scene.loop.run_until_complete(press_all())) == [b"200", b"409", b"409", b"409"]
    assert len(stored(scene).secrets) == 2


@pytest.mark.parametrize("verb", UNSAFE)
def test_no_form_changes_a_key_that_has_changed_since(scene: Scene, verb: str) -> None:
    target = f"/keys/alice-id/{verb}"
    late = scene.seen(target)
    happens(scene, "key_updated", by="cli:before")
    late = scene.seen(target)
    changed = replace(ALICE, metadata={"note": "of another tab"})
    # By another process: the ring does not know it yet.
    scene.store.change("alice-id", lambda _: changed, by="cli:root")
    happens(scene, "key_updated", by="cli:root")
    happens(scene, "key_updated", key_id="bob-id", by="cli:bob")
    answer = scene.post(target, {"seen": late, **FILLED})
    assert answer.status == 409
    assert "alice was changed meanwhile, at 2027-01-15 08:00:00 UTC by cli:root." in text(answer)
    assert "cli:before" not in text(answer)
    assert "cli:bob" not in text(answer)
    assert stored(scene) == changed


def test_form_that_came_late_keeps_what_was_filled_in(scene: Scene) -> None:
    target = "/keys/alice-id/edit"
    late = scene.seen(target)
    scene.post("/keys/alice-id/suspend", {"seen": scene.seen("/keys/alice-id/suspend")})
    answer = scene.post(target, {"seen": late, **FILLED})
    assert answer.status == 409
    assert "note: of this tab" in text(answer)
    assert b'href="/keys/alice-id/edit">Show the key as it is now' in answer.body
    found = re.search(rb'name="seen" value="([^"]+)"', answer.body)
    assert found is not None
    assert scene.post(target, {"seen": found[1].decode(), **FILLED}).status == 303
    assert stored(scene).metadata == {"note": "of this tab"}
    assert stored(scene).suspended_at == NOW


def test_deletion_meanwhile_is_told(scene: Scene) -> None:
    late = scene.seen(ROTATE)
    scene.post("/keys/alice-id/delete", {"seen": scene.seen("/keys/alice-id/delete")})
    answer = scene.post(ROTATE, {"seen": late})
    assert answer.status == 404
    assert "no such key" in text(answer)


@pytest.mark.parametrize("verb", UNSAFE)
@pytest.mark.parametrize(
    "mark", [None, "", ".", "1.2.3", "0.", "x.0", "9" * 5000 + ".0", "²." + "0" * 64, "0.é"]
)
def test_form_that_shows_no_key_does_nothing(scene: Scene, verb: str, mark: str | None) -> None:
    given = {} if mark is None else {"seen": mark}
    answer = scene.post(f"/keys/alice-id/{verb}", {**given, **FILLED})
    assert answer.status == 409
    assert "alice is no longer as this form showed it." in text(answer)
    assert stored(scene) == ALICE


def test_mark_of_another_key_is_none(scene: Scene) -> None:
    scene.hold(replace(ALICE, id="twin-id", name="twin", secrets=(Secret(b"t" * 32),)))
    assert scene.post(ROTATE, {"seen": scene.seen("/keys/twin-id/rotate")}).status == 409


def test_changes_are_told_in_their_order_and_by_name_alone(scene: Scene) -> None:
    late = scene.seen(ROTATE)
    scene.post(ROTATE, {"seen": late})
    for name in ("key_rotated", "key_suspended", "key_resumed", "key_imported"):
        happens(scene, name, by="<b>evil")
    answer = scene.post(ROTATE, {"seen": late})
    assert re.findall(r"alice was (\w+)", text(answer)) == ["rotated", "suspended", "resumed"]
    assert b"<b>evil" not in answer.body


def test_form_of_a_new_key_has_no_key_to_see(scene: Scene) -> None:
    assert b'name="seen"' not in scene.get("/new-key").body


# Marks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", CHANGED)
def test_mark_changes_with_every_part_of_a_key(part: str) -> None:
    marks = Marks(b"s" * 32)
    assert not marks.is_of(replace(ALICE, **{part: CHANGED[part]}), marks.mark(ALICE, 1))


@given(
    routes=st.permutations(["a", "b", "c", "d"]),
    pairs=st.permutations([("one", "1"), ("two", "2"), ("three", "3")]),
    latest=st.integers(0, 1 << 53),
)
def test_mark_asks_not_for_the_order_of_what_has_none(
    routes: list[str], pairs: list[tuple[str, str]], latest: int
) -> None:
    marks = Marks(b"s" * 32)
    key = replace(ALICE, routes=frozenset("abcd"), metadata={"one": "1", "two": "2", "three": "3"})
    again = replace(key, routes=frozenset(routes), metadata=dict(pairs))
    assert marks.is_of(again, marks.mark(key, latest))


def test_mark_of_another_process_is_none() -> None:
    assert not Marks(b"s" * 32).is_of(ALICE, Marks(b"t" * 32).mark(ALICE, 1))

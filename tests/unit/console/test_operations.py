"""The pages of connections, keys and events on a real socket: who may do what, and what follows."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from proxy.admin.access import Access, AdminToken
from proxy.admin.failures import TokenFailures
from proxy.admin.logins import CSRF_HEADER, Logins
from proxy.admin.server import application
from proxy.console.operations import PAGES
from proxy.console.sampler import Sampler
from proxy.console.site import Console
from proxy.keys.key import Key, KeyLimits, Secret, digest_of
from proxy.relay.frames import close_frame
from proxy.sessions.recorder import Recorders
from proxy.stores.store import Usage
from tests.unit.admin.scene import NOW, ROLES, TOKENS, Scene
from tests.unit.sessions.scene import CLIENT, HELLO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.admin.scene import Answer

EVIL = "\"'><b>evil</b>"
ALICE = Key(
    "alice-id",
    "alice",
    (Secret(b"a" * 32), Secret(b"b" * 32, NOW + 60), Secret(b"c" * 32, NOW - 60)),
    created_at=NOW - 1000,
    expires_at=NOW + 86_400,
    limits=KeyLimits(connections=5),
    metadata={"note": EVIL},
)
BOB = Key("bob-id", "bob", (Secret(b"d" * 32),), suspended_at=NOW - 5)
ENDED = {
    "request_id": "ended",
    "initiator": "client",
    "code": 4000,
    "duration_s": 1.0,
    "messages_from_client": 0,
    "messages_from_upstream": 0,
    "bytes_from_client": 0,
    "bytes_from_upstream": 0,
}
GONE = Key("gone-id", "gone", (Secret(b"e" * 32),), revoked_at=NOW - 5)


class ConsoleScene(Scene):
    """The admin listener with its console."""

    def __init__(self) -> None:
        super().__init__()
        self.logins = Logins(b"secret", lambda: self.now, bytes)
        loop = self.house.loop
        self.recorders = Recorders(self.house.deadlines, loop)  # type: ignore[arg-type]
        self.app = application(
            self.desk,
            metrics=CollectorRegistry(),
            access=Access(
                [AdminToken(role, role, digest_of(TOKENS[role].encode())) for role in ROLES],
                unix=False,
                failures=TokenFailures(lambda: self.now),
                logins=self.logins,
            ),
            public_metrics=True,
            pages=Console(
                Sampler(self.registry, lambda: self.now, loop),  # type: ignore[arg-type]
                self.recorders,
                try_page=False,
            ),
        )
        self._runner = web.AppRunner(self.app, handle_signals=False)

    def page(self, target: str, *, fragment: bool = False, role: str = "admin") -> Answer:
        lines = ["Accept: text/html", *(["HX-Request: true"] if fragment else [])]
        return self.ask("GET", target, lines=lines, token=TOKENS[role])

    def post(self, target: str, role: str = "admin", **fields: Any) -> Answer:
        """Sends a form of the console."""
        return self.ask(
            "POST",
            target,
            urlencode(fields, doseq=True).encode(),
            lines=[
                "Accept: text/html",
                "Content-Type: application/x-www-form-urlencoded",
                f"{CSRF_HEADER}: {self.logins.csrf('')}",
            ],
            token=TOKENS[role],
            json_type=False,
        )

    def press(self, target: str, role: str = "admin", **fields: Any) -> Answer:
        """Sends the form of a key's page, as that page has it now."""
        found = re.search(rb'name="seen" value="([^"]+)"', self.page(target, role=role).body)
        assert found is not None
        return self.post(target, role, seen=found[1].decode(), **fields)


@pytest.fixture
def scene() -> Iterator[ConsoleScene]:
    with ConsoleScene() as scene:
        scene.hold(ALICE, BOB, GONE)
        yield scene


def text(answer: Answer) -> str:
    """What is to be read on a page."""
    assert answer.status == 200, answer
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.body.decode())).split())


def rows(answer: Answer) -> int:
    return answer.body.count(b"<tr>") - answer.body.count(b"<thead><tr>")


# Everywhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_each_page_is_for_its_role(scene: ConsoleScene, role: str) -> None:
    scene.open("a1", key=ALICE)
    for method, path, least, _ in PAGES:
        target = path.replace("{key}", "alice").replace("{connection}", "a1")
        if target == "/close":
            target += "?key=alice"
        allowed = ROLES.index(role) >= ROLES.index(least)
        if method == "GET":
            assert scene.page(target, role=role).status == (200 if allowed else 403), target
        elif not allowed:
            assert scene.post(target, role, key="alice").status == 403, target
    assert scene.log.events("admin_closed") == []


@pytest.mark.parametrize("target", [path for method, path, _, _ in PAGES if method == "POST"])
def test_no_form_without_its_token_does_anything(scene: ConsoleScene, target: str) -> None:
    scene.open("a1", key=ALICE)
    before = scene.log.lines[:]
    answer = scene.ask(
        "POST",
        target.replace("{key}", "alice").replace("{connection}", "a1"),
        urlencode({"key": "alice", "name": "new", "expires": "never"}).encode(),
        lines=["Content-Type: application/x-www-form-urlencoded"],
        json_type=False,
    )
    assert answer.status == 403
    changed = [name for _, name, _ in scene.log.lines[len(before) :] if name != "admin_refused"]
    assert changed == []


@pytest.mark.parametrize("role", ROLES)
def test_what_somebody_may_not_do_is_not_offered(scene: ConsoleScene, role: str) -> None:
    scene.open("a1", key=ALICE)
    offered = {
        target
        for page in ("/connections?key=alice", "/connections/a1", "/keys", "/keys/alice")
        for target in re.findall(r'href="([^"?]*)', scene.page(page, role=role).body.decode())
    }
    for method, path, least, _ in PAGES:
        for name in ("alice-id", "a1"):
            target = path.replace("{key}", name).replace("{connection}", name)
            if method == "GET" and ROLES.index(role) < ROLES.index(least):
                assert target not in offered


@pytest.mark.parametrize(
    "target",
    [
        f"/connections?{urlencode(dict.fromkeys(('key', 'route', 'address', 'subject'), EVIL))}",
        f"/connections?subject={quote(EVIL)}&sort={quote(EVIL)}&closed={quote(EVIL)}",
        f"/connections/{quote(EVIL, safe='')}",
        f"/close?subject={quote(EVIL)}",
        f"/keys?name={quote(EVIL)}&state={quote(EVIL)}&deleted={quote(EVIL)}",
        f"/keys/alice?done={quote(EVIL)}",
        f"/events?{urlencode(dict.fromkeys(('event', 'level', 'route', 'key', 'session'), EVIL))}",
        "/keys/alice",
        "/keys/alice/edit",
        "/connections/evil",
        "/events",
    ],
)
def test_html_stays_text(scene: ConsoleScene, target: str) -> None:
    opened = scene.open("evil", subject=EVIL, origin=EVIL.encode())
    opened.session.user_agent = opened.session.subprotocol = EVIL.encode()
    scene.events.note("info", EVIL, {"route": EVIL, "request_id": EVIL, "reason": EVIL})
    body = scene.page(target).body
    assert b"<b>evil" not in body
    assert b"\"'>" not in body


def test_client_s_text_turns_nothing_round(scene: ConsoleScene) -> None:
    opened = scene.open("evil")
    opened.session.user_agent = "safe\u202egnp.exe".encode()
    scene.events.note("info", "connection_closed", {**ENDED, "reason": "a\u2066b"})
    for target in ("/connections/evil", "/events", "/connections/ended"):
        body = scene.page(target).body.decode()
        assert "\N{REPLACEMENT CHARACTER}" in body, target
        assert not {"\u202e", "\u2066"} & {*body}, target


def test_link_puts_no_words_of_its_own_on_a_page(scene: ConsoleScene) -> None:
    assert "Key old.key is deleted" in text(scene.page("/keys?deleted=old.key"))
    assert "is deleted" not in text(scene.page("/keys?deleted=all,+call+0123"))


@pytest.mark.parametrize("target", ["/connections", "/events"])
def test_every_link_of_a_table_keeps_the_focus(scene: ConsoleScene, target: str) -> None:
    scene.open("a1", key=ALICE)
    for session in ("a1", "ended"):
        scene.events.note(
            "info", "connection_opened", {"request_id": session, "key_id": "alice-id"}
        )
    links = re.findall("<a [^>]*>", scene.page(target, fragment=True).body.decode())
    ids = [found[1] for link in links if (found := re.search(' id="([^"]+)"', link))]
    assert len(ids) == len({*ids}) == len(links) > 2


# Connections ---------------------------------------------------------------------------------


def test_connections_are_told_and_refreshed_alone(scene: ConsoleScene) -> None:
    scene.open("a1", key=ALICE, subject="ann").receives(CLIENT, HELLO)
    scene.open("b2", key=BOB)
    whole, part = scene.page("/connections"), scene.page("/connections", fragment=True)
    assert b"<html" in whole.body
    assert b"<html" not in part.body
    for answer in (whole, part):
        assert rows(answer) == 2
        assert "1–2 of 2 connections" in text(answer)
        assert "a1 chat alice ann 192.0.2.7" in text(answer)
    assert rows(scene.page("/connections?key=ali", fragment=True)) == 1


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("/connections?key=nobody", "No connection is like that"),
        ("/connections?address=home", "Write an address such as 192.0.2.7"),
    ],
)
def test_empty_table_says_what_to_do(scene: ConsoleScene, target: str, told: str) -> None:
    empty = text(scene.page("/connections"))
    assert "Nobody is connected" in empty
    assert "websocat -H='X-Api-Key: wsk_…'" in empty
    scene.open("a1")
    assert told in text(scene.page(target))


def test_many_connections_come_in_pages(scene: ConsoleScene) -> None:
    for n in range(120):
        scene.open(f"s{n:03}")
    first = scene.page("/connections?sort=route")
    assert rows(first) == 50
    assert "Page 1 of 3" in text(first)
    assert b'href="/connections?sort=route&amp;page=3"' not in first.body
    last = scene.page("/connections?sort=route&page=3", fragment=True)
    assert rows(last) == 20
    assert "101–120 of 120" in text(last)


def test_question_names_whom_it_would_close(scene: ConsoleScene) -> None:
    scene.open("a1", key=ALICE)
    scene.open("b2", key=ALICE, route="echo")
    asked = text(scene.page("/close?key=alice"))
    assert "Close 2 connections?" in asked
    assert "Keys alice (2)" in asked
    assert "Nothing to close" in text(scene.page("/close?key=nobody"))


def test_filtered_connections_are_closed_with_a_code(scene: ConsoleScene) -> None:
    closed, other = scene.open("a1", key=ALICE), scene.open("b2", key=BOB)
    answer = scene.post("/close", role="operator", key="alice", code="4000", reason="über")
    assert answer.status == 303
    assert answer.headers["location"] == "/connections?key=alice&closed=1"
    assert closed.client.written == close_frame(4000, "über")
    assert other.client.written == b""
    (event,) = scene.log.events("admin_closed")
    assert (event["by"], event["filter"], event["closed"]) == ("admin:operator", "key", 1)
    assert "1 connection told to close" in text(scene.page(answer.headers["location"]))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"key": " "},
        {"page": "1"},
        {"address": "home"},
        {"key": "alice", "code": "1006"},
        {"key": "alice", "reason": "ü" * 62},
        {"key": "alice", "reason": "two\nlines"},
        {"key": "al\x1bice"},
    ],
)
def test_nothing_is_closed_by_a_slip(scene: ConsoleScene, fields: dict[str, str]) -> None:
    session = scene.open("a1", key=ALICE)
    assert scene.post("/close", **fields).status == 400
    assert session.client.written == b""


# One session ---------------------------------------------------------------------------------


def test_session_tells_who_it_is_and_what_passes(scene: ConsoleScene) -> None:
    opened = scene.open("a1", key=ALICE, subject="ann", origin=b"https://a.example")
    opened.session.user_agent = b"curl/8"
    opened.session.subprotocol = b"graphql-ws"
    told = text(scene.page("/connections/a1"))
    for part in ("alice", "ann", "https://a.example", "curl/8", "graphql-ws", "ws://up:1"):
        assert part in told
    assert "No frame has passed" in told
    opened.receives(CLIENT, HELLO)
    part = scene.page("/connections/a1", fragment=True)
    assert b"<html" not in part.body
    assert "↑ client text FIN MASK 5 B" in text(part)
    assert "hello" not in text(part)


def test_only_watched_sessions_are_recorded(scene: ConsoleScene) -> None:
    scene.open("a1")
    scene.open("b2")
    scene.page("/connections")
    assert len(scene.recorders) == 0
    scene.page("/connections/b2")
    assert len(scene.recorders) == 1


def test_ended_session_tells_its_end(scene: ConsoleScene) -> None:
    session = scene.open("a1")
    assert scene.post("/connections/a1/close", role="operator").status == 303
    assert session.client.written == close_frame(1008, "closed_by_admin")
    assert scene.log.events("admin_closed")[0]["request_id"] == "a1"
    assert "closing" in text(scene.page("/connections/a1"))
    session.gone()
    fields = scene.log.events("connection_closed")[0]
    scene.events.note("info", "connection_closed", fields)
    assert "It has ended Closed by the gateway Code 1008 closed_by_admin" in text(
        scene.page("/connections/a1")
    )
    assert scene.page("/connections/a1", fragment=True).headers["hx-refresh"] == "true"
    for answer in (scene.post("/connections/a1/close"), scene.page("/connections/a1/close")):
        assert (answer.status, answer.headers["location"]) == (303, "/connections/a1")


def test_session_that_never_was_is_not_found(scene: ConsoleScene) -> None:
    answer = scene.page("/connections/nothing")
    assert answer.status == 404
    assert b"No such session" in answer.body


# Keys ----------------------------------------------------------------------------------------


def test_keys_are_told_with_state_and_sessions(scene: ConsoleScene) -> None:
    scene.open("a1", key=ALICE)
    told = text(scene.page("/keys"))
    assert "alice active all 1 never 2027-01-16 (soon)" in told
    assert "bob suspended all 0" in told
    assert "legacy fixed active" in told
    assert "1–4 of 4 keys" in told
    part = scene.page("/keys?state=revoked", fragment=True)
    assert rows(part) == 1
    assert b"<html" not in part.body
    assert "No key is like that" in text(scene.page("/keys?name=zzz"))


def test_key_tells_its_facts_and_its_use(scene: ConsoleScene) -> None:
    hour = int(NOW // 3600) * 3600
    scene.use(Usage("alice-id", hour, 3, 90.0, (10, 20), (1024, 1024), NOW - 5))
    scene.open("a1", key=ALICE)
    told = text(scene.page("/keys/alice"))
    assert "1 connection" in told
    assert "current before, valid until 2027-01-15 08:01:00 UTC before, ended" in told
    assert "Messages 30 Bytes 2.0 KiB" in told
    assert "2027-01-15 3 30 2.0 KiB" in told
    assert "Connections 5" in told
    assert "It expires on 2027-01-16" in told
    assert "Nothing yet" in text(scene.page("/keys/bob"))
    assert scene.page("/keys/nobody").status == 404


def test_key_of_the_configuration_is_only_looked_at(scene: ConsoleScene) -> None:
    page = scene.page("/keys/legacy")
    assert "stands in the configuration" in text(page)
    assert b"data-dialog" not in page.body
    for verb in ("edit", "rotate", "suspend", "resume", "revoke", "delete"):
        assert scene.page(f"/keys/legacy/{verb}").status == 409
        assert scene.post(f"/keys/legacy/{verb}", name="x", expires="never").status == 409


def test_admin_creates_a_key_and_sees_its_secret_once(scene: ConsoleScene) -> None:
    form = {"name": "carol", "expires": "30d", "routes": ["echo"], "limits.connections": "3"}
    answer = scene.post("/keys", **form)
    (secret,) = set(re.findall(r"wsk_\w+", text(answer) + answer.body.decode()))
    assert answer.headers["cache-control"] == "no-store"
    assert f"websocat -H='X-Api-Key: {secret}'" in text(answer)
    key = scene.ring.find(digest_of(secret.encode()))
    assert key is not None
    assert (key.name, key.routes, key.limits.connections) == ("carol", {"echo"}, 3)
    assert key.expires_at == NOW + 30 * 86_400
    assert secret not in scene.page("/keys/carol").body.decode()
    assert secret not in str(scene.log.lines)
    (event,) = scene.log.events("key_created")[-1:]
    assert event["by"] == "admin:admin"


def test_faults_are_told_at_their_fields(scene: ConsoleScene) -> None:
    form = {"name": "carol", "expires": "soon", "limits.connections": "x", "origins": "o"}
    answer = scene.post("/keys", **form)
    assert answer.status == 422
    body = answer.body.decode()
    for name in ("expires", "limits.connections", "origins"):
        assert f'id="fault-{name}"' in body
    assert 'value="carol"' in body
    assert scene.ring.get("carol") is None


@pytest.mark.parametrize(
    ("target", "name"), [("/keys", "alice"), ("/keys", "legacy"), ("/keys/bob/edit", "alice")]
)
def test_name_that_is_taken_is_told(scene: ConsoleScene, target: str, name: str) -> None:
    send = scene.post if target == "/keys" else scene.press
    answer = send(target, name=name, expires="never")
    assert answer.status == 422
    assert b'role="alert"' in answer.body


def test_admin_changes_a_key(scene: ConsoleScene) -> None:
    assert 'value="alice"' in scene.page("/keys/alice/edit").body.decode()
    answer = scene.press("/keys/alice/edit", name="alice2", expires="never", metadata="a: b")
    assert (answer.status, answer.headers["location"]) == (303, "/keys/alice-id?done=changed")
    key = scene.ring.get("alice-id")
    assert key is not None
    assert (key.name, key.expires_at, key.metadata) == ("alice2", None, {"a": "b"})
    assert "The key is changed." in text(scene.page(answer.headers["location"]))


@pytest.mark.parametrize(
    ("overlap", "told"),
    [("1h", "works until 2027-01-15 09:00:00 UTC"), ("0", "has ended")],
)
def test_admin_rotates_a_key(scene: ConsoleScene, overlap: str, told: str) -> None:
    assert "Rotate alice?" in text(scene.page("/keys/alice/rotate"))
    answer = scene.press("/keys/alice/rotate", overlap=overlap)
    assert told in text(answer)
    (secret,) = set(re.findall(r"wsk_\w+", answer.body.decode()))
    assert scene.ring.find(digest_of(secret.encode())) is scene.ring.get("alice-id")


@pytest.mark.parametrize(
    ("verb", "told", "state"),
    [
        ("suspend", "closes 2 live sessions within a second, with 1008 key_suspended", "suspended"),
        ("revoke", "closes 2 live sessions within a second, with 1008 key_revoked", "revoked"),
        ("resume", "It works again at once", "active"),
    ],
)
def test_operator_is_told_what_follows_and_does_it(
    scene: ConsoleScene, verb: str, told: str, state: str
) -> None:
    scene.open("a1", key=ALICE)
    scene.open("b2", key=ALICE)
    assert told in text(scene.page(f"/keys/alice/{verb}", role="operator"))
    answer = scene.press(f"/keys/alice/{verb}", role="operator")
    assert answer.status == 303
    key = scene.ring.get("alice-id")
    assert key is not None
    assert key.state(NOW) == state
    assert "The key is" in text(scene.page(answer.headers["location"]))


def test_admin_deletes_a_key(scene: ConsoleScene) -> None:
    assert "No session is live with it." in text(scene.page("/keys/bob/delete"))
    answer = scene.press("/keys/bob/delete")
    assert (answer.status, answer.headers["location"]) == (303, "/keys?deleted=bob")
    assert scene.ring.get("bob-id") is None
    assert "Key bob is deleted" in text(scene.page("/keys?deleted=bob"))


def test_what_the_state_forbids_is_told(scene: ConsoleScene) -> None:
    answer = scene.press("/keys/gone/resume")
    assert answer.status == 409
    assert b"revoked" in answer.body


def test_store_that_is_away_is_told(scene: ConsoleScene) -> None:
    scene.away()
    assert scene.page("/keys").status == 503
    assert scene.post("/keys", name="carol", expires="never").status == 503


# Events --------------------------------------------------------------------------------------


def test_events_are_told_with_links(scene: ConsoleScene) -> None:
    scene.open("a1", key=ALICE)
    scene.events.note("info", "connection_opened", {"request_id": "a1", "key_id": "alice-id"})
    scene.events.note("warning", "handshake_refused", {"request_id": "b2", "code": "no_route"})
    whole, part = scene.page("/events"), scene.page("/events?key=alice", fragment=True)
    assert b'href="/connections/a1"' in whole.body
    assert b'href="/events?session=b2"' in whole.body
    assert "handshake_refused warning – – b2 code no_route" in text(whole)
    assert b"<html" not in part.body
    assert part.body.count(b'scope="row"') == 1
    assert b'href="/keys/alice-id"' in part.body


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("/events", "Nothing has happened yet"),
        ("/events?event=x", "No event is like that"),
        ("/events?before=1", "Nothing older"),
    ],
)
def test_no_events_are_told_so(scene: ConsoleScene, target: str, told: str) -> None:
    assert told in text(scene.page(target))


def test_older_events_are_a_page_further(scene: ConsoleScene) -> None:
    for n in range(150):
        scene.events.note("info", "many", {"n": n})
    first = scene.page("/events")
    assert b"data-live" in first.body
    older = re.findall(r'rel="next" href="([^"]*)', first.body.decode())
    second = scene.page(unescape(older[0]))
    assert "n 49" in text(second)
    assert b"data-live" not in second.body
    assert b'rel="next"' not in second.body

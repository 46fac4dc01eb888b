"""What every page of the console carries, who may ask for it, and how it says no."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest

from proxy.admin.reload import NotNow, Reloaded
from proxy.config.faults import ConfigInvalid, Fault
from proxy.console.history import INTERVAL
from proxy.console.overview import _share
from proxy.console.sampler import SAMPLER, Sampler
from proxy.console.site import PAGES
from proxy.relay.commands import Side
from tests.unit.admin.scene import ROLES, TOKENS
from tests.unit.console.scene import Scene
from tests.unit.console.test_warnings import WELL
from tests.unit.loop import FakeLoop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

GETS = [path for method, path, _, _ in PAGES if method == "GET" and "{" not in path]
FORMS = [(path, role) for method, path, role, _ in PAGES if method == "POST"]
EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene() as scene:
        yield scene


@pytest.fixture(scope="module", params=ROLES)
def holder(request: pytest.FixtureRequest) -> Iterator[tuple[str, Scene]]:
    with Scene(role=request.param) as scene:
        yield request.param, scene


def path_of(pattern: str) -> str:
    return pattern.replace("{key}", "legacy").replace("{connection}", "nothing")


def may(holder: str, role: str) -> bool:
    return ROLES.index(holder) >= ROLES.index(role)


class Markup(HTMLParser):
    """Looks for what a strict policy forbids, and for what is loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.loaded: list[str] = []
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        self.loaded += [given[name] or "" for name in ("src", "href", "action") if name in given]
        self._script = tag in {"script", "style"}

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.inline.append(data)

    def handle_endtag(self, _tag: str) -> None:
        self._script = False


@pytest.mark.parametrize("path", [*GETS, "/login", "/nowhere"])
def test_page_is_strict_about_where_things_come_from(scene: Scene, path: str):
    answer = scene.get(path)
    if path == "/console/history":
        assert answer.data["interval"] == 2.0
        return
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    markup = Markup(answer.body.decode())
    assert markup.inline == []
    assert all(place[:1] in {"/", "#"} for place in markup.loaded), markup.loaded


@pytest.mark.parametrize("path", GETS)
def test_page_is_for_its_role_and_those_above(holder: tuple[str, Scene], path: str):
    name, scene = holder
    (role,) = (role for method, page, role, _ in PAGES if (method, page) == ("GET", path))
    answer = scene.get(path)
    assert (answer.status == 403) is not may(name, role)
    if answer.status == 403:
        assert b"role_forbidden" in answer.body


def test_viewer_sees_no_button_that_changes_something(holder: tuple[str, Scene]):
    name, scene = holder
    assert (b"/reload" in scene.get("/").body) is may(name, "operator")
    assert (b"/new-key" in scene.get("/keys").body) is may(name, "admin")


@pytest.mark.parametrize(("path", "role"), FORMS)
def test_form_is_for_its_role_and_those_above(holder: tuple[str, Scene], path: str, role: str):
    name, scene = holder
    if may(name, role):
        answer = scene.post(path_of(path), csrf="not the token")
        assert (answer.status, answer.headers["x-wskeeper-code"]) == (403, "csrf_failed")
    else:
        answer = scene.post(path_of(path))
        assert (answer.status, answer.headers["x-wskeeper-code"]) == (403, "role_forbidden")


@pytest.mark.parametrize(("path", "role"), FORMS)
def test_form_without_its_token_does_nothing(scene: Scene, path: str, role: str):
    assert scene.post(path_of(path), csrf=None).headers["x-wskeeper-code"] == "csrf_failed"
    assert scene.reloaded_by == []


def test_form_of_another_login_does_nothing(scene: Scene):
    before = scene.csrf()
    scene.log_in(TOKENS["admin"])
    assert scene.post("/reload", csrf=before).status == 403
    assert scene.reloaded_by == []


def test_script_shows_the_token_of_the_page_instead_of_json(scene: Scene):
    line = f"X-CSRF-Token: {scene.csrf()}"
    asked = {"token": None, "json_type": False}
    cookie = f"Cookie: {scene.cookie}"
    path = "/api/v1/keys/nobody/suspend"
    assert scene.ask("POST", path, lines=[cookie, line], **asked).code == "404 no_such_key"
    assert scene.ask("POST", path, lines=[cookie], **asked).code == "415 json_needed"
    assert scene.ask("POST", path, lines=[cookie, line + "0"], **asked).code == "415 json_needed"


def test_unknown_page_says_so_as_a_page_and_to_programs_in_json(scene: Scene):
    answer = scene.get("/nowhere")
    assert answer.status == 404
    assert b"There is nothing at this path" in answer.body
    assert b'href="/"' in answer.body
    assert scene.get("/nowhere", html=False).code == "404 no_such_path"
    assert scene.get("/api/v1/nowhere").code == "404 no_such_path"


def test_fragment_is_refused_in_json(scene: Scene):
    assert scene.get("/keys/nobody", "HX-Request: true").code == "404 no_such_key"


# Overview -------------------------------------------------------------------------------------


def test_overview_comes_in_parts(scene: Scene):
    whole = scene.get("/").body
    tiles = scene.get("/?part=tiles", "HX-Request: true").body
    lists = scene.get("/?part=lists", "HX-Request: true").body
    assert b"<html" in whole
    assert tiles.strip().startswith(b'<div id="tiles"')
    assert lists.strip().startswith(b'<div id="lists"')
    for line in ("HX-History-Restore-Request: true", "HX-Boosted: true"):
        assert b"<html" in scene.get("/?part=tiles", "HX-Request: true", line).body
    assert b"<html" in scene.get("/?part=other", "HX-Request: true").body


def test_overview_says_what_is_wrong_and_how_many_are_refused():
    with Scene() as scene:
        scene.registry.totals["echo"].outcomes.update({"accepted": 3, "key_missing": 9})
        scene.down.add(("echo", "ws://127.0.0.1:9000"))
        sampler = scene.app[SAMPLER]
        sampler.start()
        body = scene.get("/").body.decode()
        sampler.stop()
    assert "1 of 1 target does not answer" in body
    assert 'href="/events?event=handshake_refused">key_missing</a>' in body
    assert '<span class="badge dot bad">down</span>' in body


def test_history_tells_what_is_new():
    with Scene() as scene:
        traffic = scene.registry.totals["echo"].traffic
        sampler = scene.app[SAMPLER]
        scene.now += 2
        traffic[Side.CLIENT.value].messages_by_size[3] += 8
        traffic[Side.UPSTREAM.value].message_bytes += 100
        sampler.stop()
        sampler.start()
        whole = scene.get("/console/history").data
        assert whole["at"] == [scene.now]
        assert whole["messages"][0][0] > 0
        assert whole["bytes"][1][0] > 0
        assert scene.get(f"/console/history?since={scene.now}").data["at"] == []
        for nonsense in ("", "x", "nan", "inf"):
            assert len(scene.get(f"/console/history?since={nonsense}").data["at"]) == 1


def test_no_place_is_left_where_there_is_none(scene: Scene):
    assert b"of 100" in scene.get("/").body
    for limit, share in ((None, None), (0, (100, "bad")), (100, (5, "")), (5, (100, "bad"))):
        assert _share(WELL._replace(limit=limit)) == share


def test_sampler_that_stopped_takes_no_more(scene: Scene):
    clock = FakeLoop()
    timers: Any = clock
    sampler = Sampler(scene.registry, lambda: clock.now, timers)
    sampler.start()
    clock.advance(INTERVAL)
    last = sampler.history.latest
    assert last is not None
    sampler.stop()
    assert clock.timers == 0
    clock.advance(INTERVAL)
    assert sampler.history.latest is last


def test_sampler_that_never_began_can_stop(scene: Scene):
    sampler = Sampler(scene.registry, lambda: 0.0, scene.loop)
    sampler.stop()
    assert sampler.history.latest is None


# Routes and reloading -------------------------------------------------------------------------


def test_routes_page_tells_who_gets_in_and_where_to(scene: Scene):
    body = scene.get("/routes").body.decode()
    for words in ("echo.test/echo", "whoever shows a key", "<code>api_key</code>", "ws://"):
        assert words in body
    assert b"<html" not in scene.get("/routes", "HX-Request: true").body


def test_reload_is_asked_for_and_tells_what_it_changed(scene: Scene):
    assert b"Reload the configuration?" in scene.get("/reload").body
    scene.reloads = Reloaded(("routes[0].path",), ("listen",), 1, ("keys[0]: <old>",))
    body = scene.post("/reload").body.decode()
    assert scene.reloaded_by == ["admin:admin"]
    for words in ("routes[0].path", "Needs a restart", "1 session was", "keys[0]: &lt;old&gt;"):
        assert words in body
    scene.reloads = Reloaded((), (), 0, ())
    assert b"Nothing in it has changed" in scene.post("/reload").body
    scene.reloaded_by.clear()


def test_rejected_configuration_is_told_fault_by_fault(scene: Scene):
    fault = Fault("wskeeper.yaml", 3, "routes[0].upstream", EVIL, "write a URL")
    scene.reloads = ConfigInvalid([fault] * 60)
    answer = scene.post("/reload")
    assert answer.status == 422
    assert b"60 faults" in answer.body
    assert b"wskeeper.yaml:3" in answer.body
    assert b"and 10 more" in answer.body
    assert EVIL.encode() not in answer.body
    scene.reloads = NotNow()
    assert scene.post("/reload").status == 503
    scene.reloaded_by.clear()


# Files ----------------------------------------------------------------------------------------


def files(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from files(entry)
        else:
            yield entry


def test_no_shipped_file_asks_another_host_for_anything():
    found = [
        (entry.name, url)
        for entry in files(resources.files("proxy.console"))
        if entry.name.endswith((".html", ".css", ".js", ".svg"))
        for url in re.findall(
            r"(?:https?:)?//[a-z0-9-]+\.[a-z][^\s\"')]*", entry.read_text("utf-8")
        )
    ]
    # A namespace and a banner: names, not places to load from.
    assert set(found) <= {
        ("favicon.svg", "http://www.w3.org/2000/svg"),
        ("uplot.min.js", "https://github.com/leeoniya/uPlot"),
        ("key_form.html", "https://app.example.com</code></span>{{"),
    }, found


def test_vendored_files_are_those_that_their_list_names():
    vendor = resources.files("proxy.console").joinpath("static/vendor")
    text = vendor.joinpath("README.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| `([\w.]+)` .*\| `([0-9a-f]{64})` \|$", text, re.MULTILINE))
    assert listed == {
        entry.name: hashlib.sha256(entry.read_bytes()).hexdigest()
        for entry in vendor.iterdir()
        if entry.name != "README.md"
    }


@pytest.mark.parametrize("target", ["/api/v1/status", "/nowhere", "/livez", "/api/v1/keys/nobody"])
def test_what_is_no_page_loads_nothing_and_stands_in_no_frame(scene: Scene, target: str):
    policy = scene.get(target, html=False).headers["content-security-policy"]
    assert policy == "default-src 'none'; frame-ancestors 'none'"

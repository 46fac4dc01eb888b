"""Who gets into the console, how, and for how long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.admin.access import AdminToken
from proxy.admin.desk import ACCESS
from proxy.admin.failures import MOST
from proxy.admin.logins import CSRF_HEADER, LASTS, cookie_name
from proxy.console.login import own_place
from tests.unit.admin.scene import CANARY, TOKENS, Answer
from tests.unit.console.scene import FORM, Scene

if TYPE_CHECKING:
    from collections.abc import Iterator

ORIGIN = "Origin: http://localhost"


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Scene(role=None) as scene:
        yield scene


@pytest.fixture(scope="module")
def open_scene() -> Iterator[Scene]:
    """One without tokens."""
    with Scene(tokens=False) as scene:
        yield scene


def test_whoever_is_not_logged_in_is_led_to_the_form_and_back(scene: Scene):
    answer = scene.get("/connections?route=a%20b")
    assert (answer.status, answer.headers["location"]) == (
        303,
        "/login?next=%2Fconnections%3Froute%3Da%2520b",
    )
    form = scene.get(answer.headers["location"])
    assert form.status == 200
    assert b'name="next" value="/connections?route=a%20b"' in form.body
    answer = scene.log_in(TOKENS["viewer"], next="/connections?route=a%20b")
    assert (answer.status, answer.headers["location"]) == (303, "/connections?route=a%20b")
    assert scene.get("/connections?route=a%20b").status == 200


def test_cookie_is_no_script_s_and_no_other_site_s(scene: Scene):
    cookie = scene.log_in(TOKENS["viewer"]).headers["set-cookie"]
    assert set(cookie.split("; ")[1:]) == {
        "HttpOnly",
        "SameSite=Strict",
        "Path=/",
        f"Max-Age={LASTS}",
    }


def test_cookie_stays_on_tls_where_a_proxy_ends_it(scene: Scene):
    answer = scene.post(
        "/login",
        {"token": TOKENS["viewer"]},
        "X-Forwarded-Proto: https",
        "Origin: https://localhost",
        csrf=None,
    )
    assert "Secure" in answer.headers["set-cookie"].split("; ")


def test_login_is_told_of_by_name(scene: Scene):
    scene.log_in(TOKENS["operator"])
    assert [line["by"] for line in scene.log.events("admin_login")] == ["admin:operator"]
    assert CANARY not in str(scene.log.lines)


def test_wrong_token_is_told_and_logged_and_not_echoed(scene: Scene):
    answer = scene.log_in("wrong-" + CANARY, next="/keys")
    assert answer.status == 401
    assert b"That token is not known here" in answer.body
    assert CANARY.encode() not in answer.body
    assert "set-cookie" not in answer.headers
    assert [line["code"] for line in scene.log.events("admin_refused")] == ["token_unknown"]


def test_who_guesses_tokens_in_the_form_is_not_listened_to(scene: Scene):
    for guess in range(MOST):
        assert scene.log_in(f"guess {guess}").status == 401
    answer = scene.log_in(TOKENS["admin"])
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert b"Too many wrong tokens" in answer.body
    # Of the API neither: they are counted together.
    assert scene.ask("GET", "/api/v1/status").code == "429 token_failures"


def test_who_signs_out_is_out_wherever_the_cookie_went(scene: Scene):
    scene.log_in(TOKENS["viewer"])
    answer = scene.post("/logout")
    assert (answer.status, answer.headers["location"]) == (303, "/login")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert scene.get("/").headers["location"] == "/login"


def test_login_ends_with_its_token(scene: Scene):
    scene.log_in(TOKENS["operator"])
    access = scene.app[ACCESS]
    access.tokens = tuple(
        AdminToken(one.name, one.role, b"n" * 32) if one.name == "operator" else one
        for one in access.tokens
    )
    assert scene.get("/").status == 303


def test_login_ends_after_twelve_hours(scene: Scene):
    scene.log_in(TOKENS["viewer"])
    scene.now += LASTS
    assert scene.get("/").status == 303


def test_login_opens_the_api_too(scene: Scene):
    scene.log_in(TOKENS["viewer"])
    assert scene.get("/api/v1/status", html=False).data["version"] == "1.2.3"


def test_htmx_is_led_to_the_form_when_the_login_has_ended(scene: Scene):
    answer = scene.get("/", "HX-Request: true")
    assert answer.code == "401 token_missing"
    assert answer.headers["hx-redirect"] == "/login"


def test_program_without_a_token_is_told_so_in_json(scene: Scene):
    assert scene.get("/", html=False).code == "401 token_missing"
    assert scene.get("/api/v1/status").code == "401 token_missing"


def test_program_shows_its_token_to_pages_too(scene: Scene):
    assert scene.ask("GET", "/", token=TOKENS["viewer"]).status == 200


@pytest.mark.parametrize(
    "line", ["Origin: https://evil.test", "Origin: null", "Sec-Fetch-Site: cross-site"]
)
def test_page_of_another_site_logs_nobody_in(scene: Scene, line: str):
    answer = scene.post("/login", {"token": TOKENS["admin"]}, line, csrf=None)
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("line", ["Origin: https://evil.test", "Sec-Fetch-Site: cross-site"])
@pytest.mark.parametrize("path", ["/api/v1/status", "/console/history"])
def test_page_of_another_site_reads_nothing_with_a_login(scene: Scene, path: str, line: str):
    scene.log_in(TOKENS["admin"])
    assert scene.get(path, line, html=False).code == "403 cross_site"
    assert scene.get(path, ORIGIN, html=False).status == 200


def test_link_of_another_site_leads_in_by_a_second_question(scene: Scene):
    scene.log_in(TOKENS["viewer"])
    link = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    answer = scene.get("/keys", *link)
    assert answer.status == 200
    assert b'http-equiv="refresh" content="0"' in answer.body
    assert b"legacy" not in answer.body
    assert scene.get("/keys", "Sec-Fetch-Dest: iframe", *link[:2]).status == 403


def test_login_must_be_a_form(scene: Scene):
    answer = scene.ask("POST", "/login", {"token": TOKENS["admin"]}, token=None)
    assert answer.code == "415 form_needed"


def test_nobody_logs_in_where_there_are_no_tokens(open_scene: Scene):
    assert open_scene.get("/").status == 200
    assert open_scene.get("/login").headers["location"] == "/"
    answer = open_scene.log_in("anything")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert "set-cookie" not in answer.headers


def test_console_without_tokens_is_shown_under_names_of_this_machine_alone(open_scene: Scene):
    answer = open_scene.ask("GET", "/", host="evil.test", lines=["Accept: text/html"], token=None)
    assert answer.status == 403
    assert b"Use a token" not in answer.body


def test_console_without_tokens_has_no_way_out(open_scene: Scene):
    page = open_scene.get("/").body
    assert b"/logout" not in page
    assert b"no sign-in on this machine" in page
    assert open_scene.post("/logout").status == 303


# Gateways on one host --------------------------------------------------------------------------


def test_signing_in_to_one_gateway_signs_nobody_out_of_another() -> None:
    with (
        Scene(role=None, host="localhost:8081") as one,
        Scene(role=None, host="localhost:8082") as other,
    ):
        jar: dict[str, str] = {}
        for gateway in (one, other, one):
            gateway.cookie = _told(jar)
            _keep(jar, gateway.log_in(TOKENS["viewer"]))
        assert set(jar) == {"wskeeper_console_8081", "wskeeper_console_8082"}
        one.cookie = other.cookie = _told(jar)
        assert [gateway.get("/keys").status for gateway in (one, other)] == [200, 200]
        status = [gateway.get("/api/v1/status", html=False).status for gateway in (one, other)]
        assert status == [200, 200]
        _keep(jar, one.post("/logout"))
        assert set(jar) == {"wskeeper_console_8082"}
        one.cookie = other.cookie = _told(jar)
        assert [gateway.get("/keys").status for gateway in (one, other)] == [303, 200]


def test_forms_and_scripts_of_a_page_go_by_the_login_of_its_port() -> None:
    with Scene(host="[::1]:9000") as scene:
        scene.cookie = f"wskeeper_console=a; {scene.cookie}; wskeeper_console_8081=b"
        assert scene.post("/reload").status == 200
        lines = [f"Cookie: {scene.cookie}", f"{CSRF_HEADER}: {scene.csrf()}"]
        answer = scene.ask(
            "POST", "/api/v1/reload", lines=lines, host=scene.host, token=None, json_type=False
        )
        assert answer.status == 200


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:8081", "wskeeper_console_8081"),
        ("127.0.0.1:1", "wskeeper_console_1"),
        ("[2001:db8::1]:65535", "wskeeper_console_65535"),
        ("[2001:db8::1]", "wskeeper_console"),
        ("gateway.example.com", "wskeeper_console"),
        ("gateway.example.com:", "wskeeper_console"),
        ("localhost:808123", "wskeeper_console"),
        ("localhost:٣", "wskeeper_console"),
        ("localhost:8081; Domain=a", "wskeeper_console"),
        ("localhost:8081\n", "wskeeper_console"),
        ("", "wskeeper_console"),
    ],
)
def test_cookie_is_called_by_the_port_of_the_browser(host: str, name: str) -> None:
    assert cookie_name(host) == name


def test_login_at_one_port_is_none_at_another(scene: Scene) -> None:
    scene.host = "localhost:8081"
    scene.log_in(TOKENS["viewer"])
    scene.host = "localhost:9000"  # Another tunnel to the same gateway.
    assert scene.get("/keys").status == 303


def _keep(jar: dict[str, str], answer: Answer) -> None:
    """What a browser does with a cookie of the host."""
    name, _, rest = answer.headers["set-cookie"].partition("=")
    jar[name] = rest.partition(";")[0]
    if "Max-Age=0" in rest.split("; "):
        del jar[name]


def _told(jar: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in jar.items())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/keys?name=a", "/keys?name=a"),
        ("/", "/"),
        ("", "/"),
        ("keys", "/"),
        ("//evil.test", "/"),
        ("///evil.test", "/"),
        ("/\\evil.test", "/"),
        ("https://evil.test/", "/"),
        ("javascript:alert(1)", "/"),
        ("/\n/evil.test", "/"),
        ("/é", "/"),
        ("/" + "a" * 3000, "/"),
        ("http://[", "/"),
    ],
)
def test_login_leads_to_no_other_site(text: str, place: str):
    assert own_place(text) == place


def test_form_type_is_looked_at(scene: Scene):
    scene.log_in(TOKENS["admin"])
    answer = scene.ask(
        "POST", "/logout", b"", lines=[f"Cookie: {scene.cookie}"], token=None, json_type=False
    )
    assert answer.code == "415 form_needed"
    assert FORM in answer.problem["detail"]


@pytest.mark.parametrize("target", ["/login", "/routes"])
def test_cookie_that_is_no_text_is_none(scene: Scene, open_scene: Scene, target: str):
    assert scene.get(target, "Cookie: wskeeper_console=\udcff").status in {200, 303}
    assert open_scene.get(target, "Cookie: wskeeper_console=\udcff").status in {200, 303}


@pytest.mark.parametrize(
    ("charset", "body"),
    [("", b"token=\xff"), ("; charset=nonsense", b"token=a"), ("; charset=base64", b"token=a")],
)
def test_form_in_another_charset_is_refused(scene: Scene, charset: str, body: bytes):
    answer = scene.ask(
        "POST",
        "/login",
        body,
        lines=[f"Content-Type: {FORM}{charset}"],
        token=None,
        json_type=False,
    )
    assert answer.code == "400 bad_parameter"


def test_wrong_token_forgets_not_where_one_wanted_to_go(scene: Scene):
    answer = scene.log_in("wrong", next="/keys?name=a")
    assert answer.status == 401
    assert b'name="next" value="/keys?name=a"' in answer.body
    assert b'value="/"' in scene.log_in("wrong too", next="//evil.example").body


@pytest.mark.parametrize("ended", ["by signing out", "by time"])
def test_who_follows_the_events_is_told_no_more_after_the_login(scene: Scene, ended: str):
    scene.log_in(TOKENS["viewer"])

    async def read(stream: asyncio.StreamReader) -> bytes:
        return await asyncio.wait_for(stream.read(4096), 5)

    async def follow() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        stream, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        head = f"GET /api/v1/events?recent=0 HTTP/1.1\r\nHost: a\r\nCookie: {scene.cookie}\r\n\r\n"
        writer.write(head.encode())
        while b"retry" not in await read(stream):
            pass
        return stream, writer

    stream, writer = scene.loop.run_until_complete(follow())
    scene.events.note("info", "before", {})
    assert b"event: before" in scene.loop.run_until_complete(read(stream))
    if ended == "by time":
        scene.now += LASTS
    else:
        assert scene.post("/logout").status == 303
    scene.events.note("info", "after", {})
    rest = scene.loop.run_until_complete(read(stream))
    assert b"event: after" not in rest
    writer.close()
    assert scene.get("/").headers["location"] == "/login"

"""The console in a real browser: connections, keys and events as operators use them."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import pytest
from playwright.sync_api import Error

from tests.harness import frames
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.process import wait_until
from tests.harness.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Locator, Page

    from tests.harness.client import Client

TOKEN = "console-token-2f6b90c1d3e84a57"
KEY = "fixed-key-5f1c9a7e3b2d4860"
PATIENCE_MS = 5_000

# All signs that the name of a subprotocol may have and HTML knows (RFC 9110 section 5.6.2).
TOKENS = "&'`!"

# Runs where it is taken for HTML, whatever it is put into.
EVIL = "\"'><img src=x onerror=window.ran=1><script>window.ran=1</script>"


class House(NamedTuple):
    """A gateway, and whoever comes to it."""

    gateway: Gateway
    door: Door

    def client(self, key: str = KEY, target: str = "/chat") -> Client:
        """A client that is in."""
        return self.door.open(upgrade(target, key=key))

    def session_of(self, **fields: str) -> str:
        """The id of the latest session that was opened so."""
        self.gateway.wait_for_event("connection_opened", **fields)
        return self.gateway.events("connection_opened", **fields)[-1]["request_id"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    routes = [
        {"name": "chat", "path": "/chat"},
        {"name": "room", "path": "/room", "carriers": [{"header": "X-Api-Key"}, "ticket"]},
    ]
    with Upstream() as upstream:
        config = {
            "admin": {"listen": "127.0.0.1:0", "token": TOKEN},
            "keys": [{"name": "fixed", "secret": KEY}],
            "timeouts": {"close": "1s"},
            "routes": [{"upstream": upstream.url, **route} for route in routes],
        }
        folder = tmp_path_factory.mktemp("console")
        with Gateway(folder, config) as gateway, Door(gateway.public) as door:
            yield House(gateway, door)
            assert TOKEN not in "\n".join(gateway.log)
            assert not gateway.events("internal_error")


class Console:
    """A tab of somebody who is logged in."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._url = url
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda failure: self.complaints.append(str(failure)))
        page.on(
            "console",
            lambda said: (
                self.complaints.append(said.text)
                if "Content Security Policy" in said.text
                else None
            ),
        )

    def goto(self, path: str) -> Page:
        self.page.goto(self._url + path)
        return self.page

    def press(self, name: str | re.Pattern[str]) -> None:
        self.page.get_by_role("link", name=name).or_(
            self.page.get_by_role("button", name=name)
        ).first.click()

    def rows(self, table: str = "connections") -> Locator:
        return self.page.locator(f"#{table} tbody tr")

    @property
    def question(self) -> Locator:
        return self.page.get_by_role("dialog")

    def agree(self, name: str | re.Pattern[str]) -> None:
        self.question.get_by_role("button", name=name).click()


def log_in(context: BrowserContext, url: str) -> None:
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url + "/login")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name=re.compile("Sign in|Log in")).click()
    page.get_by_role("link", name="Connections").first.wait_for()
    page.close()


@pytest.fixture(scope="module")
def context(chromium: Browser, house: House) -> BrowserContext:
    context = chromium.new_context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    log_in(context, house.gateway.admin_url)
    return context


@pytest.fixture
def console(context: BrowserContext, house: House) -> Iterator[Console]:
    console = Console(context.new_page(), house.gateway.admin_url)
    yield console
    console.page.close()
    house.door.close_all()
    assert console.complaints == []


@pytest.fixture
def key(console: Console) -> Callable[[str], str]:
    """Creates a key in the console and returns its secret."""

    def create(name: str) -> str:
        console.goto("/keys")
        console.press("Create a key")
        console.page.get_by_label("Name", exact=False).first.fill(name)
        console.press("Create key")
        return console.page.get_by_label("The secret").input_value()

    return create


def test_operator_sees_a_session_closes_it_and_the_client_gets_its_code(
    house: House, console: Console
) -> None:
    client = house.client()
    console.goto("/connections")
    row = console.rows().filter(has_text="fixed")
    row.get_by_role("link").first.click()
    console.page.get_by_text("No frame has passed").wait_for()
    client.send(frames.masked(frames.TEXT, b"the payload"))
    frame = console.page.locator("#live tbody tr")
    frame.nth(1).wait_for()
    assert "the payload" not in console.page.content()
    assert sorted(re.findall("client|upstream", " ".join(frame.all_inner_texts()))) == [
        "client",
        "upstream",
    ]
    assert "11 B" in frame.first.inner_text()
    console.press("Close…")
    assert "closes 1 live session" in console.question.inner_text()
    console.question.get_by_text("What the clients are told").click()
    console.question.get_by_label("Close code").fill("4001")
    console.question.get_by_label("Reason").fill("lunch")
    console.agree("Close session")
    client.read_frame()  # Its echo.
    client.expect_close(4001, "lunch")
    client.close()
    house.gateway.wait_for_event("connection_closed", code=4001)
    console.page.reload()
    assert (
        "4001 closed_by_admin"
        in console.page.get_by_role("region", name="It has ended").inner_text()
    )
    assert house.gateway.events("admin_closed")[-1]["by"] == "admin:admin"


def test_key_is_created_used_and_revoked_and_its_session_goes(
    house: House, console: Console, key: Callable[[str], str]
) -> None:
    secret = key("Browser.Key")
    console.press("Copy")
    console.page.get_by_text("Copied", exact=True).wait_for()
    assert console.page.evaluate("navigator.clipboard.readText()") == secret
    assert secret not in console.page.url
    client = house.client(secret)
    console.press("I have kept it")
    console.page.get_by_role("link", name="1 connection").wait_for()
    assert secret not in console.page.content()
    console.press("Revoke…")
    assert "closes 1 live session" in console.question.inner_text()
    console.agree("Revoke and close 1")
    client.expect_close(1008, "key_revoked")
    console.page.get_by_text("The key is revoked.").wait_for()
    assert console.page.get_by_role("link", name="Revoke…").count() == 0
    console.page.go_back()
    with pytest.raises(Error, match="ERR_CACHE_MISS"):  # Nothing keeps the page with the secret.
        console.page.go_back()
    house.gateway.wait_for_event("key_revoked", by="admin:admin", key_name="Browser.Key")


def test_key_is_suspended_resumed_rotated_and_deleted(
    house: House, console: Console, key: Callable[[str], str]
) -> None:
    first = key("life")
    console.press("I have kept it")
    console.press("Suspend…")
    console.agree("Suspend")
    console.page.get_by_text("The key is suspended.").wait_for()
    assert house.door.ask(upgrade("/chat", key=first)).code == "key_suspended"
    console.press("Resume…")
    console.agree("Resume")
    console.page.get_by_text("The key is resumed.").wait_for()
    console.press("Rotate…")
    console.question.get_by_label("The secret before").select_option("1h")
    console.agree("Rotate")
    second = console.page.get_by_label("The secret").input_value()
    assert second != first
    for secret in (first, second):
        house.client(secret).close()
    console.press("I have kept it")
    console.press("Delete…")
    console.agree(re.compile("^Delete"))
    console.page.get_by_text("Key life is deleted").wait_for()
    assert house.door.ask(upgrade("/chat", key=second)).code == "key_unknown"


def test_form_says_what_is_wrong_and_keeps_what_is_right(
    console: Console, key: Callable[[str], str]
) -> None:
    key("taken")
    console.goto("/new-key")
    console.page.get_by_label("Name", exact=False).first.fill("taken")
    console.page.get_by_text("Limits", exact=True).click()
    console.page.get_by_label("Bytes a second").fill("many")
    console.press("Create key")
    wrong = console.page.get_by_label("Bytes a second")
    assert wrong.get_attribute("aria-invalid") == "true"
    assert wrong.input_value() == "many"
    wrong.fill("64KiB")
    console.press("Create key")
    console.page.get_by_role("alert").get_by_text("taken").wait_for()


def test_connections_are_filtered_and_closed_together(
    house: House, console: Console, key: Callable[[str], str]
) -> None:
    secret = key("crowd")
    clients = [house.client(secret), house.client(secret, target="/room")]
    other = house.client()
    console.goto("/connections")
    wait_until(lambda: console.rows().count() == 3)
    console.page.get_by_label("Key").fill("crowd")
    console.page.get_by_role("link", name="Close all 2…").wait_for()
    assert "key=crowd" in console.page.url
    console.press("Close all 2…")
    console.agree("Close 2 connections")
    for client in clients:
        client.expect_close(1008, "closed_by_admin")
    console.page.get_by_text("2 connections told to close").wait_for()
    other.expect_silence(0.05)


def test_table_keeps_up_and_keeps_the_focus(house: House, console: Console) -> None:
    house.client()
    page = console.goto("/connections")
    close = console.rows().get_by_role("link", name=re.compile("^Close"))
    close.focus()
    focused = page.evaluate("document.activeElement.id")
    with page.expect_response(lambda answer: "/connections" in answer.url):
        house.client()
    wait_until(lambda: console.rows().count() == 2)
    assert page.evaluate("document.activeElement.id") == focused


def test_events_arrive_by_themselves_and_are_filtered(house: House, console: Console) -> None:
    page = console.goto("/events")
    page.get_by_text("live", exact=True).wait_for()
    assert house.door.ask(upgrade("/nowhere", key=KEY)).code == "no_route"
    page.locator("#events tbody tr", has_text="no_route").first.wait_for()
    page.locator("select[name=event]").select_option("handshake_refused")
    page.wait_for_url("**event=handshake_refused**")
    wait_until(
        lambda: {*page.locator("#events tbody th a").all_inner_texts()} == {"handshake_refused"}
    )


def test_html_of_clients_stays_text_everywhere(
    house: House, console: Console, key: Callable[[str], str]
) -> None:
    secret = key("html")
    console.press("I have kept it")
    console.press("Edit")
    console.page.get_by_text("Metadata", exact=True).click()
    console.page.get_by_label("Names and values").fill(f"note: {EVIL}")
    console.press("Save")
    console.page.get_by_text("The key is changed.").wait_for()
    ticket = _ticket(house, secret, EVIL)
    client = house.door.open(
        upgrade(
            f"/room?wskeeper_ticket={ticket}",
            lines=(f"User-Agent: {EVIL}", f"Origin: {EVIL}", f"Sec-WebSocket-Protocol: {TOKENS}"),
        )
    )
    session = house.session_of(subject=EVIL)
    key_id = house.gateway.events("key_created", key_name="html")[-1]["key_id"]
    told = console.goto(f"/connections/{session}").get_by_role("region", name="Who").inner_text()
    assert told.count(EVIL) == 3
    client.send(frames.masked(frames.CLOSE, frames.close_payload(4000, EVIL)))
    house.gateway.wait_for_event("connection_closed", request_id=session, reason=EVIL)
    for path in (
        f"/connections/{session}",
        "/connections",
        "/events",
        f"/events?session={session}",
        f"/keys/{key_id}",
        f"/keys/{key_id}/edit",
        f"/connections?key={_quoted(EVIL)}&subject={_quoted(EVIL)}&route={_quoted(EVIL)}",
        f"/connections?address={_quoted(EVIL)}",
        f"/close?subject={_quoted(EVIL)}",
        f"/events?event={_quoted(EVIL)}&key={_quoted(EVIL)}&route={_quoted(EVIL)}",
        f"/keys?name={_quoted(EVIL)}&deleted={_quoted(EVIL)}",
        f"/connections/{_quoted('<b>')}",
    ):
        page = console.goto(path)
        page.wait_for_load_state()
        assert page.evaluate("[window.ran, document.images.length]") == [None, 0], path
        assert page.locator("script:not([src])").count() == 0, path


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _ticket(house: House, secret: str, subject: str) -> str:
    host, port = house.gateway.public
    request = urllib.request.Request(
        f"http://{host}:{port}/.wskeeper/ticket",
        json.dumps({"subject": subject, "route": "room"}).encode(),
        {"X-Api-Key": secret, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)["ticket"]


def test_everything_works_without_javascript(chromium: Browser, house: House) -> None:
    context = chromium.new_context(java_script_enabled=False)
    try:
        log_in(context, house.gateway.admin_url)
        console = Console(context.new_page(), house.gateway.admin_url)
        client = house.client()
        console.goto("/connections")
        console.page.get_by_label("Key").fill("fixed")
        console.press("Filter")
        console.press("Close this one…")
        console.press("Close 1 connection")
        client.expect_close(1008, "closed_by_admin")
        console.page.get_by_text("1 connection told to close").wait_for()
    finally:
        context.close()
        house.door.close_all()


def test_pages_fit_a_phone(house: House, console: Console, key: Callable[[str], str]) -> None:
    key("a-key-with-a-name-that-is-as-long-as-names-may-be-64-characters.")
    house.client()
    session = house.session_of(key_id="fixed")
    page = console.page
    page.set_viewport_size({"width": 390, "height": 844})
    for path in (
        "/connections",
        f"/connections/{session}",
        "/keys",
        "/keys/fixed",
        "/new-key",
        "/events",
    ):
        console.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path

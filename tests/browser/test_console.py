"""The console in a real browser: signing in, the overview and its charts, themes and widths."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from playwright.sync_api import expect

from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Locator, Page

    OpenPage = Callable[..., Page]

TOKEN = "console-token-6d1f0b7a2c9e4835"
VIEWER = "viewer-token-0a9d4c7be1f25386"
KEY = "fixed-key-8e2b5d1f7c3a9046"
PATIENCE_MS = 5_000

# What a session that was opened just now may take to be seen.
SOON_MS = 3_000

PAGES = ("/", "/connections", "/keys", "/routes", "/events")
SCREENS = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
}


class House(NamedTuple):
    """A gateway, and the door of its clients."""

    gateway: Gateway
    door: Door


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with Upstream() as upstream:
        config = {
            "admin": {
                "listen": "127.0.0.1:0",
                "token": TOKEN,
                "tokens": [{"name": "reader", "role": "viewer", "sha256": _digest(VIEWER)}],
            },
            "keys": [{"name": "fixed", "secret": KEY}],
            "routes": [{"name": "chat", "path": "/chat", "upstream": upstream.url}],
        }
        folder = tmp_path_factory.mktemp("console")
        with Gateway(folder, config) as gateway, Door(gateway.public) as door:
            yield House(gateway, door)
            assert TOKEN not in "\n".join(gateway.log)
            assert not gateway.events("internal_error")


@pytest.fixture
def open_page(house: House, chromium: Browser) -> Iterator[OpenPage]:
    """Opens a page in a browser of its own, and complains of what the browser complains of."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(token: str | None = TOKEN, **screen: object) -> Page:
        context = chromium.new_context(base_url=house.gateway.admin_url, **screen)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda failure: complaints.append(str(failure)))
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text) if said.type in {"error", "warning"} else None
            ),
        )
        page.goto("/")
        if token is not None:
            sign_in(page, token)
            page.get_by_role("heading", name="Overview").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def sessions(page: Page) -> Locator:
    """What the overview says of how many there are."""
    return page.locator(".tiles > div").filter(has_text="Live sessions").locator(".value")


def test_who_shows_a_token_sees_who_is_connected_as_it_happens(
    open_page: OpenPage, house: House
) -> None:
    page = open_page()
    count = sessions(page)
    expect(count).to_have_text(re.compile(r"^\s*0\b"), timeout=SOON_MS)
    client = house.door.open(upgrade("/chat", key=KEY))
    expect(count).to_have_text(re.compile(r"^\s*1\b"), timeout=SOON_MS)
    expect(page.get_by_text("connection_opened").first).to_be_visible()
    client.close()
    expect(count).to_have_text(re.compile(r"^\s*0\b"), timeout=SOON_MS)


def test_wrong_token_is_told_and_the_way_goes_on_where_it_began(
    house: House, chromium: Browser
) -> None:
    context = chromium.new_context(base_url=house.gateway.admin_url)
    page = context.new_page()
    page.goto("/routes")
    sign_in(page, "a wrong token")
    page.get_by_role("alert").filter(has_text="not known here").wait_for()
    page.goto("/routes")
    sign_in(page, VIEWER)
    page.get_by_role("heading", name="Routes").wait_for()
    assert page.get_by_role("link", name="Reload").count() == 0
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    context.close()


@pytest.mark.parametrize("screen", SCREENS)
def test_page_fits_its_screen_and_breaks_no_policy(open_page: OpenPage, screen: str) -> None:
    page = open_page(**SCREENS[screen])
    for path in PAGES:
        page.goto(path)
        page.get_by_role("link", name="Routes").first.wait_for()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= SCREENS[screen]["viewport"]["width"], path
    page.goto("/")
    page.locator(".plot canvas").first.wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_field_stands_out_and_address_is_readable_on_the_smallest_screen(
    open_page: OpenPage, theme: str
) -> None:
    page = open_page(viewport={"width": 320, "height": 640}, color_scheme=theme)
    page.goto("/routes")
    place = page.locator(".route .rows .code").bounding_box()
    assert place is not None
    assert place["height"] < 3 * 24
    page.goto("/keys")
    badge, cell = (
        page.locator(f"td[data-label=State]{inner}").first.bounding_box()
        for inner in (" .badge", "")
    )
    assert badge is not None
    assert cell is not None
    assert badge["width"] < cell["width"] / 2
    field = page.get_by_label("Name")
    ground, line = field.evaluate(
        "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).borderTopColor]"
    )
    lights = sorted(_luminance(colour) for colour in (ground, line))
    assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 3  # WCAG 2.2, 1.4.11


def _luminance(colour: str) -> float:
    """How light a colour such as `rgb(1, 2, 3)` is (WCAG 2.2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_double_click_asks_once(open_page: OpenPage) -> None:
    page = open_page()
    link = page.get_by_role("link", name="Reload configuration")
    link.evaluate(
        """async (link) => {
            const asked = () => performance.getEntriesByType("resource")
                .filter((entry) => entry.name.endsWith("/reload"));
            link.click();
            link.click();
            while (asked().length < 2) await new Promise((done) => setTimeout(done, 20));
        }"""
    )
    page.get_by_role("dialog").first.wait_for()
    page.evaluate("new Promise(done => setTimeout(done, 50))")
    assert page.get_by_role("dialog").count() == 1


def test_theme_is_kept(open_page: OpenPage) -> None:
    page = open_page(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    toggle = page.get_by_role("button", name="Theme")
    toggle.click()
    page.get_by_role("button", name="Theme: light").wait_for()
    toggle.click()
    page.get_by_role("button", name="Theme: dark").wait_for()
    dark = page.evaluate(ground)
    assert dark != light
    page.goto("/routes")
    assert page.evaluate(ground) == dark


def test_chart_is_read_with_the_keys(open_page: OpenPage) -> None:
    page = open_page()
    chart = page.get_by_role("img", name=re.compile(r"^Live sessions, last 15 minutes: now"))
    chart.wait_for()
    chart.focus()
    page.keyboard.press("ArrowLeft")
    read = page.get_by_text(re.compile(r"^\d\d:\d\d:\d\d UTC: now \d"))
    expect(read).to_be_attached()
    line = chart.locator(".u-cursor-x")
    expect(line).to_be_visible()
    page.keyboard.press("Escape")
    expect(line).to_be_hidden()


def test_keyboard_gets_to_the_content_and_out_of_a_question(open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    link = page.get_by_role("link", name="Reload configuration")
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Reload the configuration?")
    dialog.wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert link.evaluate("link => link === document.activeElement")


def test_operator_reloads_the_configuration(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("link", name="Reload configuration").click()
    page.get_by_role("button", name="Reload", exact=True).click()
    said = page.get_by_role("status").filter(has_text="Nothing in it has changed")
    expect(said).to_be_visible()


def test_page_says_when_the_gateway_does_not_answer(house: House, chromium: Browser) -> None:
    context = chromium.new_context(base_url=house.gateway.admin_url)
    page = context.new_page()
    page.goto("/")
    sign_in(page, TOKEN)
    page.locator(".plot canvas").first.wait_for()
    context.set_offline(True)
    lost = page.get_by_text("The gateway does not answer")
    expect(lost).to_be_visible()
    context.set_offline(False)
    expect(lost).not_to_be_attached()
    context.close()

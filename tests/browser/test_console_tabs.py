"""The console in a real browser: two tabs, two gateways, and screens of middling width."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

TOKEN = "console-token-7c4e19a0d5b2f836"
KEY = "fixed-key-1d8f3b6a9c0e5274"
PATIENCE_MS = 5_000
ADMIN = {
    "listen": "127.0.0.1:0",
    "tokens": [
        {"name": "ada", "role": "admin", "sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}
    ],
}


class House(NamedTuple):
    """A gateway, and the door of its clients."""

    gateway: Gateway
    door: Door


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with Upstream() as upstream:
        config = {
            "admin": ADMIN,
            "keys": [{"name": "key-of-the-billing-service", "secret": KEY}],
            "routes": [{"name": "chat-of-customers", "path": "/chat", "upstream": upstream.url}],
        }
        folder = tmp_path_factory.mktemp("tabs")
        with Gateway(folder, config) as gateway, Door(gateway.public) as door:
            yield House(gateway, door)
            assert not gateway.events("internal_error")


@pytest.fixture
def context(house: House, chromium: Browser) -> Iterator[BrowserContext]:
    """A browser of somebody who is signed in."""
    context = chromium.new_context(base_url=house.gateway.admin_url)
    context.set_default_timeout(PATIENCE_MS)
    sign_in(context.new_page(), house.gateway.admin_url)
    yield context
    context.close()


def sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/login")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()


def press(page: Page, name: str) -> None:
    page.bring_to_front()  # Of a tab in the background a browser draws a frame a second.
    page.get_by_role("button", name=name, exact=True).click()


def test_second_tab_is_told_of_the_first_before_it_rotates(
    house: House, context: BrowserContext
) -> None:
    first, second = context.pages[0], context.new_page()
    first.goto("/new-key")
    first.get_by_label("Name").first.fill("shared")
    press(first, "Create key")
    first.get_by_role("link", name="I have kept it").click()
    first.get_by_role("heading", name="shared").wait_for()
    second.goto(first.url)
    for tab in (first, second):
        tab.get_by_role("link", name="Rotate…").click()
        tab.get_by_role("dialog").wait_for()
    second.get_by_label("The secret before").select_option("0")
    press(first, "Rotate")
    kept = first.get_by_label("The secret").input_value()
    house.gateway.wait_for_event("key_rotated", key_name="shared")
    press(second, "Rotate")
    told = second.get_by_role("alert")
    told.filter(has_text="shared was rotated meanwhile").filter(has_text="by admin:ada").wait_for()
    house.door.open(upgrade("/chat", key=kept)).close()
    press(second, "Rotate again")
    assert second.get_by_label("The secret").input_value() != kept
    house.gateway.wait_for_events(2, "key_rotated", key_name="shared")
    assert house.door.ask(upgrade("/chat", key=kept)).code == "key_expired"


# The width of a row, and the width and height of what else there is of its event: in one look.
_BOXES = """row => {
    const more = row.querySelector("td.details").getBoundingClientRect();
    return [row.getBoundingClientRect().width, more.width, more.height];
}"""


def test_what_else_there_is_of_an_event_has_room(house: House, context: BrowserContext) -> None:
    house.door.open(upgrade("/chat", key=KEY)).close()
    house.gateway.wait_for_event("connection_closed")
    page = context.pages[0]
    page.goto("/events?event=connection_closed")
    row = page.get_by_role("row").filter(has_text="messages_from_client").first
    row.wait_for()
    for width, lines in ((1440, 4), (1280, 4), (800, 7), (705, 9)):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("width => innerWidth === width", arg=width)
        whole, more, height = row.evaluate(_BOXES)
        assert more >= 0.7 * whole, width
        # All of a session's end in a few lines, and nothing to be scrolled to.
        assert height <= lines * 24, width
        table = page.locator("#events .scroll")
        assert table.evaluate("e => e.scrollWidth <= e.clientWidth"), width
        assert page.get_by_role("columnheader").count() == 6


def test_two_gateways_on_one_host_keep_their_logins(
    house: House, context: BrowserContext, tmp_path: Path
) -> None:
    with Upstream() as upstream:
        routes = [{"name": "chat", "path": "/chat", "upstream": upstream.url}]
        with Gateway(tmp_path, {"admin": ADMIN, "routes": routes}) as other:
            first, second = context.pages[0], context.new_page()
            sign_in(second, other.admin_url)
            first.goto("/keys")
            first.get_by_role("heading", name="Keys").wait_for()
            press(first, "Sign out")
            first.get_by_role("heading", name="Sign in").wait_for()
            second.goto(f"{other.admin_url}/keys")
            second.get_by_role("heading", name="Keys").wait_for()

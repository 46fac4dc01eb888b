"""A demo in a process of its own, and a real Chromium before it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page

PATIENCE_MS = 5_000
STOP_DEADLINE = 15.0


class Demo(NamedTuple):
    """What a demo says of itself."""

    page: str
    key: str
    chat: str
    clock: str

    @property
    def page_with_key(self) -> str:
        return f"{self.page}#key={self.key}"


class Tab:
    """The page, as somebody who reads and clicks has it.

    Args:
        page: of the browser.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._note)
        page.on("pageerror", lambda failure: self.complaints.append(str(failure)))

    @property
    def key(self) -> Locator:
        return self.page.get_by_role("textbox", name="The key")

    @property
    def message(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message")

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def choose(self, way: str) -> None:
        self.page.get_by_role("radio", name=way, exact=True).check()

    def press(self, name: str) -> None:
        self.page.bring_to_front()  # Of a tab in the background a browser draws a frame a second.
        self.page.get_by_role("button", name=name, exact=True).click()

    def say(self, text: str) -> None:
        self.page.bring_to_front()
        self.message.fill(text)
        self.press("Send")

    def events(self, name: str = "Events of the connection") -> Locator:
        return self.page.get_by_role("log", name=name).get_by_role("listitem")

    def seen(self, last: str, name: str = "Events of the connection") -> list[str]:
        """The events, once one of this kind is the last."""
        self.events(name).last.and_(self.page.locator(f'[data-event="{last}"]')).wait_for()
        return [text.strip() for text in self.events(name).all_text_contents()]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    log = tmp_path_factory.mktemp("demo") / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "demo"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        page = re.search(r"(http://\S+/try)#key=(wsk_\w+)", said)
        chat = re.search(r"ws://\S+/chat/room1", said)
        clock = re.search(r"ws://\S+/clock", said)
        assert page is not None, log.read_text()
        assert chat is not None, log.read_text()
        assert clock is not None, log.read_text()
        yield Demo(page[1], page[2], chat[0], clock[0])
        assert page[2] not in log.read_text()
    finally:
        process.terminate()
        process.communicate(timeout=STOP_DEADLINE)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium on this machine (on Debian: apt-get install chromium)")
    # Its sandbox cannot be had by root, and not in most containers.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(chromium: Browser) -> BrowserContext:
    return chromium.new_context()


@pytest.fixture
def open_tab(context: BrowserContext, demo: Demo) -> Iterator[Callable[..., Tab]]:
    """Opens a tab, with the demo's page unless told another."""

    def open_tab(url: str = demo.page_with_key) -> Tab:
        tab = Tab(context.new_page())
        tab.page.goto(url)
        return tab

    yield open_tab
    for page in context.pages:
        page.close()


@pytest.fixture(scope="module")
def other_site() -> Iterator[str]:
    """The URL of an empty page that is no page of the demo's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _EmptyPage)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>Another site</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""

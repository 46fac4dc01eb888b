"""Makes the pictures of the console: `make screenshots`. Needs Linux and Chromium.

A gateway with services, clients and refusals runs for over a minute, so that the charts have
something to show; then each page is taken in light and dark, and some as a phone shows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.async_api import async_playwright

from docs.screenshots.camera import take
from docs.screenshots.scene import TOKEN, Scene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, BrowserContext, Page

IMAGES = Path(__file__).parents[1] / "images"
SECONDS = 75
DESKTOP, PHONE = (1280, 860), (390, 844)
# Finer than the page's own pixels, for screens that are.
SCALE = 1.5
PAGES = {
    "overview": "/",
    "connections": "/connections",
    "keys": "/keys",
    "routes": "/routes",
    "events": "/events",
}
ON_PHONES = ("overview", "connections")
# A page that follows something has this long to fill.
FILLING = 12


async def main() -> None:
    """Sets the scene and takes every picture."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if program is None:
        sys.exit("no Chromium here; on Debian: apt-get install chromium, or set CHROMIUM")
    if (here := asyncio.current_task()) is not None:
        # What was started is ended then, as by Ctrl-C.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, here.cancel)
    with tempfile.TemporaryDirectory() as folder:
        async with Scene(Path(folder)) as scene:
            living = asyncio.create_task(scene.live(), name="clients")
            await _operate(scene)
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=program, args=["--no-sandbox"]
                )
                await _take_all(browser, scene)
                await browser.close()
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
    for picture in sorted(IMAGES.glob("console-*.png")):
        print(f"{picture.stat().st_size / 1024:6.0f} KiB  {picture.name}")


async def _operate(scene: Scene) -> None:
    """What operators do while the charts fill."""
    await asyncio.sleep(SECONDS - 20)
    await scene.operate("POST", "/keys/contractor-2025/revoke", who="oncall")
    await asyncio.sleep(15)
    await scene.operate("POST", "/keys/orders-service/rotate", {"overlap": "24h"})
    await asyncio.sleep(5)


async def _take_all(browser: Browser, scene: Scene) -> None:
    darkroom = await browser.new_page()
    for look in ("light", "dark"):
        async with _signed_in(browser, scene, look, DESKTOP) as context:
            session = await _open(context, f"{scene.console}/connections?subject=ada")
            await session.locator("#connections a.id").last.click()
            await asyncio.sleep(FILLING)
            for name, path in PAGES.items():
                page = await _open(context, scene.console + path)
                await take(page, darkroom, IMAGES / f"console-{name}-{look}.png")
            await page.goto(f"{scene.console}/keys")
            await page.get_by_role("link", name="mobile-app").click()
            await page.wait_for_timeout(1000)
            await take(page, darkroom, IMAGES / f"console-key-{look}.png")
            await session.bring_to_front()
            # Its frames stand at the end of the page.
            await session.set_viewport_size({"width": DESKTOP[0], "height": 1160})
            await session.wait_for_timeout(2500)
            await take(session, darkroom, IMAGES / f"console-session-{look}.png")
    async with _signed_in(browser, scene, "light", PHONE) as context:
        for name in ON_PHONES:
            page = await _open(context, scene.console + PAGES[name])
            await take(page, darkroom, IMAGES / f"console-{name}-phone.png")


@contextlib.asynccontextmanager
async def _signed_in(
    browser: Browser, scene: Scene, look: str, size: tuple[int, int]
) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(
        color_scheme="dark" if look == "dark" else "light",
        viewport={"width": size[0], "height": size[1]},
        device_scale_factor=SCALE,
    )
    page = await context.new_page()
    await page.goto(f"{scene.console}/login")
    await page.get_by_label("Token").fill(TOKEN)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{scene.console}/")
    yield context
    await context.close()


async def _open(context: BrowserContext, url: str) -> Page:
    page = await context.new_page()
    await page.goto(url)
    await page.wait_for_timeout(2500)
    return page


if __name__ == "__main__":
    asyncio.run(main())

"""Makes the pictures of the console in `docs/images`: `make screenshots`.

Needs Chromium. A gateway with example services and clients that talk runs for two minutes, so that
the charts have something to show.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.async_api import async_playwright
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

if TYPE_CHECKING:
    from playwright.async_api import Browser

IMAGES = Path(__file__).parent / "images"
PUBLIC, ADMIN, UPSTREAM = 18080, 18081, 18082
SECONDS = 120
SESSIONS = 120
KEYS = ("mobile-app", "partner-feed", "orders-service")
DESKTOP, PHONE = (1280, 860), (390, 844)
# Name, path, looks.
PAGES = (
    ("overview", "/", ("light", "dark", "phone")),
    ("connections", "/connections", ("light", "dark", "phone")),
    ("keys", "/keys", ("light", "dark")),
    ("routes", "/routes", ("light", "dark")),
    ("events", "/events", ("light", "dark")),
)


def _secret(name: str) -> str:
    return f"{name}-secret-of-the-pictures"


def _configuration() -> dict[str, Any]:
    echo = f"ws://127.0.0.1:{UPSTREAM}"
    return {
        "listen": f"127.0.0.1:{PUBLIC}",
        "admin": {"listen": f"127.0.0.1:{ADMIN}"},
        "store": "memory:",
        "trusted_proxies": ["127.0.0.1"],
        "log": {"level": "warning", "format": "json"},
        "keepalive": {"interval": "2s"},
        "keys": [
            *({"name": name, "secret": _secret(name)} for name in KEYS),
            {"name": "old-dashboard", "secret": _secret("old"), "suspended_at": "2026-01-31"},
            {"name": "trial", "secret": _secret("trial"), "expires_at": "2026-01-31"},
        ],
        "routes": [
            {"name": "chat", "path": "/chat", "upstream": echo},
            {
                "name": "orders",
                "path": "/orders",
                "upstream": {"targets": [echo, f"ws://127.0.0.1:{UPSTREAM + 1}"]},
            },
            {"name": "prices", "path": "/prices", "upstream": echo},
        ],
    }


async def _talk(number: int) -> None:
    """A client that comes, says something now and then, goes, and comes again."""
    route = ("chat", "orders", "prices")[number % 3]
    name = KEYS[number % 5 % 3]
    headers = {
        "X-Api-Key": _secret(name),
        "X-Forwarded-For": f"198.51.100.{number % 80 + 1}",
        "Origin": "https://app.example.com",
    }
    await asyncio.sleep(number * 0.4)
    async with connect(f"ws://127.0.0.1:{PUBLIC}/{route}", additional_headers=headers) as session:
        for beat in range(10 * SECONDS):
            wave = 1 + math.sin(beat / 12 + number / 9)
            await session.send("x" * int(40 + 400 * wave))
            await session.recv()
            await asyncio.sleep(0.3 + 0.5 / (0.3 + wave))


async def _guess() -> None:
    """Somebody whose key is wrong, and somebody whose key is suspended."""
    for number in range(SECONDS):
        key = _secret("old") if number % 4 else "not-a-key"
        headers = {"X-Api-Key": key, "X-Forwarded-For": "203.0.113.9"}
        with contextlib.suppress(WebSocketException, OSError):
            await connect(f"ws://127.0.0.1:{PUBLIC}/chat", additional_headers=headers)
        await asyncio.sleep(2.5)


async def _take(browser: Browser) -> None:
    """Opens each page in each look."""
    for look in ("light", "dark", "phone"):
        width, height = PHONE if look == "phone" else DESKTOP
        context = await browser.new_context(
            color_scheme="dark" if look == "dark" else "light",
            viewport={"width": width, "height": height},
        )
        page = await context.new_page()
        for name, path, looks in PAGES:
            if look in looks:
                await page.goto(f"http://127.0.0.1:{ADMIN}{path}")
                await page.wait_for_timeout(1500)
                await page.screenshot(path=IMAGES / f"console-{name}-{look}.png")
        if look != "phone":
            await page.goto(f"http://127.0.0.1:{ADMIN}/connections?route=orders")
            await page.locator("tbody tr td a").first.click()
            await page.wait_for_timeout(8000)
            await page.screenshot(path=IMAGES / f"console-session-{look}.png")
        await context.close()


async def _program(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", *words, stdout=asyncio.subprocess.DEVNULL
    )


async def main() -> None:
    """Starts everything, waits until there is something to see, and takes the pictures."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("screenshots need Chromium: install Debian's `chromium`, or set CHROMIUM")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "wskeeper.yaml"
        file.write_text(json.dumps(_configuration()), encoding="utf-8")
        upstream = await _program("backends.echo", "--listen", f"127.0.0.1:{UPSTREAM}")
        gateway = await _program("proxy", "serve", "-c", str(file))
        await asyncio.sleep(2)
        clients = [asyncio.create_task(_talk(number)) for number in range(SESSIONS)]
        clients.append(asyncio.create_task(_guess()))
        try:
            await asyncio.sleep(SECONDS)
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox"]
                )
                await _take(browser)
                await browser.close()
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            for program in (gateway, upstream):
                program.send_signal(signal.SIGKILL)
                await program.wait()


if __name__ == "__main__":
    asyncio.run(main())

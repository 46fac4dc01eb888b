"""The console's files: what they are, and for how long a browser keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from proxy.admin.problems import Problem
from proxy.console.assets import Assets, _read

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.test_utils import TestClient

ASSETS = Assets.packaged()


@pytest.fixture
async def browser(aiohttp_client: Any) -> TestClient:
    @web.middleware
    async def refusing(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            return web.Response(status=problem.row.status)

    app = web.Application(middlewares=[refusing])
    app.router.add_get("/static/{name:.+}", ASSETS.show)
    return await aiohttp_client(app)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("console.css", "text/css; charset=utf-8"),
        ("console.js", "text/javascript; charset=utf-8"),
        ("favicon.svg", "image/svg+xml; charset=utf-8"),
        ("vendor/htmx.min.js", "text/javascript; charset=utf-8"),
        ("vendor/uplot.LICENSE.txt", "text/plain; charset=utf-8"),
        ("vendor/README.md", "text/plain; charset=utf-8"),
    ],
)
async def test_file_is_what_it_says_and_kept_for_ever(
    browser: TestClient, name: str, content_type: str
):
    answer = await browser.get(ASSETS.address(name))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("query", ["", "?v=", "?v=0123456789abcdef"])
async def test_file_by_another_address_is_asked_for_again(browser: TestClient, query: str):
    answer = await browser.get("/static/console.css" + query)
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_browser_that_has_a_file_is_not_sent_it(browser: TestClient):
    tag = (await browser.get("/static/console.css")).headers["ETag"]
    for value in (tag, f'"other", W/{tag}', "*"):
        answer = await browser.get("/static/console.css", headers={"If-None-Match": value})
        assert (answer.status, await answer.read()) == (304, b"")
        assert answer.headers["ETag"] == tag
    answer = await browser.get("/static/console.css", headers={"If-None-Match": '"other"'})
    assert answer.status == 200


@pytest.mark.parametrize(
    "path", ["nothing.css", "vendor", "../site.py", "%2e%2e/site.py", "vendor%2fhtmx.min.js/"]
)
async def test_there_are_no_other_files(browser: TestClient, path: str):
    assert (await browser.get("/static/" + path)).status == 404


def test_what_is_no_file_of_a_page_is_left_out(tmp_path: Path):
    (tmp_path / "notes.swp").write_text("of an editor")
    (tmp_path / "page.css").write_text("")
    assert [name for name, _ in _read(tmp_path)] == ["page.css"]


def test_template_that_names_no_file_is_a_mistake():
    with pytest.raises(KeyError):
        ASSETS.address("nothing.css")

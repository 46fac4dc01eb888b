"""The demo's page: whom it is shown to, and what it may load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.admin.try_page.page import TryPage
from tests.unit.admin.scene import TOKENS, Scene

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = TryPage("127.0.0.1:4321", chat="/chat/<room>", plain="/clock")
FILES = {
    "/try": "text/html; charset=utf-8",
    "/try/try.css": "text/css; charset=utf-8",
    "/try/try.js": "text/javascript; charset=utf-8",
}


@pytest.fixture
def demo() -> Iterator[Scene]:
    with Scene(tokens=False, try_page=PAGE) as scene:
        yield scene


@pytest.mark.parametrize(("path", "content_type"), FILES.items())
def test_each_file_of_the_page_is_there(demo: Scene, path: str, content_type: str):
    answer = demo.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"] == content_type


@pytest.mark.parametrize("path", FILES)
def test_gateway_without_the_page_has_nothing_there(path: str):
    with Scene(tokens=False) as scene:
        assert scene.ask("GET", path).code == "404 no_such_path"


def test_page_names_what_it_tries_as_text_not_as_markup(demo: Scene):
    html = demo.ask("GET", "/try").body.decode()
    assert 'data-gateway="127.0.0.1:4321"' in html
    assert 'data-chat="/chat/&lt;room&gt;"' in html
    assert 'data-plain="/clock"' in html
    assert "<room>" not in html


def test_page_may_load_its_own_files_and_speak_to_its_gateway_alone(demo: Scene):
    answer = demo.ask("GET", "/try")
    policy = dict(
        directive.strip().partition(" ")[::2]
        for directive in answer.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "data:",
        "connect-src": "http://127.0.0.1:4321 ws://127.0.0.1:4321",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("rebound.example:8081", "Accept: */*"),
        ("127.0.0.1:8081", "Origin: https://evil.example"),
        ("127.0.0.1:8081", "Sec-Fetch-Site: cross-site"),
    ],
)
def test_page_is_shown_to_no_other_site(demo: Scene, path: str, host: str, line: str):
    assert demo.ask("GET", path, host=host, lines=[line]).code == "403 cross_site"


@pytest.mark.parametrize("path", FILES)
def test_page_needs_a_token_where_the_listener_has_tokens(path: str):
    with Scene(try_page=PAGE) as scene:
        assert scene.ask("GET", path, token=None).code == "401 token_missing"
        assert scene.ask("GET", path, token=TOKENS["viewer"]).status == 200


def test_page_takes_no_other_method(demo: Scene):
    assert demo.ask("POST", "/try", {}).code == "405 method_not_allowed"

"""F. Path: the bytes that were authorised are the bytes that are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import APP_ONLY, GOOD, assert_refused, good
from tests.harness.heads import upgrade

if TYPE_CHECKING:
    from tests.harness.client import Door
    from tests.harness.upstream import Upstream

pytestmark = pytest.mark.timeout(60)

DOT_SEGMENTS = [
    "/app/../admin",
    "/app/%2e%2e/admin",
    "/app/.%2e/admin",
    "/app/%2E./admin",
    "/app/%2E%2E/admin",
    "/app/..;/admin",
    "/app/..;x=y/admin",
    "/app/%2e%2e;/admin",
    "/app/.;/x",
    "/app/.;a=b/x",
    "/app;x/..;/admin",
    "/app/..",
    "/app/.",
    "/app/./x",
    "/./app",
    "/../app",
    "/app/%2e",
    "/app/%2E/x",
    "/app/x/../../admin",
    "/app/../app",
    "/app/%2e%2e%2fadmin",
    "/app/..%2fadmin",
    "/app/..%5cadmin",
]

SLASHES = ["//app", "/app//x", "/app//", "//app/x", "///app", "/app/x//y", "//127.0.0.1/app"]

ENCODED = [
    "/app/%2f",
    "/app/%2Fx",
    "/app%2fx",
    "/app/%5c",
    "/app/%5Cx",
    "/app/\\",
    "/app\\x",
    "/app/..\\admin",
    "\\app",
    "/app/%00",
    "/app/x%00",
    "/app%00",
    "/app/%0d%0aX-Injected:%201",
    "/app/%0a",
    "/app/%0D",
    "/app/%09",
    "/app/%1f",
    "/app/%7f",
    "/app/%20HTTP/1.1%0d%0aX-Injected:%201%0d%0a%0d%0a",
    "/app/%01",
]

BROKEN = ["/app%", "/app/%", "/app/%2", "/app/%zz", "/app/%u0061", "/app/%%32%65", "/app/x%"]

FRAGMENTS = ["/app#", "/app#/x", "/app/x#../admin", "/app?x#y"]


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param(DOT_SEGMENTS, id="p52-p53-p55-dot-segments"),
        pytest.param(SLASHES, id="p53-double-slashes"),
        pytest.param(ENCODED, id="p54-p56-encoded-separators"),
        pytest.param(BROKEN, id="p56-broken-percent-encoding"),
        pytest.param(FRAGMENTS, id="p53-fragments"),
    ],
)
def test_p52_to_p56_ambiguous_paths_are_refused_with_every_key(
    door: Door, upstream: Upstream, other: Upstream, targets: list[str]
) -> None:
    with upstream.untouched(), other.untouched(0):
        for target in targets:
            for key in (GOOD, APP_ONLY, None):
                response = door.ask(upgrade(target, key=key))
                assert response.status == 400, (target, response.first_line)
                assert_refused(response, 400, {"bad_path", "bad_request"})
                # Only what is no HTTP at all may be judged before its path.
                if not {"\\", "#"} & set(target):
                    assert response.code == "bad_path", target


def test_p55_parameters_in_the_prefix_segment_do_not_match(
    door: Door, upstream: Upstream, other: Upstream
) -> None:
    with upstream.untouched(), other.untouched(0):
        for target in ("/app;a=b", "/app;/x", "/app;x/admin", "/;/app", "/%3b/app"):
            response = door.ask(good(target))
            assert_refused(response, {400, 404}, {"no_route", "bad_path"})


def test_p55_parameters_below_the_prefix_pass_as_they_are(door: Door, upstream: Upstream) -> None:
    for target in ("/app/x;a=b", "/app/x;a=b/y", "/app/x;", "/app/;x"):
        door.open(good(target)).close()
        request = upstream.connection().request
        assert request is not None
        assert request.target == target


def test_p56_raw_bytes_in_the_target_are_refused(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for odd in (b"\x00", b"\x01", b"\x0b", b"\x7f", b"\t", b"\r", b"\xff", b"\xc3\xa9"):
            assert_refused(door.ask(good(b"/app/" + odd)), 400, {"bad_path", "bad_request"})


def test_p57_a_prefix_matches_whole_segments_in_its_own_spelling(
    door: Door, upstream: Upstream, other: Upstream
) -> None:
    with upstream.untouched(), other.untouched(0):
        for target in (
            "/application",
            "/app-x",
            "/app.x",
            "/APP",
            "/App",
            "/ap",
            "/%61pp",
            "/app%20",
            "/app%20x",
            "/x/app",
            "/",
        ):
            assert_refused(door.ask(good(target)), 404, "no_route")
        assert_refused(door.ask(good("/app%")), 400, "bad_path")


@pytest.mark.parametrize(
    "target",
    [
        "/app",
        "/app/",
        "/app/x",
        "/app/...",
        "/app/..x",
        "/app/x..",
        "/app/.well-known/x",
        "/app/%41%7E~",
        "/app/a%20b+c",
        "/app/%E9%c3%a9",
        "/app/%252e%252e/x",
        "/app/a:b@c!d$e&f'g(h)i*j,k=l",
        "/app/" + "x" * 4000,
    ],
)
def test_p57_clear_paths_travel_unchanged(door: Door, upstream: Upstream, target: str) -> None:
    door.open(good(target)).close()
    request = upstream.connection().request
    assert request is not None
    assert request.target == target


@pytest.mark.parametrize(
    "query",
    [
        "?a=%2f&b=%0d%0a&c=+&d&e=%E9;f",
        "?",
        "??",
        "?&&&",
        "?a=1&a=2&A=3&=&=x",
        "?q=../../admin&r=//x&s=%2e%2e",
        "?u=http://x/y?z",
        "?a=%00%7f",
        "?a[]=1",
        "?" + "q" * 4000,
    ],
)
def test_p58_queries_travel_unchanged(door: Door, upstream: Upstream, query: str) -> None:
    door.open(good("/app/x" + query)).close()
    request = upstream.connection().request
    assert request is not None
    assert request.target == "/app/x" + query

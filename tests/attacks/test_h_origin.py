"""H. Origin: with an allow-list, a page that is not on it does not get in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import ORIGIN, assert_refused, good
from tests.harness.heads import upgrade

if TYPE_CHECKING:
    from tests.harness.client import Door
    from tests.harness.upstream import Upstream

pytestmark = pytest.mark.timeout(60)

FOREIGN = [
    "https://evil.example",
    "null",
    "NULL",
    "",
    "https://good.example.evil",
    "https://evilgood.example",
    "https://sub.good.example",
    "http://good.example",
    "wss://good.example",
    "https://good.example:8443",
    "https://good.example:80",
    "https://good.example:",
    "https://good.example@evil",
    "https://evil@good.example",
    "https://good.example/",
    "https://good.example/x",
    "https://good.example?x",
    "https://good.example#x",
    "https://good.example.",
    "https://good.example, https://evil.example",
    "https://evil.example, https://good.example",
    "https://good.example https://evil.example",
    "https://good.example\\@evil",
    "https:good.example",
    "//good.example",
    "good.example",
    "https://good.exampl\xe9",
    "https://g\u00f6od.example",
    "https://good%2eexample",
    "https://[::1]",
    "*",
]


def test_p67_a_listed_origin_or_none_at_all_is_let_in(door: Door, upstream: Upstream) -> None:
    door.open(good("/shop")).close()
    for origin in (ORIGIN, "https://GOOD.Example"):
        door.open(good("/shop", lines=(f"Origin: {origin}",))).close()
    assert upstream.count


def test_p67_p68_any_other_origin_is_forbidden(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for origin in FOREIGN:
            response = door.ask(good("/shop", lines=(f"Origin: {origin}",)))
            assert response.status in {400, 403}, (origin, response.first_line)
            assert_refused(response, {400, 403}, {"origin_forbidden", "bad_request"})
        for origin in FOREIGN[:4]:
            if origin:
                response = door.ask(good("/shop", lines=(f"Origin: {origin}",)))
                assert_refused(response, 403, "origin_forbidden")


def test_p68_two_origin_lines_are_refused(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for second in (ORIGIN, "https://evil.example"):
            for pair in ((ORIGIN, second), (second, ORIGIN)):
                lines = tuple(f"Origin: {origin}" for origin in pair)
                assert_refused(door.ask(good("/shop", lines=lines)), {400, 403})


def test_p68_the_origin_is_judged_before_the_key(door: Door, upstream: Upstream) -> None:
    """So that a foreign page cannot find out whether a key is good."""
    with upstream.untouched():
        for key in (None, "CANARY-bad-guess-of-a-foreign-page"):
            request = upgrade("/shop", key=key, lines=("Origin: https://evil.example",))
            assert_refused(door.ask(request), 403, "origin_forbidden")


def test_p68_a_path_below_the_route_has_the_same_origins(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for target in ("/shop/", "/shop/deep", "/shop?x=1"):
            request = good(target, lines=("Origin: https://evil.example",))
            assert_refused(door.ask(request), 403, "origin_forbidden")

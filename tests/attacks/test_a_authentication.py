"""A. Authentication: no byte reaches an upstream before a valid key was found."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import (
    APP_ONLY,
    BAD,
    GOOD,
    OTHER_ONLY,
    assert_refused,
    configuration,
    digest,
    good,
)
from tests.harness.client import Door
from tests.harness.gateway import Gateway, GatewayFailed
from tests.harness.heads import Response, plain, upgrade
from tests.harness.process import SLOWNESS, cpu

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.upstream import Upstream

pytestmark = pytest.mark.timeout(60)


def test_p01_a_request_without_a_key_is_refused(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        response = door.ask(upgrade("/app"))
    assert_refused(response, 401, "key_missing")
    assert response.get("WWW-Authenticate"), "it must name the carriers"


def _without_what_may_differ(response: Response) -> tuple[object, ...]:
    request_id = (response.get("X-Request-Id") or "").encode()
    headers = [pair for pair in response.headers if pair[0].lower() not in {"date", "x-request-id"}]
    return response.first_line, headers, response.body.replace(request_id, b"")


def test_p02_all_unknown_keys_get_the_identical_answer(door: Door, upstream: Upstream) -> None:
    digits = "0123456789abcdef" * 1000
    keys = [
        *("K" * size for size in (1, 2, 16, 19, 20, 31, 32, 33, 63, 64, 65, 127, 255, 1000)),
        digits[:4000],
        digits[:8000],
        BAD,
        "wsk_",
        "wsk_x",
        "wsk_a1b2c3d4_0123456789abcdefghijABCDEFGHIJ012345",  # a made key, mistyped
        "wsk_a1b2c3d4_" + digits[:40],
        "wsk__" + digits[:60],
        "wsk_" + "é" * 20,
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.",
        digest(GOOD),
        "Bearer " + GOOD,
        "key with spaces inside",
        "*",
        "%00",
        '"quoted", and, commas',
        "../../etc/passwd",
        "' OR '1'='1",
        "{{7*7}}",
        "None",
        "null",
    ]
    with upstream.untouched():
        answers = [door.ask(upgrade("/app", key=key)) for key in keys]
    for answer in answers:
        assert_refused(answer, 401, "key_unknown")
    assert len({repr(_without_what_may_differ(answer)) for answer in answers}) == 1


@pytest.mark.parametrize("key", [b"\x80", b"\xff" * 40, b"\xc3\xa9t\xc3\xa9", b"\xed\xb2\x80x"])
def test_p02_bytes_beyond_ascii_in_a_key_are_no_fault_of_ours(door: Door, key: bytes) -> None:
    assert_refused(door.ask(upgrade("/app", key=key)), {400, 401})
    assert_refused(door.ask(upgrade("/app", key=GOOD.encode() + key)), {400, 401})


def test_p03_near_misses_of_a_good_key_are_unknown(door: Door, upstream: Upstream) -> None:
    near = [
        GOOD[:-1],
        GOOD[1:],
        GOOD + "0",
        GOOD + ",",
        GOOD + ";",
        GOOD.upper(),
        GOOD.lower(),
        GOOD.swapcase(),
        APP_ONLY + GOOD,
        GOOD + APP_ONLY,
        f"{APP_ONLY},{GOOD}",
        f"{GOOD}, {GOOD}",
        f'"{GOOD}"',
        f"X-Api-Key: {GOOD}",
        base64.b64encode(GOOD.encode()).decode(),
    ]
    with upstream.untouched():
        for key in near:
            response = door.ask(upgrade("/app", key=key))
            assert_refused(response, {400, 401}, {"key_unknown", "key_ambiguous"})


EMPTY_KEYS = ["", " ", "\t", "  \t ", "\t\t"]


def test_p04_an_empty_key_is_refused(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for key in EMPTY_KEYS:
            response = door.ask(upgrade("/app", key=key))
            assert_refused(response, 401, {"key_missing", "key_unknown"})


def test_p04_an_empty_key_is_refused_even_if_one_is_configured(
    tmp_path: Path, upstream: Upstream, other: Upstream
) -> None:
    config = configuration(upstream, other, 9)
    config["keys"] = [{"name": "empty", "sha256": digest("")}]
    try:
        gateway = Gateway(tmp_path, config).__enter__()
    except GatewayFailed as refusal:
        said = str(refusal)
    else:
        with gateway, Door(gateway.public) as door:
            with upstream.untouched():
                answers = [door.ask(upgrade("/app", key=key)) for key in EMPTY_KEYS]
            for answer in answers:
                assert_refused(answer, 401)
            return
    assert "keys" in said, "it does not start, but not because of the key"


def test_p05_two_api_key_lines_are_refused(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for first, second in [(BAD, GOOD), (GOOD, BAD), (GOOD, GOOD), ("", GOOD), (GOOD, "")]:
            request = upgrade("/app", key=first, lines=(f"X-Api-Key: {second}",))
            assert_refused(door.ask(request), 400, "key_ambiguous")
        for name in ("x-api-key", "X-API-KEY"):
            request = upgrade("/app", key=GOOD, lines=(f"{name}: {GOOD}",))
            assert_refused(door.ask(request), 400, "key_ambiguous")


def test_p05_two_different_credentials_in_two_carriers_are_refused(
    door: Door, upstream: Upstream
) -> None:
    request = upgrade("/bearer", key=GOOD, lines=(f"Authorization: Bearer {APP_ONLY}",))
    with upstream.untouched():
        assert_refused(door.ask(request), 400, "key_ambiguous")


def test_p06_white_space_around_a_good_key_is_not_part_of_it(
    door: Door, upstream: Upstream
) -> None:
    for space, behind in [
        ("", ""),
        (" ", ""),
        (" ", " "),
        ("\t", ""),
        (" ", "\t"),
        (" \t ", " \t "),
    ]:
        door.open(upgrade("/app", lines=(f"X-Api-Key:{space}{GOOD}{behind}",))).close()
        request = upstream.connection().request
        assert request is not None
        assert request.get("X-Wskeeper-Key-Name") == "good"


def test_p06_vertical_tab_and_form_feed_are_no_white_space(door: Door, upstream: Upstream) -> None:
    with upstream.untouched():
        for odd in ("\x0b", "\x0c"):
            for key in (odd + GOOD, GOOD + odd, f" {odd}{GOOD}", f"{odd} {GOOD} {odd}"):
                assert_refused(door.ask(upgrade("/app", key=key)), {400, 401})


@pytest.mark.parametrize(
    ("size", "status", "code"),
    [
        (8 * 1024, 401, "key_unknown"),
        (64 * 1024, 431, "head_too_large"),
        (200 * 1024, 431, "head_too_large"),
    ],
)
def test_p07_huge_keys_cost_little(
    door: Door, gateway: Gateway, upstream: Upstream, size: int, status: int, code: str
) -> None:
    before = cpu(gateway.pid)
    with upstream.untouched():
        response = door.ask(upgrade("/app", key="K" * size))
    assert_refused(response, status, code)
    assert cpu(gateway.pid) - before <= 0.1 * SLOWNESS


def test_p08_a_key_of_another_route_is_forbidden(
    door: Door, upstream: Upstream, other: Upstream
) -> None:
    with upstream.untouched(), other.untouched(0):
        assert_refused(door.ask(upgrade("/other", key=APP_ONLY)), 403, "route_forbidden")
        assert_refused(door.ask(upgrade("/app", key=OTHER_ONLY)), 403, "route_forbidden")
        assert_refused(door.ask(upgrade("/app/deep", key=OTHER_ONLY)), 403, "route_forbidden")
        assert_refused(door.ask(upgrade("/admin", key=APP_ONLY)), 403, "route_forbidden")
    door.open(upgrade("/app", key=APP_ONLY)).close()
    door.open(upgrade("/other", key=OTHER_ONLY)).close()


def test_p11_authorization_is_no_key_where_it_is_no_carrier(door: Door, upstream: Upstream) -> None:
    basic = [
        base64.b64encode(text.encode()).decode() for text in (GOOD, f"user:{GOOD}", f"{GOOD}:")
    ]
    with upstream.untouched():
        for credential in (f"Bearer {GOOD}", GOOD, *(f"Basic {value}" for value in basic)):
            request = upgrade("/app", lines=(f"Authorization: {credential}",))
            assert_refused(door.ask(request), 401, "key_missing")


def test_p11_only_bearer_is_read_where_bearer_is_a_carrier(door: Door, upstream: Upstream) -> None:
    basic = base64.b64encode(f"user:{GOOD}".encode()).decode()
    with upstream.untouched():
        for credential in (GOOD, f"Basic {basic}", f"Token {GOOD}", f"Bearer{GOOD}", "Bearer"):
            request = upgrade("/bearer", lines=(f"Authorization: {credential}",))
            assert_refused(door.ask(request), {400, 401})
    door.open(upgrade("/bearer", lines=(f"Authorization: Bearer {GOOD}",))).close()
    door.open(upgrade("/bearer", lines=(f"authorization: bEARER {GOOD}",))).close()


UNDOCUMENTED = [
    "/",
    "/metrics",
    "/healthz",
    "/health",
    "/livez",
    "/readyz",
    "/debug",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/status",
    "/api",
    "/api/v1/status",
    "/api/v1/keys",
    "/api/v1/connections",
    "/api/v1/reload",
    "/console",
    "/login",
    "/static",
    "/favicon.ico",
    "/.wskeeper",
    "/.wskeeper/ready",
    "/.wskeeper/ticket",
    "/robots.txt",
    "/.env",
    "/.git/config",
    "/server-status",
    "/nginx_status",
    "/actuator",
    "/wskeeper.yaml",
    "/ws",
    "/socket.io/",
    "/APP",
    "/apps",
]


def test_p12_nothing_else_is_served_on_the_public_listener(
    door: Door, upstream: Upstream, other: Upstream
) -> None:
    with upstream.untouched(), other.untouched(0):
        for path in UNDOCUMENTED:
            for headers in ((), (f"X-Api-Key: {GOOD}",)):
                response = door.ask(plain(path, *headers))
                expected = {404, 405} if path.startswith("/.wskeeper") else 404
                assert_refused(response, expected)
            assert_refused(door.ask(upgrade(path)), 404, "no_route")
        for path in ("/app", "/app/", "/app/metrics", "/other", "/admin", "/bearer", "/shop"):
            assert_refused(door.ask(plain(path)), 426, "upgrade_required")


@pytest.mark.parametrize("key", [GOOD, BAD, None])
def test_p13_a_plain_get_teaches_to_send_the_key_on_the_upgrade(
    door: Door, upstream: Upstream, key: str | None
) -> None:
    lines = () if key is None else (f"X-Api-Key: {key}",)
    with upstream.untouched():
        response = door.ask(plain("/app", *lines))
    assert_refused(response, 426, "upgrade_required")
    assert response.get("Upgrade") == "websocket"
    assert response.get("Connection") == "Upgrade, close"
    assert re.search(r"upgrade request", response.problem["detail"], re.IGNORECASE)


def test_a_good_key_opens_the_way_there_and_back(door: Door, upstream: Upstream) -> None:
    with door.open(good()) as client:
        client.send_text("hello")
        assert client.read_frame().payload == b"hello"
    assert upstream.connection().request is not None

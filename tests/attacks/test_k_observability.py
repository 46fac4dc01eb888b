"""K. Leakage and metrics: no key anywhere, no series out of client input, counts that add up."""

from __future__ import annotations

import json
import random
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.attacks.scene import (
    BAD,
    GOOD,
    OTHER_ONLY,
    assert_refused,
    configuration,
    good,
    read_log,
    refusing_port,
)
from tests.harness import frames
from tests.harness.accounts import CANARY, UNSAFE, log_faults
from tests.harness.client import Client, Door, handshakes
from tests.harness.gateway import Gateway
from tests.harness.heads import plain, upgrade
from tests.harness.operators import AdminApi
from tests.harness.process import wait_until
from tests.harness.trouble import directory_gone, file_hangs, file_overwritten
from tests.harness.upstream import Script, Upstream, UpstreamConnection, answers

pytestmark = pytest.mark.timeout(90)


def _remember(heard: list[bytes]) -> Script:
    def script(connection: UpstreamConnection) -> None:
        request = connection.accept()
        heard.append(request.raw)
        connection.keep_listening()
        heard.append(bytes(connection.heard))

    return script


def _refused_with(key: str) -> list[bytes]:
    """Requests that carry a key and fail in as many ways, none of them at the upstream."""
    return [
        upgrade("/nowhere", key=key),
        upgrade("/other/../x", key=key),
        plain("/app", f"X-Api-Key: {key}"),
        upgrade("/app", key=key + "\x01"),
        upgrade("/app", key=key + "\x00"),
        upgrade("/app", key=key.encode() + b"\xff"),
        upgrade("/app", key=key, lines=(f"X-Api-Key: {key}",)),
        upgrade("/app", key=key, lines=(f"X-Api-Key : {key}",)),
        upgrade("/app", key=key, lines=(f" folded {key}",)),
        upgrade("/app", key=key, lines=("X-Long: " + key * 4000,)),
        upgrade("/app", key=key, method="POST", lines=("Content-Length: 5",)) + b"hello",
        upgrade("/app", key=key, version="HTTP/1.0"),
        upgrade("/app", key=key, changed={"Sec-WebSocket-Key": key}),
        upgrade("/app", key=key, changed={"Sec-WebSocket-Version": key}),
        upgrade("/app", key=key, changed={"Upgrade": key}),
        upgrade("/bearer", lines=(f"Authorization: Bearer {key}x",)),
        upgrade("/bearer", lines=(f"Authorization: Basic {key}",)),
        upgrade("/app", lines=(f"Authorization: Bearer {key}",)),
        upgrade("/closed", key=key),
        f"X-Api-Key: {key}\r\n\r\n".encode(),
        f"GET /{key}/../ HTTP/1.1\r\nX-Api-Key: {key}\r\n\r\n".encode(),
    ]


def _leave(connection: UpstreamConnection) -> None:
    connection.close()


FAILING_UPSTREAMS = [
    ("/app", answers(b"HTTP/1.1 200 OK\r\n\r\n")),
    ("/app", answers(b"garbage\r\n\r\n")),
    ("/app", _leave),
    ("/impatient", UpstreamConnection.keep_listening),
]


def _accepted(door: Door) -> None:
    """Sessions with the good key, in every way that carries it."""
    for request in (
        good(),
        good("/app?x=1"),
        good("/bearer"),
        upgrade("/bearer", lines=(f"Authorization: Bearer {GOOD}",)),
    ):
        with door.open(request) as client:
            client.send_text("nothing secret")
            client.send(frames.masked(frames.CLOSE, frames.close_payload(1000)))


def test_p89_keys_appear_nowhere(tmp_path: Path, upstream: Upstream, other: Upstream) -> None:
    told: list[bytes] = []
    heard: list[bytes] = []
    with refusing_port() as closed:
        config = configuration(upstream, other, closed.getsockname()[1])
        config["keys"] = [{"name": "good", "secret": "${GOOD_KEY}"}]
        gateway = Gateway(tmp_path, config, environment={"GOOD_KEY": GOOD})
        with gateway, Door(gateway.public) as door:
            with upstream.plays(_remember(heard)):
                _accepted(door)
            requests = [request for key in (GOOD, BAD) for request in _refused_with(key)]
            answered = [door.ask(request) for request in requests]
            for target, script in FAILING_UPSTREAMS:
                with upstream.plays(script):
                    answered.append(door.ask(good(target)))
            told += [response.raw + response.body for response in answered]
            door.send(good()[:-4]).reset()
            told.append(door.send(good()[:-2]).read_to_end(3.5))
            told.append(Path(f"/proc/{gateway.pid}/cmdline").read_bytes())
            told.append("\n".join(gateway.metrics()).encode())
            last = door.open(good())
            upstream.forget()
            last.close()
            assert gateway.stop() == 0
    canary = CANARY.encode()
    assert [answer for answer in told if canary in answer] == []
    assert heard, "the upstream heard nothing"
    assert [head for head in heard if canary in head] == []
    assert CANARY not in "\n".join([*gateway.log, *gateway.output])
    assert not log_faults(gateway.log)


@pytest.mark.slow
def test_p90_client_input_makes_no_series(
    door: Door, gateway: Gateway, upstream: Upstream, other: Upstream
) -> None:
    """Every request differs in everything that a client can choose."""
    chance = random.Random(90)
    methods = ("GET", "POST", "PUT", "X{:x}", "BREW{:x}")

    def request(number: int) -> bytes:
        path = chance.choice(("/app/{:x}", "/{:x}", "/shop/{:x}", "/app/{:x}/../x", "/app?{:x}"))
        return upgrade(
            path.format(number),
            key=f"{BAD}{number:x}",
            method=chance.choice(methods).format(number) if chance.random() < 0.3 else "GET",
            lines=(
                f"Origin: https://{number:x}.example",
                f"User-Agent: agent-{number:x}",
                f"Sec-WebSocket-Protocol: p{number:x}",
                f"X-Forwarded-For: 10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            ),
        )

    def ask(numbers: range) -> None:
        with upstream.untouched(), other.untouched(0):
            for number in numbers:
                client = door.connect()
                with client:
                    client.send(request(number))
                    assert 400 <= client.read_response().status < 500

    ask(range(300))  # every outcome of these kinds has happened
    before = set(gateway.metrics())
    ask(range(300, 4_000))
    after = set(gateway.metrics())
    assert after == before, sorted(after ^ before)[:20]


ODD = {
    "CR LF, encoded": ("/app/%0d%0aINJECTED", ""),
    "ESC, encoded": ("/app/%1b[31mred", ""),
    "ESC": ("/app", "agent\x1b[31mred"),
    "U+202E": ("/app", "agent\u202edetrevni"),
    "U+2028": ("/app", "agent\u2028next"),
    "C1": ("/app", "agent\x85next\x9b31m"),
    "8-bit": ("/app", "agent\xe9\xff"),
    "quotes": ("/app", 'agent","event":"forged'),
    "backslash": ("/app", "agent\\u0000\\"),
    "tab": ("/app", "agent\tx"),
    "not there": ("/nowhere\\u0022,%22", "agent"),
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("key", [GOOD, BAD], ids=["good", "bad"])
def test_p91_client_input_cannot_forge_log_lines(
    door: Door, gateway: Gateway, upstream: Upstream, case: str, key: str
) -> None:
    target, agent = ODD[case]
    before = len(read_log(gateway, door)) + 1
    agent_bytes = agent.encode() if case.startswith("U+") else agent.encode("latin-1")
    for line in (b"User-Agent: ", b"Sec-WebSocket-Protocol: ", b"Origin: ", b"X-Request-Id: "):
        with door.send(upgrade(target, key=key, lines=(line + agent_bytes,))) as client:
            response = client.read_response()
        assert response.status == 101 or 400 <= response.status < 500
        if response.status == 101:
            gateway.wait_for_event("connection_closed", request_id=response.get("X-Request-Id"))
    lines = read_log(gateway, door)[before:]
    assert 4 <= len(lines) <= 4 * 2
    for line in lines:
        assert not UNSAFE.search(line), line
        assert len(line) <= 2000
        event = json.loads(line)
        assert event["event"] in {"connection_opened", "connection_closed", "handshake_refused"}
    assert upstream.count


def test_p92_the_counts_are_true(tmp_path: Path, upstream: Upstream, other: Upstream) -> None:
    with refusing_port() as closed:
        config = configuration(upstream, other, closed.getsockname()[1])
        with Gateway(tmp_path, config) as gateway, Door(gateway.public) as door:
            expected = Counter(
                {
                    "accepted": 7,
                    "key_missing": 3,
                    "key_unknown": 4,
                    "route_forbidden": 1,
                    "origin_forbidden": 2,
                    "no_route": 5,
                    "bad_path": 2,
                    "bad_request": 3,
                    "upgrade_required": 2,
                    "upgrade_stripped": 1,
                    "unsupported_version": 1,
                    "method_not_allowed": 2,
                    "head_too_large": 1,
                    "key_ambiguous": 1,
                    "upstream_unreachable": 2,
                    "upstream_invalid": 1,
                    "upstream_refused": 2,
                    "upstream_timeout": 1,
                    "client_gone": 3,
                    "head_timeout": 1,
                }
            )
            requests = {
                "key_missing": upgrade(),
                "key_unknown": upgrade(key=BAD),
                "route_forbidden": upgrade(key=OTHER_ONLY),
                "origin_forbidden": good("/shop", lines=("Origin: https://evil.example",)),
                "no_route": good("/nowhere"),
                "bad_path": good("/app/.."),
                "bad_request": good(changed={"Sec-WebSocket-Key": "x"}),
                "upgrade_required": plain("/app"),
                "upgrade_stripped": good(changed={"Upgrade": None, "Connection": None}),
                "unsupported_version": good(changed={"Sec-WebSocket-Version": "12"}),
                "method_not_allowed": good(method="POST"),
                "head_too_large": good(lines=("X: " + "x" * 70_000,)),
                "key_ambiguous": good(lines=("X-Api-Key: x",)),
                "upstream_unreachable": good("/closed"),
            }
            for outcome, request in requests.items():
                for _ in range(expected[outcome]):
                    assert_refused(door.ask(request), range(400, 505), outcome)
            with upstream.plays(answers(b"HTTP/1.1 200 OK\r\n\r\n")):
                assert_refused(door.ask(good()), 502, "upstream_invalid")
            with upstream.plays(answers(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")):
                assert [door.ask(good()).status for _ in range(2)] == [403, 403]
            with upstream.plays(lambda connection: connection.keep_listening()):
                assert_refused(door.ask(good("/impatient")), 504, "upstream_timeout")
            clients = [door.open(good()) for _ in range(5)]
            clients += [door.open(good("/other")) for _ in range(2)]
            for _ in range(3):
                door.send(good()[:40]).close()
            door.send(good()[:40]).read_to_end(3.5)

            metrics = gateway.metrics()
            assert metrics['wskeeper_connections{route="app"}'] == 5
            assert metrics['wskeeper_connections{route="other"}'] == 2
            door.close_all()
            upstream.forget()
            other.forget()
            wait_until(lambda: handshakes(gateway.metrics()) == expected, 2, step=0.1)
            assert +handshakes(gateway.metrics()) == expected
            metrics = gateway.metrics()
            assert metrics['wskeeper_connections{route="app"}'] == 0
            assert metrics['wskeeper_connections{route="other"}'] == 0
            closes = [n for name, n in metrics.items() if name.startswith("wskeeper_closes_total{")]
            ended = "wskeeper_connection_duration_seconds_count{"
            lived = [n for name, n in metrics.items() if name.startswith(ended)]
            assert sum(closes) == sum(lived) == expected["accepted"]


def test_p86_the_limit_of_a_key(
    door: Door, gateway: Gateway, upstream: Upstream, other: Upstream
) -> None:
    api = AdminApi(gateway)
    secret = api.create("p86", limits={"connections": 5})["secret"]
    targets = ("/app", "/other", "/app", "/other", "/bearer")
    clients = [door.open(upgrade(target, key=secret)) for target in targets]
    with upstream.untouched(), other.untouched(0):
        for target in ("/app", "/other"):
            answer = door.ask(upgrade(target, key=secret))
            assert_refused(answer, 429, "key_connections")
            assert int(answer.get("Retry-After") or 0) > 0
    door.open(good()).close()
    for leave in (Client.close, Client.reset):
        leave(clients.pop())
        request = upgrade("/other", key=secret)
        assert wait_until(partial(_switches, door, clients, request), 2)
        assert_refused(door.ask(request), 429, "key_connections")


def _switches(door: Door, clients: list[Client], request: bytes) -> bool:
    """Whether a request is answered 101; the session is kept then."""
    client = door.send(request)
    admitted = client.read_response().status == 101
    if admitted:
        clients.append(client)
    return admitted


P88 = {"down": directory_gone, "hangs": file_hangs, "garbage": file_overwritten}


@pytest.mark.parametrize("case", P88)
def test_p88_a_store_in_trouble_lets_nobody_in(
    tmp_path: Path, upstream: Upstream, other: Upstream, case: str
) -> None:
    (tmp_path / "data").mkdir()
    with refusing_port() as closed:
        config = configuration(upstream, other, closed.getsockname()[1])
        config |= {"store": "sqlite:data/keys.db", "store_grace": "1s"}
        with Gateway(tmp_path, config) as gateway, Door(gateway.public) as door:
            known = AdminApi(gateway).create("p88")["secret"]
            live = [door.open(upgrade("/app", key=known)), door.open(good())]
            away = (503, "store_unavailable")

            def answer(key: str) -> tuple[int, str | None]:
                said = door.ask(upgrade("/app", key=key))
                return said.status, said.code

            with P88[case](tmp_path / "data" / "keys.db"):
                assert wait_until(lambda: answer(BAD) == answer(known) == away, 5, 0.1)
                with upstream.untouched():
                    for key in (BAD, known):
                        assert_refused(door.ask(upgrade("/app", key=key)), *away)
                assert answer(GOOD) == (101, None)  # That one is the configuration's.
                for client in live:
                    client.send_text("alive")
                    assert client.read_frame().payload == b"alive"
                assert gateway.metrics()["wskeeper_store_up"] == 0
            assert wait_until(lambda: answer(known) == (101, None), 10, 0.1)
            assert answer(BAD) == (401, "key_unknown")
            door.close_all()
            upstream.forget()
            assert gateway.stop() == 0
            assert not log_faults(gateway.log)

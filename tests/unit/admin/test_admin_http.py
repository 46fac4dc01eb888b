"""The admin listener's manners: problems for everything, in JSON, without a word of the request."""

from __future__ import annotations

import asyncio
import json
from http import HTTPMethod
from types import SimpleNamespace

import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.admin import protocol, reading
from proxy.admin.problems import PROBLEMS, Problem
from proxy.admin.reading import MAX_BODY, parsed
from proxy.admin.server import ENDPOINTS
from tests.unit.admin.scene import CANARY, Scene

KEYS = "/api/v1/keys"


def unfinished(scene, *lines):
    """The head of a request with a token; its body is still to come."""
    head = [
        f"POST {KEYS} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {scene.token}",
        "Content-Type: application/json",
        "Connection: close",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode()


async def until(question):
    async with asyncio.timeout(5):
        while not question():  # noqa: ASYNC110 - of aiohttp's books, which set no event
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("GET", f"/{CANARY}", "404 no_such_path"),
        ("GET", "/api/v1/keys/", "404 no_such_path"),
        ("GET", "/api/v1", "404 no_such_path"),
        ("POST", f"/api/v1/keys/{CANARY}/explode", "404 no_such_path"),
        ("OPTIONS", "*", "404 no_such_path"),
        ("PUT", "/api/v1/keys", "405 method_not_allowed"),
        ("GET", f"/api/v1/keys/{CANARY}/revoke", "405 method_not_allowed"),
        ("OPTIONS", "/api/v1/keys", "405 method_not_allowed"),
        ("POST", "/livez", "405 method_not_allowed"),
        ("TRACE", "/api/v1/status", "405 method_not_allowed"),
    ],
)
def test_what_is_not_there_is_a_problem(scene, method, target, code):
    answer = scene.ask(method, target, lines=["Accept: text/html"])
    assert answer.code == code
    assert CANARY.encode() not in answer.body


def test_a_405_names_the_methods(scene):
    assert scene.ask("PUT", KEYS).headers["allow"] == "GET,HEAD,POST"
    assert scene.ask("GET", f"{KEYS}/x/revoke").headers["allow"] == "POST"
    assert scene.ask("OPTIONS", f"{KEYS}/x").headers["allow"] == "DELETE,GET,HEAD,PATCH"


@pytest.mark.parametrize(
    "raw",
    [
        b"%s\r\n\r\n" % CANARY.encode(),
        b"GET /%s HTTP/9.9\r\n\r\n" % CANARY.encode(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % CANARY.encode(),
        b"GET / HTTP/1.1\r\nHost: a\r\nX-%s: \x00\r\n\r\n" % CANARY.encode(),
        b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 9000),
        b"GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (b"a" * 9000),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -%s\r\n\r\n" % CANARY.encode(),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40 + b"\r\n\r\n",
        b"GET http://[%s/ HTTP/1.1\r\nHost: a\r\n\r\n" % CANARY.encode(),
        b"GET //[ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_is_no_http_is_a_problem_that_repeats_nothing(scene, raw):
    answer = scene.say(raw)
    assert answer.status in {400, 401, 404}
    assert answer.problem
    assert CANARY.encode() not in answer.body


@pytest.mark.parametrize(
    ("method", "target"),
    [("POST", KEYS), ("POST", "/nowhere"), ("POST", "/livez"), ("OPTIONS", "*")],
)
def test_an_expectation_that_nobody_knows_is_a_problem(scene, method, target):
    answer = scene.ask(method, target, lines=[f"Expect: {CANARY}"])
    assert answer.code == "417 expectation_failed"
    assert CANARY.encode() not in answer.body


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"null",
            b"[]",
            b'"text"',
            b"1",
            b" ",
            b"{} {}",
            b"{'name': 'x'}",
            b'{"name": "x", "name": "y"}',
            b'{"limits": {"connections": 1, "connections": 2}}',
            b'{"name": NaN}',
            b'{"name": -Infinity}',
            b'{"name": "\xff"}',
            b'{"name": "\\ud800"}',
            b'{"\\udfff": 1}',
            b'\xef\xbb\xbf{"name": "x"}',
            '{"name": "x"}'.encode("utf-16"),
            b"name=x",
            b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
            b"[" * 60_000,
            b'{"name": ' + b"9" * 60_000 + b"}",
            b'{"name": "' + b"\\" * 999 + b'"}',
        ],
    )
    def test_what_is_no_json_object_is_refused(self, scene, body):
        answer = scene.ask("POST", KEYS, body)
        assert answer.code == "400 bad_json"
        assert len(scene.ring) == 1

    def test_a_body_may_be_as_long_as_said_and_no_longer(self, scene):
        body = json.dumps({"name": "x"}).encode()
        assert scene.ask("POST", KEYS, body.ljust(MAX_BODY)).status == 201
        for raw in (body.ljust(MAX_BODY + 1), body.ljust(5 * MAX_BODY)):
            assert scene.ask("POST", KEYS, raw).code == "413 body_too_large"

    def test_a_long_body_in_chunks_is_refused_too(self, scene):
        chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
        head = unfinished(scene, "Transfer-Encoding: chunked")
        assert scene.say(head + chunk * 17 + b"0\r\n\r\n").code == "413 body_too_large"

    def test_broken_chunks_are_a_problem_with_the_head_or_behind_it(self, scene, monkeypatch):
        # aiohttp's C parser does not tell the handler that waits for the rest.
        monkeypatch.setattr(reading, "_BODY_TIMEOUT", 0.05)
        head = unfinished(scene, "Transfer-Encoding: chunked")
        assert scene.say(head + b"zz\r\n").code == "400 bad_request"
        assert scene.say(head, b"2\r\n{}\r\n", b"zz\r\n").code == "408 body_timeout"

    def test_a_broken_body_that_is_told_of_is_a_problem(self, scene):
        async def broken():
            raise web.RequestPayloadError(CANARY)

        with pytest.raises(Problem) as refused:
            scene.loop.run_until_complete(reading.json_object(SimpleNamespace(read=broken)))
        assert refused.value.code == "bad_request"
        assert CANARY not in refused.value.detail

    def test_a_compressed_body_is_not_inflated(self, scene):
        answer = scene.ask("POST", KEYS, b"\x1f\x8b\x08\0", lines=["Content-Encoding: gzip"])
        assert answer.code == "400 bad_json"

    def test_a_body_that_does_not_come_is_not_waited_for(self, scene, monkeypatch):
        monkeypatch.setattr(reading, "_BODY_TIMEOUT", 0.01)
        monkeypatch.setattr(protocol, "_LINGERING", 0.01)
        raw = unfinished(scene, "Content-Length: 10") + b"{"
        assert scene.say(raw).code == "408 body_timeout"

    @given(st.binary(max_size=60))
    @example(b'{"a": 1e400}')
    def test_any_bytes_are_an_object_or_a_problem(self, body):
        try:
            read = parsed(body)
        except Problem as problem:
            read = problem
        assert isinstance(read, dict) or read.code == "bad_json"

    @given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
    def test_every_object_is_read_as_it_is(self, data):
        try:
            body = json.dumps(data).encode()
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return
        assert parsed(body) == data


class TestFailures:
    def test_a_failure_of_ours_is_told_to_the_log_alone(self, scene):
        scene.ask("POST", KEYS, {"name": "partner"})
        scene.store.failure = RuntimeError(CANARY)
        for method, path in (("GET", KEYS), ("POST", f"{KEYS}/partner/revoke")):
            answer = scene.ask(method, path)
            assert answer.code == "500 internal_error"
            assert answer.problem["detail"] == "The gateway failed."
            assert CANARY.encode() not in answer.body
        events = scene.log.events("internal_error")
        assert [event["failure"] for event in events] == [scene.store.failure] * 2

    def test_a_failure_outside_every_handler_is_a_problem_too(self, scene, monkeypatch):
        def fail(*_args):
            raise RuntimeError(CANARY)

        monkeypatch.setattr(scene.app.router, "resolve", fail)
        assert scene.ask("GET", "/livez").code == "500 internal_error"
        assert scene.log.events("internal_error")[0]["listener"] == "admin"

    def test_half_an_answer_is_not_followed_by_another(self, scene):
        async def fail():
            connection = protocol.AdminProtocol(
                scene._runner.server, log=scene.log, loop=scene.loop
            )
            begun = SimpleNamespace(writer=SimpleNamespace(output_size=1))
            with pytest.raises(ConnectionError):
                connection.handle_error(begun, 500, RuntimeError())

        scene.loop.run_until_complete(fail())

    def test_a_client_that_leaves_is_no_failure(self, scene):
        async def leave():
            _, writer = await asyncio.open_connection("127.0.0.1", scene.port)
            writer.write(unfinished(scene, "Content-Length: 10") + b"{")
            await writer.drain()
            await until(lambda: scene._runner.server.connections)
            writer.transport.abort()
            await until(lambda: not scene._runner.server.connections)

        scene.loop.run_until_complete(leave())
        assert not scene.log.events("internal_error")
        assert scene.ask("GET", "/livez").status == 200


def test_a_connection_serves_one_request_after_another(scene):
    raw = (
        f"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {scene.token}\r\n"
        "\r\n"
    ).encode()
    last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    async def ask():
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        writer.write(raw + raw + last)
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
        return said

    said = scene.loop.run_until_complete(ask())
    assert said.count(b"HTTP/1.1 200 OK") == 3
    assert said.endswith(b"alive\n")


def test_every_row_of_the_table_has_its_own_status_and_words():
    for code, row in PROBLEMS.items():
        assert row.code == code
        assert 400 <= row.status <= 599
        assert not row.title.endswith(".")
    assert len({row.title for row in PROBLEMS.values()}) == len(PROBLEMS)


# A stream has no end.
ENDING = {path for _, path, _, _ in ENDPOINTS if path != "/api/v1/events"}
PATHS = sorted(ENDING | {"/livez", "/readyz", "/metrics", "/"})
SEGMENT = st.text(
    st.sampled_from("abz019-_.~%/?#&=+:@ \\;'\"<>\0\x7fü\udcff"), max_size=8
) | st.sampled_from(["legacy", "partner", "a1", "..", "%2e%2e", "%00", "%ff", "%C3%BC"])


def test_whatever_is_asked_the_answer_is_json():
    with Scene() as scene:
        scene.ask("POST", KEYS, {"name": "partner"})

        @given(
            st.sampled_from([*HTTPMethod, "PROPFIND", "get"]),
            st.sampled_from(PATHS),
            SEGMENT,
            SEGMENT,
            st.binary(max_size=20) | st.sampled_from([b"{}", b'{"overlap": 1}']),
            st.booleans(),
            st.sampled_from(["", None, "wrong"]),
        )
        def ask(method, path, segment, query, body, json_type, token):
            target = path.replace("{key}", segment).replace("{connection}", segment)
            target += f"?{query}" if query else ""
            scene.open("a1") if scene.registry.get("a1") is None else None
            answer = scene.ask(str(method), target, body, json_type=json_type, token=token)
            assert answer.status < 500
            if answer.status < 400 or method == "HEAD":
                assert answer.status in {200, 201, 204} or method == "HEAD"
            else:
                assert answer.problem

        ask()
        assert not scene.log.events("internal_error")

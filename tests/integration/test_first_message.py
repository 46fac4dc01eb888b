"""A client that says who it is in its first message (the contract's 4.4), on real sockets."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import frames
from tests.harness.client import handshakes
from tests.harness.heads import upgrade
from tests.harness.process import BUSY, SLOWNESS, wait_until
from tests.harness.upstream import UpstreamConnection, answers, echo
from tests.integration.ways_scene import KEY, ORIGIN, Scene, jwt, scene, unmasked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.client import Client

WAIT = 0.7  # seconds that a client of these tests has for its message
AUTH = {"type": "auth", "token": KEY}
HELLO = json.dumps(AUTH).encode()
REPLY = b'{"type": "auth_ok"}'
BAD = "CANARY-bad-9a7c5e3b1d0f2468"


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    rules: dict[str, Any] = {
        "forwarding": {"forward": True, "reply": None},
        "silent": {"reply": None},
        "forwarding-both": {"forward": True},
        "deep": {"match": {"op": {"v": 1}}, "token": "a.b.c", "max_size": 1024},
    }
    routes: list[dict[str, Any]] = [
        {"name": name, "path": f"/{name}", "carriers": [{"first_message": rule}]}
        for name, rule in rules.items()
    ]
    routes += [
        {"name": "gql", "path": "/gql", "carriers": [{"first_message": "graphql-ws"}]},
        {
            "name": "spoken",
            "path": "/spoken",
            "carriers": ["first_message"],
            "subprotocols": ["v2.chat", "v1.chat"],
        },
        {
            "name": "down",
            "path": "/down",
            "carriers": ["first_message"],
            "upstream": "ws://127.0.0.1:1",
        },
        {
            "name": "reporting",
            "path": "/reporting",
            "carriers": ["first_message"],
            "auth": "report_only",
        },
    ]
    folder = tmp_path_factory.mktemp("gateway")
    timeouts = {"close": "1s", "first_message": f"{WAIT}s"}
    with scene(folder, routes=routes, timeouts=timeouts, limits={"unauthenticated": 3}) as made:
        yield made
        made.leave()
        assert handshakes(made.gateway.metrics())["internal_error"] == 0
        shown = made.shown()
    assert "CANARY" not in shown
    assert "raceback" not in shown


@pytest.fixture(autouse=True)
def _clean_up(ways: Scene) -> Iterator[None]:
    yield
    ways.leave()
    # All places of those who wait are given back: three may wait again.
    assert wait_until(lambda: _may_wait(ways, 3))
    ways.leave()


def _may_wait(ways: Scene, count: int) -> bool:
    """Whether so many clients are let in to say who they are."""
    clients = [ways.door.send(upgrade("/first_message")) for _ in range(count)]
    welcome = [client.read_response().status == 101 for client in clients]
    for client in clients:
        client.reset()
    return all(welcome)


def opens(ways: Scene, route: str = "first_message", **parts: Any) -> Client:
    """A client that is waited for."""
    return ways.door.open(upgrade(f"/{route}", **parts))


def accepted(client: Client) -> None:
    assert client.read_frame().payload == REPLY


# Let in --------------------------------------------------------------------------------------


def test_client_is_let_in_once_it_has_said_who_it_is(ways: Scene) -> None:
    client = opens(ways)
    with ways.upstream.untouched():
        pass  # Nobody has said anything.
    client.send_text(json.dumps(AUTH))
    reply = client.read_frame()
    assert (reply.opcode, reply.mask, reply.fin) == (frames.TEXT, None, True)
    assert json.loads(reply.payload) == {"type": "auth_ok"}
    connection = ways.served(client)
    assert unmasked(bytes(connection.heard)) == b"the end"
    assert connection.request is not None
    assert connection.request.get("X-Wskeeper-Key-Name") == "good"
    assert connection.request.get("X-Wskeeper-Auth") == "api_key"
    assert KEY.encode() not in connection.request.raw + bytes(connection.heard)


def test_token_in_the_message_does_as_well_as_a_key(ways: Scene) -> None:
    made = jwt(sub="ada")
    client = ways.says({"type": "auth", "token": made})
    accepted(client)
    connection = ways.served(client)
    assert connection.request is not None
    assert connection.request.get("X-Wskeeper-Auth") == "jwt"
    assert connection.request.get("X-Wskeeper-Subject") == "ada"
    assert made.rpartition(".")[2] not in ways.shown()


@pytest.mark.parametrize(
    ("route", "heard"),
    [
        ("first_message", [REPLY]),
        ("silent", []),
        ("forwarding", [HELLO]),
        ("forwarding-both", [REPLY, HELLO]),
    ],
)
def test_message_is_forwarded_and_answered_as_configured(
    ways: Scene, route: str, heard: list[bytes]
) -> None:
    # The upstream echoes what it is sent.
    with ways.upstream.plays(echo):
        client = ways.says(AUTH, route)
        client.send_text("behind it")
        for payload in (*heard, b"behind it"):
            assert client.read_frame().payload == payload


def test_forwarded_message_keeps_every_byte(ways: Scene) -> None:
    client = opens(ways, "forwarding")
    sent = b"".join(
        frames.frame(opcode, part, fin=fin, mask=mask)
        for opcode, part, fin, mask in (
            (frames.TEXT, HELLO[:5], False, b"\x01\x02\x03\x04"),
            (frames.CONTINUATION, b"", False, b"\x00\x00\x00\x00"),
            (frames.CONTINUATION, HELLO[5:], True, b"\xff\x00\xff\x00"),
        )
    )
    client.send(sent)
    connection = ways.served(client)
    assert bytes(connection.heard).startswith(sent)


def test_extra_members_and_depth_do_no_harm(ways: Scene) -> None:
    message = {"op": {"v": 1, "w": []}, "a": {"b": {"c": KEY, "d": 1}}, "x": None}
    client = ways.says(message, "deep")
    accepted(client)
    ways.served(client)


@pytest.mark.parametrize("cuts", [1, 3, 7])
def test_message_in_fragments_is_one(ways: Scene, cuts: int) -> None:
    client = opens(ways)
    parts = [HELLO[at : at + cuts] for at in range(0, len(HELLO), cuts)]
    for number, part in enumerate(parts):
        opcode = frames.TEXT if number == 0 else frames.CONTINUATION
        client.send(frames.masked(opcode, part, fin=number == len(parts) - 1))
        if number == 1:
            client.send(frames.masked(frames.PING, b"between"))
            assert client.read_frame().payload == b"between"
    accepted(client)
    ways.served(client)


def test_message_comes_byte_by_byte(ways: Scene) -> None:
    client = opens(ways)
    for byte in frames.masked(frames.TEXT, HELLO):
        client.send(bytes((byte,)))
    accepted(client)
    ways.served(client)


def test_message_behind_the_head_and_more_behind_it_are_not_lost(ways: Scene) -> None:
    # All in one segment, before any answer.
    more = b"".join(frames.masked(frames.TEXT, b"%d" % number) for number in range(50))
    client = ways.door.send(upgrade("/first_message") + frames.masked(frames.TEXT, HELLO) + more)
    assert client.read_response().status == 101
    accepted(client)
    connection = ways.served(client)
    heard = unmasked(bytes(connection.heard))
    assert heard == b"".join(b"%d" % number for number in range(50)) + b"the end"


def test_much_behind_the_message_waits_for_the_upstream(ways: Scene) -> None:
    size = 1_000_000
    with ways.upstream.by_hand():
        client = ways.says(AUTH)
        connection = ways.upstream.connection()
        taken = client.send_some(frames.masked(frames.BINARY, b"x" * size), patience=0.2)
        connection.accept()
        accepted(client)
        rest = frames.masked(frames.BINARY, b"x" * size)[taken:]
        client.sock.settimeout(5)
        client.send(rest)
        frame = connection.read_frame()
    assert frame.payload == b"x" * size


def test_request_with_a_credential_awaits_nothing(ways: Scene) -> None:
    client = ways.door.open(upgrade("/every", key=KEY))
    connection = ways.served(client)
    assert unmasked(bytes(connection.heard)) == b"the end"
    response = ways.door.ask(upgrade("/every", key=BAD))
    assert (response.status, response.code) == (401, "key_unknown")


def test_request_without_one_is_waited_for_where_it_may_be(ways: Scene) -> None:
    client = ways.says(AUTH, "every", lines=(f"Origin: {ORIGIN}",))
    accepted(client)
    ways.served(client)


def test_nobody_is_waited_for_where_nobody_is_refused(ways: Scene) -> None:
    client = ways.door.open(upgrade("/reporting"))
    ways.served(client)
    ways.gateway.wait_for_event("would_refuse", route="reporting", code="key_missing")


# The 101 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "selected"),
    [
        (None, None),
        ("v1.chat, v2.chat", "v1.chat"),
        ("v3.chat, v2.chat", "v2.chat"),
        ("v3.chat", None),
        ("v3.chat, wskeeper", "wskeeper"),
        ("wskeeper, v1.chat", "v1.chat"),
        ("wskeeper.key.abc, v1.chat", "v1.chat"),
    ],
)
def test_upstream_is_offered_what_the_client_was_promised(
    ways: Scene, offer: str | None, selected: str | None
) -> None:
    lines = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]
    lines += [] if offer is None else [f"Sec-WebSocket-Protocol: {offer}"]
    with ways.upstream.by_hand():
        client = ways.door.send(upgrade("/spoken", lines=tuple(lines)))
        response = client.read_response()
        assert response.status == 101
        assert response.get("Sec-WebSocket-Protocol") == selected
        assert response.get("Sec-WebSocket-Extensions") is None
        assert response.get("Connection") == "Upgrade"
        assert response.get("X-Request-Id")
        client.send_text(json.dumps(AUTH))
        connection = ways.upstream.connection()
        request = connection.read_request()
        expected = None if selected == "wskeeper" else selected
        assert request.get("Sec-WebSocket-Protocol") == expected
        assert request.get("Sec-WebSocket-Extensions") is None
        assert request.get("X-Request-Id") == response.get("X-Request-Id")
        chosen = () if expected is None else (f"Sec-WebSocket-Protocol: {expected}",)
        connection.send(connection.switching(*chosen))
        accepted(client)


@pytest.mark.parametrize("selection", [None, "v2.chat"])
def test_upstream_may_select_nothing_but_not_something_else(
    ways: Scene, selection: str | None
) -> None:
    offer = "Sec-WebSocket-Protocol: v1.chat, v2.chat"
    with ways.upstream.by_hand():
        client = ways.says(AUTH, "spoken", lines=(offer,))
        connection = ways.upstream.connection()
        connection.read_request()
        chosen = () if selection is None else (f"Sec-WebSocket-Protocol: {selection}",)
        connection.send(connection.switching(*chosen))
        if selection is None:
            accepted(client)
        else:
            client.expect_close(1013, "upstream_invalid")


# While it is waited for ----------------------------------------------------------------------


def test_ping_is_answered_meanwhile(ways: Scene) -> None:
    client = opens(ways)
    client.send(frames.masked(frames.PING, b"who is there?"))
    pong = client.read_frame()
    assert (pong.opcode, pong.payload, pong.mask) == (frames.PONG, b"who is there?", None)
    client.send(frames.masked(frames.PONG, b"unasked"))
    client.send_text(json.dumps(AUTH))
    accepted(client)


def test_client_may_close_meanwhile(ways: Scene) -> None:
    client = opens(ways)
    with ways.upstream.untouched():
        client.send(frames.masked(frames.CLOSE, frames.close_payload(4321, "changed my mind")))
        client.expect_close(4321)
        client.expect_end(1.0 * SLOWNESS)


@pytest.mark.parametrize("leave", ["reset", "finish_sending", "close"])
def test_client_may_leave_meanwhile(ways: Scene, leave: str) -> None:
    before = handshakes(ways.gateway.metrics())["client_gone"]
    with ways.upstream.untouched():
        for _ in range(3):
            getattr(opens(ways), leave)()
        assert wait_until(lambda: handshakes(ways.gateway.metrics())["client_gone"] == before + 3)


def test_who_says_nothing_is_sent_away_in_time(ways: Scene) -> None:
    client = opens(ways)
    began = time.monotonic()
    with ways.upstream.untouched():
        # Pings are no message, nor is a part of one.
        client.send(frames.masked(frames.PING, b"x"))
        client.read_frame()
        client.send(frames.masked(frames.TEXT, HELLO, fin=False))
        client.expect_close(1008, "first_message_timeout")
    took = time.monotonic() - began
    assert WAIT - 0.1 <= took <= WAIT + 1.0 + BUSY
    client.send(frames.masked(frames.CLOSE, frames.close_payload(1008)))
    client.expect_end(1.0 * SLOWNESS)


def test_half_a_frame_does_not_win_time(ways: Scene) -> None:
    client = opens(ways)
    client.send(frames.masked(frames.TEXT, HELLO)[:9])
    client.expect_close(1008, "first_message_timeout")


def test_who_does_not_answer_its_close_is_cut_off(ways: Scene) -> None:
    client = ways.says({"type": "auth", "token": BAD})
    client.expect_close(1008, "key_unknown")
    client.expect_end(1.0 + 1.0 * SLOWNESS)


def test_only_so_many_are_waited_for(ways: Scene) -> None:
    waiting = [opens(ways) for _ in range(3)]
    response = ways.door.ask(upgrade("/first_message"))
    assert (response.status, response.code) == (503, "gateway_connections")
    assert response.get("Retry-After")
    # Whoever has a key is not held up by them.
    ways.served(ways.door.open(upgrade("/header", key=KEY)))
    # Nor does somebody who is let in count any more.
    waiting[0].send_text(json.dumps(AUTH))
    accepted(waiting[0])
    opens(ways).reset()
    event = ways.gateway.wait_for_event("limited", limit="unauthenticated")
    assert (event["value"], event["set_in"]) == (3, "limits.unauthenticated")


# Turned away ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "auth", "token": BAD}, "key_unknown"),
        ({"type": "auth", "token": KEY[:-1]}, "key_unknown"),
        ({"type": "auth", "token": KEY + " "}, "key_unknown"),
        ({"type": "auth", "token": "wst_" + "A" * 32}, "key_unknown"),
        ({"type": "auth", "token": ""}, "key_missing"),
        ({"type": "auth", "token": None}, "key_missing"),
        ({"type": "auth", "token": [KEY]}, "key_missing"),
        ({"type": "auth"}, "key_missing"),
        ({"type": "Auth", "token": KEY}, "bad_request"),
        ({"token": KEY}, "bad_request"),
        ([AUTH], "bad_request"),
        (KEY, "bad_request"),
        ('{"type": "auth", "token": "x"', "bad_request"),
        ('{"type": "auth", "type": "auth", "token": "x"}', "bad_request"),
        ("[" * 10_000, "bad_request"),
        ("1" * 10_000, "bad_request"),
        ("", "bad_request"),
    ],
)
def test_message_that_is_not_the_right_one(ways: Scene, message: Any, code: str) -> None:
    before = handshakes(ways.gateway.metrics())[code]
    with ways.upstream.untouched():
        client = ways.says(message)
        client.expect_close(1008, code)
    assert wait_until(lambda: handshakes(ways.gateway.metrics())[code] == before + 1)


def test_token_that_is_past_its_end(ways: Scene) -> None:
    client = ways.says({"type": "auth", "token": jwt(lasts=-5)})
    client.expect_close(1008, "token_invalid")


def test_bytes_are_no_message(ways: Scene) -> None:
    client = opens(ways)
    client.send(frames.masked(frames.BINARY, HELLO))
    client.expect_close(1008, "bad_request")


def test_text_that_is_none(ways: Scene) -> None:
    client = opens(ways)
    client.send(frames.masked(frames.TEXT, HELLO.replace(b"auth", b"\xff\xfe")))
    assert client.read_frame().close_code in {1007, 1008}


@pytest.mark.parametrize(
    "frame",
    [
        frames.frame(frames.TEXT, HELLO),
        frames.masked(frames.TEXT, HELLO, rsv=4),
        frames.masked(0x3, HELLO),
        frames.masked(frames.CONTINUATION, HELLO),
        frames.masked(frames.PING, b"x", fin=False),
    ],
    ids=["unmasked", "compressed", "reserved", "continuation", "cut ping"],
)
def test_broken_frame_breaks_it_off(ways: Scene, frame: bytes) -> None:
    client = opens(ways)
    with ways.upstream.untouched():
        client.send(frame)
        client.expect_close(1002, "protocol_error")


@pytest.mark.parametrize("size", [16 * 1024 + 1, 1_000_000, 2**40])
def test_message_that_is_too_long(ways: Scene, size: int) -> None:
    client = opens(ways)
    # Its header alone says so.
    client.send(frames.header(frames.TEXT, size, mask=frames.MASK))
    client.expect_close(1009, "message_too_big")


def test_who_goes_on_sending_is_told_all_the_same(ways: Scene) -> None:
    client = opens(ways)
    data = frames.masked(frames.TEXT, b"\x00" * 2_000_000)
    client.send_some(data, patience=0.3)
    client.expect_close(1009, "message_too_big")


def test_message_of_many_fragments_is_too_long_together(ways: Scene) -> None:
    client = opens(ways, "deep")
    client.send(frames.masked(frames.TEXT, b"{" + b" " * 999, fin=False))
    client.send(frames.masked(frames.CONTINUATION, b" " * 24, fin=False))
    client.expect_silence(0.1)
    client.send(frames.masked(frames.CONTINUATION, b" "))
    client.expect_close(1009, "message_too_big")


def test_longest_message_is_read(ways: Scene) -> None:
    message = json.dumps({"type": "auth", "token": KEY})
    client = ways.says(message + " " * (16 * 1024 - len(message)))
    accepted(client)


# The upstream --------------------------------------------------------------------------------


def test_upstream_that_is_down(ways: Scene) -> None:
    client = ways.says(AUTH, "down")
    client.expect_close(1013, "upstream_unreachable")


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "503 Busy"])
def test_upstream_that_refuses(ways: Scene, status: str) -> None:
    refusal = f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno".encode()
    with ways.upstream.plays(answers(refusal)):
        client = ways.says(AUTH)
        client.expect_close(1013, "upstream_refused")
        assert wait_until(lambda: _idle(ways))


def _idle(ways: Scene) -> bool:
    return not ways.api.do("GET", "/connections")["connections"]


def test_upstream_that_answers_nonsense(ways: Scene) -> None:
    with ways.upstream.plays(answers(b"SSH-2.0-OpenSSH\r\n\r\n")):
        ways.says(AUTH).expect_close(1013, "upstream_invalid")


def test_client_that_leaves_while_the_upstream_is_asked(ways: Scene) -> None:
    before = handshakes(ways.gateway.metrics())["client_gone"]
    with ways.upstream.by_hand():
        for leave in ("reset", "finish_sending"):
            client = ways.says(AUTH)
            connection = ways.upstream.connection()
            connection.read_request()
            getattr(client, leave)()
            connection.expect_end(1.0 * SLOWNESS)
    assert wait_until(lambda: handshakes(ways.gateway.metrics())["client_gone"] == before + 2)


def test_upstream_may_speak_at_once(ways: Scene) -> None:
    def greets(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.send(connection.switching() + frames.frame(frames.TEXT, b"welcome"))
        connection.keep_listening()

    with ways.upstream.plays(greets):
        client = ways.says(AUTH)
        # Our reply is the first that it hears.
        accepted(client)
        assert client.read_frame().payload == b"welcome"


# Its key -------------------------------------------------------------------------------------


def test_key_revoked_between_message_and_session(ways: Scene) -> None:
    made = ways.api.create("revoked-meanwhile")
    with ways.upstream.by_hand():
        client = ways.says({"type": "auth", "token": made["secret"]})
        connection = ways.upstream.connection()
        connection.read_request()
        ways.api.act("revoke", made["name"])
        connection.send(connection.switching())
        client.expect_close(1008, "key_revoked")
        connection.expect_end(1.0 * SLOWNESS)
    assert made["secret"] not in ways.shown()


def test_key_revoked_ends_the_session(ways: Scene) -> None:
    made = ways.api.create("revoked-later")
    client = ways.says({"type": "auth", "token": made["secret"]})
    accepted(client)
    ways.api.act("revoke", made["name"])
    client.expect_close(1008, "key_revoked")


def test_key_of_other_routes(ways: Scene) -> None:
    made = ways.api.create("elsewhere", routes=["header"])
    client = ways.says({"type": "auth", "token": made["secret"]})
    client.expect_close(1008, "route_forbidden")


def test_key_with_as_many_connections_as_it_may_have(ways: Scene) -> None:
    made = ways.api.create("only-one", limits={"connections": 1})
    message = {"type": "auth", "token": made["secret"]}
    first = ways.says(message)
    accepted(first)
    ways.says(message).expect_close(1008, "key_connections")
    first.reset()
    assert wait_until(lambda: _idle(ways))
    accepted(ways.says(message))


def test_session_ends_with_its_token(ways: Scene) -> None:
    client = ways.says({"type": "auth", "token": jwt(lasts=2)})
    accepted(client)
    client.expect_close(3000, "token_expired")


# graphql-ws ----------------------------------------------------------------------------------


def test_graphql_ws_hello_is_checked_and_passed_on(ways: Scene) -> None:
    hello = {"type": "connection_init", "payload": {"apiKey": KEY, "locale": "en"}}
    with ways.upstream.plays(echo):
        client = ways.says(hello, "gql")
        assert json.loads(client.read_frame().payload) == hello
    client = ways.says({"type": "connection_init", "payload": {"apiKey": BAD}}, "gql")
    client.expect_close(1008, "key_unknown")

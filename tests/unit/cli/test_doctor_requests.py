"""What the doctor reads and sends: URLs, ways for a key, requests, frames that come back."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.ways import ways_of
from proxy.cli.doctor_requests import Way, ordinary, upgrade, way_in
from proxy.cli.observation import Place, read_url
from proxy.cli.prober import ControlFrames
from proxy.config.faults import Wrong
from proxy.config.model import Carrier
from proxy.handshake.head import parse_request
from proxy.handshake.request import check_handshake
from proxy.relay.frames import Opcode
from tests.harness import frames

NONCE = b"dGhlIHNhbXBsZSBub25jZQ=="
PLACE = read_url("wss://gateway.example:8443/chat?room=1")

# URLs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "authority", "shown"),
    [
        ("ws://a", Place(False, "a", 80, "/"), "a", "ws://a/"),
        ("wss://a/b?k=s", Place(True, "a", 443, "/b?k=s"), "a", "wss://a/b"),
        ("http://a:81/b", Place(False, "a", 81, "/b"), "a:81", "ws://a:81/b"),
        ("https://[::1]:1/", Place(True, "::1", 1, "/"), "[::1]:1", "wss://[::1]:1/"),
        ("wss://a:80", Place(True, "a", 80, "/"), "a:80", "wss://a:80/"),
    ],
)
def test_url(text: str, place: Place, authority: str, shown: str) -> None:
    assert read_url(text) == place
    assert (place.authority, str(place)) == (authority, shown)
    assert place.origin == ("https" if place.secure else "http") + "://" + authority


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gateway.example/chat",
        "ftp://a/",
        "ws://",
        "ws://a:99999/",
        "ws://[::1/",
        "ws://u:CANARY@a/",
        "ws://a/b c",
        "ws://a/ü",
        "ws://a b/",
    ],
)
def test_what_is_no_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Wrong) as caught:
        read_url(text)
    assert "CANARY" not in str(caught.value)


# Ways ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("carriers", "way"),
    [
        ([Carrier(kind="header", header="X-Key")], Way("header", "X-Key")),
        ([Carrier(kind="bearer")], Way("bearer")),
        ([Carrier(kind="subprotocol")], Way("subprotocol")),
        ([Carrier(kind="cookie", cookie="k")], Way("cookie", "k")),
        ([Carrier(kind="query", query="k")], Way("query", "k")),
        ([Carrier(kind="query", query="k"), Carrier(kind="bearer")], Way("bearer")),
        (
            [Carrier(kind="bearer"), Carrier(kind="header", header="A"), Carrier(kind="ticket")],
            Way("header", "A"),
        ),
        # A ticket's parameter is none for a key.
        ([Carrier(kind="ticket")], Way("header", "X-Api-Key")),
    ],
)
def test_key_travels_in_the_best_way_that_a_gateway_names(
    carriers: list[Carrier], way: Way
) -> None:
    assert way_in(ways_of(carriers).challenge) == way


@pytest.mark.parametrize(
    "challenge", ["", 'Basic realm="x"', 'Bearer realm="other"', 'ApiKey realm="wskeeper", x="y"']
)
def test_without_a_challenge_of_ours_the_usual_header_is_taken(challenge: str) -> None:
    assert way_in(challenge) == Way("header", "X-Api-Key")


# Requests --------------------------------------------------------------------------------------


def test_ordinary_get_asks_for_no_upgrade() -> None:
    head = parse_request(ordinary(PLACE, agent="doctor/1"))
    assert head.target == b"/chat?room=1"
    assert head.headers.one(b"host") == b"gateway.example:8443"
    assert b"upgrade" not in head.headers


@pytest.mark.parametrize(
    ("way", "target", "name", "value"),
    [
        (Way("header", "X-Key"), b"/chat?room=1", b"x-key", b"k+1"),
        (Way("bearer"), b"/chat?room=1", b"authorization", b"Bearer k+1"),
        (Way("cookie", "c"), b"/chat?room=1", b"cookie", b"c=k+1"),
        (
            Way("subprotocol"),
            b"/chat?room=1",
            b"sec-websocket-protocol",
            b"chat, wskeeper, wskeeper.key.k+1",
        ),
        (Way("query", "api_key"), b"/chat?room=1&api_key=k%2B1", b"host", b"gateway.example:8443"),
    ],
)
def test_upgrade_is_a_valid_handshake_with_the_key_in_one_place(
    way: Way, target: bytes, name: bytes, value: bytes
) -> None:
    raw = upgrade(PLACE, agent="d/1", nonce=NONCE, subprotocols=["chat"], key="k+1", way=way)
    head = parse_request(raw)
    check_handshake(head)
    assert head.target == target
    assert head.headers.one(name) == value
    assert raw.count(b"k+1") + raw.count(b"k%2B1") == 1


def test_key_that_is_no_token_is_offered_encoded() -> None:
    raw = upgrade(PLACE, agent="d/1", nonce=NONCE, key="a/b=", way=Way("subprotocol"))
    [offer] = parse_request(raw).headers.all(b"sec-websocket-protocol")
    assert offer == b"wskeeper, wskeeper.key.b64.YS9iPQ"


def test_query_begins_where_there_is_none() -> None:
    place = read_url("ws://a/b")
    raw = upgrade(place, agent="d/1", nonce=NONCE, key="k", way=Way("query", "q"))
    assert parse_request(raw).target == b"/b?q=k"


def test_upgrade_without_a_key_is_that_of_a_client_that_forgot_it() -> None:
    head = parse_request(upgrade(PLACE, agent="d/1", nonce=NONCE, origin="https://a.example"))
    check_handshake(head)
    assert head.headers.one(b"origin") == b"https://a.example"
    assert b"x-api-key" not in head.headers


# Frames ----------------------------------------------------------------------------------------

WIRE = b"".join(
    (
        frames.frame(frames.TEXT, b"hello"),
        frames.frame(frames.PING, b"one"),
        frames.frame(frames.BINARY, b"x" * 200),
        frames.frame(frames.TEXT, b"", fin=False),
        frames.frame(frames.PING, b""),
        frames.frame(frames.BINARY, b"y" * 70_000),
        frames.frame(frames.CLOSE, b"\x03\xe8bye"),
    )
)
CONTROL = [(Opcode.PING, b"one"), (Opcode.PING, b""), (Opcode.CLOSE, b"\x03\xe8bye")]


def controls(pieces: list[bytes]) -> list[tuple[int, bytes]]:
    reader, found = ControlFrames(), []
    for piece in pieces:
        reader.feed(piece)
        while (frame := reader.next()) is not None:
            found.append(frame)
    return found


def test_control_frames_are_found_among_data() -> None:
    assert controls([WIRE]) == CONTROL


def test_control_frames_are_found_byte_by_byte() -> None:
    assert controls([WIRE[at : at + 1] for at in range(len(WIRE))]) == CONTROL


def test_what_follows_a_control_frame_waits() -> None:
    tail = frames.frame(frames.PING, b"later")
    assert controls([WIRE + tail[:-1]]) == CONTROL
    assert controls([WIRE + tail[:-1], tail[-1:]]) == [*CONTROL, (Opcode.PING, b"later")]


@given(st.lists(st.integers(0, len(WIRE)), max_size=8))
def test_cuts_make_no_difference(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WIRE)]
    assert controls([WIRE[a:b] for a, b in itertools.pairwise(edges)]) == CONTROL

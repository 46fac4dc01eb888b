"""Who is gone is found out, and nobody else is: the gateway's own pings, idle time, lifetimes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.harness import frames
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.process import BUSY, wait_until
from tests.harness.upstream import Upstream, UpstreamConnection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.harness.client import Client
    from tests.harness.peer import Peer

pytestmark = pytest.mark.timeout(60)

KEY = "liveness-key-5f1c9a7e3b2d4860"
PINGS = {"interval": "1s", "timeout": "1s"}
ROUTES: dict[str, dict[str, Any]] = {
    "watched": {"keepalive": PINGS},
    "strict": {"keepalive": {**PINGS, "strict": True}},
    "idle": {"timeouts": {"idle": "1s"}},
    "recoded": {"timeouts": {"idle": "1s"}, "close_codes": {"idle_timeout": 4001}},
    "short": {"max_lifetime": "2s"},
}


class House(NamedTuple):
    """A gateway, and both ends of each session."""

    gateway: Gateway
    upstream: Upstream
    door: Door

    def open(self, route: str) -> tuple[Client, UpstreamConnection]:
        client = self.door.send(upgrade(f"/{route}", key=KEY))
        service = self.upstream.connection()
        service.accept()
        assert client.read_response().status == 101
        return client, service


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with Upstream() as upstream, upstream.by_hand():
        config = {
            "store": "memory:",
            "keepalive": None,
            "timeouts": {"close": "1s"},
            "keys": [{"name": "good", "secret": KEY}],
            "routes": [
                {"name": name, "path": f"/{name}", "upstream": upstream.url, **route}
                for name, route in ROUTES.items()
            ],
        }
        with (
            Gateway(tmp_path_factory.mktemp("liveness"), config) as gateway,
            Door(gateway.public) as door,
        ):
            yield House(gateway, upstream, door)
            assert gateway.events("internal_error") == []


@pytest.fixture
def house(everything: House) -> Iterator[House]:
    yield everything
    everything.door.close_all()
    everything.upstream.forget()


def text(payload: bytes) -> bytes:
    return frames.masked(frames.TEXT, payload)


def pinged(peer: Peer) -> bytes:
    """The payload of the ping that comes next."""
    frame = peer.read_frame()
    assert (frame.opcode, frame.fin, frame.rsv) == (frames.PING, True, 0), frame
    assert len(frame.payload) == 8
    towards_service = isinstance(peer, UpstreamConnection)
    assert (frame.mask is not None) is towards_service, "a server's frames are never masked"
    return frame.payload


def closed(peer: Peer) -> tuple[int | None, str]:
    """Code and reason of the Close that comes, behind any number of pings."""
    frame = peer.read_frame()
    while frame.opcode == frames.PING:
        frame = peer.read_frame()
    assert frame.opcode == frames.CLOSE, frame
    return frame.close_code, frame.close_reason


def travels(raw: Sequence[bytes], sender: Peer, receiver: Peer, *, but: set[bytes]) -> None:
    """These frames arrive as they are; pings with these payloads may come between."""
    for one in raw:
        sender.send(one)
    arrived: list[bytes] = []
    while len(arrived) < len(raw):
        frame = receiver.read_frame()
        if frame.opcode != frames.PING or frame.payload not in but:
            arrived.append(frame.raw)
    assert arrived == list(raw)


def test_silent_legs_are_pinged_and_their_answers_go_no_further(house: House) -> None:
    series = [f'wskeeper_ping_rtt_seconds_count{{leg="{leg}"}}' for leg in ("client", "upstream")]
    before = house.gateway.metrics()
    client, service = house.open("watched")
    asked, said = pinged(service), pinged(client)
    assert asked != said
    client.send(frames.masked(frames.PONG, said) + text(b"after"))
    service.send(frames.frame(frames.PONG, asked) + frames.frame(frames.TEXT, b"behind"))
    heard, told = service.read_frame(), client.read_frame()
    assert (heard.opcode, heard.payload) == (frames.TEXT, b"after")
    assert (told.opcode, told.payload) == (frames.TEXT, b"behind")

    def measured() -> bool:
        now = house.gateway.metrics()
        return all(now[one] > before.get(one, 0) for one in series)

    assert wait_until(measured)


def test_pings_and_pongs_of_the_peers_travel_as_they_are(house: House) -> None:
    client, service = house.open("watched")
    asked, said = pinged(service), pinged(client)
    for sender, receiver, mask, foreign in (
        (client, service, frames.MASK, asked),
        (service, client, None, said),
    ):
        raw = [
            frames.frame(opcode, payload, mask=mask)
            for opcode, payload in (
                (frames.PONG, b"12345678"),  # As long as the gateway's, and not asked for.
                (frames.PONG, foreign),  # What the gateway asked the other leg.
                (frames.PONG, b""),
                (frames.PING, b"mine"),
                (frames.PING, bytes(range(125))),
            )
        ]
        travels(raw, sender, receiver, but={asked, said})


def test_no_ping_comes_inside_a_frame(house: House) -> None:
    client, service = house.open("watched")
    frame = text(bytes(range(100)))
    client.send(frame[:50])
    assert service.read_exactly(50) == frame[:50]
    pinged(client)  # By now the service would have been, too.
    service.expect_silence()
    client.send(frame[50:])
    assert service.read_exactly(len(frame) - 50) == frame[50:]
    pinged(service)


def test_who_owes_the_other_side_a_pong_is_not_pinged(house: House) -> None:
    """It may answer the latest ping alone (RFC 6455 section 5.5.3)."""
    client, service = house.open("watched")
    ping = frames.frame(frames.PING, b"are you there?")
    service.send(ping)
    assert client.read_exactly(len(ping)) == ping
    said = pinged(service)  # By now the client would have been, too.
    client.expect_silence()
    pong = frames.masked(frames.PONG, b"are you there?")
    travels([pong], client, service, but={said})
    pinged(client)


def test_who_answered_once_and_then_falls_silent_is_gone(house: House) -> None:
    began = time.monotonic()
    frozen, its_service = house.open("watched")
    its_client, lost = house.open("watched")
    frozen.send(frames.masked(frames.PONG, pinged(frozen)))
    lost.send(frames.frame(frames.PONG, pinged(lost)))
    # The other ends never answer, and are not to blame.
    assert closed(frozen) == (1008, "client_timeout")
    # A second until it is asked, another until it is asked again, and one to answer.
    assert 2.9 <= time.monotonic() - began < 6 + BUSY
    assert closed(its_service) == (1001, "peer_error")
    assert closed(its_client) == (1012, "upstream_timeout")
    lost.read_to_end(1)
    its_client.close()
    for reason, code in (("client_timeout", 1008), ("upstream_timeout", 1012)):
        event = house.gateway.wait_for_event("connection_closed", reason=reason, code=code)
        assert event["initiator"] == "gateway"


def test_only_strict_gives_up_who_has_never_answered(house: House) -> None:
    patient, strict = house.open("watched"), house.open("strict")
    assert closed(strict[0]) == (1008, "client_timeout")
    assert closed(strict[1]) == (1001, "peer_error")
    asked = [{pinged(peer), pinged(peer)} for peer in patient]
    assert [len(payloads) for payloads in asked] == [1, 1], "a leg always hears the same bytes"
    client, service = patient
    travels([text(b"still here")], client, service, but=asked[1])
    travels([frames.frame(frames.TEXT, b"so am I")], service, client, but=asked[0])


def test_session_in_which_nothing_is_said_ends(house: House) -> None:
    codes = {"idle": 1001, "recoded": 4001}
    began = time.monotonic()
    sessions = {route: house.open(route) for route in codes}
    for client, service in sessions.values():  # What is no message does not count.
        travels([frames.masked(frames.PING, b"are you there?")], client, service, but=set())
    for route, ends in sessions.items():
        for end in ends:
            end.expect_close(codes[route], "idle_timeout")
        assert time.monotonic() - began >= 1
        event = house.gateway.wait_for_event(
            "connection_closed", route=route, reason="idle_timeout", code=codes[route]
        )
        assert event["initiator"] == "gateway"


def test_session_ends_when_its_life_is_over(house: House) -> None:
    began = time.monotonic()
    for end in house.open("short"):
        end.expect_close(1001, "max_lifetime")
    # Two seconds, give or take a tenth, and up to a second until it is seen.
    assert 1.8 <= time.monotonic() - began < 3.2 + BUSY
    event = house.gateway.wait_for_event("connection_closed", route="short", reason="max_lifetime")
    assert (event["initiator"], event["code"]) == ("gateway", 1001)

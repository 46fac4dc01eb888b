"""Who is gone is found out, and nobody else is: the gateway's own pings, idle time, lifetimes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.harness import frames
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.process import wait_until
from tests.harness.upstream import Upstream, UpstreamConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.client import Client
    from tests.harness.peer import Peer

pytestmark = pytest.mark.timeout(60)

KEY = "liveness-key-5f1c9a7e3b2d4860"
PINGS = {"interval": "1s", "timeout": "1s"}
ROUTES: dict[str, dict[str, Any]] = {
    "watched": {"keepalive": PINGS},
    "strict": {"keepalive": {**PINGS, "strict": True}},
    "idle": {"timeouts": {"idle": "1s"}, "close_codes": {"idle_timeout": 4001}},
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


def pinged(peer: Peer) -> bytes:
    """The payload of the ping that comes next."""
    frame = peer.read_frame()
    assert frame.opcode == frames.PING, frame
    assert len(frame.payload) == 8
    return frame.payload


def test_silent_legs_are_pinged_and_their_answers_go_no_further(house: House) -> None:
    client, service = house.open("watched")
    asked = service.read_frame()
    assert asked.opcode == frames.PING
    assert asked.mask is not None, "towards a server every frame is masked"
    said = pinged(client)
    assert said != asked.payload
    client.send(frames.masked(frames.PONG, said))
    service.send(frames.frame(frames.PONG, asked.payload))
    client.send(frames.masked(frames.TEXT, b"after"))
    service.send(frames.frame(frames.TEXT, b"behind"))
    heard, told = service.read_frame(), client.read_frame()
    assert (heard.opcode, heard.payload) == (frames.TEXT, b"after")
    assert (told.opcode, told.payload) == (frames.TEXT, b"behind")
    for leg in ("client", "upstream"):
        series = f'wskeeper_ping_rtt_seconds_count{{leg="{leg}"}}'
        assert wait_until(lambda series=series: house.gateway.metrics()[series] >= 1)


def test_pings_and_pongs_of_the_peers_travel_meanwhile(house: House) -> None:
    client, service = house.open("watched")
    pinged(client)
    pinged(service)
    client.send(frames.masked(frames.PONG, b"12345678"))  # as long as one of the gateway's
    client.send(frames.masked(frames.PING, b"mine"))
    unasked, ping = service.read_frame(), service.read_frame()
    assert (unasked.opcode, unasked.payload) == (frames.PONG, b"12345678")
    assert (ping.opcode, ping.payload) == (frames.PING, b"mine")
    service.send(frames.frame(frames.PONG, b"mine"))
    pong = client.read_frame()
    assert (pong.opcode, pong.payload) == (frames.PONG, b"mine")


def test_client_that_answered_once_and_falls_silent_is_gone(house: House) -> None:
    client, service = house.open("watched")
    client.send(frames.masked(frames.PONG, pinged(client)))
    seen = [service.read_frame()]
    while seen[-1].opcode == frames.PING:
        service.send(frames.frame(frames.PONG, seen[-1].payload))
        seen.append(service.read_frame())
    assert (seen[-1].close_code, seen[-1].close_reason) == (1001, "peer_error")
    told = client.read_frame()
    while told.opcode == frames.PING:
        told = client.read_frame()
    assert (told.close_code, told.close_reason) == (1008, "client_timeout")
    house.gateway.wait_for_event("connection_closed", reason="client_timeout", code=1008)


def test_service_that_answered_once_and_falls_silent_is_lost(house: House) -> None:
    client, service = house.open("watched")
    service.send(frames.frame(frames.PONG, pinged(service)))
    told = client.read_frame()
    while told.opcode == frames.PING:
        client.send(frames.masked(frames.PONG, told.payload))
        told = client.read_frame()
    assert (told.close_code, told.close_reason) == (1012, "upstream_timeout")
    house.gateway.wait_for_event("connection_closed", reason="upstream_timeout", code=1012)


def test_peer_that_never_answers_is_asked_again_and_left_alone(house: House) -> None:
    client, _ = house.open("watched")
    said = {pinged(client) for _ in range(3)}
    assert len(said) == 1, "all pings to a leg carry the same eight bytes"


def test_strict_ends_even_who_has_never_answered(house: House) -> None:
    client, _ = house.open("strict")
    pinged(client)
    client.expect_close(1008, "client_timeout")


def test_session_in_which_nothing_is_said_ends(house: House) -> None:
    client, service = house.open("idle")
    client.send(frames.masked(frames.PING, b"are you there?"))
    service.read_frame()
    client.expect_close(4001, "idle_timeout")
    service.expect_close(4001, "idle_timeout")
    house.gateway.wait_for_event("connection_closed", reason="idle_timeout", code=4001)


def test_session_ends_when_its_life_is_over(house: House) -> None:
    client, service = house.open("short")
    client.expect_close(1001, "max_lifetime")
    service.expect_close(1001, "max_lifetime")

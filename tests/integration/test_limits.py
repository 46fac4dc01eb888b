"""Every limit once over the wire: the answer or the Close, the log line, the metric, the place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.harness import frames, programs
from tests.harness.client import Client, Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.process import BUSY, wait_until
from tests.harness.upstream import Upstream, UpstreamConnection, silent
from tests.integration.ways_scene import JWT, ask, jwt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.heads import Response

pytestmark = pytest.mark.timeout(60)

KEY = "limits-key-5f1c9a7e3b2d4860"
SMALL = "small-key-5f1c9a7e3b2d486000"
WEAK = "weak"
TOO_LONG = 100

ROUTES: dict[str, dict[str, Any]] = {
    "narrow": {"limits": {"connections": 2}},
    "household": {"limits": {"connections_per_address": 2}},
    "crowd": {
        "limits": {"connections_per_subject": 2},
        "carriers": [{"header": "X-Api-Key"}, "ticket"],
    },
    "hasty": {"limits": {"handshakes_per_second": 0.01}},
    "guarded": {"limits": {"auth_failures_per_minute": 3}},
    "sized": {
        "limits": {
            "message_size": {"client_to_upstream": TOO_LONG, "upstream_to_client": 3 * TOO_LONG}
        }
    },
    "slow": {"limits": {"messages_per_second": 20}},
    "single": {
        "limits": {"messages_per_second": 2, "connections": 1},
        "timeouts": {"write": "5s"},  # Its sessions are looked at every second.
    },
    "strict": {"limits": {"messages_per_second": 2, "on_exceed": "close"}},
    "thin": {"limits": {"bytes_per_second": "100KiB"}},
    "bulky": {"limits": {"bytes_per_second": "1KiB", "on_exceed": "close"}},
    "open": {},
}


class House(NamedTuple):
    """A gateway with a route for each limit, whose clients may come from any address."""

    gateway: Gateway
    upstream: Upstream
    door: Door

    def asking(self, route: str, *, key: str | None = KEY, client: str = "192.0.2.1") -> bytes:
        return upgrade(f"/{route}", key=key, lines=(f"X-Forwarded-For: {client}",))

    def open(self, route: str, **who: Any) -> Client:
        return self.door.open(self.asking(route, **who))

    def both_ends(self, route: str) -> tuple[Client, UpstreamConnection]:
        """A session whose service plays no script."""
        with self.upstream.by_hand():
            client = self.door.send(self.asking(route))
            service = self.upstream.connection()
            service.accept()
        assert client.read_response().status == 101
        return client, service

    def ask(self, route: str, **who: Any) -> Response:
        return self.door.ask(self.asking(route, **who))

    def refused(self, route: str, code: str, **who: Any) -> Response:
        """A refusal before any upstream is dialled; the log says whose, and which limit it met."""
        with self.upstream.untouched():
            answer = self.ask(route, **who)
        assert answer.code == code, (answer.first_line, answer.body)
        assert int(answer.get("Retry-After") or 0) >= 1
        name, client = answer.get("X-Request-Id"), who.get("client", "192.0.2.1")
        for event in ("limited", "handshake_refused"):
            told = self.gateway.wait_for_event(event, request_id=name)
            assert (told["route"], told["client"]) == (route, client)
        return answer

    def told(self, route: str, limit: str, set_in: str | None = None) -> dict[str, Any]:
        """The limit is in the log with its place, and counted."""
        event = self.gateway.wait_for_event("limited", route=route, limit=limit)
        assert event["set_in"] == (set_in or f"routes.{route}.limits.{limit}")
        metrics = self.gateway.metrics()
        assert metrics[f'wskeeper_limited_total{{limit="{limit}",route="{route}"}}'] >= 1
        return event


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with Upstream() as upstream:
        config = {
            "store": "memory:",
            "trusted_proxies": ["127.0.0.0/8"],
            "limits": {"auth_failures_per_minute": None, "connections_per_address": 50},
            "timeouts": {"close": "1s"},
            "jwt": JWT,
            "keys": [
                {"name": "good", "secret": KEY},
                {"name": "small", "secret": SMALL, "limits": {"message_size": 10}},
                {"name": "weak", "secret": WEAK},
            ],
            "routes": [
                {"name": name, "path": f"/{name}", "upstream": upstream.url, **route}
                for name, route in ROUTES.items()
            ],
        }
        with (
            Gateway(tmp_path_factory.mktemp("limits"), config) as gateway,
            Door(gateway.public) as door,
        ):
            yield House(gateway, upstream, door)
            assert gateway.events("internal_error") == []


@pytest.fixture
def house(everything: House) -> Iterator[House]:
    yield everything
    everything.door.close_all()
    everything.upstream.forget()


def text(payload: bytes = b"hello", **how: Any) -> bytes:
    return frames.masked(frames.TEXT, payload, **how)


# Places --------------------------------------------------------------------------------------


def test_full_route_refuses_until_a_place_is_given_back(house: House) -> None:
    clients = [house.open("narrow"), house.open("narrow", client="192.0.2.2")]
    assert house.refused("narrow", "gateway_connections", client="192.0.2.3").status == 503
    assert house.told("narrow", "connections")["value"] == 2
    for leave in (Client.close, Client.reset):
        leave(clients.pop(0))
        assert wait_until(lambda: _stays(house, clients))
        assert house.ask("narrow").code == "gateway_connections"


def _stays(house: House, clients: list[Client]) -> bool:
    """Whether the route lets one more in, who stays."""
    client = house.door.send(house.asking("narrow"))
    admitted = client.read_response().status == 101
    if admitted:
        clients.append(client)
    return admitted


def test_handshake_under_way_holds_its_place(house: House) -> None:
    with house.upstream.by_hand():
        waiting = [house.door.send(house.asking("narrow")) for _ in range(2)]
        services = [house.upstream.connection() for _ in range(2)]
        house.refused("narrow", "gateway_connections")
        for service in services:
            service.accept()
        assert [client.read_response().status for client in waiting] == [101, 101]


def test_explain_neither_takes_a_place_nor_meets_a_limit(house: House) -> None:
    for _ in range(2):
        house.open("narrow")
    series = 'wskeeper_limited_total{limit="connections",route="narrow"}'
    before = house.gateway.metrics().get(series)
    place = ("-c", str(house.gateway.config_path), "--path", "/narrow")
    with house.upstream.untouched():
        done = programs.run("explain", *place, "--header", f"X-Api-Key: {KEY}")
    assert done.returncode == 0, done.stderr
    assert house.gateway.metrics().get(series) == before


def test_address_has_so_many_places_and_its_neighbour_its_own(house: House) -> None:
    for _ in range(2):
        house.open("household", client="2001:db8::1")
    same_network = "2001:db8::ffff:1"
    answer = house.refused("household", "address_connections", client=same_network)
    assert answer.status == 429
    house.told("household", "connections_per_address")
    house.open("household", client="2001:db8:0:1::1")


def test_subject_has_so_many_places_whatever_it_came_with(house: House) -> None:
    first = house.open("crowd", key=jwt(sub="ann"))
    sold = ask(
        house.gateway, "/.wskeeper/ticket", {"route": "crowd", "subject": "ann"}, key=KEY
    ).json
    house.door.open(upgrade(f"/crowd?wskeeper_ticket={sold['ticket']}"))
    elsewhere = "192.0.2.40"
    answer = house.refused("crowd", "subject_connections", key=jwt(sub="ann"), client=elsewhere)
    assert answer.status == 429
    house.told("crowd", "connections_per_subject")
    house.open("crowd", key=jwt(sub="bob"))
    for _ in range(3):
        house.open("crowd")  # The key is for nobody in particular.
    first.close()
    assert wait_until(lambda: house.ask("crowd", key=jwt(sub="ann")).status == 101)


def test_place_of_a_handshake_that_fails_is_given_back(house: House) -> None:
    with house.upstream.plays(lambda connection: connection.reset()):
        for _ in range(4):
            assert house.ask("household", client="192.0.2.9").status == 502
    for _ in range(2):
        house.open("household", client="192.0.2.9")


def test_limit_of_the_top_level_counts_over_all_routes(house: House) -> None:
    address = "192.0.2.77"
    for number in range(50):
        house.open("open" if number % 2 else "slow", client=address)
    house.refused("open", "address_connections", client=address)
    house.told("open", "connections_per_address", "limits.connections_per_address")


# Handshakes and guesses ----------------------------------------------------------------------


def test_address_that_connects_too_often_is_told_when_to_come_again(house: House) -> None:
    house.open("hasty", client="192.0.2.20")
    answer = house.refused("hasty", "handshake_rate", client="192.0.2.20")
    assert answer.status == 429
    assert 90 <= int(answer.get("Retry-After") or 0) <= 100
    house.told("hasty", "handshakes_per_second")
    house.open("hasty", client="192.0.2.21")


def test_guesser_is_not_listened_to_and_a_good_key_always_is(house: House) -> None:
    guesser = "192.0.2.30"
    for _ in range(5):  # The same wrong key counts once.
        assert house.ask("guarded", key="outdated", client=guesser).code == "key_unknown"
    assert house.ask("guarded", key="guess 1", client=guesser).code == "key_unknown"
    assert house.ask("guarded", key=None, client=guesser).code == "key_missing"
    assert house.ask("guarded", key="guess 2", client=guesser).code == "key_unknown"
    for key in ("guess 3", "outdated", None):
        answer = house.refused("guarded", "auth_failures", key=key, client=guesser)
        assert answer.status == 429
        assert 1 <= int(answer.get("Retry-After") or 0) <= 60
    house.told("guarded", "auth_failures_per_minute")
    house.open("guarded", client=guesser)
    house.open("guarded", key=jwt(sub="ann"), client=guesser)
    house.refused("guarded", "auth_failures", key=WEAK, client=guesser)
    house.open("guarded", key=WEAK, client="192.0.2.31")
    assert house.ask("guarded", key="guess 4", client="192.0.2.31").code == "key_unknown"
    assert house.ask("open", key="guess 4", client=guesser).code == "key_unknown"


def test_guesses_make_no_series_however_many_they_are(house: House) -> None:
    def guess(numbers: range) -> set[str]:
        return {
            house.ask("guarded", key=f"guess {number}", client=f"198.51.100.{number % 7}").code
            or ""
            for number in numbers
        }

    assert guess(range(40)) == {"key_unknown", "auth_failures"}
    before = set(house.gateway.metrics())
    assert guess(range(40, 300)) == {"auth_failures"}
    assert set(house.gateway.metrics()) == before


# Messages ------------------------------------------------------------------------------------


def test_message_of_the_limit_passes_and_a_longer_one_does_not(house: House) -> None:
    client, service = house.both_ends("sized")
    right = text(bytes(TOO_LONG))
    client.send(right + text(bytes(TOO_LONG + 1)))
    assert service.read_frame().raw == right
    service.expect_close(1001, "peer_error")
    client.expect_close(1009, "message_too_big")
    assert house.told("sized", "message_size")["value"] == TOO_LONG
    closed = house.gateway.wait_for_event("connection_closed", route="sized", code=1009)
    assert (closed["initiator"], closed["reason"]) == ("gateway", "message_too_big")


def test_fragments_are_one_message_and_the_service_is_not_told_it_was_whole(house: House) -> None:
    client, service = house.both_ends("sized")
    client.send(text(bytes(60), fin=False))
    assert service.read_frame().payload == bytes(60)
    client.send(frames.masked(frames.CONTINUATION, bytes(TOO_LONG - 59)))
    service.expect_close(1001, "peer_error")
    client.expect_close(1009, "message_too_big")


def test_service_that_says_too_much_is_told_1009(house: House) -> None:
    client, service = house.both_ends("sized")
    right = frames.frame(frames.BINARY, bytes(3 * TOO_LONG))
    service.send(right + frames.frame(frames.BINARY, bytes(3 * TOO_LONG + 1)))
    assert client.read_frame().raw == right
    service.expect_close(1009, "message_too_big")
    client.expect_close(1001, "peer_error")


def test_limit_of_the_key_is_the_stricter_one(house: House) -> None:
    client = house.open("sized", key=SMALL)
    client.send(text(b"0123456789a"))
    client.expect_close(1009, "message_too_big")
    house.told("sized", "message_size")
    places = {event["set_in"] for event in house.gateway.events("limited", route="sized")}
    assert "keys.small.limits.message_size" in places


def test_throttled_client_gets_everything_through_in_order(house: House) -> None:
    client = house.open("slow")
    began = time.monotonic()
    client.send(b"".join(text(b"%d" % number) for number in range(60)))
    for number in range(60):
        assert client.read_frame().payload == b"%d" % number
    assert time.monotonic() - began >= (60 - 40) / 20 * 0.9, "40 at once, then 20 a second"
    house.told("slow", "messages_per_second")


@pytest.mark.parametrize("leave", [Client.reset, Client.close])
def test_throttled_client_that_is_gone_holds_no_place(
    house: House, leave: Callable[[Client], None]
) -> None:
    client, service = house.both_ends("single")
    client.send(text() * 200)  # For a hundred seconds, if somebody waited.
    for _ in range(4):
        assert service.read_frame().payload == b"hello"
    house.refused("single", "gateway_connections")
    leave(client)
    heard = service.read_to_end(5)
    if leave is Client.reset:  # Until that was noticed, two a second came through.
        assert len(heard) < 20 * len(text())
    else:
        assert len(heard) == 196 * len(text())
    service.close()
    assert wait_until(lambda: house.ask("single").status == 101, 2)


def test_client_that_sends_too_fast_is_closed_where_that_is_asked_for(house: House) -> None:
    client, service = house.both_ends("strict")
    client.send(text() * 10)
    for _ in range(4):  # As much as twice the rate at once.
        assert service.read_frame().payload == b"hello"
    service.expect_close(1001, "peer_error")
    client.expect_close(1008, "message_rate")
    house.told("strict", "messages_per_second")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_client_that_pours_is_closed_at_once_on_every_event_loop(tmp_path: Path, loop: str) -> None:
    # One loop's clock stands still within a turn, the other's goes on.
    limits = {"bytes_per_second": 300_000, "on_exceed": "close"}
    with Upstream(silent) as upstream:
        config = {
            "store": "memory:",
            "keys": [{"name": "good", "secret": KEY}],
            "routes": [{"name": "a", "path": "/a", "upstream": upstream.url, "limits": limits}],
        }
        with (
            Gateway(tmp_path, config, environment={"WSKEEPER_EVENT_LOOP": loop}) as gateway,
            Door(gateway.public) as door,
        ):
            client = door.open(upgrade("/a", key=KEY))
            client.send_some(frames.masked(frames.BINARY, bytes(1000)) * 3000, patience=0.3)
            client.expect_close(1008, "message_rate")
            assert gateway.wait_for_event("limited", limit="bytes_per_second")


def test_flood_of_what_is_no_message_passes_when_the_rate_is_used_up(house: House) -> None:
    client, service = house.both_ends("slow")
    spent = text() * 40
    ping = frames.masked(frames.PING, b"")
    more = frames.masked(frames.CONTINUATION, b"", fin=False)
    client.send(spent + ping * 20_000)
    assert service.read_exactly(len(spent)) == spent
    began = time.monotonic()
    client.send(text(b"", fin=False) + more * 20_000 + frames.masked(frames.CONTINUATION, b"end"))
    assert service.read_exactly(20_000 * len(ping)) == ping * 20_000
    said = service.read_exactly(20_001 * len(more)), service.read_frame()
    assert said[0] == text(b"", fin=False) + more * 20_000
    assert (said[1].opcode, said[1].payload, said[1].fin) == (frames.CONTINUATION, b"end", True)
    assert time.monotonic() - began < 3 + BUSY


def test_bytes_pass_no_faster_than_they_may_and_none_is_lost(house: House) -> None:
    client = house.open("thin")
    said = bytes(range(256)) * 1200  # 300 KiB: 200 at once, the rest in a second
    began = time.monotonic()
    client.send(frames.masked(frames.BINARY, said))
    assert client.read_frame().payload == said
    assert time.monotonic() - began >= 0.8
    house.told("thin", "bytes_per_second")


def test_client_that_sends_too_much_is_closed_behind_its_frame(house: House) -> None:
    client, service = house.both_ends("bulky")
    said = text(bytes(3000))  # of 2 KiB that may pass at once
    client.send(said + text())
    assert service.read_frame().raw == said
    service.expect_close(1001, "peer_error")
    client.expect_close(1008, "message_rate")
    assert house.told("bulky", "bytes_per_second")["value"] == 1024
    house.gateway.wait_for_event("connection_closed", route="bulky", reason="message_rate")

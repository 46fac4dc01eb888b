"""What a handshake says to each target, what it is chosen for, and where it counts."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from proxy.gateway.request import HandshakeRequest, affinity_of, described
from proxy.handshake.client import Client
from proxy.keys.principal import NOBODY, bearer_of, holder_of
from proxy.routes import Route
from proxy.upstream.pool import Member
from tests.harness.heads import Request, upgrade
from tests.unit.build import config, request
from tests.unit.gateway.scene import Gateway, key

TARGETS = ["ws://a:9000", "ws://b:9000/ws"]


def gateway(**upstream: Any) -> Gateway:
    route = {"name": "chat", "path": "/chat", "upstream": {"targets": TARGETS, **upstream}}
    return Gateway(route, metadata={"token": "up-\u00e9"})


def member(of: Gateway, index: int) -> Member:
    route = of.admission.rules.routes.get("chat")
    assert route is not None
    return Member("chat", route.targets[index], lambda *_: None)


def test_head_is_made_for_the_target_that_is_asked() -> None:
    made = gateway(preserve_host=False, headers={"Authorization": "Bearer {meta.token}"})
    made.asks("/chat/1")
    first = Request.parse(made.dialer.dials[0].request)
    second = Request.parse(made.dialer.request_for(member(made, 1)))
    assert (first.target, first.get("Host")) == ("/chat/1", "a:9000")
    assert (second.target, second.get("Host")) == ("/ws/1", "b:9000")
    assert second.get("Authorization") == "Bearer up-%C3%A9"


def test_log_names_the_target_that_answered() -> None:
    made = gateway()
    made.asks()
    made.dialer.request_for(member(made, 1))
    made.dialer.dials[0].switches()
    (session,) = made.registry
    assert session.upstream == TARGETS[1]
    assert made.log.events("connection_opened")[0]["upstream"] == TARGETS[1]


def test_session_counts_at_the_target_that_answered() -> None:
    made = gateway(balance="least_connections")
    places = made.registry.occupancy
    first, second = (member(made, index).target for index in (0, 1))
    client = made.asks()
    assert (places.of(first), places.of(second)) == (1, 0)
    made.dialer.request_for(member(made, 1))
    assert (places.of(first), places.of(second)) == (0, 1)
    made.dialer.dials[0].switches()
    assert (places.of(second), made.places) == (1, 1)
    made.ends(client)
    assert len(places) == 0


def test_handshake_that_fails_counts_nowhere() -> None:
    made = gateway(balance="least_connections")
    client = made.asks()
    assert len(made.registry.occupancy) == 2
    client.hangs_up()
    assert len(made.registry.occupancy) == 0


# What it is chosen for -----------------------------------------------------------------------


def asked(balance: str, principal: Any, address: str = "192.0.2.7") -> HandshakeRequest:
    made = config({"upstream": {"targets": TARGETS, "balance": balance}})
    client = Client.of(ip_address(address), ip_address(address), trusted=False, scheme="http")
    asks = HandshakeRequest("id", 0.0, request(upgrade("/chat")), client, gateway().admission.rules)
    asks.route, asks.principal = Route.of(made, made.routes[0]), principal
    return asks


KEY = holder_of(key(), b"digest")
TOKEN = bearer_of("jwt", "sub-1", {}, until=None)


@pytest.mark.parametrize(
    ("balance", "principal", "affinity"),
    [
        ("key_hash", KEY, b"one"),
        ("key_hash", TOKEN, b"sub-1"),
        ("key_hash", NOBODY, b"\xc0\x00\x02\x07"),
        ("address_hash", KEY, b"\xc0\x00\x02\x07"),
    ],
)
def test_target_is_chosen_for_the_key_or_the_address(
    balance: str, principal: Any, affinity: bytes
) -> None:
    assert affinity_of(asked(balance, principal)) == affinity


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    one, two, three = (
        affinity_of(asked("address_hash", KEY, address))
        for address in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
    )
    assert one == two != three


@pytest.mark.parametrize(("balance", "given"), [("round_robin", b""), ("key_hash", b"one")])
def test_dialer_hears_what_to_choose_for(balance: str, given: bytes) -> None:
    made = gateway(balance=balance)
    made.asks()
    assert made.dialer.affinity == given


def test_log_names_all_targets_while_none_was_asked() -> None:
    asks = asked("round_robin", NOBODY)
    assert described(asks, "", "")["upstream"] == ", ".join(TARGETS)
